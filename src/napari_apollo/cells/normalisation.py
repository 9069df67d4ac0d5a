"""From camera counts to [0, 1] and back: constants, stored and never baked in.

The constants of a stain are two intensities, ``low`` and ``high``, for each group of cells (a panel, a donor
or a field). ``percentile`` takes them from the pixels of cells (nucleus and cytoplasm, not the background, so
that they do not depend on how densely a field is populated); ``minmax`` takes the least and the greatest
pixel of whole fields, as the paper does per field.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

import numpy as np
from numba import njit
from numpy.typing import ArrayLike, NDArray
from pydantic import BaseModel, ConfigDict

from napari_apollo.errors import DataError, UnknownStain
from napari_apollo.panels import canonical_stain

GroupBy = Literal["panel", "donor", "field"]
Method = Literal["percentile", "minmax"]

POOLED = "*"
"""The group that stands for cells of every group; used for groups that have no constants of their own."""

_DIRECT = 1 << 16
_SHIFT = 12


class Normalisation(BaseModel):
    """Constants that turn a stain's own units into [0, 1].

    Attributes
    ----------
    by
        The column of the table that names a cell's group.
    method
        Where the constants come from.
    percentiles
        Lower and upper percentile; None for ``minmax``.
    constants
        Group, then stain, to ``(low, high)``; the group ``"*"`` is pooled over all.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    by: GroupBy = "panel"
    method: Method = "percentile"
    percentiles: tuple[float, float] | None = (1.0, 99.8)
    constants: dict[str, dict[str, tuple[float, float]]] = {}

    def limits(self, stain: str, groups: Sequence[str] | NDArray[Any]) -> NDArray[np.float64]:
        """Constants of a stain for each cell.

        Parameters
        ----------
        stain
            Name of the stain, any spelling.
        groups
            Each cell's group: its panel, donor or field, as ``by`` says.

        Returns
        -------
        ndarray (n, 2)
            ``low`` and ``high`` in the stain's own units. A group without constants of its own (a donor that
            was not there when they were made) has the pooled ones.

        Raises
        ------
        UnknownStain
            When there are no constants for the stain.
        """
        name = canonical_stain(stain)
        names, inverse = np.unique(np.asarray(groups, dtype=str), return_inverse=True)
        table = np.empty((len(names), 2))
        for position, group in enumerate(names):
            own = self.constants.get(str(group), {}).get(name)
            pair = own or self.constants.get(POOLED, {}).get(name)
            if pair is None:
                raise UnknownStain(name, self.stains, "the normalisation")
            table[position] = pair
        return table[inverse.reshape(-1)]

    @property
    def stains(self) -> tuple[str, ...]:
        """Stains with constants, sorted."""
        return tuple(sorted({stain for group in self.constants.values() for stain in group}))

    def apply(
        self, images: NDArray[Any], stains: Sequence[str], groups: Sequence[str] | NDArray[Any]
    ) -> NDArray[np.float32]:
        """Images in [0, 1].

        Parameters
        ----------
        images
            ``(n, stain, y, x)`` in the stains' own units.
        stains
            The stain of each channel.
        groups
            Each cell's group.

        Returns
        -------
        ndarray (n, stain, y, x), float32
            ``(value - low) / (high - low)``, held within 0 and 1.
        """
        if images.ndim != 4 or images.shape[:2] != (len(groups), len(stains)):
            raise DataError(
                f"Images of {len(groups)} cells in {len(stains)} stains have axes (cell, stain, y, x), "
                f"not shape {images.shape}."
            )
        scaled = np.empty(images.shape, np.float32)
        if images.size:
            limits = np.stack([self.limits(stain, groups) for stain in stains], axis=1).astype(np.float32)
            flat = np.ascontiguousarray(images).reshape(*images.shape[:2], -1)
            _scale(flat, limits, scaled.reshape(flat.shape))
        return scaled

    def invert(
        self, values: ArrayLike, stain: str, groups: Sequence[str] | NDArray[Any]
    ) -> NDArray[np.float64]:
        """Values in the stain's own units.

        Parameters
        ----------
        values
            ``(n, ...)`` in [0, 1].
        stain
            Their stain.
        groups
            Each cell's group.
        """
        array = np.asarray(values, dtype=np.float64)
        limits = self.limits(stain, groups)
        low, high = (limits[:, k].reshape(-1, *[1] * (array.ndim - 1)) for k in (0, 1))
        restored: NDArray[np.float64] = low + array * (high - low)
        return restored


