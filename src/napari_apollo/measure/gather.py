"""From crops or fields to cells laid end to end: the one form that every feature is measured from.

Each cell becomes the box around its own pixels, whatever it was cut from. Features computed from
that box alone cannot depend on tile, crop, order of labels or other cells.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from napari_apollo.measure.compiled import kernel

CYTOPLASM = 1
NUCLEUS = 2


class Cells(NamedTuple):
    """Cells laid end to end.

    Attributes
    ----------
    start
        (n + 1,) int64; cell ``i`` owns ``start[i]:start[i + 1]`` of ``mask`` and ``pixels``.
    height, width
        (n,) int64; size of each box in pixels, row-major.
    top, left
        (n,) int64; where the box starts in the crop or field, pixels.
    edge
        (n, 2) uint8; whether cell (column 0) or nucleus (column 1) touches the edge of the image.
    mask
        (total,) uint8; 0 not this cell, 1 its cytoplasm, 2 its nucleus.
    pixels
        (stain, total) float64; intensities as acquired, 0 for a pixel of the cell that is not finite.
    damaged
        (n, stain) bool; the cell has a pixel that is not finite.
    """

    start: NDArray[np.int64]
    height: NDArray[np.int64]
    width: NDArray[np.int64]
    top: NDArray[np.int64]
    left: NDArray[np.int64]
    edge: NDArray[np.uint8]
    mask: NDArray[np.uint8]
    pixels: NDArray[np.float64]
    damaged: NDArray[np.bool_]


def gather_crops(images: NDArray[Any], masks: NDArray[np.uint8], margin: int = 0) -> Cells:
    """Cells from crops.

    Parameters
    ----------
    images
        (cell, stain, y, x), any number type, intensities as acquired.
    masks
        (cell, y, x) uint8; 0 not this cell, 1 its cytoplasm, 2 its nucleus.
    margin
        Pixels kept around the cell where the crop has them.
    """
    boxes, edge = _boxes_of_crops(masks, margin)
    cells = _allocate(boxes, edge, images.shape[1])
    _fill_from_crops(images, masks, boxes, cells)
    return cells


def gather_field(
    image: NDArray[Any],
    labels: NDArray[np.int32],
    cells: NDArray[np.int32] | None,
    ids: NDArray[np.int64],
    boxes: NDArray[np.int64],
    edge: NDArray[np.uint8],
    margin: int = 0,
) -> Cells:
    """Cells from a field or a part of one.

    Parameters
    ----------
    image
        (stain, y, x), any number type.
    labels, cells
        (y, x) int32; nuclei, and whole cells under the same numbers, or None where nuclei are all.
    ids
        (n,) int64; labels of the wanted cells.
    boxes
        (n, 4) int64; top, left, bottom, right (exclusive) of each cell in this image.
    edge
        (n, 2) uint8; whether cell and nucleus touch the edge of the whole field, which a part
        of it cannot know.
    margin
        Pixels kept around the cell where the image has them.
    """
    shape = np.array(labels.shape)
    wide = boxes.copy()
    wide[:, :2] = np.maximum(boxes[:, :2] - margin, 0)
    wide[:, 2:] = np.minimum(boxes[:, 2:] + margin, shape)
    gathered = _allocate(wide, edge, image.shape[0])
    _fill_from_field(image, labels, labels if cells is None else cells, ids, wide, gathered)
    return gathered


def label_boxes(labels: NDArray[np.int32]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Box of every label of a label image or a part of one.

    Parameters
    ----------
    labels
        (y, x) int32, 0 or less is background.

    Returns
    -------
    ids
        (n,) int64, ascending.
    boxes
        (n, 4) int64; top, left, bottom, right (exclusive).
    """
    highest = int(labels.max(initial=0))
    if highest <= labels.size:
        boxes = _boxes_by_rank(labels, highest + 1)
        ids = np.flatnonzero(boxes[:, 2] > 0)
        return ids, boxes[ids]
    values, inverse = np.unique(labels, return_inverse=True)
    boxes = _boxes_by_rank(inverse.reshape(labels.shape).astype(np.int32) + 1, len(values) + 1)[1:]
    return values[values > 0].astype(np.int64), boxes[values > 0]


def _allocate(boxes: NDArray[np.int64], edge: NDArray[np.uint8], stains: int) -> Cells:
    height = boxes[:, 2] - boxes[:, 0]
    width = boxes[:, 3] - boxes[:, 1]
    start = np.concatenate([[0], np.cumsum(height * width)]).astype(np.int64)
    return Cells(
        start,
        height,
        width,
        boxes[:, 0].copy(),
        boxes[:, 1].copy(),
        edge,
        np.zeros(start[-1], np.uint8),
        np.zeros((stains, start[-1])),
        np.zeros((len(boxes), stains), np.bool_),
    )


