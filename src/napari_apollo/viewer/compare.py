"""Measured beside reconstructed beside predicted: which layers are shown, and their difference."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import dask.array as da
import numpy as np

from napari_apollo.cells.store import CellStore
from napari_apollo.predict.canvas import Canvas
from napari_apollo.predict.roles import ChannelRole
from napari_apollo.predict.store import PredictionStore
from napari_apollo.study import Study
from napari_apollo.viewer.layers import KEY, About, Frame, LayerSpec, about, find_layers, image_layer
from napari_apollo.viewer.open import same_image, study_layers
from napari_apollo.viewer.overlay import BEYOND, prediction_layers
from napari_apollo.viewer.overviews import add_layers

MOST = 32_000_000
"""Pixels of a layer up to which its data are computed before it is added; of larger ones the overview is."""

_FRAME = ("scale", "translate", "rotate", "shear", "affine", "units", "axis_labels")

ERROR = "error"
"""Role of layers that show where a reconstruction differs from what was measured."""

ROLES = (
    *(str(role) for role in ChannelRole if role is not ChannelRole.UNCERTAINTY),
    BEYOND,
    str(ChannelRole.UNCERTAINTY),
    ERROR,
)
"""Roles that can be shown, in the order in which they are compared."""

FIRST = ("measured", "predicted", BEYOND)
"""Roles that are seen at first, where they are wanted."""

_SAID = (ChannelRole.RECONSTRUCTED, ChannelRole.RECONSTRUCTED_SHARED, ChannelRole.PREDICTED, BEYOND)
_DARK_AND_BRIGHT = (5, 99.8)  # percentiles, as of measured stains

ROLE_WORDS = {
    "measured": "Measured",
    "reconstructed": "Reconstructed",
    "reconstructed_shared": "Reconstructed (shared part)",
    "predicted": "Predicted from DNA",
    BEYOND: "Predicted beyond support, in grey",
    "uncertainty": "Uncertainty of the prediction",
    ERROR: "Error of the reconstruction",
}


def show_overlay(
    viewer: Any,
    predictions: PredictionStore,
    store: CellStore,
    image: str,
    *,
    stains: Sequence[str] = (),
    roles: Collection[str] = FIRST,
    study: Study | None = None,
) -> list[Any]:
    """Show one image with what a model says about it.

    What is open already stays; layers of other images and of other models go.

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
        Study that has the image, for its measured stains.

    Returns
    -------
    list of napari.layers.Layer
        The layers added, bottom first.
    """
    clear_others(viewer, predictions, image)
    added = add_layers(viewer, missing(viewer, measured_specs(predictions, image, stains, study)))
    wanted = model_specs(viewer, predictions, store, image, stains, roles)
    make_way(viewer, wanted)
    added += [spec.add(viewer) for spec in missing(viewer, wanted)]
    show_first(viewer, predictions, roles, stains)
    return added


def clear_others(viewer: Any, predictions: PredictionStore, image: str) -> None:
    """Remove our layers that belong to another image or another model."""
    for layer in list(viewer.layers):
        shown = about(layer)
        if shown is None:
            continue
        other_model = shown.model and shown.model != predictions.model_name
        if other_model or not (shown.image and same_image(shown.image, image)) or shown.role == "nuclei":
            viewer.layers.remove(layer)


def clear_said(viewer: Any, predictions: Path) -> None:
    """Remove what was said of the cells before predictions were made anew, their table included."""
    for layer in list(viewer.layers):
        shown = about(layer)
        if shown is not None and (shown.opened == str(predictions) or shown.role == "cells"):
            viewer.layers.remove(layer)


def measured_specs(
    predictions: PredictionStore, image: str, stains: Sequence[str], study: Study | None
) -> list[LayerSpec]:
    """Layers of the measured stains of an image; reads small ones, so it belongs into a job."""
    if study is None or not any(same_image(field.image, image) for field in study):
        return []
    wanted = [predictions.anchor, *stains] if stains else None
    specs = study_layers(study, image=image, stains=wanted, labels=False)
    return [spec.realised(MOST, 0) for spec in specs]


def model_specs(
    viewer: Any,
    predictions: PredictionStore,
    store: CellStore,
    image: str,
    stains: Sequence[str],
    roles: Collection[str],
) -> list[LayerSpec]:
    """Layers of what the model says, lazy, in place over the measured layers that are open."""
    measured = {
        shown.stain: layer
        for layer in find_layers(viewer, role=ChannelRole.MEASURED)
        if (shown := about(layer)) is not None and same_image(shown.image, image)
    }
    own = [role for role in ROLES if role in roles and role not in ("measured", ERROR)]
    specs = prediction_layers(predictions, store, image, measured, stains=list(stains) or None, roles=own)
    if ERROR in roles:
        place = specs[-1].kwargs  # that of the cells
        shape = specs[-1].data[0].shape if isinstance(specs[-1].data, list) else specs[-1].data.shape
        specs += error_specs(predictions, store, image, stains, (int(shape[0]), int(shape[1])), place)
    return specs


def error_specs(
    predictions: PredictionStore,
    store: CellStore,
    image: str,
    stains: Sequence[str],
    shape: tuple[int, int],
    place: Mapping[str, Any],
) -> list[LayerSpec]:
    """For each stain, where its reconstruction differs from what was measured, in the stain's own units."""
    canvas = Canvas(store, predictions, image=image, shape=shape)
    frame = Frame({key: value for key, value in place.items() if key in _FRAME})
    specs = []
    for stain in canvas.stains(ChannelRole.RECONSTRUCTED):
        if stains and stain not in stains:
            continue
        pairs = zip(canvas.layer(stain, "measured"), canvas.layer(stain, "reconstructed"), strict=True)
        low, high = predictions.card.limits.get(stain, (0.0, 1.0))
        what = About(ERROR, image, stain, model=predictions.model_name, opened=str(predictions.path))
        specs.append(
            image_layer(
                [_difference(measured, model) for measured, model in pairs],
                what,
                frame,
                contrast_limits=(0.0, float(high - low) / 2),
                colour="#ff5555",
                visible=False,
                name=f"{stain} (error)",
            )
        )
    return specs


