"""A field cut into parts that hold whole cells, whatever the tiles in which it is read."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_apollo.errors import DataError
from napari_apollo.measure.config import MeasureConfig
from napari_apollo.measure.gather import Cells, gather_field, label_boxes
from napari_apollo.progress import ShouldStop
from napari_apollo.tasks import map_tasks

Box = tuple[int, int, int, int]
"""Top, left, bottom, right (exclusive)."""
_MOST_PIXELS = 1 << 24
"""Pixels of the boxes of a batch, one large cell more at most."""


@dataclass(frozen=True)
class Around:
    """Labels of a part of a field, and the boxes of some cells in it."""

    nuclei: NDArray[np.int32]
    cells: NDArray[np.int32]
    boxes: NDArray[np.int64]


class FieldParts:
    """The cells of a field, found in one pass over its tiles, and read batch by batch.

    A batch is read as the box around its cells, so that no cell is cut by a tile.

    Parameters
    ----------
    image
        (stain, y, x), sliced like an array.
    labels, cells
        (y, x) whole numbers, sliced like arrays; cells may be None.
    stains
        Number of stains.
    config
        Tile, batch and workers.
    should_stop
        Asked between tiles.

    Attributes
    ----------
    ids
        (n,) int64 labels of the nuclei, ascending.
    batches
        Positions in ``ids`` of the cells of each batch.
    """

    def __init__(
        self, image: Any, labels: Any, cells: Any | None, stains: int, config: MeasureConfig,
        should_stop: ShouldStop,
    ) -> None:  # fmt: skip
        self._image, self._labels, self._cells = image, labels, cells
        self._check(stains)
        self.shape = (int(labels.shape[0]), int(labels.shape[1]))
        self.ids, self._boxes, self._edge = self._find(config, should_stop)
        self.batches = list(_batches(self._boxes, config))

    def gather(self, batch: NDArray[np.intp], margin: int) -> tuple[Cells, Around, tuple[int, int]]:
        """Cells of a batch, the labels around them, and where that part begins in the field.

        Parameters
        ----------
        batch
            Positions in ``ids``.
        margin
            Pixels kept around every cell.
        """
        own = self._boxes[batch]
        # One pixel more, to see which cells touch.
        top, left = np.maximum(own[:, :2].min(axis=0) - margin - 1, 0)
        bottom, right = np.minimum(own[:, 2:].max(axis=0) + margin + 1, self.shape)
        box: Box = (int(top), int(left), int(bottom), int(right))
        nuclei, cells = self._read_labels(box)
        local = own - np.array([top, left, top, left])
        image = self._read_image(box)
        gathered = gather_field(image, nuclei, cells, self.ids[batch], local, self._edge[batch], margin)
        return gathered, Around(nuclei, nuclei if cells is None else cells, local), box[:2]

    def _check(self, stains: int) -> None:
        shape = tuple(self._labels.shape)
        if len(shape) != 2:
            raise DataError(f"Labels have axes of {shape}; they need (y, x).")
        if tuple(self._image.shape) != (stains, *shape):
            raise DataError(
                f"The image has axes of {tuple(self._image.shape)}; {stains} stains and labels of {shape} "
                f"need {(stains, *shape)}."
            )
        if self._cells is not None and tuple(self._cells.shape) != shape:
            raise DataError(f"Cell regions have axes of {tuple(self._cells.shape)}, labels of {shape}.")
        for name, array in (("Labels", self._labels), ("Cell regions", self._cells)):
            if array is not None and np.dtype(array.dtype).kind not in "iub":
                raise DataError(f"{name} are {array.dtype}; labels are whole numbers.")
        if np.dtype(self._image.dtype).kind not in "iufb":
            raise DataError(f"The image is {self._image.dtype}; intensities are real numbers.")

    def _read_labels(self, box: Box) -> tuple[NDArray[np.int32], NDArray[np.int32] | None]:
        area = (slice(box[0], box[2]), slice(box[1], box[3]))
        nuclei = _int32(np.asarray(self._labels[area]))
        return nuclei, None if self._cells is None else _int32(np.asarray(self._cells[area]))

    def _read_image(self, box: Box) -> NDArray[Any]:
        part: NDArray[Any] = np.ascontiguousarray(self._image[:, box[0] : box[2], box[1] : box[3]])
        if part.dtype == bool:
            return part.astype(np.uint8)
        return part

    def _boxes_in_tile(self, tile: Box) -> list[tuple[NDArray[np.int64], NDArray[np.int64]]]:
        nuclei, cells = self._read_labels(tile)
        found = [label_boxes(nuclei)]
        if cells is not None:
            found.append(label_boxes(cells))
        shift = np.array([tile[0], tile[1], tile[0], tile[1]])
        return [(ids, boxes + shift) for ids, boxes in found]

    def _find(
        self, config: MeasureConfig, should_stop: ShouldStop
    ) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.uint8]]:
        """Labels, boxes around nucleus and cell, and whether these touch the edge of the field."""
        nuclei: dict[int, NDArray[np.int64]] = {}
        whole: dict[int, NDArray[np.int64]] = {}
        run = partial(type(self)._boxes_in_tile, self)
        tiles = list(_tiles(self.shape, config.tile_px))
        for found in map_tasks(run, tiles, workers=config.workers, should_stop=should_stop):
            for known, (ids, boxes) in zip((nuclei, whole), found, strict=False):
                for label, box in zip(ids.tolist(), boxes, strict=True):
                    known[label] = _around(known[label], box) if label in known else box
        labels = np.array(sorted(nuclei), np.int64)
        of_nucleus = np.array([nuclei[label] for label in labels], np.int64).reshape(-1, 4)
        of_cell = np.array(
            [_around(nuclei[label], whole.get(label, nuclei[label])) for label in labels], np.int64
        ).reshape(-1, 4)
        _refuse_scattered(labels, of_cell, config.largest_cell_px)
        edge = np.stack([_touches(of_cell, self.shape), _touches(of_nucleus, self.shape)], axis=1)
        return labels, of_cell, edge


def _refuse_scattered(labels: NDArray[np.int64], boxes: NDArray[np.int64], longest: int) -> None:
    """Say which labels lie all over the field, before anything as large as that is read."""
    sides = boxes[:, 2:] - boxes[:, :2]
    large = np.flatnonzero(sides.max(axis=1, initial=0) > longest)
    if len(large):
        listed = ", ".join(f"{labels[k]} ({sides[k, 0]} x {sides[k, 1]} px)" for k in large[:5])
        raise DataError(
            f"{len(large)} labels reach further than a cell can, {longest} px: {listed}. A label is one "
            "cell: number its pieces apart, or allow larger cells by largest_cell_px."
        )


def _int32(labels: NDArray[Any]) -> NDArray[np.int32]:
    if labels.dtype.itemsize >= 4 and labels.size and labels.max() > np.iinfo(np.int32).max:
        raise DataError(f"The label {labels.max()} is too large; labels go up to 2147483647.")
    return np.ascontiguousarray(labels, dtype=np.int32)


def _tiles(shape: tuple[int, int], side: int) -> Iterator[Box]:
    for top in range(0, shape[0], side):
        for left in range(0, shape[1], side):
            yield top, left, min(top + side, shape[0]), min(left + side, shape[1])


def _around(first: NDArray[np.int64], second: NDArray[np.int64]) -> NDArray[np.int64]:
    return np.concatenate([np.minimum(first[:2], second[:2]), np.maximum(first[2:], second[2:])])


def _touches(boxes: NDArray[np.int64], shape: tuple[int, int]) -> NDArray[np.uint8]:
    outside = (boxes[:, :2] <= 0).any(axis=1) | (boxes[:, 2:] >= np.array(shape)).any(axis=1)
    flags: NDArray[np.uint8] = np.asarray(outside, np.uint8)
    return flags


def _batches(boxes: NDArray[np.int64], config: MeasureConfig) -> Iterator[NDArray[np.intp]]:
    """Cells that begin in the same tile, from top to bottom, at most ``batch`` of them together."""
    tile = boxes[:, :2] // config.tile_px
    order = np.lexsort((boxes[:, 0], tile[:, 1], tile[:, 0]))
    ends = np.flatnonzero(np.any(np.diff(tile[order], axis=0) != 0, axis=1)) + 1
    for group in np.split(order, ends):
        heights, widths = (boxes[group, 2:] - boxes[group, :2]).T
        # A batch is full by its pixels, too, so that large cells do not add up.
        full = np.cumsum(heights * widths) // _MOST_PIXELS
        for part in np.split(group, np.flatnonzero(np.diff(full)) + 1):
            for at in range(0, len(part), config.batch):
                yield part[at : at + config.batch]
