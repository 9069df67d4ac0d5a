"""The name space ``compat``: chrometrics (nmco) features under their published names and definitions.

They are measured on the DNA stain in the nucleus, in pixels and grey levels of 0 to 255, as published; what
the default families mend (curvature ordered by polar angle, background in texture and entropy, moments
that depend on gain) is kept here. The ten statistics of each protein follow the APOLLO study.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from scipy.signal import find_peaks

from napari_apollo.measure.compat_foci import count_foci
from napari_apollo.measure.compat_form import (
    callipers,
    cropped,
    curvature_statistics,
    local_curvature,
    perimeter_of,
    radii,
    simple_form,
)
from napari_apollo.measure.compat_light import condensation, cooccurrence, moment_table, statistics
from napari_apollo.measure.compat_names import (
    BOUNDARY,
    CONDENSATION,
    INTENSITIES,
    MOMENTS,
    MORPHOLOGY,
    PROPERTIES,
    PROTEIN,
    feature,
    foci_feature,
    foci_name,
    protein_feature,
    protein_name,
)
from napari_apollo.measure.compiled import kernel
from napari_apollo.measure.foci import foci_stains
from napari_apollo.measure.gather import Cells
from napari_apollo.measure.ordering import ascending
from napari_apollo.measure.protein import grown_nucleus, ten_statistics
from napari_apollo.measure.reasons import Reason
from napari_apollo.measure.regions import NUCLEUS, padded, values_of
from napari_apollo.measure.registry import Column, Context, Family, Values, Why, blank

UNGROWN = ("gammaH2AX", "lamin", "laminA", "laminB")
"""Proteins measured in the nucleus itself; the others in the nucleus grown by two pixels."""
GROWTH = 2
_CURVATURE = len(MORPHOLOGY)
_PEAKS = slice(_CURVATURE + 15, _CURVATURE + 23)
_FIXED = len(MORPHOLOGY) + len(BOUNDARY) + len(INTENSITIES) + len(CONDENSATION)


def _columns(context: Context) -> Sequence[Column]:
    columns = []
    if context.anchor:
        textures = [f"{name}_{lag}" for name in PROPERTIES for lag in context.config.compat_lags_px]
        names = [*MORPHOLOGY, *BOUNDARY, *INTENSITIES, *CONDENSATION, *textures, *MOMENTS]
        columns += [Column("compat", feature(name), "nucleus", (context.anchor,), name) for name in names]
    counted = foci_stains(context)
    for stain in context.sorted_stains:
        if stain != context.anchor:
            columns += [
                Column("compat", protein_feature(name), "nucleus", (stain,), protein_name(name, stain))
                for name in PROTEIN
            ]
            if stain in counted:
                name = foci_name(stain)
                columns.append(Column("compat", foci_feature(name), "nucleus", (stain,), name))
    return columns


def _measure(cells: Cells, context: Context) -> tuple[Values, Why]:
    values, why = blank(len(cells.height), len(_columns(context)))
    size = 0
    if context.anchor:
        lags = np.array(context.config.compat_lags_px, np.int64)
        size = _FIXED + len(PROPERTIES) * len(lags) + len(MOMENTS)
        gain = 255.0 / context.white
        _chromatin(cells, context.channel(context.anchor), gain, lags, values[:, :size], why[:, :size])
        for i in range(len(values)):
            region, _, _ = cropped(
                cells.mask[cells.start[i] : cells.start[i + 1]], cells.height[i], cells.width[i]
            )
            if region.size:
                values[i, _PEAKS] = _peaks(local_curvature(region))
        chromatin, reasons = values[:, :size], why[:, :size]
        reasons[np.isnan(chromatin) & (reasons == 0)] = Reason.NONE_FOUND
    counted = foci_stains(context)
    for stain in context.sorted_stains:
        if stain != context.anchor:
            part = slice(size, size + len(PROTEIN))
            growth = 0 if stain in UNGROWN else GROWTH
            _protein(cells, context.channel(stain), growth, values[:, part], why[:, part])
            size += len(PROTEIN)
            if stain in counted:
                _foci_counts(cells, context.channel(stain), values[:, size], why[:, size])
                size += 1
    return values, why


FAMILY = Family(
    "compat",
    "chrometrics (nmco) and APOLLO features under their published names, in pixels, quirks included.",
    _columns,
    _measure,
)


def _peaks(bends: NDArray[np.float64]) -> list[float]:
    """Number, prominence, width and height of the prominent peaks, up and down; NaN where there is none."""
    out: list[float] = []
    for curve in (bends, -bends):
        peaks, found = find_peaks(curve, prominence=0.1, distance=10, width=5)
        if len(peaks):
            heights = bends[peaks]
            out += [len(peaks), found["prominences"].mean(), found["widths"].mean(), heights.mean()]
        else:
            out += [0, np.nan, np.nan, np.nan]
    return out


_NO_REGION = int(Reason.NO_REGION)
_TOO_SMALL = int(Reason.TOO_SMALL)
_CONSTANT = int(Reason.CONSTANT)
_NO_SIGNAL = int(Reason.NO_SIGNAL)
_NO_PAIRS = int(Reason.NO_PAIRS)
_UNDEFINED = int(Reason.UNDEFINED)


@kernel
def _chromatin(cells, channel, gain, lags, out, why):  # type: ignore[no-untyped-def]
    pairs = np.zeros((256, 256), np.int64)
    for i in range(len(cells.height)):
        start, stop = cells.start[i], cells.start[i + 1]
        width = cells.width[i]
        region, top, left = cropped(cells.mask[start:stop], cells.height[i], width)
        if region.size == 0:
            why[i] = _NO_REGION
            continue
        low, high = callipers(region)
        out[i, 0], out[i, 1] = low, high
        if high > 0.0:
            out[i, 2] = low / high
        if not radii(region, out[i, 3:12]):
            why[i, 3:12] = _TOO_SMALL
        perimeter = perimeter_of(region)
        simple_form(region, perimeter, out[i, 12:28])
        curvature_statistics(local_curvature(region), perimeter, out[i, 28:54])
        light = np.zeros(region.shape)
        grey = np.zeros(region.shape, np.uint8)
        for y in range(region.shape[0]):
            for x in range(region.shape[1]):
                if region[y, x]:
                    value = gain * cells.pixels[channel, start + (y + top) * width + x + left]
                    light[y, x] = value
                    grey[y, x] = np.uint8(min(255.0, max(0.0, np.round(value))))
        ordered = ascending(values_of(cells.mask[start:stop], cells.pixels[channel, start:stop], NUCLEUS))
        ordered = ordered * gain
        statistics(ordered, region.size, out[i, 54:65])
        if ordered[0] == ordered[-1]:
            why[i, 62:64] = _CONSTANT
        condensation(ordered, 1.0, out[i, 65:71])
        for k in range(65, 71):
            if np.isnan(out[i, k]):
                why[i, k] = _NO_SIGNAL
        at = 71
        count = len(lags)
        six = np.empty(6)
        for k in range(count):
            found = cooccurrence(grey, lags[k], pairs, six)
            for p in range(6):
                if found:
                    out[i, at + p * count + k] = six[p]
                else:
                    why[i, at + p * count + k] = _NO_PAIRS
        at += 6 * count
        cy, cx = 0.0, 0.0
        total = light.sum()
        if total > 0.0:
            for y in range(region.shape[0]):
                for x in range(region.shape[1]):
                    cy += y * light[y, x]
                    cx += x * light[y, x]
            out[i, at], out[i, at + 1] = cy / total, cx / total
        else:
            why[i, at : at + 57] = _NO_SIGNAL
        moment_table(light, out[i, at + 2 : at + 57])
        moment_table(region.astype(np.float64), out[i, at + 57 : at + 112])
        for k in range(at, at + 112):
            if np.isnan(out[i, k]) and why[i, k] == 0:
                why[i, k] = _UNDEFINED


@kernel
def _protein(cells, channel, growth, out, why):  # type: ignore[no-untyped-def]
    for i in range(len(cells.height)):
        start, stop = cells.start[i], cells.start[i + 1]
        grown, nucleus = grown_nucleus(cells.mask[start:stop], cells.height[i], cells.width[i], growth, False)
        if nucleus == 0:
            why[i] = _NO_REGION
            continue
        # The published order differs from that of the default family; its "rel" divides by the grown area.
        ten, reasons = np.full(10, np.nan), np.zeros(10, np.uint8)
        ten_statistics(ascending(cells.pixels[channel, start:stop][grown]), len(grown), ten, reasons)
        for k, source in enumerate((0, 1, 2, 3, 4, 5, 7, 6, 9, 8)):
            out[i, k], why[i, k] = ten[source], reasons[source]


@kernel
def _foci_counts(cells, channel, out, why):  # type: ignore[no-untyped-def]
    for i in range(len(cells.height)):
        start, stop = cells.start[i], cells.start[i + 1]
        height, width = cells.height[i], cells.width[i]
        values = values_of(cells.mask[start:stop], cells.pixels[channel, start:stop], NUCLEUS)
        if len(values) == 0:
            why[i] = _NO_REGION
        elif values.min() == values.max():
            why[i] = _CONSTANT
        else:
            light = np.zeros((height + 2, width + 2))
            light[1:-1, 1:-1] = cells.pixels[channel, start:stop].reshape(height, width)
            out[i] = count_foci(padded(cells.mask[start:stop], height, width, NUCLEUS), light)
