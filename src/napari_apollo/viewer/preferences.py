"""What belongs to the person and not to a study: on napari's own page of preferences."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path

from napari_apollo.panels import same_stain
from napari_apollo.predict import colours as defaults
from napari_apollo.viewer.notices import tell

DEVICES = ("auto", "cpu", "cuda", "mps")


@dataclass(frozen=True)
class Preferences:
    """Preferences of the person.

    Attributes
    ----------
    device
        Where models are trained and used: ``auto``, ``cpu``, ``cuda`` or ``mps``.
    workers
        Fields and tiles worked on at the same time; None takes one for every core.
    folder
        Where results go when no study says it.
    colours
        Colours that stains are shown in, as ``#rrggbb``, instead of their own.
    """

    device: str = "auto"
    workers: int | None = None
    folder: Path | None = None
    colours: Mapping[str, str] = field(default_factory=dict)


def preferences() -> Preferences:
    """The preferences as they stand; the defaults where napari does not know the plugin."""
    from napari.settings import get_plugin_settings

    try:
        settings = get_plugin_settings("napari-apollo")
    except KeyError:
        return Preferences()
    compute = settings.compute
    return Preferences(
        device=str(getattr(compute.device, "value", compute.device)),
        workers=int(compute.workers) or None,
        folder=Path(compute.folder) if compute.folder else None,
        colours=_read_colours(str(settings.display.colours)),
    )


def stain_colours(stains: Sequence[str]) -> dict[str, str]:
    """Colour of every stain, as ``#rrggbb``: that which the person prefers, else its own."""
    colours = defaults.stain_colours(stains)
    for wanted, colour in preferences().colours.items():
        for stain in colours:
            if same_stain(stain, wanted):
                colours[stain] = colour
    return colours


@lru_cache(maxsize=8)
def _read_colours(text: str) -> dict[str, str]:
    """Colours by stain from ``CD4 = #ff8800, CD8 = magenta``; what cannot be read is told once."""
    from matplotlib.colors import is_color_like, to_hex

    colours, wrong = {}, []
    for entry in filter(None, (part.strip() for part in re.split(r"[,;\n]", text))):
        stain, colour = (part.strip() for part in re.split(r"[=:]", entry + "=", maxsplit=2)[:2])
        if stain and is_color_like(colour):
            colours[stain] = to_hex(colour)
        else:
            wrong.append(entry)
    if wrong:
        example = "write CD4 = #ff8800, CD8 = magenta"
        tell(f"Preferences, colours of stains: {', '.join(wrong)} cannot be read; {example}.")
    return colours
