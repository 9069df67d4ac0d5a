"""Intervals of features of predicted stains that hold what they say on donors nobody has seen.

Split conformal prediction (Vovk, Gammerman and Shafer 2005) takes cells for exchangeable; cells of one donor
are not. Here distances from the typical truth are those of donors left out, every donor with the same weight
(Dunn, Wasserman and Ramdas, J. Am. Stat. Assoc. 118, 2491 (2023), "pooling CDFs"). That alone covers too
little where donors are few and differ: the next donor may lie further off than all that were seen, and how
far cannot be said without assumptions (Lee, Barber and Willett, "Distribution-free inference with
hierarchical data": with K donors the interval is infinite at levels above K / (K + 1)). So what is common to
a donor's cells is taken for normal among donors. The width is the quantile of the cells' own distances with
such a shift, wider by the ratio of Student's t to the normal for as many degrees of freedom as the sum of
both variances has (Satterthwaite, Biometrics Bull. 2, 110 (1946)). It is right on average over donors, and no
guarantee for one.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray
from scipy.stats import norm, t

from napari_apollo.errors import ConfigError, DataError
from napari_apollo.predict.featurescores import FeaturePairs
from napari_apollo.probes.statistics import LEAST_DONORS

Floats = NDArray[np.float64]

_LEAST_CELLS = 30
_CELLS_A_KNOT = 40  # cells that a knot of the centre and the scale rests on
_MOST_KNOTS = 10
_LEAST_SCALE = 0.01  # typical distance at least, in standard deviations of the feature
_MOST_FOLDS = 8  # donors are left out one by one up to so many, and in as many groups where there are more
_MOST_POINTS = 500  # quantiles that stand for the distances of more cells
_SHIFTS = norm.ppf((np.arange(31) + 0.5) / 31)  # where the shift of one more donor is taken


@dataclass(frozen=True)
class _Shape:
    """Typical truth, and typical distance from it, for a predicted value."""

    knots: Floats
    centre: Floats
    scale: Floats

    def at(self, predicted: Floats) -> tuple[Floats, Floats]:
        return np.interp(predicted, self.knots, self.centre), np.interp(predicted, self.knots, self.scale)


@dataclass(frozen=True)
class FeatureInterval:
    """Intervals of one feature from its predicted value.

    Attributes
    ----------
    level
        Nominal coverage.
    reach
        Half widths in units of the typical distance.
    coverage
        (unit,) coverage of each donor (or field) by an interval made without it.
    units
        Names of these.
    """

    level: float
    reach: float
    coverage: Floats
    units: tuple[str, ...]
    shape: _Shape

    def interval(self, predicted: ArrayLike) -> tuple[Floats, Floats]:
        """Ends (cell,) of the intervals of cells from their predicted values; NaN where that is missing."""
        centre, scale = self.shape.at(np.asarray(predicted, np.float64))
        return centre - self.reach * scale, centre + self.reach * scale


def fit_interval(
    predicted: ArrayLike, truth: ArrayLike, units: ArrayLike, *, level: float = 0.9
) -> FeatureInterval:
    """Calibrate intervals on cells that were measured, none of which the model learnt from.

    Parameters
    ----------
    predicted, truth
        (cell,) the feature in predicted and in measured images; cells that lack one are left out.
    units
        (cell,) donor of each cell, or field where there are too few donors.
    level
        Nominal coverage.

    Raises
    ------
    DataError
        When there are fewer than three units or 30 cells, or the feature is constant.
    ConfigError
        When the level is none.
    """
    if not 0 < level < 1:
        raise ConfigError(f"level = {level}: a coverage lies between 0 and 1.")
    x, y = np.asarray(predicted, np.float64), np.asarray(truth, np.float64)
    known = np.isfinite(x) & np.isfinite(y)
    x, y = x[known], y[known]
    names, unit_of = np.unique(np.asarray(units, dtype=str)[known], return_inverse=True)
    if len(names) < LEAST_DONORS or len(x) < _LEAST_CELLS:
        raise DataError(
            f"{len(x)} cells of {len(names)} donors or fields; "
            f"intervals need {_LEAST_CELLS} cells of {LEAST_DONORS}."
        )
    if np.ptp(y) == 0:
        raise DataError("The feature is the same in all cells.")
    least = _LEAST_SCALE * float(np.std(y))
    coverage = np.full(len(names), np.nan)
    fold_of_unit = _folds(len(names))
    for fold in np.unique(fold_of_unit):
        tested = fold_of_unit[unit_of] == fold
        shape, reach = _calibrated(x[~tested], y[~tested], unit_of[~tested], level, least)
        covered = np.abs(_distance(shape, x[tested], y[tested])) <= reach
        for k in np.flatnonzero(fold_of_unit == fold):
            coverage[k] = covered[unit_of[tested] == k].mean()
    shape, reach = _calibrated(x, y, unit_of, level, least)
    return FeatureInterval(level, reach, coverage, tuple(names.tolist()), shape)


def _folds(units: int) -> NDArray[np.int64]:
    return np.arange(units) % min(units, _MOST_FOLDS)


def _calibrated(
    x: Floats, y: Floats, units: NDArray[np.int64], level: float, least: float
) -> tuple[_Shape, float]:
    """Shape from all cells, and the reach that the distances of left-out units ask for."""
    unit_of = np.unique(units, return_inverse=True)[1]
    count = int(unit_of.max()) + 1
    fold_of_unit = _folds(count)
    folds = [fold_of_unit[unit_of] == fold for fold in np.unique(fold_of_unit)]
    # As many knots everywhere: with fewer cells a shape would know less of the prediction than the last one.
    knots = _knots(min(int((~out).sum()) for out in folds))
    left_out = np.empty(len(x))
    for out in folds:
        left_out[out] = _distance(_shape(x[~out], y[~out], least, knots), x[out], y[out])
    shape = _shape(x, y, least, knots)
    return shape, _reach(left_out, _distance(shape, x, y), unit_of, level)


def _knots(cells: int) -> int:
    return int(np.clip(cells // _CELLS_A_KNOT, 1, _MOST_KNOTS))


def _shape(x: Floats, y: Floats, least: float, knots: int) -> _Shape:
    """Median of the truth, and typical distance from it, in bins of cells along the prediction.

    The distance is at least ``least``: a feature may be the same in all cells of all donors but one.
    """
    bins = [part for part in np.array_split(np.argsort(x, kind="stable"), knots) if len(part)]
    places = np.array([x[part].mean() for part in bins])
    centre = np.array([np.median(y[part]) for part in bins])
    away = np.abs(y - np.interp(x, places, centre))
    whole = max(float(np.mean(away)), least)
    # Of bins in which most cells have one value the median distance is 0, and no width would come of it.
    scale = np.array([0.5 * (np.mean(away[part]) + whole) for part in bins])
    return _Shape(places, centre, scale)


def _distance(shape: _Shape, x: Floats, y: Floats) -> Floats:
    """Signed, in units of the typical distance."""
    centre, scale = shape.at(x)
    distance: Floats = (y - centre) / scale
    return distance


def _reach(left_out: Floats, inside: Floats, unit_of: NDArray[np.int64], level: float) -> float:
    """Distance that holds the level of the cells of one more unit.

    Distances from a centre made without a unit are larger than those of a new unit from the final centre,
    and those from the final centre smaller; how much depends on what the centre follows, and with two units
    to make it from it is a lot. The product of both has the right expectation: of least squares with
    leverage h, residuals have variance v (1 - h), left-out ones v / (1 - h), and the product of both v.

    Parameters
    ----------
    left_out
        (cell,) signed, from a centre that was made without the cell's unit.
    inside
        (cell,) signed, from the final centre.
    unit_of
        (cell,) from 0.
    level
        Share of cells to hold.
    """
    units, cells = int(unit_of.max()) + 1, len(left_out)
    weight = 1 / np.bincount(unit_of, minlength=units)
    means = [np.bincount(unit_of, weights=own, minlength=units) * weight for own in (left_out, inside)]
    own = (left_out - means[0][unit_of] + inside - means[1][unit_of]) / 2
    # A new unit differs from the centre by its own shift and by that of the centre.
    between = float(np.mean(np.maximum(means[0] * means[1], 0))) * (1 + 1 / units)
    within = float(np.sum(weight[unit_of] * own**2)) / units
    freedom = (units - 1) * ((between + within) / max(between, 1e-12 * within, 1e-300)) ** 2
    wider = t.ppf((1 + level) / 2, freedom) / norm.ppf((1 + level) / 2)
    shifts = np.sqrt(between) * _SHIFTS
    order = np.argsort(own, kind="stable")
    below = np.cumsum(weight[unit_of][order]) / units
    points = min(cells, _MOST_POINTS)
    at = np.searchsorted(below, (np.arange(points) + 0.5) / points - 1e-12)
    reached = np.sort(np.abs(own[order][at.clip(max=cells - 1), None] + shifts), axis=None)
    wanted = min(1.0, level * (1 + 1 / cells))
    return float(wider * reached[min(int(np.ceil(wanted * len(reached))), len(reached)) - 1])


@dataclass(frozen=True)
class StainIntervals:
    """Intervals of the features of one stain.

    Attributes
    ----------
    table
        One row a feature: ``level``, ``coverage`` (mean over units, each by intervals made without it),
        ``worst`` (the least covered unit), ``width`` (mean width over that of an interval that knows nothing:
        the same share of all measured values), ``units`` (how many), ``unit`` (``donor`` or ``field``),
        ``note``, why there is none.
    of
        Feature to its intervals, where they could be made.
    """

    table: pd.DataFrame
    of: dict[str, FeatureInterval]

    def of_cells(self, names: tuple[str, ...], made: Floats, cell_ids: NDArray[np.object_]) -> pd.DataFrame:
        """Predicted features of cells that were not given the stain, with their intervals.

        Features whose interval is no narrower than that of all cells together are left out: nothing is said
        about a cell by them.

        Parameters
        ----------
        names
            Of the features.
        made
            (cell, feature) in predicted images.
        cell_ids
            (cell,).

        Returns
        -------
        pandas.DataFrame
            One row a cell and feature: ``cell_id, feature, predicted, low, high``.
        """
        telling = set(self.table.loc[self.table["width"] < 1, "feature"])
        parts = []
        for at, name in enumerate(names):
            if name in telling:
                low, high = self.of[name].interval(made[:, at])
                columns = {"cell_id": cell_ids, "feature": name, "predicted": made[:, at]}
                parts.append(pd.DataFrame(columns | {"low": low, "high": high}))
        return pd.concat(parts, ignore_index=True) if parts else pd.DataFrame()


def stain_intervals(pairs: FeaturePairs, *, level: float = 0.9) -> StainIntervals:
    """Intervals of every feature of a stain: whether they cover what they say, and how wide they are.

    Parameters
    ----------
    pairs
        Features of cells in predicted and measured images, none of which the model learnt from.
    level
        Nominal coverage.
    """
    unit, units = pairs.units()
    rows, intervals = [], {}
    for at, name in enumerate(pairs.names):
        row = {"feature": name, "level": level, "coverage": np.nan, "worst": np.nan, "width": np.nan}
        try:
            found = fit_interval(pairs.made[:, at], pairs.truth[:, at], units, level=level)
        except DataError as error:
            rows.append({**row, "units": len(set(units)), "unit": unit, "note": str(error)})
            continue
        intervals[name] = found
        low, high = found.interval(pairs.made[:, at])
        ends = np.nanquantile(pairs.truth[:, at], [(1 - level) / 2, (1 + level) / 2])
        row |= {"coverage": float(found.coverage.mean()), "worst": float(found.coverage.min())}
        # Of a feature that is nearly always the same the ends of most cells coincide.
        spread = max(ends[1] - ends[0], _LEAST_SCALE * float(np.nanstd(pairs.truth[:, at])))
        row["width"] = float(np.nanmean(high - low) / spread)
        rows.append({**row, "units": len(found.units), "unit": unit, "note": ""})
    return StainIntervals(pd.DataFrame(rows), intervals)
