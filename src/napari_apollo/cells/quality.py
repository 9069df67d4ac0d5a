"""Which cells can be trusted: every check flags a cell with a reason, and the cell is kept.

Limits come from all cells of the study together, once everything is measured, so they do not depend on tiles
or on the order of fields. Robust limits are a median and a number of standard deviations, these estimated by
1.4826 times the median absolute deviation; areas and focus are compared on a logarithmic scale.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection
from pathlib import Path
from typing import Literal, get_args

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict

from napari_apollo.cells.histogram import Histogram
from napari_apollo.errors import DataError

Reason = Literal["area", "solidity", "border", "focus", "saturation", "debris", "doublet", "larger-than-crop"]
"""Why a cell is flagged, in the order in which reasons are listed."""

REASONS: tuple[Reason, ...] = get_args(Reason)

ENOUGH = 20
"""Cells that robust limits need; with fewer there are none."""

_MAD = 1.4826
_LEAST_SPREAD = 0.02  # of log area: beads and simulated nuclei may all have one size, and are no outliers
_LOOSE_SOLIDITY = 0.85
_DOUBLET_SOLIDITY = 0.9
_DOUBLET_DNA = 1.6
_DEBRIS_DNA = 0.1
_DEBRIS_AREA = 0.3
_DEBRIS_BRIGHTNESS = 1.5
_FULL_SCALES = (1023, 4095, 16383)


class QualityLimits(BaseModel):
    """What separates good cells from others; None where a limit is not in force.

    Attributes
    ----------
    area_low, area_high
        Area of the nucleus in crop pixels.
    solidity_low
        Area over that of the convex hull.
    focus_low
        Detail of the DNA stain over its mean.
    saturation_high
        Fraction of saturated pixels in any stain.
    debris_dna
        DNA content below which an object is debris.
    debris_area, debris_brightness
        An object that is smaller, and brighter per pixel, is debris.
    doublet_dna, doublet_solidity
        A nucleus with more DNA, and less solidity, is two.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    area_low: float | None = None
    area_high: float | None = None
    solidity_low: float | None = None
    focus_low: float | None = None
    saturation_high: float | None = None
    debris_dna: float | None = None
    debris_area: float | None = None
    debris_brightness: float | None = None
    doublet_dna: float | None = None
    doublet_solidity: float | None = None


def saturation_level(histogram: Histogram) -> float:
    """Intensity from which on a stain of a field is saturated.

    The greatest value of the pixel type, or of a 10, 12 or 14 bit camera, where the field reaches it; else
    the field's own greatest value if pixels pile up there (more than 20, and five times more than at any
    value of the tenth below it), which is what clipping leaves behind.

    Returns
    -------
    float
        Infinity where nothing speaks for saturation, and for floating-point pixels without a pile.
    """
    bins, counts = histogram.occupied()
    if len(bins) < 16:
        return np.inf
    _, top = histogram.extremes()
    dtype = histogram.dtype
    if dtype.kind in "ui" and (top == np.iinfo(dtype).max or (dtype.itemsize == 2 and top in _FULL_SCALES)):
        return top
    if not histogram.exact:
        return np.inf
    below = counts[:-1][bins[:-1] > bins[-1] - 0.1 * (bins[-1] - bins[0])]
    piled = counts[-1] > 20 and counts[-1] > 5 * below.max(initial=0)
    return top if piled else np.inf


def find_limits(
    nuclei: pd.DataFrame,
    *,
    deviations: float = 3.0,
    area: tuple[float | None, float | None] = (None, None),
    solidity: float | None = None,
    focus: float | None = None,
    saturation: float = 0.05,
) -> QualityLimits:
    """Limits for the nuclei of a whole study.

    Parameters
    ----------
    nuclei
        Columns ``nucleus_area`` (crop pixels), ``nucleus_solidity``, ``nucleus_focus``, ``nucleus_dna`` and,
        where a nucleus is not whole, True in ``border`` or ``cut``: such nuclei have no say.
    deviations
        Standard deviations that robust limits lie from the median.
    area, solidity, focus, saturation
        Limits given instead of estimated ones.
    """
    whole = nuclei[~(nuclei["border"].to_numpy(bool) | nuclei["cut"].to_numpy(bool))]
    given = {
        "area_low": area[0],
        "area_high": area[1],
        "solidity_low": solidity,
        "focus_low": focus,
        "saturation_high": saturation,
    }
    found: dict[str, float] = {}
    if len(whole) >= ENOUGH:
        log_area = np.log(whole["nucleus_area"].to_numpy(float))
        middle, spread = _middle(log_area)
        spread = max(spread, _LEAST_SPREAD)
        found["area_low"] = float(np.exp(middle - deviations * spread))
        found["area_high"] = float(np.exp(middle + deviations * spread))
        solid, spread = _middle(whole["nucleus_solidity"].to_numpy(float))
        found["solidity_low"] = min(_LOOSE_SOLIDITY, solid - deviations * spread)
        found["doublet_solidity"] = min(_DOUBLET_SOLIDITY, solid - 2 / 3 * deviations * spread)
        sharp = whole["nucleus_focus"].to_numpy(float)
        sharp = sharp[sharp > 0]
        if len(sharp) >= ENOUGH:
            # Blur only lowers focus, and may have taken whole fields: the sharper half tells the spread.
            log_focus = np.log(sharp)
            middle = float(np.median(log_focus))
            spread = _MAD * float(np.median(log_focus[log_focus >= middle] - middle))
            found["focus_low"] = float(np.exp(middle - deviations * spread))
        dna = float(np.median(whole["nucleus_dna"]))
        if dna > 0:
            found["doublet_dna"] = _DOUBLET_DNA * dna
            found["debris_dna"] = _DEBRIS_DNA * dna
        found["debris_area"] = _DEBRIS_AREA * float(np.median(whole["nucleus_area"]))
        brightness = float(np.median(whole["nucleus_dna"] / whole["nucleus_area"]))
        if brightness > 0:
            found["debris_brightness"] = _DEBRIS_BRIGHTNESS * brightness
    chosen = {name: value for name, value in given.items() if value is not None}
    return QualityLimits(**{**found, **chosen})


