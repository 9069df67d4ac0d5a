"""Curvature of the outline of nucleus and cell."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from napari_apollo.measure.compiled import kernel
from napari_apollo.measure.contour import circular_peaks, curvature, outline
from napari_apollo.measure.gather import Cells
from napari_apollo.measure.reasons import Reason
from napari_apollo.measure.regions import CELL, NUCLEUS, padded
from napari_apollo.measure.registry import Column, Context, Family, Feature, Values, Why, blank
from napari_apollo.measure.shape import eigenvalues, spread

_FORM = "fewer than 4 pixels, or all of them on one line"
_WHERE = "outline smoothed by a Gaussian of 3 % of its length, at least 2 px"
_FLAT = "a tenth of the curvature of the circle with the same outline length"
_PEAK = "prominence at least half of that circle's curvature"

FEATURES = (
    Feature(
        "curvature_mean",
        f"mean curvature per arc length; {_WHERE}; convex is positive",
        -1,
        "",
        "Mokhtarian & Mackworth 1992, at one scale",
        _FORM,
    ),
    Feature(
        "curvature_sd",
        "standard deviation of the curvature per arc length",
        -1,
        source="Mokhtarian & Mackworth 1992, at one scale",
        missing=_FORM,
    ),
    Feature(
        "curvature_max",
        "largest curvature",
        -1,
        source="Mokhtarian & Mackworth 1992, at one scale",
        missing=_FORM,
    ),
    Feature(
        "curvature_min",
        "smallest curvature, negative in a dent",
        -1,
        source="Mokhtarian & Mackworth 1992, at one scale",
        missing=_FORM,
    ),
    Feature(
        "convex_curvature",
        "mean curvature of the convex part",
        -1,
        source="as chrometrics, on the outline in its order",
        missing=_FORM,
    ),
    Feature(
        "concave_curvature",
        "mean absolute curvature of the concave part",
        -1,
        source="as chrometrics, on the outline in its order",
        missing=f"{_FORM}, or no concave part",
    ),
    Feature(
        "concave_fraction",
        f"share of the outline that is concave by more than {_FLAT}",
        source="as chrometrics, on the outline in its order",
        missing=_FORM,
    ),
    Feature(
        "sign_changes",
        f"changes between convex and concave around the outline, each beyond {_FLAT}",
        source="as chrometrics, on the outline in its order",
        missing=_FORM,
    ),
    Feature(
        "convex_peaks",
        f"number of maxima of the curvature, {_PEAK}",
        source="as chrometrics, on the outline in its order",
        missing=_FORM,
    ),
    Feature(
        "convex_peak_mean",
        "mean curvature at these maxima",
        -1,
        source="as chrometrics, on the outline in its order",
        missing=f"{_FORM}, or no such maximum",
    ),
    Feature(
        "concave_peaks",
        f"number of minima below zero, {_PEAK}",
        source="as chrometrics, on the outline in its order",
        missing=_FORM,
    ),
    Feature(
        "concave_peak_mean",
        "mean absolute curvature at these minima",
        -1,
        source="as chrometrics, on the outline in its order",
        missing=f"{_FORM}, or no such minimum",
    ),
    Feature(
        "bending_energy",
        "outline length x integral of the squared curvature / 4π²; 1 for a circle",
        source="Young, Walker & Bowie 1974, made scale-free",
        missing=_FORM,
    ),
)
_REGIONS = {"nucleus": NUCLEUS, "cell": CELL}
_SMOOTHING, _LEAST = 0.03, 2.0
_LEVEL, _PROMINENCE = 0.1, 0.5


def _columns(context: Context) -> Sequence[Column]:
    return [Column("boundary", feature, region) for region in _REGIONS for feature in FEATURES]


def _measure(cells: Cells, context: Context) -> tuple[Values, Why]:
    size = len(FEATURES)
    values, why = blank(len(cells.height), len(_REGIONS) * size)
    for k, code in enumerate(_REGIONS.values()):
        part = slice(k * size, (k + 1) * size)
        _outlines(cells, code, values[:, part], why[:, part])
    return values, why


FAMILY = Family("boundary", "Curvature of the outline, followed in its order.", _columns, _measure)

_NO_REGION = int(Reason.NO_REGION)
_TOO_SMALL = int(Reason.TOO_SMALL)
_DEGENERATE = int(Reason.DEGENERATE)
_NONE_FOUND = int(Reason.NONE_FOUND)


@kernel
def _outlines(cells, code, out, why):  # type: ignore[no-untyped-def]
    for i in range(len(cells.height)):
        start, stop = cells.start[i], cells.start[i + 1]
        region = padded(cells.mask[start:stop], cells.height[i], cells.width[i], code)
        area, _, _, vyy, vxx, vyx = spread(region)
        if area == 0:
            why[i] = _NO_REGION
        elif area < 4:
            why[i] = _TOO_SMALL
        elif eigenvalues(vyy, vxx, vyx)[1] <= 1e-9:
            why[i] = _DEGENERATE
        else:
            bends, weight = curvature(outline(region), _SMOOTHING, _LEAST)
            _describe(bends, weight, out[i], why[i])


@kernel
def _describe(bends, weight, out, why):  # type: ignore[no-untyped-def]
    length = weight.sum()
    circle = 2.0 * np.pi / length
    # Rounding must decide neither what a straight part of the outline is, nor between equal peaks.
    step = 1e-9 * circle
    bends = np.round(bends / step) * step
    mean = (bends * weight).sum() / length
    out[0] = mean
    out[1] = np.sqrt((weight * (bends - mean) ** 2).sum() / length)
    out[2], out[3] = bends.max(), bends.min()
    convex = concave = convex_length = concave_length = dented = energy = 0.0
    for k in range(len(bends)):
        energy += bends[k] * bends[k] * weight[k]
        if bends[k] > 0:
            convex += bends[k] * weight[k]
            convex_length += weight[k]
        elif bends[k] < 0:
            concave -= bends[k] * weight[k]
            concave_length += weight[k]
        if bends[k] < -_LEVEL * circle:
            dented += weight[k]
    out[4] = convex / convex_length
    if dented > 0:
        out[5] = concave / concave_length
    else:
        why[5] = _NONE_FOUND
    out[6] = dented / length
    out[7] = _changes(bends, _LEVEL * circle)
    peaks, total = circular_peaks(bends, _PROMINENCE * circle)
    out[8] = peaks
    if peaks:
        out[9] = total / peaks
    else:
        why[9] = _NONE_FOUND
    peaks, total = circular_peaks(-bends, _PROMINENCE * circle)
    out[10] = peaks
    if peaks:
        out[11] = total / peaks
    else:
        why[11] = _NONE_FOUND
    out[12] = length * energy / (4.0 * np.pi**2)


@kernel
def _changes(bends, level):  # type: ignore[no-untyped-def]
    """Changes between beyond +level and beyond -level around a closed curve."""
    last = first = 0
    changes = 0
    for bend in bends:
        sign = 1 if bend > level else (-1 if bend < -level else 0)
        if sign == 0:
            continue
        if last == 0:
            first = sign
        elif sign != last:
            changes += 1
        last = sign
    return changes + (last != first)
