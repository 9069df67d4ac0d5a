"""Whether a model and the cells of a store go together, said before any work."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from napari_apollo.cells.normalisation import Normalisation
from napari_apollo.errors import DataError, ModelError, PanelMismatch
from napari_apollo.panels import Panel, same_stain

if TYPE_CHECKING:
    from napari_apollo.cells.store import CellStore
    from napari_apollo.model import ModelCard

_PIXEL_TOLERANCE = 0.02


class Described(Protocol):
    """A model, or its description alone."""

    @property
    def card(self) -> ModelCard:
        """What it learnt from."""


def require_fit(
    model: Described,
    place: str,
    store: CellStore,
    *,
    panels: tuple[str, ...] = (),
    skip_unknown: bool = False,
    other_anchor: bool = False,
) -> tuple[str, ...]:
    """Panels of the store that the model can work on.

    Parameters
    ----------
    model, place
        The model and its folder.
    store
        The cells.
    panels
        Panels asked for; all where none is named.
    skip_unknown
        Accept panels with proteins that the model does not know, and leave those out.
    other_anchor
        Accept another DNA stain than the one that the model learnt from.

    Raises
    ------
    ModelError
        When crops have another size, or pixels another size, than those the model learnt from.
    PanelMismatch
        When a panel has proteins or an anchor that the model does not know; the panels that would
        fit are named.
    DataError
        When a panel is asked for that the store does not have.
    """
    where = place or "the model"
    card = model.card
    if store.crop_size != card.crop_size:
        raise ModelError(
            where,
            f"learnt from crops of {card.crop_size} pixels; those of {store.path} have {store.crop_size}.",
            f"Cut the cells again with a crop size of {card.crop_size} pixels.",
        )
    own, other = card.pixel_size_um, store.pixel_size_um
    if own and other and abs(own / other - 1) > _PIXEL_TOLERANCE:
        raise ModelError(
            where,
            f"learnt from pixels of {own:g} µm; those of {store.path} are {other:g} µm.",
            f"Cut the cells again resampled to {own:g} µm.",
        )
    wanted = panels or tuple(store.panels)
    if unknown := [name for name in wanted if name not in store.panels]:
        raise DataError(f"{store.path} has no panel {', '.join(unknown)}; it has {', '.join(store.panels)}.")
    reasons = {name: _mismatch(model, store.panels[name], skip_unknown, other_anchor) for name in wanted}
    if bad := [name for name, reason in reasons.items() if reason]:
        fitting = [
            f"{name} ({store.count(name)} cells)"
            for name, panel in store.panels.items()
            if not _mismatch(model, panel, skip_unknown, other_anchor)
        ]
        anchors = tuple(dict.fromkeys(panel.anchor for panel in card.panels)) or ("a DNA stain",)
        raise PanelMismatch(
            (*anchors, *card.vocabulary),
            store.panels[bad[0]].stains,
            f"{store.path}, panel {bad[0]} {reasons[bad[0]]} that {where} never learnt; "
            + (f"these panels fit: {', '.join(fitting)}" if fitting else "none of its panels fits"),
        )
    return tuple(wanted)


def doubts_of_fit(model: Described, store: CellStore, *, own_constants: bool = True) -> tuple[str, ...]:
    """What lets one doubt that a model fits cells, though nothing says that it does not; in words.

    Parameters
    ----------
    model, store
        The model, the cells.
    own_constants
        Whether intensities are scaled by the constants of the store, not by those of the model.
    """
    card = model.card
    doubts = []
    sizes = {"the model's": card.pixel_size_um, f"that of {store.path.name}": store.pixel_size_um}
    known = {whose: size for whose, size in sizes.items() if size}
    if len(known) == 1:
        ((whose, size),) = known.items()
        (other,) = set(sizes) - set(known)
        doubts.append(
            f"Pixel size: {whose} is {size:g} µm, {other} is not known. Where they differ, what the model "
            "says is wrong; state pixel_size_um in the manifest and cut the cells again."
        )
    if own_constants and card.normalisation:
        learnt = Normalisation.model_validate(card.normalisation)
        words = [
            f"by {each.by}, {each.method}"
            + (f" {each.percentiles[0]:g} to {each.percentiles[1]:g}" if each.percentiles else "")
            for each in (learnt, store.normalisation)
        ]
        if words[0] != words[1]:
            doubts.append(
                f"Intensities: the model learnt from cells scaled {words[0]}; those of {store.path.name} are "
                f"scaled {words[1]}. Cut the cells again with the normalisation of the training."
            )
    return tuple(doubts)


def _mismatch(model: Described, panel: Panel, skip_unknown: bool, other_anchor: bool) -> str:
    """What of a panel the model does not know, in words; empty when all is known."""
    card = model.card
    anchors = [own.anchor for own in card.panels]
    if anchors and not other_anchor and not any(same_stain(panel.anchor, own) for own in anchors):
        return f"has the anchor {panel.anchor}"
    unknown = [
        stain for stain in panel.proteins if not any(same_stain(stain, own) for own in card.vocabulary)
    ]
    if unknown and not skip_unknown:
        return f"has {', '.join(unknown)}"
    return ""
