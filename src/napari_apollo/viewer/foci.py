"""Foci as a Points layer over the image in which they were found."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from napari_apollo.errors import DataError
from napari_apollo.measure import MeasureConfig, find_foci
from napari_apollo.panels import canonical_stain
from napari_apollo.progress import ShouldStop, never
from napari_apollo.viewer.layers import KEY, About, Frame, about

if TYPE_CHECKING:
    from napari.layers import Image, Labels, Points

ROLE = "foci"


def add_foci(
    viewer: Any,
    labels: Labels,
    image: Image,
    stain: str | None = None,
    config: MeasureConfig | None = None,
    *,
    should_stop: ShouldStop = never,
) -> Points:
    """Find the foci of a stain in every nucleus and show them as points.

    Parameters
    ----------
    viewer
        A napari viewer, with or without a window.
    labels
        Layer of nuclei, (y, x).
    image
        Layer of the stain whose foci are wanted, pixel for pixel as large as ``labels``; of a pyramid the
        finest level is used.
    stain
        Name of the stain; what the layer's metadata say where not given, else its name.
    config
        Settings of measuring, of which those of foci are used; the defaults where not given.
    should_stop
        Asked between batches of nuclei.

    Returns
    -------
    napari.layers.Points
        One point a focus, where ``image`` lies, with its features ``cell`` (label), ``height``, ``area``
        (pixels), ``intensity`` and ``background``. A layer of the same stain and image that is there
        already is replaced.

    Raises
    ------
    DataError
        When the layers do not have the same (y, x) pixels.
    Cancelled
        When ``should_stop`` says so; the viewer stays as it was.
    """
    nuclei, light = _finest(labels), _finest(image)
    if len(light.shape) != 2 or tuple(light.shape) != tuple(nuclei.shape):
        raise DataError(
            f"The layer {image.name!r} has pixels of {tuple(light.shape)} and {labels.name!r} of "
            f"{tuple(nuclei.shape)}; foci need one channel and its nuclei, both (y, x) of one size."
        )
    shown = about(image)
    name = canonical_stain(stain or (shown.stain if shown else "") or image.name)
    table = find_foci(light[np.newaxis], nuclei, [name], name, config, should_stop=should_stop)
    what = About(
        role=ROLE,
        image=shown.image if shown else "",
        stain=name,
        panel=shown.panel if shown else "",
        source=str(image.unique_id),
    )
    for layer in [old for old in viewer.layers if about(old) == what]:
        viewer.layers.remove(layer)
    return viewer.add_points(
        table[["y", "x"]].to_numpy(),
        features=table.drop(columns=["y", "x"]),
        name=f"{name} foci",
        metadata={KEY: what.as_metadata()},
        size=5,
        face_color="transparent",
        border_color="yellow",
        border_width=0.15,
        **Frame.of(image).values,
    )


def _finest(layer: Labels | Image) -> Any:
    return layer.data[0] if layer.multiscale else layer.data
