"""The work grid: an image at the scale where nuclei have their canonical size.

Work pixel ``i`` has its centre at image position ``(i + 0.5) / zoom - 0.5``. Every value is a fixed sum over
image pixels named by absolute position, so any region resampled on its own equals that region of the whole,
to the bit.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numba
import numpy as np
import numpy.typing as npt

Read = Callable[[slice, slice], npt.NDArray[np.generic]]
"""Reads a region (y, x) of one channel of a field."""


@dataclass(frozen=True)
class Box:
    """A region: rows ``y0`` to before ``y1``, columns ``x0`` to before ``x1``."""

    y0: int
    y1: int
    x0: int
    x1: int

    @property
    def shape(self) -> tuple[int, int]:
        """Rows and columns."""
        return self.y1 - self.y0, self.x1 - self.x0

    @property
    def slices(self) -> tuple[slice, slice]:
        """The region as an index."""
        return slice(self.y0, self.y1), slice(self.x0, self.x1)

    def grown(self, margin: int, shape: tuple[int, int]) -> Box:
        """Region with a margin on every side, within an image of ``shape``."""
        return Box(
            max(0, self.y0 - margin),
            min(shape[0], self.y1 + margin),
            max(0, self.x0 - margin),
            min(shape[1], self.x1 + margin),
        )

    def common(self, other: Box) -> Box:
        """What two regions share."""
        return Box(
            max(self.y0, other.y0), min(self.y1, other.y1), max(self.x0, other.x0), min(self.x1, other.x1)
        )

    def within(self, outer: Box) -> tuple[slice, slice]:
        """Where this region lies in an array that holds ``outer``."""
        return slice(self.y0 - outer.y0, self.y1 - outer.y0), slice(self.x0 - outer.x0, self.x1 - outer.x0)


@dataclass(frozen=True)
class Grid:
    """An image and its work grid.

    Attributes
    ----------
    shape
        Rows and columns of the image.
    zoom
        Work pixels per image pixel.
    """

    shape: tuple[int, int]
    zoom: float

    @property
    def work_shape(self) -> tuple[int, int]:
        """Rows and columns of the work grid."""
        return max(1, math.ceil(self.shape[0] * self.zoom)), max(1, math.ceil(self.shape[1] * self.zoom))

    def to_work(self, box: Box) -> Box:
        """Work pixels that the pixels of an image region are interpolated from."""
        height, width = self.work_shape
        return Box(
            min(height - 1, max(0, math.floor((box.y0 + 0.5) * self.zoom - 0.5))),
            min(height, max(1, math.floor((box.y1 - 0.5) * self.zoom - 0.5) + 2)),
            min(width - 1, max(0, math.floor((box.x0 + 0.5) * self.zoom - 0.5))),
            min(width, max(1, math.floor((box.x1 - 0.5) * self.zoom - 0.5) + 2)),
        )

    def resampled(self, read: Read, work: Box) -> npt.NDArray[np.float32]:
        """Image values on a region of the work grid.

        Parameters
        ----------
        read
            Reads a region of the image.
        work
            Region of the work grid.

        Returns
        -------
        ndarray
            float32 (y, x): area means where the grid is coarser than the image, linear interpolation where
            it is finer.
        """
        first_y, weights_y = _taps(work.y0, work.y1, self.shape[0], self.zoom)
        first_x, weights_x = _taps(work.x0, work.x1, self.shape[1], self.zoom)
        y0, x0 = int(first_y.min()), int(first_x.min())
        y1 = min(self.shape[0], int(first_y.max()) + weights_y.shape[1])
        x1 = min(self.shape[1], int(first_x.max()) + weights_x.shape[1])
        values = np.ascontiguousarray(read(slice(y0, y1), slice(x0, x1)), dtype=np.float32)
        return _weighted(values, first_y - y0, weights_y, first_x - x0, weights_x)


def _taps(
    start: int, stop: int, length: int, zoom: float
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.float32]]:
    """First image pixel and weights, (work pixel, tap), of every work pixel along one axis."""
    positions = np.arange(start, stop, dtype=np.float64)
    if zoom == 1:
        return positions.astype(np.int64), np.ones((len(positions), 1), np.float32)
    if zoom > 1:
        centre = np.clip((positions + 0.5) / zoom - 0.5, 0, length - 1)
        first = np.minimum(np.floor(centre), max(0, length - 2)).astype(np.int64)
        part = centre - first
        weights = np.stack([1 - part, part], axis=1)
    else:
        low = np.minimum(positions / zoom, length - 1)
        high = np.minimum((positions + 1) / zoom, length)
        first = np.floor(low).astype(np.int64)
        taps = math.ceil(1 / zoom) + 1
        edges = first[:, None] + np.arange(taps + 1)
        covered = np.clip(edges, low[:, None], high[:, None])
        weights = np.diff(covered, axis=1)
        weights /= weights.sum(axis=1, keepdims=True)
    return first, weights.astype(np.float32)


@numba.njit(nogil=True, cache=True)
def _weighted(values, first_y, weights_y, first_x, weights_x):  # type: ignore[no-untyped-def]
    height, width = len(first_y), len(first_x)
    across = np.zeros((values.shape[0], width), np.float32)
    for y in range(values.shape[0]):
        for x in range(width):
            total = np.float32(0)
            for tap in range(weights_x.shape[1]):
                if weights_x[x, tap] != 0:
                    total += weights_x[x, tap] * values[y, first_x[x] + tap]
            across[y, x] = total
    result = np.zeros((height, width), np.float32)
    for y in range(height):
        for tap in range(weights_y.shape[1]):
            weight = weights_y[y, tap]
            if weight != 0:
                row = first_y[y] + tap
                for x in range(width):
                    result[y, x] += weight * across[row, x]
    return result
