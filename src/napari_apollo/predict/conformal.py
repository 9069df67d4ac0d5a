"""Intervals of features of predicted stains that hold what they say on donors nobody has seen.

Split conformal prediction (Vovk, Gammerman and Shafer 2005) takes cells for exchangeable; cells of one donor
are not. Here the width is set by leaving out donors: with the quantile chosen, intervals made from all other
donors cover a left-out one at the nominal rate on average. That is exact in the limit of many donors, and
close from about five on; it is no guarantee for one donor.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray

from napari_apollo.errors import ConfigError, DataError
from napari_apollo.predict.featurescores import FeaturePairs
from napari_apollo.probes.statistics import LEAST_DONORS

Floats = NDArray[np.float64]

_LEAST_CELLS = 30
_CELLS_A_KNOT = 40  # cells that a knot of the centre and the scale rests on
_MOST_KNOTS = 10


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
        (unit,) coverage of each donor (or field) when it was left out of shape and width.
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
    left_out = np.empty(len(x))
    for k in range(len(names)):
        own = unit_of == k
        left_out[own] = _distance(_shape(x[~own], y[~own]), x[own], y[own])
    reach = _reach(left_out, unit_of, len(names), level)
    coverage = np.array(
        [
            np.mean(left_out[unit_of == k] <= _reach_without(left_out, unit_of, k, len(names), level))
            for k in range(len(names))
        ]
    )
    return FeatureInterval(level, reach, coverage, tuple(names.tolist()), _shape(x, y))


def _shape(x: Floats, y: Floats) -> _Shape:
    """Median of the truth, and typical distance from it, in bins of cells along the prediction."""
    count = int(np.clip(len(x) // _CELLS_A_KNOT, 1, _MOST_KNOTS))
    bins = [part for part in np.array_split(np.argsort(x, kind="stable"), count) if len(part)]
    knots = np.array([x[part].mean() for part in bins])
    centre = np.array([np.median(y[part]) for part in bins])
    away = np.abs(y - np.interp(x, knots, centre))
    whole = max(float(np.mean(away)), 1e-12 * float(np.ptp(y)))
    # Of bins in which most cells have one value the median distance is 0, and no width would come of it.
    scale = np.array([0.5 * (np.mean(away[part]) + whole) for part in bins])
    return _Shape(knots, centre, scale)


def _distance(shape: _Shape, x: Floats, y: Floats) -> Floats:
    centre, scale = shape.at(x)
    distance: Floats = np.abs(y - centre) / scale
    return distance


def _reach(distance: Floats, unit_of: NDArray[np.int64], units: int, level: float) -> float:
    """Quantile of left-out distances, every unit with the same weight, with room for one more unit."""
    weight = 1 / np.bincount(unit_of, minlength=units)[unit_of]
    order = np.argsort(distance, kind="stable")
    below = np.cumsum(weight[order]) / units
    cells = len(distance)
    wanted = min(1.0, level * (1 + 1 / cells))
    return float(distance[order][min(int(np.searchsorted(below, wanted - 1e-12)), cells - 1)])


def _reach_without(
    distance: Floats, unit_of: NDArray[np.int64], unit: int, units: int, level: float
) -> float:
    rest = unit_of != unit
    renumbered = np.unique(unit_of[rest], return_inverse=True)[1]
    return _reach(distance[rest], renumbered, units - 1, level)


def conformal_table(pairs: FeaturePairs, *, level: float = 0.9) -> pd.DataFrame:
    """Intervals of every feature of a stain: whether they cover what they say, and how wide they are.

    Parameters
    ----------
    pairs
        Features of cells in predicted and measured images, none of which the model learnt from.
    level
        Nominal coverage.

    Returns
    -------
    pandas.DataFrame
        One row a feature: ``level``, ``coverage`` (mean over left-out units), ``worst`` (the least covered
        unit), ``width`` (mean width over that of an interval that knows nothing: the same share of all
        measured values), ``units`` (how many), ``unit`` (``donor`` or ``field``), ``note``, why there is
        none.
    """
    unit, units = pairs.units()
    rows = []
    for at, name in enumerate(pairs.names):
        row = {"feature": name, "level": level, "coverage": np.nan, "worst": np.nan, "width": np.nan}
        try:
            found = fit_interval(pairs.made[:, at], pairs.truth[:, at], units, level=level)
        except DataError as error:
            rows.append({**row, "units": len(set(units)), "unit": unit, "note": str(error)})
            continue
        low, high = found.interval(pairs.made[:, at])
        ends = np.nanquantile(pairs.truth[:, at], [(1 - level) / 2, (1 + level) / 2])
        row |= {"coverage": float(found.coverage.mean()), "worst": float(found.coverage.min())}
        row["width"] = float(np.nanmean(high - low) / max(ends[1] - ends[0], 1e-300))
        rows.append({**row, "units": len(found.units), "unit": unit, "note": ""})
    return pd.DataFrame(rows)
