"""Measured beside reconstructed beside predicted: which layers are shown, and their difference."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Any

import dask.array as da
import numpy as np

from napari_apollo.cells.store import CellStore
from napari_apollo.predict.canvas import Canvas
from napari_apollo.predict.roles import ChannelRole
from napari_apollo.predict.store import PredictionStore
from napari_apollo.viewer.layers import About, Frame, about, find_layers, image_layer
from napari_apollo.viewer.open import open_study

ERROR = "error"
"""Role of layers that show where a reconstruction differs from what was measured."""

ROLES = (*(str(role) for role in ChannelRole if role is not ChannelRole.UNCERTAINTY), ERROR)
"""Roles that can be shown, in the order in which they are compared."""

ROLE_WORDS = {
    "measured": "Measured",
    "reconstructed": "Reconstructed",
    "reconstructed_shared": "Reconstructed, shared part alone",
    "predicted": "Predicted from the DNA stain",
    ERROR: "Error of the reconstruction",
}


def show_overlay(
    viewer: Any,
    predictions: PredictionStore,
    store: CellStore,
    image: str,
    *,
    stains: Sequence[str] = (),
    roles: Collection[str] = ("measured", "predicted"),
    study: Any = None,
) -> list[Any]:
    """Show one image with what a model says about it; layers of an earlier overlay go.

    Parameters
    ----------
    viewer
        A napari viewer, with or without a window.
    predictions, store
        The predictions and their cells.
    image
        The image as it stands in the store's table.
    stains
        Stains to show; all where none is named.
    roles
        Any of ``ROLES``.
    study
        Study that has the image, for its measured stains; those pasted from the crops are left out.

    Returns
    -------
    list of napari.layers.Layer
        The layers added, bottom first.
    """
    from napari_apollo.viewer.overlay import add_predictions

    for layer in [layer for layer in viewer.layers if about(layer) is not None]:
        viewer.layers.remove(layer)
    chosen = list(stains) or None
    added: list[Any] = []
    if study is not None:
        shown = [*chosen, predictions.anchor] if chosen else None
        added += open_study(viewer, study, image=_field_of(store, image), stains=shown, labels=False)
    wanted = [role for role in ROLES if role in roles and role not in ("measured", ERROR)]
    added += add_predictions(viewer, predictions, store, image=image, stains=chosen, roles=wanted)
    if ERROR in roles:
        added += add_errors(viewer, predictions, store, image, chosen)
    set_visible(viewer, roles)
    for layer in viewer.layers:
        known = about(layer)
        if known is not None and known.role == "measured" and known.stain == predictions.anchor:
            layer.visible = True
    return added


def add_errors(
    viewer: Any,
    predictions: PredictionStore,
    store: CellStore,
    image: str,
    stains: Sequence[str] | None = None,
) -> list[Any]:
    """Add, for each stain, where its reconstruction differs from what was measured, in the stain's units."""
    rebuilt = [
        layer
        for layer in find_layers(viewer, role=ChannelRole.RECONSTRUCTED, image=image)
        if stains is None or about(layer).stain in stains  # type: ignore[union-attr]
    ]
    reference = rebuilt[0] if rebuilt else next(iter(find_layers(viewer, role="cells", image=image)), None)
    if reference is None:
        return []
    shape = reference.data[0].shape if reference.multiscale else reference.data.shape
    canvas = Canvas(store, predictions, image=image, shape=(int(shape[0]), int(shape[1])))
    added = []
    for stain in canvas.stains(ChannelRole.RECONSTRUCTED):
        if stains is not None and stain not in stains:
            continue
        pairs = zip(canvas.layer(stain, "measured"), canvas.layer(stain, "reconstructed"), strict=True)
        low, high = predictions.card.limits.get(stain, (0.0, 1.0))
        what = About(ERROR, image, stain, model=predictions.model_name, opened=str(predictions.path))
        spec = image_layer(
            [_difference(measured, model) for measured, model in pairs],
            what,
            Frame.of(reference),
            contrast_limits=(0.0, float(high - low) / 2),
            colour="#ff5555",
            name=f"{stain} (error)",
        )
        added.append(spec.add(viewer))
    return added


def set_visible(viewer: Any, roles: Collection[str], stains: Collection[str] = ()) -> None:
    """Show the layers of some roles, of some stains where any is named, and hide our other images."""
    for layer in viewer.layers:
        shown = about(layer)
        if shown is not None and shown.role in ROLES:
            layer.visible = shown.role in roles and (not stains or shown.stain in stains)


def roles_of(viewer: Any, stain: str) -> list[str]:
    """Roles in which a stain is open, in the order in which they are compared."""
    there = {about(layer).role for layer in find_layers(viewer, stain=stain)}  # type: ignore[union-attr]
    return [role for role in ROLES if role in there]


def flip(viewer: Any, stain: str, to: str = "") -> str:
    """Show one role of a stain in the place of the one shown, all others hidden.

    Parameters
    ----------
    stain
        The stain that is compared.
    to
        The role to show; the next one where not given.

    Returns
    -------
    str
        The role that is shown now; empty where the stain is not open.
    """
    roles = roles_of(viewer, stain)
    if not roles:
        return ""
    shown = [
        about(layer).role  # type: ignore[union-attr]
        for layer in find_layers(viewer, stain=stain)
        if layer.visible
    ]
    if to not in roles:
        at = roles.index(shown[0]) if len(shown) == 1 and shown[0] in roles else -1
        to = roles[(at + 1) % len(roles)]
    set_visible(viewer, [to], [stain])
    return to


def side_by_side(viewer: Any, stain: str) -> int:
    """Show all roles of a stain in napari's grid; the number of pictures. An empty stain ends it."""
    if not stain:
        viewer.grid.enabled = False
        return 0
    roles = roles_of(viewer, stain)
    set_visible(viewer, roles, [stain])
    # the grid gives hidden layers a place, too: those to compare come to the top, in their order
    names = {role: number for number, role in enumerate(roles)}
    chosen = sorted(find_layers(viewer, stain=stain), key=lambda layer: names.get(about(layer).role, 0))  # type: ignore[union-attr]
    for layer in reversed(chosen):
        viewer.layers.move(viewer.layers.index(layer), len(viewer.layers))
    viewer.grid.shape = (-1, -1)
    viewer.grid.stride = 1
    viewer.grid.enabled = True
    return len(chosen)


def images_of(store: CellStore) -> list[str]:
    """Images that the cells of a store come from."""
    return list(dict.fromkeys(store.obs["image"].astype(str)))


def short_names(images: Sequence[str]) -> list[str]:
    """File names of images, with as many folders as tell them apart."""
    for depth in range(1, 8):
        names = ["/".join(Path(image).parts[-depth:]) for image in images]
        if len(set(names)) == len(names):
            return names
    return list(images)


def _field_of(store: CellStore, image: str) -> str:
    own = store.obs[store.obs["image"].astype(str) == image]
    return str(own["field"].iloc[0])


def _difference(measured: da.Array, model: da.Array) -> da.Array:
    return da.map_blocks(_absolute, measured, model, dtype=np.float32, meta=np.empty((0, 0), np.float32))


def _absolute(measured: np.ndarray, model: np.ndarray) -> np.ndarray:
    return np.abs(measured.astype(np.float32) - model.astype(np.float32))
