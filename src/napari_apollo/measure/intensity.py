"""Intensity statistics of every stain in nucleus, cytoplasm and cell."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from napari_apollo.measure.compiled import kernel
from napari_apollo.measure.gather import Cells
from napari_apollo.measure.ordering import (
    ascending_regions,
    central_moments,
    entropy,
    median_deviation,
    total_of,
)
from napari_apollo.measure.reasons import Reason
from napari_apollo.measure.regions import quantile
from napari_apollo.measure.registry import (
    INTENSITY,
    Column,
    Context,
    Family,
    Feature,
    Values,
    Why,
    blank,
)

_NONE = "no such region"
_FLAT = "no such region, or constant intensity"
_QUANTILE = "linear interpolation (NumPy's default)"

FEATURES = (
    Feature("mean", "mean over the pixels", unit=INTENSITY, source="numpy.mean", missing=_NONE),
    Feature("sum", "sum over the pixels", unit=INTENSITY, source="numpy.sum", missing=_NONE),
    Feature(
        "sd",
        "standard deviation over the pixels (divided by n)",
        unit=INTENSITY,
        source="numpy.std",
        missing=_NONE,
    ),
    Feature(
        "cv",
        "standard deviation / mean",
        source="numpy.std / numpy.mean",
        missing="no such region, or a mean of zero or less",
    ),
    Feature("min", "smallest pixel", unit=INTENSITY, source="numpy.min", missing=_NONE),
    Feature("q05", f"5th percentile, {_QUANTILE}", unit=INTENSITY, source="numpy.percentile", missing=_NONE),
    Feature("q25", f"25th percentile, {_QUANTILE}", unit=INTENSITY, source="numpy.percentile", missing=_NONE),
    Feature("median", f"median, {_QUANTILE}", unit=INTENSITY, source="numpy.median", missing=_NONE),
    Feature("q75", f"75th percentile, {_QUANTILE}", unit=INTENSITY, source="numpy.percentile", missing=_NONE),
    Feature("q95", f"95th percentile, {_QUANTILE}", unit=INTENSITY, source="numpy.percentile", missing=_NONE),
    Feature("max", "largest pixel", unit=INTENSITY, source="numpy.max", missing=_NONE),
    Feature(
        "mad",
        "median absolute deviation from the median",
        unit=INTENSITY,
        source="scipy.stats.median_abs_deviation",
        missing=_NONE,
    ),
    Feature(
        "skewness", "third central moment / sd³ (not corrected)", source="scipy.stats.skew", missing=_FLAT
    ),
    Feature(
        "kurtosis",
        "fourth central moment / sd⁴ - 3 (not corrected)",
        source="scipy.stats.kurtosis",
        missing=_FLAT,
    ),
    Feature(
        "entropy",
        "Shannon entropy, in bits, of the histogram of the region's own pixels in 64 equal bins between its "
        "minimum and maximum",
        unit="bit",
        source="Shannon 1948",
        missing=_FLAT,
    ),
)
_BINS = 64
_ORDER = ("nucleus", "cytoplasm", "cell")


def _columns(context: Context) -> Sequence[Column]:
    return [
        Column("intensity", feature, region, (stain,))
        for stain in context.sorted_stains
        for region in _ORDER
        for feature in FEATURES
    ]


def _measure(cells: Cells, context: Context) -> tuple[Values, Why]:
    size = len(_ORDER) * len(FEATURES)
    values, why = blank(len(cells.height), len(context.stains) * size)
    for k, stain in enumerate(context.sorted_stains):
        part = slice(k * size, (k + 1) * size)
        _statistics(cells, context.channel(stain), values[:, part], why[:, part])
    return values, why


FAMILY = Family(
    "intensity",
    "Intensity statistics of every stain in nucleus, cytoplasm and cell.",
    _columns,
    _measure,
)

_NO_REGION = int(Reason.NO_REGION)
_CONSTANT = int(Reason.CONSTANT)
_NO_SIGNAL = int(Reason.NO_SIGNAL)


@kernel
def _statistics(cells, channel, out, why):  # type: ignore[no-untyped-def]
    """Fill (cell, region x feature) for one stain, regions in the order of ``_ORDER``."""
    size = out.shape[1] // 3
    for i in range(len(cells.height)):
        start, stop = cells.start[i], cells.start[i + 1]
        mask, pixels = cells.mask[start:stop], cells.pixels[channel, start:stop]
        nucleus, cytoplasm, cell = ascending_regions(mask, pixels)
        _describe(nucleus, out[i, :size], why[i, :size])
        _describe(cytoplasm, out[i, size : 2 * size], why[i, size : 2 * size])
        _describe(cell, out[i, 2 * size :], why[i, 2 * size :])


@kernel
def _describe(ordered, out, why):  # type: ignore[no-untyped-def]
    if len(ordered) == 0:
        why[:] = _NO_REGION
        return
    mean, m2, m3, m4 = central_moments(ordered)
    sd = np.sqrt(m2)
    out[0], out[1], out[2] = mean, total_of(ordered), sd
    if mean > 0:
        out[3] = sd / mean
    else:
        why[3] = _NO_SIGNAL
    out[4], out[10] = ordered[0], ordered[-1]
    out[5], out[6] = quantile(ordered, 0.05), quantile(ordered, 0.25)
    out[7] = quantile(ordered, 0.5)
    out[8], out[9] = quantile(ordered, 0.75), quantile(ordered, 0.95)
    out[11] = median_deviation(ordered)
    if ordered[0] == ordered[-1]:
        out[2] = 0.0
        why[12:] = _CONSTANT
        return
    out[12] = m3 / sd**3
    out[13] = m4 / m2**2 - 3.0
    out[14] = entropy(ordered, _BINS)
