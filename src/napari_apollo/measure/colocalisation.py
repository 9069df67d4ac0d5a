"""How two stains go together in nucleus and cell."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations

import numpy as np

from napari_apollo.measure.compiled import kernel, summing
from napari_apollo.measure.gather import Cells
from napari_apollo.measure.reasons import Reason
from napari_apollo.measure.regions import CELL, NUCLEUS, values_of
from napari_apollo.measure.registry import Column, Context, Family, Feature, Values, Why, blank

_SOURCE = "Manders, Verbeek & Aten 1993"
_FLAT = "no such region, or one of the stains constant in it"
_ON = "on: at or above Otsu's threshold of the region's own pixels (256 bins)"
_PAIR = (
    Feature("pearson", "Pearson correlation over the pixels", source="Pearson", missing=_FLAT),
    Feature(
        "overlap",
        "Σ a b / sqrt(Σ a² Σ b²)",
        source=_SOURCE,
        missing="no such region, or a stain that is zero in it",
    ),
    Feature(
        "jaccard",
        f"pixels where both stains are on / pixels where either is; {_ON}",
        source="Jaccard 1912",
        missing=_FLAT,
    ),
)
_MANDERS = Feature(
    "manders",
    f"share of the first stain's intensity that lies where the second is on; {_ON}",
    source=_SOURCE,
    missing=f"{_FLAT}, or intensities that sum to zero or less",
)
_REGIONS = {"nucleus": NUCLEUS, "cell": CELL}


def _columns(context: Context) -> Sequence[Column]:
    columns = []
    for region in _REGIONS:
        for first, second in combinations(context.sorted_stains, 2):
            pair = (first, second)
            columns += [Column("colocalisation", feature, region, pair) for feature in _PAIR]
            columns += [
                Column("colocalisation", _MANDERS, region, pair),
                Column("colocalisation", _MANDERS, region, pair[::-1]),
            ]
    return columns


def _measure(cells: Cells, context: Context) -> tuple[Values, Why]:
    channels = np.array([context.channel(stain) for stain in context.sorted_stains], np.int64)
    values, why = blank(len(cells.height), len(_columns(context)))
    half = values.shape[1] // len(_REGIONS)
    for k, code in enumerate(_REGIONS.values()):
        part = slice(k * half, (k + 1) * half)
        _pairs(cells, code, channels, values[:, part], why[:, part])
    return values, why


FAMILY = Family(
    "colocalisation",
    "Correlation and overlap of every two stains in nucleus and cell.",
    _columns,
    _measure,
)

_NO_REGION = int(Reason.NO_REGION)
_CONSTANT = int(Reason.CONSTANT)
_NO_SIGNAL = int(Reason.NO_SIGNAL)
_COUNT = len(_PAIR) + 2
_BINS = 256


@kernel
def _pairs(cells, code, channels, out, why):  # type: ignore[no-untyped-def]
    stains = len(channels)
    for i in range(len(cells.height)):
        start, stop = cells.start[i], cells.start[i + 1]
        mask = cells.mask[start:stop]
        first = values_of(mask, cells.pixels[channels[0], start:stop], code)
        if len(first) == 0:
            why[i] = _NO_REGION
            continue
        values = np.empty((stains, len(first)))
        thresholds = np.empty(stains)
        for k in range(stains):
            values[k] = values_of(mask, cells.pixels[channels[k], start:stop], code)
            thresholds[k] = otsu(values[k])
        at = 0
        for a in range(stains):
            for b in range(a + 1, stains):
                _together(
                    values[a],
                    values[b],
                    thresholds[a],
                    thresholds[b],
                    out[i, at : at + _COUNT],
                    why[i, at : at + _COUNT],
                )
                at += _COUNT


@kernel
def otsu(values):  # type: ignore[no-untyped-def]
    """Otsu's threshold: values at or above it are the brighter class; NaN where all are equal.

    The threshold is a bin's lower edge, so it does not depend on rounding within a class.
    """
    low, high = values.min(), values.max()
    if low == high:
        return np.nan
    counts = np.zeros(_BINS, np.int64)
    scale = _BINS / (high - low)
    for value in values:
        counts[min(_BINS - 1, int((value - low) * scale))] += 1
    total = len(values)
    weighted = 0
    for k in range(_BINS):
        weighted += k * counts[k]
    best, place = -1.0, 1
    below = below_weighted = 0
    for k in range(1, _BINS):
        below += counts[k - 1]
        below_weighted += (k - 1) * counts[k - 1]
        above = total - below
        if below == 0 or above == 0:
            continue
        gap = below_weighted / below - (weighted - below_weighted) / above
        between = float(below) * above * gap * gap
        if between > best:
            best, place = between, k
    return low + place / scale


@summing
def _together(a, b, on_a, on_b, out, why):  # type: ignore[no-untyped-def]
    sum_a = sum_b = 0.0
    for k in range(len(a)):
        sum_a += a[k]
        sum_b += b[k]
    mean_a, mean_b = sum_a / len(a), sum_b / len(b)
    aa = bb = ab = saa = sbb = sab = 0.0
    a_in_b = b_in_a = 0.0
    both = either = 0
    for k in range(len(a)):
        da, db = a[k] - mean_a, b[k] - mean_b
        aa += da * da
        bb += db * db
        ab += da * db
        saa += a[k] * a[k]
        sbb += b[k] * b[k]
        sab += a[k] * b[k]
        is_a, is_b = a[k] >= on_a, b[k] >= on_b
        both += is_a and is_b
        either += is_a or is_b
        a_in_b += a[k] if is_b else 0.0
        b_in_a += b[k] if is_a else 0.0
    if saa > 0.0 and sbb > 0.0:
        out[1] = sab / np.sqrt(saa * sbb)
    else:
        why[1] = _NO_SIGNAL
    if np.isnan(on_a) or np.isnan(on_b):
        why[0] = _CONSTANT
        why[2:] = _CONSTANT
        return
    out[0] = ab / np.sqrt(aa * bb)
    out[2] = both / either
    if sum_a > 0.0:
        out[3] = a_in_b / sum_a
    else:
        why[3] = _NO_SIGNAL
    if sum_b > 0.0:
        out[4] = b_in_a / sum_b
    else:
        why[4] = _NO_SIGNAL