def flag(
    nuclei: pd.DataFrame, limits: QualityLimits, checks: Collection[str] = REASONS
) -> tuple[NDArray[np.bool_], NDArray[np.object_]]:
    """Check every cell.

    Parameters
    ----------
    nuclei
        As for `find_limits`, with ``nucleus_saturation``.
    limits
        From `find_limits`.
    checks
        Reasons that count.

    Returns
    -------
    qc : ndarray (n,), bool
        True where a cell passed.
    reasons : ndarray (n,), str
        Reasons joined by ``;``, empty where a cell passed.
    """
    area, dna = nuclei["nucleus_area"].to_numpy(float), nuclei["nucleus_dna"].to_numpy(float)
    solidity = nuclei["nucleus_solidity"].to_numpy(float)
    brightness = dna / np.maximum(area, 1)
    tiny = _below(area, limits.debris_area) & _above(brightness, limits.debris_brightness)
    hits = {
        "area": _below(area, limits.area_low) | _above(area, limits.area_high),
        "solidity": _below(solidity, limits.solidity_low),
        "border": nuclei["border"].to_numpy(bool),
        "focus": _below(nuclei["nucleus_focus"].to_numpy(float), limits.focus_low),
        "saturation": _above(nuclei["nucleus_saturation"].to_numpy(float), limits.saturation_high),
        "debris": tiny | _below(dna, limits.debris_dna),
        "doublet": _above(dna, limits.doublet_dna) & _below(solidity, limits.doublet_solidity),
        "larger-than-crop": nuclei["cut"].to_numpy(bool),
    }
    codes = np.zeros(len(nuclei), np.int64)
    for bit, reason in enumerate(REASONS):
        if reason in checks:
            codes |= hits[reason].astype(np.int64) << bit
    words = np.array(
        [
            ";".join(reason for bit, reason in enumerate(REASONS) if code >> bit & 1)
            for code in range(1 << len(REASONS))
        ],
        dtype=object,
    )
    return codes == 0, words[codes]


def count_reasons(obs: pd.DataFrame) -> dict[str, int]:
    """Cells flagged for each reason, for reports; a cell with two reasons counts in both.

    Parameters
    ----------
    obs
        Table with the column ``qc_reason``.

    Returns
    -------
    dict
        ``"cells"`` and ``"passed"``, then each reason that occurs.
    """
    combinations = obs["qc_reason"].value_counts()
    counts = {"cells": len(obs), "passed": int(combinations.get("", 0))}
    for reason in REASONS:
        hit = [reason in str(words).split(";") for words in combinations.index]
        if any(hit):
            counts[reason] = int(combinations[hit].sum())
    return counts


def none_passed(obs: pd.DataFrame, source: Path | str) -> DataError:
    """The error that a table has no cell that passed, with what flagged them and what can be done.

    Parameters
    ----------
    obs
        Table with the column ``qc_reason``.
    source
        Where it was read from.
    """
    reasons = Counter(reason for words in obs["qc_reason"] for reason in str(words).split(";") if reason)
    flagged = ", ".join(f"{reason} {number}" for reason, number in reasons.most_common())
    return DataError(
        f"{source}: none of its {len(obs)} cells passed the quality check"
        + (f" (flagged: {flagged}). " if flagged else ". ")
        + "Cut the cells again with wider limits, or without the check that flags most of them."
    )


def _middle(values: NDArray[np.float64]) -> tuple[float, float]:
    """Median, and standard deviation estimated from the median absolute deviation."""
    median = float(np.median(values))
    return median, _MAD * float(np.median(np.abs(values - median)))


def _below(values: NDArray[np.float64], limit: float | None) -> NDArray[np.bool_]:
    return np.zeros(len(values), bool) if limit is None else values < limit


def _above(values: NDArray[np.float64], limit: float | None) -> NDArray[np.bool_]:
    return np.zeros(len(values), bool) if limit is None else values > limit