def make_way(viewer: Any, specs: Iterable[LayerSpec]) -> None:
    """Remove predicted layers with cells beyond support, where those get a layer of their own now."""
    for spec in missing(viewer, specs):
        known = spec.kwargs["metadata"][KEY]
        if known["role"] == BEYOND:
            for layer in find_layers(viewer, role=ChannelRole.PREDICTED, stain=known["stain"]):
                viewer.layers.remove(layer)


def missing(viewer: Any, specs: Iterable[LayerSpec]) -> list[LayerSpec]:
    """Layers that are not open yet."""
    there = {_key(layer.metadata.get(KEY, {})) for layer in viewer.layers}
    return [spec for spec in specs if _key(spec.kwargs["metadata"][KEY]) not in there]


def show_first(
    viewer: Any, predictions: PredictionStore, roles: Collection[str], stains: Collection[str] = ()
) -> None:
    """What is seen at first: measured and predicted, which complete each other; else the first role."""
    first = [role for role in FIRST if role in roles] or list(roles)[:1]
    set_visible(viewer, first, stains)
    for layer in find_layers(viewer, role="measured", stain=predictions.anchor):
        layer.visible = True
    for layer in find_layers(viewer, role="cells"):
        layer.visible = False  # outlines would hide what is to be compared


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
        viewer.canvas.grid.enabled = False
        return 0
    roles = roles_of(viewer, stain)
    if not roles:
        return 0
    set_visible(viewer, roles, [stain])
    for cells in find_layers(viewer, role="cells"):
        cells.visible = False
    # the grid follows the order of the list: those to compare come to its end
    chosen = [layer for role in roles for layer in find_layers(viewer, stain=stain, role=role)]
    for layer in chosen:
        viewer.layers.move(viewer.layers.index(layer), len(viewer.layers))
    viewer.canvas.grid.shape = (-1, -1)
    viewer.canvas.grid.stride = 1
    viewer.canvas.grid.enabled = True
    return len(chosen)


def own_contrast(viewer: Any, stain: str) -> list[tuple[Any, tuple[float, float]]]:
    """Show what a model says of a stain from its own dark to its own bright, which is often much fainter.

    Returns
    -------
    list
        Layers that were changed, with the limits they had: those of the measured stain.
    """
    changed = []
    for layer in find_layers(viewer, stain=stain):
        shown = about(layer)
        if shown is None or shown.role not in _SAID:
            continue
        coarse = np.asarray(layer.data[-1] if layer.multiscale else layer.data)
        inside = coarse[coarse > 0]  # of cells; around them there is nothing
        if not len(inside):
            continue
        low, high = (float(value) for value in np.percentile(inside, _DARK_AND_BRIGHT))
        if high > low:
            changed.append((layer, (float(layer.contrast_limits[0]), float(layer.contrast_limits[1]))))
            set_limits(layer, (low, high))
    return changed


def set_limits(layer: Any, limits: tuple[float, float]) -> None:
    """Set the contrast limits of a layer, whose slider reaches as far."""
    low, high = layer.contrast_limits_range
    layer.contrast_limits_range = (min(low, limits[0]), max(high, limits[1]))
    layer.contrast_limits = limits


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


def _key(known: Mapping[str, str]) -> tuple[str, ...]:
    return tuple(str(known.get(name, "")) for name in ("role", "stain", "model", "image"))


def _difference(measured: da.Array, model: da.Array) -> da.Array:
    return da.map_blocks(_absolute, measured, model, dtype=np.float32, meta=np.empty((0, 0), np.float32))


def _absolute(measured: np.ndarray, model: np.ndarray) -> np.ndarray:
    return np.abs(measured.astype(np.float32) - model.astype(np.float32))
