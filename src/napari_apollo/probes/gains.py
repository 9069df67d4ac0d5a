"""Whether images of cells are better than others of the same cells: gains with intervals over donors, in
words.

What an evaluation, a model's description and a widget say about a stain is decided here, by one rule.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray

from napari_apollo.probes.statistics import LEAST_DONORS, Interval, draw_donors, intervals_of

Floats = NDArray[np.float64]

_DRAWS = 1000
_LEVEL = 0.95
_OF_PEARSON = ("pixels", "made_sum", "truth_sum", "made_squared", "truth_squared", "product")

NO_BETTER = "no better than the mean image"
_WORDS = {
    (1, 1): "better than the mean image",
    (1, 0): "closer in intensity than the mean image, within chance of it in pattern",
    (1, -1): "closer in intensity than the mean image, but less like the truth in pattern",
    (0, 1): "more like the truth in pattern than the mean image, within chance of it in intensity",
    (0, 0): "within chance of the mean image",
    (-1, 1): "more like the truth in pattern than the mean image, but further off in intensity",
}


def region_sums(
    made: NDArray[np.floating], truth: NDArray[np.floating], region: NDArray[np.bool_]
) -> dict[str, Floats]:
    """Sums over each cell's region, from which errors and correlations of any cells together are made.

    Parameters
    ----------
    made, truth
        (n, y, x) in [0, 1].
    region
        (n, y, x) bool: the pixels of the cell.

    Returns
    -------
    dict
        Each (n,): ``pixels``, sums of both (``made_sum``, ``truth_sum``), of their squares, of their
        product, and of the absolute difference (``error``).
    """
    first, second = made.astype(np.float64), truth.astype(np.float64)

    def total(values: Floats) -> Floats:
        summed: Floats = np.einsum("nyx,nyx->n", values, region)
        return summed

    return {
        "pixels": region.sum((1, 2)),
        "made_sum": total(first),
        "truth_sum": total(second),
        "made_squared": total(first * first),
        "truth_squared": total(second * second),
        "product": total(first * second),
        "error": total(np.abs(first - second)),
    }


def pearson_of_sums(
    n: ArrayLike, x: ArrayLike, y: ArrayLike, xx: ArrayLike, yy: ArrayLike, xy: ArrayLike
) -> Floats:
    """Correlations from counts, sums, sums of squares and of products, each of any one shape.

    NaN where either is constant to within rounding.
    """
    n, x, y, xx, yy, xy = (np.asarray(values, np.float64) for values in (n, x, y, xx, yy, xy))
    with np.errstate(invalid="ignore", divide="ignore"):
        var_x, var_y = xx - x * x / n, yy - y * y / n
        varies = (var_x > 1e-9 * xx) & (var_y > 1e-9 * yy)
        r: Floats = (xy - x * y / n) / np.sqrt(np.where(varies, var_x * var_y, np.nan))
    return r


@dataclass(frozen=True)
class Gains:
    """By how much images are better than others, over pixels of cells' regions.

    Attributes
    ----------
    error
        Mean absolute error of the others less that of the images.
    pattern
        Pearson correlation of the images less that of the others; what is the same everywhere correlates
        with nothing, which counts as 0.
    """

    error: Interval
    pattern: Interval

    @property
    def donors(self) -> int:
        """How many they are made from."""
        return self.error.donors

    @property
    def better(self) -> bool:
        """Whether they are better in error and in pattern, beyond what donors differ by."""
        return self.error.low > 0 and self.pattern.low > 0

    def verdict(self) -> str:
        """How the images stand to the mean image of their stain, in words.

        A difference counts where its interval leaves out zero. With fewer than three donors there is none:
        what is better in them is said with that.
        """
        if np.isnan(self.error.value):
            return "no mean image to compare with: no cell was given the stain"
        few = self.donors < LEAST_DONORS
        words = _WORDS.get((_sign(self.error), _sign(self.pattern)), NO_BETTER)
        if words == NO_BETTER or not few:
            return words
        donors = f"{self.donors} donor{'s' if self.donors > 1 else ''}"
        return f"{words} in {donors}, too few to tell it from chance"

    def numbers(self) -> dict[str, float]:
        """``gain``, ``pearson_gain`` and the ends of their intervals, as an evaluation lists them."""
        named = {"gain": self.error, "pearson_gain": self.pattern}
        ends = {f"{name}{end}": value for name, own in named.items() for end, value in _ends(own).items()}
        return {name: float(value) for name, value in ends.items()}


def _ends(own: Interval) -> dict[str, float]:
    return {"": own.value, "_low": own.low, "_high": own.high}


def _sign(gain: Interval) -> int:
    """1 better, -1 worse, 0 within chance; by the value alone where there is no interval."""
    low, high = (gain.value, gain.value) if np.isnan(gain.low) else (gain.low, gain.high)
    return int(low > 0) - int(high < 0)


def gains_over(cells: pd.DataFrame, other: str, *, level: float = _LEVEL, seed: int = 0) -> Gains:
    """Gains of images over others of the same cells, with intervals over donors.

    Parameters
    ----------
    cells
        One row a cell: ``donor``, the sums of ``region_sums``, and those of the other images under their
        prefix.
    other
        The prefix, without its ``_``.
    level, seed
        Of the intervals.
    """
    used = cells[(cells["pixels"] > 0) & cells[f"{other}_error"].notna()]
    names = [*_OF_PEARSON, "error"]
    columns = [*names, *(f"{other}_{name}" for name in names)]
    by_donor = used.groupby(used["donor"].astype(str))[columns].sum()
    donors = len(by_donor)
    if not donors:
        none = Interval(np.nan, np.nan, np.nan, level, 0)
        return Gains(none, none)
    drawn = draw_donors(donors, draws=_DRAWS, seed=seed)
    weights = np.concatenate([np.ones((1, donors)), drawn.counts])
    sums = dict(zip(columns, (weights @ by_donor.to_numpy(np.float64)).T, strict=True))
    saved = (sums[f"{other}_error"] - sums["error"]) / sums["pixels"]
    own = pearson_of_sums(*(sums[name] for name in _OF_PEARSON))
    theirs = pearson_of_sums(*(sums[f"{other}_{name}"] for name in _OF_PEARSON))
    values = np.column_stack([saved, np.nan_to_num(own) - np.nan_to_num(theirs)])
    low, high = intervals_of(values[1:], drawn.chances, drawn.donors, level=level)
    error, pattern = (
        Interval(float(values[0, k]), float(low[k]), float(high[k]), level, donors) for k in (0, 1)
    )
    return Gains(error, pattern)


def verdict_of_scores(scores: Mapping[str, float | None]) -> str:
    """The verdict on a stain from its scores in a model's description; empty where they hold no gains.

    Parameters
    ----------
    scores
        ``Gains.numbers`` and ``donors`` among others; ends that are missing could not be made.
    """
    numbers = {name: float(value) for name, value in scores.items() if value is not None}
    if "gain" not in numbers or "pearson_gain" not in numbers:
        return ""
    error, pattern = (
        Interval(
            numbers[name],
            numbers.get(f"{name}_low", np.nan),
            numbers.get(f"{name}_high", np.nan),
            _LEVEL,
            int(numbers.get("donors", 0)),
        )
        for name in ("gain", "pearson_gain")
    )
    return Gains(error, pattern).verdict()
