"""Lay what a model says over the image: rebuilt and predicted stains, cells and their numbers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_apollo.cells.store import CellStore
from napari_apollo.errors import DataError, StoreError
from napari_apollo.panels import same_stain
from napari_apollo.predict.canvas import Canvas
from napari_apollo.predict.roles import ChannelRole
from napari_apollo.predict.store import PredictionStore
from napari_apollo.predict.table import features_of
from napari_apollo.study.images import open_source
from napari_apollo.viewer.layers import (
    About,
    Frame,
    LayerSpec,
    about,
    find_layers,
    image_layer,
    labels_layer,
    roles_in_order,
)
from napari_apollo.viewer.open import same_image
from napari_apollo.viewer.preferences import stain_colours
from napari_apollo.viewer.tables import as_features
from napari_apollo.viewer.trusting import beyond_support

if TYPE_CHECKING:
    from napari.layers import Layer

ROLES = (ChannelRole.RECONSTRUCTED, ChannelRole.PREDICTED)

BEYOND = "beyond support"
"""Role of layers with the predictions of cells that are unlike any the model learnt the stain from."""

_SHOWN_AT_FIRST = (ChannelRole.MEASURED, ChannelRole.PREDICTED)
_GREY = "#9a9a9a"
_UNSURE = ("#d01030", "#ffc8b8")
"""From crimson to nearly white: far from the colour of every stain, for colour-blind people as well."""


def add_predictions(
    viewer: Any,
    predictions: PredictionStore | Path | str,
    store: CellStore | Path | str | None = None,
    *,
    image: Path | str | None = None,
    stains: Sequence[str] | None = None,
    roles: Sequence[ChannelRole | str] = ROLES,
    table: bool = True,
    source: Layer | None = None,
) -> list[Layer]:
    """Add predicted and rebuilt stains of one image to a viewer, in place over its measured ones.

    Layers take their scale, translation, rotation, units and axis labels from the layer of the anchor
    stain of that image where it is open, and are lazy: only what is looked at is computed.

    Parameters
    ----------
    viewer
        A napari viewer, or a ``napari.components.ViewerModel`` where there is no display.
    predictions
        Predictions, or their folder.
    store
        The cell store that they were made for; found beside the predictions where not given.
    image
        An image of the store, or the name of a field; where not given, the one that is open in the
        viewer, else the first.
    stains
        Stains to show; all where not given.
    roles
        Any of ``reconstructed``, ``reconstructed_shared``, ``predicted``, ``uncertainty`` where it was drawn,
        and ``beyond support``: then the predictions of cells unlike any that the model learnt the stain from
        have a layer of their own, in grey, and the layer ``predicted`` has the other cells alone.
    table
        Whether to add the cells as a labels layer with their table.
    source
        Layer of the image to lie over; the one of the anchor stain that ``open_study`` added where
        not given. Of a stack, the last two axes count.

    Returns
    -------
    list of napari.layers.Layer
        The layers added, bottom first.

    Raises
    ------
    StoreError
        When the predictions were made for other cells.
    DataError
        When the image is unknown, or its size cannot be told.
    """
    if not isinstance(predictions, PredictionStore):
        predictions = PredictionStore.open(predictions)
    store = cell_store_of(predictions, store)
    name = _choose_image(viewer, store, image)
    measured = {
        shown.stain: layer
        for layer in find_layers(viewer, role=ChannelRole.MEASURED)
        if (shown := about(layer)) is not None and same_image(shown.image, name)
    }
    if source is not None:
        measured[predictions.anchor] = source
    layers = prediction_layers(predictions, store, name, measured, stains=stains, roles=roles, table=table)
    return [layer.add(viewer) for layer in layers]


def prediction_layers(
    predictions: PredictionStore,
    store: CellStore,
    image: str,
    measured: Mapping[str, Layer],
    *,
    stains: Sequence[str] | None = None,
    roles: Sequence[ChannelRole | str] = ROLES,
    table: bool = True,
) -> list[LayerSpec]:
    """The layers that ``add_predictions`` adds.

    Parameters
    ----------
    predictions, store
        The predictions and their cells.
    image
        The image as it stands in the table of the store.
    measured
        Layers of its measured stains, by stain, where they are open.
    stains, roles, table
        As of ``add_predictions``.
    """
    predictions.require_fits(store.obs, store.path, store.crop_size)
    source = measured.get(predictions.anchor)
    shape, frame = _place(store, image, source)
    canvas = Canvas(store, predictions, image=image, shape=shape)
    colours = stain_colours(tuple(dict.fromkeys((*canvas.stains(), *predictions.card.vocabulary))))
    layers = []
    for role in roles_in_order(role for role in roles if role != BEYOND):
        for stain in canvas.stains(role):
            if stains is not None and not any(same_stain(stain, wanted) for wanted in stains):
                continue
            from_anchor = role in (ChannelRole.PREDICTED, ChannelRole.UNCERTAINTY)
            shown = About(
                role,
                image,
                stain,
                panel=", ".join(name for name in store.panels if stain in predictions.stains(name, role)),
                anchor=predictions.anchor,
                model=predictions.model_name,
                source=_id(source if from_anchor else measured.get(stain, source)),
                opened=str(predictions.path),
            )
            limits = _limits(measured.get(stain), predictions, stain)
            colour: str | tuple[str, ...] = colours.get(stain, "")
            if role is ChannelRole.UNCERTAINTY:
                limits, colour = _spread_limits(predictions, stain), _UNSURE
            beyond = beyond_support(store, stain) if BEYOND in roles and role == "predicted" else None
            parts = _apart(shown, colour, None if beyond is None else beyond[canvas.placement.positions])
            layers += [
                image_layer(
                    canvas.layer(stain, role, only=only),
                    part,
                    frame,
                    contrast_limits=limits,
                    colour=own,
                    visible=role in _SHOWN_AT_FIRST,
                    name=name,
                )
                for part, own, name, only in parts
            ]
    if table:
        cells = About("cells", image, panel=", ".join(store.panels), source=_id(source))
        layers.append(cells_layer(canvas, store, cells, frame))
    return layers


def _apart(
    shown: About, colour: str | tuple[str, ...], beyond: np.ndarray | None
) -> list[tuple[About, str | tuple[str, ...], str, np.ndarray | None]]:
    """A channel in one layer, or in two where some of its cells are beyond support.

    Each with its colour, its name, and which cells of the canvas it has.
    """
    if beyond is None or not beyond.any():
        return [(shown, colour, shown.name, None)]
    apart = replace(shown, role=BEYOND)
    return [
        (shown, colour, shown.name, ~beyond),
        (apart, _GREY, f"{shown.name.removesuffix(')')}, {BEYOND})", beyond),
    ]


def cells_layer(canvas: Canvas, store: CellStore, about: About, frame: Frame) -> LayerSpec:
    """The regions of the cells as labels whose features are the table of the store."""
    layer = labels_layer(canvas.labels(), about, frame, contour=1)
    table = features_of(store, canvas.placement.positions)
    table["index"] = canvas.placement.ids
    return replace(layer, kwargs={**layer.kwargs, "features": as_features(table, "index")})


def cell_store_of(predictions: PredictionStore, store: CellStore | Path | str | None = None) -> CellStore:
    """The cell store that predictions were made for.

    Raises
    ------
    StoreError
        When it is not where it was and not beside the predictions.
    """
    if isinstance(store, CellStore):
        return store
    if store is not None:
        return CellStore.open(store)
    noted = predictions.card.store
    beside = predictions.path.with_name(str(noted.get("name", "")) or "cells")
    for candidate in (beside, Path(str(noted.get("path", "")))):
        if candidate.name and candidate.is_dir():
            return CellStore.open(candidate)
    raise StoreError(
        predictions.path,
        f"was made for the cell store {noted.get('name', '?')}, which is not beside it.",
        "Name the cell store.",
    )


def _limits(measured: Layer | None, predictions: PredictionStore, stain: str) -> tuple[float, float] | None:
    """Those of the measured stain, so that both can be compared by eye; else what 0 and 1 stand for."""
    if measured is None:
        return predictions.card.limits.get(stain)
    low, high = measured.contrast_limits
    return float(low), float(high)


def _spread_limits(predictions: PredictionStore, stain: str) -> tuple[float, float]:
    """From sure to a standard deviation of a quarter of the stain's range."""
    low, high = predictions.card.limits.get(stain, (0.0, 1.0))
    return 0.0, (float(high) - float(low)) / 4