class Histogram:
    """How often each intensity occurs, summed over any number of blocks.

    Integers of 8 and 16 bits are counted exactly. Wider and floating-point intensities are counted in bins of
    a relative width of 1/2048 (the leading bits of their float32 representation, which sort as the values
    do). Sums do not depend on the order or the size of the blocks.
    """

    def __init__(self, dtype: np.dtype[Any]) -> None:
        self.dtype = dtype
        self.exact = dtype.kind in "ui" and dtype.itemsize <= 2
        bins = _DIRECT if self.exact else 1 << (32 - _SHIFT)
        self._offset = 0 if dtype.kind == "u" else _DIRECT // 2
        self.counts = np.zeros(bins, np.int64)

    def add(self, values: NDArray[Any]) -> None:
        """Count values, any shape."""
        if self.exact:
            _count(values.reshape(-1), self._offset, self.counts)
        else:
            self.counts += np.bincount(self._bins(values.reshape(-1)), minlength=len(self.counts))

    def add_masked(self, values: NDArray[Any], masks: NDArray[np.uint8]) -> None:
        """Count the values under a mask that is not zero; both ``(n, y, x)``."""
        if self.exact:
            _count_masked(values, masks, self._offset, self.counts)
        else:
            self.add(values[masks > 0])

    def occupied(self) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Bins that are not empty, and their counts."""
        bins = np.flatnonzero(self.counts)
        return bins, self.counts[bins]

    @property
    def total(self) -> int:
        """Values counted."""
        return int(self.counts.sum())

    def percentile(self, percent: float) -> float:
        """Least value that at least ``percent`` of a hundred values do not exceed (the inverse of the
        empirical distribution function; type 1 of Hyndman and Fan 1996).
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
            return values.astype(np.int64) + self._offset
        bits = (values.astype(np.float32) + np.float32(0)).view(np.uint32)
        sortable = np.where(bits >> 31, ~bits, bits | np.uint32(1 << 31))
        return (sortable >> _SHIFT).astype(np.int64)

    def _value(self, position: int) -> float:
        if self.exact:
            return float(position - self._offset)
        sortable = np.uint32(position << _SHIFT)
        bits = np.where(sortable >> 31, sortable & np.uint32((1 << 31) - 1), ~sortable).astype(np.uint32)
        return float(bits.view(np.float32))


