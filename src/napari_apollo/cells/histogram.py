"""How often each intensity occurs: exact, and the same however the pixels are divided into blocks."""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit
from numpy.typing import NDArray

from napari_apollo.errors import DataError

_OFFSET = 1 << 15
_EXACT_BINS = _OFFSET + (1 << 16)
"""Bins for every integer that int16 and uint16 can hold."""

_SHIFT = 12


def counted_exactly(dtype: np.dtype[Any]) -> bool:
    """Whether every value of a pixel type has a bin of its own: whole numbers of 8 or 16 bit."""
    return dtype.kind in "ui" and dtype.itemsize <= 2


class Histogram:
    """How often each intensity occurs, summed over any number of blocks.

    Integers of 8 and 16 bits are counted exactly. Wider and floating-point intensities are counted in bins of
    a relative width of 1/2048 (the leading bits of their float32 representation, which sort as the values
    do). Sums do not depend on the order or the size of the blocks.
    """

    def __init__(self, dtype: np.dtype[Any]) -> None:
        self.dtype = dtype
        self.exact = counted_exactly(dtype)
        self.counts = np.zeros(_EXACT_BINS if self.exact else 1 << (32 - _SHIFT), np.int64)

    def add(self, values: NDArray[Any]) -> None:
        """Count values, any shape."""
        if self.exact:
            _count(values.reshape(-1), _OFFSET, self.counts)
        else:
            self.counts += np.bincount(self._bins(values.reshape(-1)), minlength=len(self.counts))

    def merge(self, other: Histogram) -> None:
        """Add the counts of another histogram.

        Raises
        ------
        DataError
            When one counts small integers and the other one does not.
        """
        if self.exact != other.exact:
            raise DataError(
                f"Pixels of {self.dtype} and of {other.dtype} are on different scales; store them alike."
            )
        self.counts += other.counts

    def copy(self) -> Histogram:
        """Counts of its own, alike."""
        twin = Histogram(self.dtype)
        twin.counts = self.counts.copy()
        return twin

    def occupied(self) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Bins that are not empty, and their counts."""
        bins = np.flatnonzero(self.counts)
        return bins, self.counts[bins]

    @property
    def total(self) -> int:
        """Values counted."""
        return int(self.counts.sum())

    def percentile(self, percent: float) -> float:
        """Least value that at least ``percent`` of a hundred values do not exceed.

        The inverse of the empirical distribution function; type 1 of Hyndman and Fan, The American
        Statistician 1996.
        """
        total = self.total
        if total == 0:
            raise DataError("There are no values to take a percentile of.")
        rank = max(1, int(np.ceil(percent / 100 * total - 1e-9)))
        return self._value(int(np.searchsorted(np.cumsum(self.counts), rank)))

    def extremes(self) -> tuple[float, float]:
        """Least and greatest value (the edges of their bins where bins are not exact)."""
        bins, _ = self.occupied()
        return self._value(int(bins[0])), self._value(int(bins[-1]))

    def _bins(self, values: NDArray[Any]) -> NDArray[np.int64]:
        if self.exact:
            return values.astype(np.int64) + _OFFSET
        bits = (values.astype(np.float32) + np.float32(0)).view(np.uint32)
        sortable = np.where(bits >> 31, ~bits, bits | np.uint32(1 << 31))
        return (sortable >> _SHIFT).astype(np.int64)

    def _value(self, position: int) -> float:
        if self.exact:
            return float(position - _OFFSET)
        sortable = np.uint32(position << _SHIFT)
        bits = np.where(sortable >> 31, sortable & np.uint32((1 << 31) - 1), ~sortable).astype(np.uint32)
        return float(bits.view(np.float32))


def count_cells(images: NDArray[Any], masks: NDArray[np.uint8], cells: NDArray[np.bool_]) -> list[Histogram]:
    """Intensities of the pixels of cells.

    Parameters
    ----------
    images, masks
        ``(n, stain, y, x)`` and ``(n, y, x)``; pixels of mask 0 are not counted.
    cells
        ``(n,)`` cells that count.

    Returns
    -------
    list of Histogram
        One for each stain.
    """
    found = [Histogram(images.dtype) for _ in range(images.shape[1])]
    if found[0].exact:
        counts = np.zeros((len(found), _EXACT_BINS), np.int64)
        _count_cells(images, masks, np.flatnonzero(cells), _OFFSET, counts)
        for histogram, own in zip(found, counts, strict=True):
            histogram.counts = own
    else:
        inside = masks[cells] > 0
        for channel, histogram in enumerate(found):
            histogram.add(images[cells, channel][inside])
    return found


@njit(nogil=True, cache=True)
def _count(values: NDArray[Any], offset: int, counts: NDArray[np.int64]) -> None:
    for p in range(len(values)):
        counts[np.int64(values[p]) + offset] += 1


@njit(nogil=True, cache=True)
def _count_cells(
    images: NDArray[Any],
    masks: NDArray[np.uint8],
    cells: NDArray[np.int64],
    offset: int,
    counts: NDArray[np.int64],
) -> None:
    for k in cells:
        for i in range(masks.shape[1]):
            for j in range(masks.shape[2]):
                if masks[k, i, j] != 0:
                    for c in range(images.shape[1]):
                        counts[c, np.int64(images[k, c, i, j]) + offset] += 1
