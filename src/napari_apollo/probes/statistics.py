"""Statistics whose units are donors: intervals, permutations in blocks, rank effects, false discoveries.

Cells of one donor are not independent of one another. Intervals therefore draw donors again, not cells, and
permutations never move a value from one donor to another.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import combinations_with_replacement
from math import factorial

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.stats import norm, rankdata, t

from napari_apollo.errors import ConfigError, DataError

Floats = NDArray[np.float64]

LEAST_DONORS = 3
"""Fewer donors than this say nothing about how far donors differ: no interval is made of them."""

_ENUMERATED = 6  # up to so many units of a stratum every way of drawing them is counted, not sampled
_MOST_COMBINATIONS = 5000


@dataclass(frozen=True)
class Interval:
    """A value and how far it may be off.

    Attributes
    ----------
    value
        Of the data.
    low, high
        Ends of the interval; NaN where there are too few donors to make one.
    level
        Its nominal coverage.
    donors
        How many donors it is made from.
    """

    value: float
    low: float
    high: float
    level: float
    donors: int

    def __str__(self) -> str:
        """``0.71 (0.65 to 0.78)``, or the value alone."""
        if np.isnan(self.low):
            return f"{self.value:.2f}"
        return f"{self.value:.2f} ({self.low:.2f} to {self.high:.2f})"


@dataclass(frozen=True)
class Draws:
    """Ways of drawing donors again, with replacement.

    Attributes
    ----------
    counts
        (draw, donor) how often each donor was drawn.
    chances
        (draw,) probability of each; they add up to 1. Equal for sampled draws, exact for enumerated ones.
    donors
        Donors in the smallest stratum: what the interval's correction for few donors goes by.
    """

    counts: NDArray[np.int64]
    chances: Floats
    donors: int


def draw_donors(
    donors: int, *, strata: Sequence[object] | None = None, draws: int = 2000, seed: int = 0
) -> Draws:
    """Ways of drawing donors with replacement, every stratum by itself.

    Parameters
    ----------
    donors
        How many there are.
    strata
        (donors,) what each belongs to, for example its condition; every stratum keeps its size.
    draws
        How many are sampled where there are too many to count all.
    seed
        Of the sampling.
    """
    labels = ["*"] * donors if strata is None else [str(label) for label in strata]
    members = [np.flatnonzero(np.array(labels) == label) for label in sorted(set(labels))]
    smallest = min((len(own) for own in members), default=0)
    ways = [_ways(len(own)) if len(own) <= _ENUMERATED else None for own in members]
    total = np.prod([len(way[1]) if way else np.inf for way in ways]) if ways else 0
    if total <= _MOST_COMBINATIONS:
        counts, chances = np.zeros((1, donors), np.int64), np.ones(1)
        for own, way in zip(members, ways, strict=True):
            assert way is not None
            extended = np.repeat(counts, len(way[1]), axis=0)
            extended[:, own] = np.tile(way[0], (len(counts), 1))
            counts, chances = extended, np.multiply.outer(chances, way[1]).ravel()
        return Draws(counts, chances, smallest)
    rng = np.random.default_rng(seed)
    counts = np.zeros((draws, donors), np.int64)
    for own in members:
        counts[:, own] = rng.multinomial(len(own), np.full(len(own), 1 / len(own)), size=draws)
    return Draws(counts, np.full(draws, 1 / draws), smallest)


@lru_cache
def _ways(n: int) -> tuple[NDArray[np.int64], Floats]:
    """Every multiset of n out of n, as counts, and its multinomial probability."""
    counts = np.array(
        [np.bincount(drawn, minlength=n) for drawn in combinations_with_replacement(range(n), n)], np.int64
    ).reshape(-1, n)
    orders = np.array([factorial(n) / np.prod([factorial(int(k)) for k in row]) for row in counts])
    return counts, orders / float(n) ** n


def intervals_of(
    values: ArrayLike, chances: ArrayLike, donors: int, *, level: float = 0.95
) -> tuple[Floats, Floats]:
    """Ends of intervals from statistics over draws of donors.

    Percentiles, widened for few donors (Hesterberg, The American Statistician 69, 371 (2015), "expanded
    percentile interval"): a plain percentile interval of five donors covers far less than it says.

    Parameters
    ----------
    values
        (draw, column) the statistics; draws in which one is not defined are NaN and left out.
    chances
        (draw,) their probabilities.
    donors
        Number of donors; fewer than three give no interval.
    level
        Nominal coverage.

    Returns
    -------
    low, high : ndarray (column,)
        NaN where no interval can be made.
    """
    if not 0 < level < 1:
        raise ConfigError(f"level = {level}: a coverage lies between 0 and 1.")
    values, chances = np.asarray(values, np.float64), np.asarray(chances, np.float64)
    low, high = np.full(values.shape[1], np.nan), np.full(values.shape[1], np.nan)
    if donors < LEAST_DONORS or not len(values):
        return low, high
    tail = float(norm.cdf(-np.sqrt(donors / (donors - 1)) * t.ppf((1 + level) / 2, donors - 1)))
    order = np.argsort(values, axis=0, kind="stable")  # NaN go last
    ordered = np.take_along_axis(values, order, axis=0)
    below = np.cumsum(np.where(np.isfinite(ordered), chances[order], 0), axis=0)
    some = below[-1] > 0
    below[:, some] /= below[-1, some]
    # Rounding of sums of probabilities must not move an end by a whole draw.
    first = (below >= tail - 1e-12).argmax(axis=0)
    last = (below >= 1 - tail - 1e-12).argmax(axis=0)
    columns = np.arange(values.shape[1])
    low[some], high[some] = ordered[first, columns][some], ordered[last, columns][some]
    return low, high


def interval_of(
    values: ArrayLike, chances: ArrayLike, donors: int, *, level: float = 0.95
) -> tuple[float, float]:
    """``intervals_of`` for a single statistic, (draw,)."""
    low, high = intervals_of(np.asarray(values, np.float64)[:, None], chances, donors, level=level)
    return float(low[0]), float(high[0])


def donor_interval(
    statistic: Callable[[Floats], float],
    donors: int,
    *,
    strata: Sequence[object] | None = None,
    level: float = 0.95,
    draws: int = 2000,
    seed: int = 0,
) -> Interval:
    """Bootstrap interval of a statistic over donors.

    Parameters
    ----------
    statistic
        Takes (donor,) weights, 1 for each donor as it is, and returns the statistic; NaN where it is not
        defined for such weights.
    donors
        Number of donors.
    strata, draws, seed
        As for ``draw_donors``.
    level
        Nominal coverage.
    """
    value = float(statistic(np.ones(donors)))
    drawn = draw_donors(donors, strata=strata, draws=draws, seed=seed)
    if drawn.donors < LEAST_DONORS:
        return Interval(value, float("nan"), float("nan"), level, donors)
    values = [statistic(weights) for weights in drawn.counts.astype(np.float64)]
    return Interval(value, *interval_of(values, drawn.chances, drawn.donors, level=level), level, donors)


def weighted_mean_intervals(
    values: ArrayLike,
    weights: ArrayLike | None = None,
    *,
    level: float = 0.95,
    draws: int = 2000,
    seed: int = 0,
) -> tuple[Floats, Floats]:
    """Bootstrap intervals of means over donors, for many columns at once.

    Parameters
    ----------
    values
        (donor, column); NaN where a donor has none.
    weights
        (donor, column) of the mean, for example the donor's cells; all alike where not given.
    level, draws, seed
        As for ``donor_interval``.

    Returns
    -------
    low, high : ndarray (column,)
        NaN for columns of fewer than three donors.
    """
    values = np.asarray(values, np.float64)
    weight = np.ones_like(values) if weights is None else np.asarray(weights, np.float64)
    known = np.isfinite(values)
    low, high = np.full(values.shape[1], np.nan), np.full(values.shape[1], np.nan)
    patterns, which = np.unique(known, axis=1, return_inverse=True)
    for k in range(patterns.shape[1]):
        rows, columns = patterns[:, k], np.flatnonzero(which.ravel() == k)
        donors = int(rows.sum())
        if donors < LEAST_DONORS:
            continue
        drawn = draw_donors(donors, draws=draws, seed=seed)
        own = weight[np.ix_(rows, columns)]
        means = (drawn.counts @ (values[np.ix_(rows, columns)] * own)) / (drawn.counts @ own)
        low[columns], high[columns] = intervals_of(means, drawn.chances, donors, level=level)
    return low, high


def benjamini_hochberg(p: ArrayLike) -> Floats:
    """Adjusted p-values (Benjamini and Hochberg, J. R. Stat. Soc. B 57, 289 (1995)).

    Parameters
    ----------
    p
        p-values of one family, any shape; NaN where there was no test, and NaN there in the result.
    """
    p = np.asarray(p, np.float64)
    out = np.full(p.shape, np.nan)
    known = np.isfinite(p)
    values = p[known]
    if not values.size:
        return out
    if (values < 0).any() or (values > 1).any():
        raise DataError("p-values lie between 0 and 1.")
    order = np.argsort(values, kind="stable")
    scaled = values[order] * len(values) / np.arange(1, len(values) + 1)
    adjusted = np.minimum.accumulate(scaled[::-1])[::-1].clip(max=1)
    back = np.empty_like(adjusted)
    back[order] = adjusted
    out[known] = back
    return out


def cliffs_delta(first: ArrayLike, second: ArrayLike) -> Floats:
    """Cliff's delta of every column: how much more often the first group is larger than smaller.

    2 AUROC - 1 (Cliff, Psychological Bulletin 114, 494 (1993)); 1 where every value of the first group
    exceeds every one of the second, 0 where none tends to.

    Parameters
    ----------
    first, second
        (cell, column) or (cell,); NaN are left out.

    Returns
    -------
    numpy.ndarray
        (column,) between -1 and 1; NaN where a group has no value.
    """
    first, second = (np.asarray(group, np.float64) for group in (first, second))
    if first.ndim == 1:
        first, second = first[:, None], second[:, None]
    both = np.concatenate([first, second])
    known = np.isfinite(both)
    own = known[: len(first)]
    n, m = own.sum(axis=0), known[len(first) :].sum(axis=0)
    ranks = rankdata(np.where(known, both, np.inf), axis=0)  # what is missing ranks last
    total = np.where(own, ranks[: len(first)], 0).sum(axis=0)
    with np.errstate(invalid="ignore", divide="ignore"):
        delta: Floats = np.where((n > 0) & (m > 0), 2 * (total - n * (n + 1) / 2) / (n * m) - 1, np.nan)
    return delta


def permuted_within(blocks: ArrayLike, rng: np.random.Generator) -> NDArray[np.int64]:
    """A random order of the cells in which every cell stays within its block.

    Parameters
    ----------
    blocks
        (cell,) whole numbers from 0.
    """
    blocks = np.asarray(blocks)
    sorted_, shuffled = np.argsort(blocks, kind="stable"), np.lexsort((rng.random(len(blocks)), blocks))
    order = np.empty(len(blocks), np.int64)
    order[sorted_] = shuffled
    return order


def p_of(observed: ArrayLike, null: ArrayLike) -> Floats:
    """p-values of statistics among those of permuted data (Phipson and Smyth, SAGMB 9, 39 (2010)).

    Parameters
    ----------
    observed
        Statistics, the larger the less like chance, any shape; NaN where there is none.
    null
        (n,) statistics of permuted data.
    """
    observed, null = np.asarray(observed, np.float64), np.sort(np.asarray(null, np.float64))
    # What equals the observed value counts as reaching it, whatever rounding says.
    reached = len(null) - np.searchsorted(null, observed - 1e-9 * np.abs(observed), side="left")
    p: Floats = np.where(np.isfinite(observed), (1 + reached) / (1 + len(null)), np.nan)
    return p


def donor_folds(
    donors: Sequence[object], folds: int = 5, *, strata: Sequence[object] | None = None, seed: int = 0
) -> NDArray[np.int64]:
    """Folds in which all cells of a donor stay together.

    Parameters
    ----------
    donors
        (cell,) donor of each cell.
    folds
        Folds wanted; no more than there are donors are made.
    strata
        (cell,) what the donors are spread evenly by, for example their condition.
    seed
        Decides which donors share a fold.

    Returns
    -------
    numpy.ndarray
        (cell,) numbers from 0.

    Raises
    ------
    DataError
        When there is one donor only.
    """
    names, donor_of = np.unique(np.asarray(donors, dtype=str), return_inverse=True)
    if len(names) < 2:
        raise DataError("Cells of one donor alone: nothing can be held out from anything.")
    labels = np.full(len(names), "*", object)
    if strata is not None:
        labels[donor_of] = np.asarray(strata, dtype=str)
    rng = np.random.default_rng(seed)
    fold, turn = np.empty(len(names), np.int64), 0
    for label in sorted(set(labels)):
        own = rng.permutation(np.flatnonzero(labels == label))
        fold[own] = (turn + np.arange(len(own))) % min(folds, len(names))
        turn += len(own)
    return fold[donor_of]