@kernel
def nucleus_centres(cells, top, left):  # type: ignore[no-untyped-def]
    """Centroids (n, 2) float64 of the nuclei, (y, x) in pixels; NaN where there is none.

    ``top`` and ``left`` are where the part that the cells were gathered from begins; sums are of whole
    numbers, so that the centroids do not depend on it.
    """
    out = np.full((len(cells.height), 2), np.nan)
    for i in range(len(cells.height)):
        count = sy = sx = 0
        for at in range(cells.start[i + 1] - cells.start[i]):
            if cells.mask[cells.start[i] + at] == NUCLEUS:
                count += 1
                sy += top + cells.top[i] + at // cells.width[i]
                sx += left + cells.left[i] + at % cells.width[i]
        if count:
            out[i, 0] = sy / count
            out[i, 1] = sx / count
    return out


@kernel
def nucleus_box(cells, i):  # type: ignore[no-untyped-def]
    """Top, left, bottom and right (exclusive) of a cell's nucleus in its box; zeros where there is none."""
    top, left, bottom, right = cells.height[i], cells.width[i], 0, 0
    for y in range(cells.height[i]):
        for x in range(cells.width[i]):
            if cells.mask[cells.start[i] + y * cells.width[i] + x] == NUCLEUS:
                top, left = min(top, y), min(left, x)
                bottom, right = max(bottom, y + 1), max(right, x + 1)
    return (top, left, bottom, right) if bottom else (0, 0, 0, 0)


@kernel
def _boxes_by_rank(ranks, count):  # type: ignore[no-untyped-def]
    boxes = np.empty((count, 4), np.int64)
    boxes[:, 0] = ranks.shape[0]
    boxes[:, 1] = ranks.shape[1]
    boxes[:, 2:] = 0
    for y in range(ranks.shape[0]):
        for x in range(ranks.shape[1]):
            rank = ranks[y, x]
            if rank <= 0:
                continue
            boxes[rank, 0] = min(boxes[rank, 0], y)
            boxes[rank, 1] = min(boxes[rank, 1], x)
            boxes[rank, 2] = max(boxes[rank, 2], y + 1)
            boxes[rank, 3] = max(boxes[rank, 3], x + 1)
    return boxes


@kernel
def _boxes_of_crops(masks, margin):  # type: ignore[no-untyped-def]
    count, height, width = masks.shape
    boxes = np.zeros((count, 4), np.int64)
    edge = np.zeros((count, 2), np.uint8)
    for i in range(count):
        top, left, bottom, right = height, width, 0, 0
        for y in range(height):
            for x in range(width):
                value = masks[i, y, x]
                if value:
                    top, left = min(top, y), min(left, x)
                    bottom, right = max(bottom, y + 1), max(right, x + 1)
                    if y == 0 or x == 0 or y == height - 1 or x == width - 1:
                        edge[i, 0] = 1
                        if value == NUCLEUS:
                            edge[i, 1] = 1
        if bottom:
            boxes[i, 0] = max(top - margin, 0)
            boxes[i, 1] = max(left - margin, 0)
            boxes[i, 2] = min(bottom + margin, height)
            boxes[i, 3] = min(right + margin, width)
    return boxes, edge


@kernel
def _fill_from_crops(images, masks, boxes, cells):  # type: ignore[no-untyped-def]
    for i in range(len(boxes)):
        at = cells.start[i]
        for y in range(boxes[i, 0], boxes[i, 2]):
            for x in range(boxes[i, 1], boxes[i, 3]):
                cells.mask[at] = masks[i, y, x]
                at += 1
        for stain in range(images.shape[1]):
            at = cells.start[i]
            for y in range(boxes[i, 0], boxes[i, 2]):
                for x in range(boxes[i, 1], boxes[i, 3]):
                    value = np.float64(images[i, stain, y, x])
                    cells.pixels[stain, at] = value
                    if cells.mask[at] and not np.isfinite(value):
                        cells.pixels[stain, at] = 0.0
                        cells.damaged[i, stain] = True
                    at += 1


@kernel
def _fill_from_field(image, labels, regions, ids, boxes, cells):  # type: ignore[no-untyped-def]
    for i in range(len(boxes)):
        at = cells.start[i]
        for y in range(boxes[i, 0], boxes[i, 2]):
            for x in range(boxes[i, 1], boxes[i, 3]):
                if labels[y, x] == ids[i]:
                    cells.mask[at] = NUCLEUS
                elif regions[y, x] == ids[i]:
                    cells.mask[at] = CYTOPLASM
                at += 1
        for stain in range(image.shape[0]):
            at = cells.start[i]
            for y in range(boxes[i, 0], boxes[i, 2]):
                for x in range(boxes[i, 1], boxes[i, 3]):
                    value = np.float64(image[stain, y, x])
                    cells.pixels[stain, at] = value
                    if cells.mask[at] and not np.isfinite(value):
                        cells.pixels[stain, at] = 0.0
                        cells.damaged[i, stain] = True
                    at += 1
