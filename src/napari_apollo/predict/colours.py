"""A colour for each stain: the same in every window, told apart by colour-blind people.

Colours are those of Okabe and Ito (Color Universal Design, 2008), the darkest lightened so that they
show on black. Fluorescence is shown from black to the colour and blended additively.
"""

from __future__ import annotations

from collections.abc import Sequence

from napari_apollo.panels import Role, canonical_stain, role_of

ANCHOR_COLOUR = "#5aa2ff"
_CYCLE = ("#e69f00", "#cc79a7", "#00b585", "#f0e442", "#e8702a", "#7fd0ff", "#b08cff", "#d0d0d0")
_FIXED = {
    "CD4": 0,
    "CD8": 1,
    "FOXP3": 2,
    "BCL6": 3,
    "CD3": 2,
    "CD16": 3,
    "lamin": 4,
    "gammaH2AX": 5,
    "CD20": 5,
    "actin": 0,
    "tubulin": 2,
    "FKHR": 2,
    "PD1": 4,
    "PDL1": 6,
}


def stain_colours(stains: Sequence[str]) -> dict[str, str]:
    """Colour of every stain, as ``#rrggbb``.

    Listed stains have a colour of their own; the others take, in the order given, those that are
    free, and the cycle begins anew when all are taken.
    """
    colours: dict[str, str] = {}
    for stain in stains:
        canonical = canonical_stain(stain)
        if role_of(canonical) is Role.ANCHOR:
            colours[stain] = ANCHOR_COLOUR
        elif canonical in _FIXED:
            colours[stain] = _CYCLE[_FIXED[canonical]]
    left = [stain for stain in stains if stain not in colours]
    free = [colour for colour in _CYCLE if colour not in colours.values()] or list(_CYCLE)
    for position, stain in enumerate(left):
        colours[stain] = free[position % len(free)]
    return colours


def stain_colormap(*colours: str) -> dict[str, object]:
    """Colormap from black to a colour, or on to others, in the form that napari's layers take."""
    return {"colors": ["#000000", *colours], "name": f"apollo {colours[0]}", "interpolation": "linear"}
