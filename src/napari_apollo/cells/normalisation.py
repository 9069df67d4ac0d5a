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

from napari_apollo.cells.histogram import Histogram, count_cells
from napari_apollo.errors import DataError, UnknownStain
from napari_apollo.panels import canonical_stain

GroupBy = Literal["panel", "donor", "field"]
Method = Literal["percentile", "minmax"]

POOLED = "*"
"""The group that stands for cells of every group; used for groups that have no constants of their own."""

_Key = tuple[str, str, bool]
"""Group, stain, whether held out."""


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


class NormalisationBuilder:
    """Collects pixels of cells, block by block, and makes the constants.

    Held-out cells have no part in constants that other cells are scaled by: neither in the pooled ones, nor
    in a panel's, unless the panel has no other cells. A held-out donor or field has its own constants, where
    constants are made by donor or field.

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
        self._counts: dict[_Key, Histogram] = {}
        self._pooled: dict[str, Histogram] = {}
        self._limits: dict[_Key, tuple[float, float]] = {}
        self._finished: dict[str, dict[str, tuple[float, float]]] = {}

    def add_cells(
        self,
        images: NDArray[Any],
        masks: NDArray[np.uint8],
        stains: Sequence[str],
        groups: Sequence[str] | NDArray[Any],
        held_out: NDArray[np.bool_] | None = None,
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
        held_out
            Which cells are kept apart for validation or test; none where not given.
        """
        names = np.asarray(groups, dtype=str)
        apart = np.zeros(len(names), bool) if held_out is None else held_out
        for group in np.unique(names):
            for kept in (False, True):
                chosen = (names == group) & (apart == kept)
                if chosen.any():
                    for stain, found in zip(stains, count_cells(images, masks, chosen), strict=True):
                        _add(self._counts, (str(group), canonical_stain(stain), kept), found)

    def add_limits(self, group: str, stain: str, low: float, high: float, *, held_out: bool = False) -> None:
        """Take in the least and the greatest pixel of a whole field (for ``minmax``).

        Parameters
        ----------
        group, stain
            Group and stain of the field.
        low, high
            Its extremes.
        held_out
            Whether the field is kept apart for validation or test.
        """
        key = group, canonical_stain(stain), held_out
        before = self._limits.get(key, (low, high))
        self._limits[key] = min(before[0], low), max(before[1], high)

    def finish(self, group: str) -> None:
        """Make a group's constants now and forget its counts: no more cells of it will come."""
        stains = sorted({key[1] for key in self._counts if key[0] == group})
        for stain in stains:
            training = self._counts.pop((group, stain, False), None)
            apart = self._counts.pop((group, stain, True), None)
            if training is not None:
                _add(self._pooled, stain, training)
            own = training if training is not None else apart
            assert own is not None  # the stain was found among the keys
            if self.by != "panel" and training is not None and apart is not None:
                own = training.copy()
                own.merge(apart)
            self._finished.setdefault(group, {})[stain] = self._constants(own)

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
        for group in sorted({key[0] for key in self._counts}):
            self.finish(group)
        found = {group: dict(stains) for group, stains in self._finished.items()}
        pooled = {stain: self._constants(counts) for stain, counts in self._pooled.items()}
        for (group, stain, held_out), limits in sorted(self._limits.items()):
            shared = self.by == "panel" and held_out and (group, stain, False) in self._limits
            if not shared:
                _widen(found.setdefault(group, {}), stain, limits)
            if not held_out:
                _widen(pooled, stain, limits)
        found[POOLED] = pooled
        return self._checked(found)

    def _checked(self, found: dict[str, dict[str, tuple[float, float]]]) -> tuple[Normalisation, list[str]]:
        constants: dict[str, dict[str, tuple[float, float]]] = {}
        problems = []
        for group, stains in sorted(found.items()):
            for stain, (low, high) in sorted(stains.items()):
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

    def _constants(self, counts: Histogram) -> tuple[float, float]:
        least, greatest = counts.extremes()
        if self.method == "minmax":
            return least, greatest
        low, high = (counts.percentile(percent) for percent in self.percentiles)
        # Where a stain is so sparse that both percentiles coincide, its extremes still tell cells apart.
        return (low, high) if low < high else (least, greatest)


def _add(counts: dict[Any, Histogram], key: Any, found: Histogram) -> None:
    if key in counts:
        counts[key].merge(found)
    else:
        counts[key] = found.copy()


def _widen(limits: dict[str, tuple[float, float]], stain: str, more: tuple[float, float]) -> None:
    before = limits.get(stain, more)
    limits[stain] = min(before[0], more[0]), max(before[1], more[1])


@njit(nogil=True, cache=True)
def _scale(images: NDArray[Any], limits: NDArray[np.float32], scaled: NDArray[np.float32]) -> None:
    for k in range(images.shape[0]):
        for c in range(images.shape[1]):
            low, high = limits[k, c, 0], limits[k, c, 1]
            span = high - low
            for p in range(images.shape[2]):
                value = (np.float32(images[k, c, p]) - low) / span
                scaled[k, c, p] = min(max(value, np.float32(0)), np.float32(1))
