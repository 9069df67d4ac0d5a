"""The first look at a field, tile by tile: where its nuclei are and what its intensities are like.

Everything a tile reports is a sum, a count or an extreme, so the whole does not depend on how a field is
tiled.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numba import njit
from numpy.typing import NDArray

from napari_apollo.cells.histogram import Histogram
from napari_apollo.errors import DataError
from napari_apollo.study import StudyField, open_field, open_labels

Box = tuple[int, int, int, int]
"""``(y, x, y end, x end)`` in field pixels."""

_DENSE = 1 << 24


@dataclass(frozen=True)
class TileJob:
    """A tile of a field to look at."""

    field: StudyField
    box: Box


@dataclass(frozen=True)
class Nuclei:
    """Sums over the pixels of each nucleus, sorted by label.

    Attributes
    ----------
    label, area, sum_y, sum_x
        ``(n,)`` label, number of pixels, sums of their coordinates in the field.
    box
        ``(n, 4)`` first and last row and column: ``(y, x, y last, x last)``.
    """

    label: NDArray[np.int64]
    area: NDArray[np.int64]
    sum_y: NDArray[np.int64]
    sum_x: NDArray[np.int64]
    box: NDArray[np.int64]

    @property
    def centroid(self) -> NDArray[np.float64]:
        """``(n, 2)`` centroids ``(y, x)`` in field pixels."""
        return np.stack([self.sum_y / self.area, self.sum_x / self.area], axis=1)

    @property
    def centre(self) -> NDArray[np.int64]:
        """``(n, 2)`` pixel nearest to the centroid."""
        return np.floor(self.centroid + 0.5).astype(np.int64)

    @classmethod
    def merged(cls, parts: Sequence[Nuclei]) -> Nuclei:
        """Nuclei of a field from those of its tiles."""
        label, place = np.unique(np.concatenate([part.label for part in parts]), return_inverse=True)
        totals = [np.zeros(len(label), np.int64) for _ in range(3)]
        for total, name in zip(totals, ("area", "sum_y", "sum_x"), strict=True):
            np.add.at(total, place, np.concatenate([getattr(part, name) for part in parts]))
        boxes = np.concatenate([part.box for part in parts])
        box = np.empty((len(label), 4), np.int64)
        box[:, :2], box[:, 2:] = np.iinfo(np.int64).max, -1
        np.minimum.at(box[:, :2], place, boxes[:, :2])
        np.maximum.at(box[:, 2:], place, boxes[:, 2:])
        area, sum_y, sum_x = totals
        return cls(label, area, sum_y, sum_x, box)


@dataclass(frozen=True)
class TileSurvey:
    """What a tile holds; intensities as ``(bins, counts)`` of a `Histogram`."""

    nuclei: Nuclei
    intensities: tuple[tuple[NDArray[np.int64], NDArray[np.int64]], ...]
    background: tuple[NDArray[np.int64], NDArray[np.int64]]


@dataclass
class FieldSurvey:
    """What a field holds.

    Attributes
    ----------
    field
        The field.
    shape, dtype, pixel_size_um
        Of its image.
    nuclei
        Its nuclei.
    intensities
        Intensities of every pixel, by stain of the panel.
    background
        Intensities of the anchor outside of nuclei.
    """

    field: StudyField
    shape: tuple[int, int]
    dtype: np.dtype[Any]
    pixel_size_um: tuple[float, float] | None
    nuclei: Nuclei = dataclasses.field(init=False)
    intensities: dict[str, Histogram] = dataclasses.field(init=False)
    background: Histogram = dataclasses.field(init=False)

    def merge(self, tiles: Iterator[TileSurvey], count: int) -> None:
        """Take in the field's tiles as they come."""
        stains = self.field.panel.stains
        self.intensities = {stain: Histogram(self.dtype) for stain in stains}
        self.background = Histogram(self.dtype)
        parts = []
        for _ in range(count):
            tile = next(tiles)
            parts.append(tile.nuclei)
            for stain, (bins, counts) in zip(stains, tile.intensities, strict=True):
                self.intensities[stain].counts[bins] += counts
            bins, counts = tile.background
            self.background.counts[bins] += counts
        self.nuclei = Nuclei.merged(parts)