class NormalisationBuilder:
    """Collects pixels of cells, block by block, and makes the constants.

    Parameters
    ----------
    by, method, percentiles
        As in `Normalisation`.
    """

    def __init__(
        self,
        by: GroupBy = "panel",
        method: Method = "percentile",
        percentiles: tuple[float, float] = (1.0, 99.8),
    ) -> None:
        if not 0 <= percentiles[0] < percentiles[1] <= 100:
            raise DataError(f"Percentiles {percentiles} are not two rising numbers between 0 and 100.")
        self.by = by
        self.method = method
        self.percentiles = percentiles
        self._counts: dict[tuple[str, str], Histogram] = {}
        self._extremes: dict[tuple[str, str], tuple[float, float]] = {}

    def add_cells(
        self,
        images: NDArray[Any],
        masks: NDArray[np.uint8],
        stains: Sequence[str],
        groups: Sequence[str] | NDArray[Any],
        pooled: NDArray[np.bool_] | None = None,
    ) -> None:
        """Count the pixels of cells.

        Parameters
        ----------
        images, masks
            ``(n, stain, y, x)`` and ``(n, y, x)``; pixels of mask 0 are not counted.
        stains
            Stain of each channel.
        groups
            Each cell's group.
        pooled
            Which cells have a part in the pooled constants; all where not given.
        """
        names = np.asarray(groups, dtype=str)
        shares = np.ones(len(names), bool) if pooled is None else pooled
        parts = [(str(group), names == group) for group in np.unique(names)]
        parts.append((POOLED, shares))
        for group, chosen in parts:
            if not chosen.any():
                continue
            every = bool(chosen.all())
            for channel, stain in enumerate(stains):
                key = group, canonical_stain(stain)
                if key not in self._counts:
                    self._counts[key] = Histogram(images.dtype)
                values = images[:, channel] if every else images[chosen, channel]
                self._counts[key].add_masked(values, masks if every else masks[chosen])

    def add_limits(self, group: str, stain: str, low: float, high: float, *, pooled: bool = True) -> None:
        """Take in the least and the greatest pixel of a whole field (for ``minmax``).

        Parameters
        ----------
        group, stain
            Group and stain of the field.
        low, high
            Its extremes.
        pooled
            Whether the field has a part in the pooled constants.
        """
        for name in (group, POOLED) if pooled else (group,):
            key = name, canonical_stain(stain)
            before = self._extremes.get(key, (low, high))
            self._extremes[key] = min(before[0], low), max(before[1], high)

    def finish(self, group: str) -> None:
        """Make a group's constants now and forget its counts: no more cells of it will come."""
        for key in [key for key in self._counts if key[0] == group and group != POOLED]:
            self._extremes[key] = self._constants(key)
            del self._counts[key]

    def build(self) -> tuple[Normalisation, list[str]]:
        """The constants, and what was wrong on the way.

        Returns
        -------
        normalisation : Normalisation
        problems : list of str
            Groups and stains whose pixels are all alike; they have the pooled constants.

        Raises
        ------
        DataError
            When a stain is constant in every cell there is.
        """
        keys = sorted({*self._counts, *self._extremes})
        constants: dict[str, dict[str, tuple[float, float]]] = {}
        problems = []
        for group, stain in keys:
            low, high = self._constants((group, stain))
            if low < high:
                constants.setdefault(group, {})[stain] = (low, high)
            elif group == POOLED:
                raise DataError(
                    f"{stain} has the same intensity ({low:g}) in every pixel of every cell; it holds "
                    "nothing to normalise or to learn from. Leave it out of the panel, or give the "
                    "right channel."
                )
            else:
                problems.append(
                    f"{stain} is constant ({low:g}) in {self.by} {group}; the pooled constants are used."
                )
        percentiles = self.percentiles if self.method == "percentile" else None
        made = Normalisation(by=self.by, method=self.method, percentiles=percentiles, constants=constants)
        return made, problems

    def _constants(self, key: tuple[str, str]) -> tuple[float, float]:
        if key in self._extremes:
            return self._extremes[key]
        counts = self._counts[key]
        least, greatest = counts.extremes()
        if self.method == "minmax":
            return least, greatest
        low, high = (counts.percentile(percent) for percent in self.percentiles)
        # Where a stain is so sparse that both percentiles coincide, its extremes still tell cells apart.
        return (low, high) if low < high else (least, greatest)


@njit(nogil=True, cache=True)
def _count(values: NDArray[Any], offset: int, counts: NDArray[np.int64]) -> None:
    for p in range(len(values)):
        counts[np.int64(values[p]) + offset] += 1


@njit(nogil=True, cache=True)
def _count_masked(
    values: NDArray[Any], masks: NDArray[np.uint8], offset: int, counts: NDArray[np.int64]
) -> None:
    for k in range(masks.shape[0]):
        for i in range(masks.shape[1]):
            for j in range(masks.shape[2]):
                if masks[k, i, j] != 0:
                    counts[np.int64(values[k, i, j]) + offset] += 1


@njit(nogil=True, cache=True)
def _scale(images: NDArray[Any], limits: NDArray[np.float32], scaled: NDArray[np.float32]) -> None:
    for k in range(images.shape[0]):
        for c in range(images.shape[1]):
            low, high = limits[k, c, 0], limits[k, c, 1]
            span = high - low
            for p in range(images.shape[2]):
                value = (np.float32(images[k, c, p]) - low) / span
                scaled[k, c, p] = min(max(value, np.float32(0)), np.float32(1))
