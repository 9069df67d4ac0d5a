"""A look at what segmentation would find in the part of a field that is in view."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from napari_apollo.errors import DataError
from napari_apollo.progress import Progress, ShouldStop
from napari_apollo.viewer.child import ChildProcess
from napari_apollo.viewer.layers import About, Frame, LayerSpec, about, find_layers, labels_layer

SIDE = 512
"""Largest side in pixels of what is looked at."""
_LEAST_SIDE = 128
_NUCLEI_ACROSS = 44
ROLE = "nuclei preview"


def side_for(diameter_px: float | None) -> int:
    """Largest side in pixels of a part that is segmented within a second.

    That takes as long as there are nuclei, however many pixels these have: small ones are enlarged first.
    """
    if diameter_px is None:
        return SIDE
    return max(_LEAST_SIDE, min(SIDE, round(_NUCLEI_ACROSS * diameter_px)))


def visible_part(layer: Any, side: int = SIDE) -> tuple[slice, slice]:
    """Rows and columns (full resolution) of an image layer that are in view, at most ``side`` a side.

    Where nothing is known of the view (there is no window), the middle of the image.
    """
    shape = layer.data[0].shape if layer.multiscale else layer.data.shape
    corners = np.asarray(layer.corner_pixels, float)[:, -2:]
    if layer.multiscale:
        corners = corners * np.asarray(layer.downsample_factors)[layer.data_level][-2:]
    parts = []
    for axis, length in enumerate(shape[-2:]):
        low, high = corners[0, axis], min(corners[1, axis] + 1, length)
        if high - low < 2:
            low, high = 0, length
        middle, half = (low + high) / 2, min(high - low, side) / 2
        start = int(max(0, min(middle - half, length - 2 * half)))
        parts.append(slice(start, int(min(length, start + 2 * half))))
    return parts[0], parts[1]


def preview_call(
    child: ChildProcess,
    pixels: np.ndarray,
    settings: dict[str, Any],
    pixel_size_um: tuple[float, float] | None,
    field: str = "",
) -> Callable[[Progress, ShouldStop], np.ndarray]:
    """A job that segments pixels (y, x) in a process that is kept; labels int32 (y, x) come back.

    The process remembers the size of the nuclei of a field that has a name.
    """

    def call(progress: Progress, should_stop: ShouldStop) -> np.ndarray:
        with tempfile.TemporaryDirectory() as folder:
            image, labels = Path(folder, "image.npy"), Path(folder, "labels.npy")
            np.save(image, pixels)
            child.call(
                "napari_apollo.viewer.work:segment_array",
                {
                    "image": str(image),
                    "labels": str(labels),
                    "settings": settings,
                    "pixel_size_um": pixel_size_um,
                    "field": field,
                },
                progress,
                should_stop,
            )
            return np.asarray(np.load(labels))

    return call


def preview_layer(layer: Any, part: tuple[slice, slice], labels: np.ndarray) -> LayerSpec:
    """Labels of a part of an image, in their place over it."""
    shown = about(layer)
    frame = Frame.of(layer).shifted(part[0].start, part[1].start)
    what = About(ROLE, shown.image if shown is not None else "", source=str(layer.unique_id))
    return labels_layer(labels, what, frame, contour=1, name="nuclei (preview)", opacity=0.9)


def show_preview(viewer: Any, layer: Any, part: tuple[slice, slice], labels: np.ndarray) -> Any:
    """Put a preview into the viewer in place of the last one."""
    for old in find_layers(viewer, role=ROLE):
        viewer.layers.remove(old)
    selected = set(viewer.layers.selection)
    added = preview_layer(layer, part, labels).add(viewer)
    viewer.layers.selection = selected
    return added


def nucleus_layer(viewer: Any, image: str, stain: str) -> Any:
    """The layer that shows the nuclei of an image.

    Raises
    ------
    DataError
        When it is not open.
    """
    for layer in reversed(find_layers(viewer, role="measured", stain=stain)):
        shown = about(layer)
        if shown is not None and (not image or shown.image == image):
            return layer
    raise DataError(f"No layer shows {stain or 'the nuclei'} of this field; press Show first.")