def tiles_of(shape: tuple[int, int], side: int) -> list[Box]:
    """Tiles that cover a field, row by row."""
    return [
        (y, x, min(y + side, shape[0]), min(x + side, shape[1]))
        for y in range(0, shape[0], side)
        for x in range(0, shape[1], side)
    ]


def survey_tile(job: TileJob) -> TileSurvey:
    """Look at one tile. A task: reads its region only, and has no side effects.

    Raises
    ------
    ImageError, LabelsError
        When a file is damaged, or a pixel is not finite.
    """
    y, x, y_end, x_end = job.box
    image = open_field(job.field)
    if job.field.labels is None:
        raise DataError(f"Field {job.field.field} has no label image; segment the study first.")
    labels = open_labels(job.field.labels, image.shape).read(slice(y, y_end), slice(x, x_end))
    intensities = []
    background = None
    for stain in job.field.panel.stains:
        pixels = image.read([stain], slice(y, y_end), slice(x, x_end))
        counted = Histogram(image.dtype)
        counted.add(pixels)
        intensities.append(counted.occupied())
        if stain == job.field.panel.anchor:
            outside = Histogram(image.dtype)
            outside.add(pixels[0][labels == 0])
            background = outside.occupied()
    assert background is not None  # a panel always holds its anchor
    return TileSurvey(find_nuclei(labels, y, x), tuple(intensities), background)


def find_nuclei(labels: NDArray[np.integer], y: int = 0, x: int = 0) -> Nuclei:
    """Nuclei of a label image, or of a part of one.

    Parameters
    ----------
    labels
        ``(y, x)`` integers, 0 is background; numbers may have gaps.
    y, x
        Where the part lies in its field.
    """
    labels = np.ascontiguousarray(labels, np.int32)
    largest = int(labels.max(initial=0))
    if largest <= max(_DENSE, 4 * labels.size):
        names = None
        index = np.zeros(largest + 1, np.int32)
    else:
        names, inverse = np.unique(labels, return_inverse=True)
        if names[0] != 0:
            names, inverse = np.concatenate([[0], names]), inverse + 1
        labels = inverse.reshape(labels.shape).astype(np.int32)
        index = np.zeros(len(names), np.int32)
    count = _number(labels, index)
    found = np.zeros((count, 4), np.int64)
    box = np.empty((count, 4), np.int64)
    box[:, :2], box[:, 2:] = np.iinfo(np.int64).max, -1
    _sum_up(labels, index, y, x, found, box)
    order = np.argsort(found[:, 0])
    found, box = found[order], box[order]
    label = found[:, 0] if names is None else names[found[:, 0]].astype(np.int64)
    return Nuclei(label, found[:, 1], found[:, 2], found[:, 3], box)


@njit(nogil=True, cache=True)
def _number(labels: NDArray[np.int32], index: NDArray[np.int32]) -> int:
    count = 0
    for y in range(labels.shape[0]):
        for x in range(labels.shape[1]):
            label = labels[y, x]
            if label > 0 and index[label] == 0:
                count += 1
                index[label] = count
    return count


@njit(nogil=True, cache=True)
def _sum_up(
    labels: NDArray[np.int32],
    index: NDArray[np.int32],
    top: int,
    left: int,
    found: NDArray[np.int64],
    box: NDArray[np.int64],
) -> None:
    for i in range(labels.shape[0]):
        for j in range(labels.shape[1]):
            label = labels[i, j]
            if label <= 0:
                continue
            k = index[label] - 1
            y, x = top + i, left + j
            found[k, 0] = label
            found[k, 1] += 1
            found[k, 2] += y
            found[k, 3] += x
            box[k, 0] = min(box[k, 0], y)
            box[k, 1] = min(box[k, 1], x)
            box[k, 2] = max(box[k, 2], y)
            box[k, 3] = max(box[k, 3], x)