def _place(store: CellStore, image: str, source: Layer | None) -> tuple[tuple[int, int], Frame]:
    """Size of an image and where it lies: as its layer does, else as the file says."""
    if source is not None:
        shape = source.data[0].shape if source.multiscale else source.data.shape
        return (int(shape[-2]), int(shape[-1])), Frame.of(source)
    if not Path(image).exists():
        raise DataError(
            f"{image} is neither open in the viewer nor a file here, so its size is not known; "
            "open the study that the cells were cut from, or give the layer of the image as source."
        )
    layout = open_source(Path(image)).layout
    cells = store.obs[store.obs["image"].astype(str) == image]
    size = None if store.pixel_size_um is None else store.pixel_size_um / float(cells["scale"].iloc[0])
    return (layout.length("Y"), layout.length("X")), Frame.from_pixel_size(size)


def _choose_image(viewer: Any, store: CellStore, image: Path | str | None) -> str:
    names = list(dict.fromkeys(store.obs["image"].astype(str)))
    if image is not None:
        fields = store.obs[store.obs["field"].astype(str) == str(image)]
        if len(fields):
            return str(fields["image"].iloc[0])
        for name in names:
            if same_image(name, image):
                return name
        raise DataError(f"{store.path} has no cells of {image}; its images are {', '.join(names[:8])}.")
    for layer in viewer.layers:
        shown = about(layer)
        for name in names:
            if shown is not None and shown.image and same_image(name, shown.image):
                return name
    return names[0]


def _id(layer: Layer | None) -> str:
    return "" if layer is None else str(layer.unique_id)
