"""Ten statistics of each protein in the nucleus and its immediate surroundings."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from napari_apollo.measure.compiled import kernel
from napari_apollo.measure.gather import Cells
from napari_apollo.measure.ordering import ascending, central_moments, total_of
from napari_apollo.measure.reasons import Reason
from napari_apollo.measure.regions import quantile
from napari_apollo.measure.registry import INTENSITY, Column, Context, Family, Feature, Values, Why, blank

_NONE = "no nucleus"
_FLAT = "no nucleus, or constant intensity"
_SOURCE = "the ten statistics of the APOLLO study"

FEATURES = (
    Feature("relative", "sum over the region / pixels of the nucleus", 0, INTENSITY, _SOURCE, _NONE),
    Feature("min", "smallest pixel", 0, INTENSITY, _SOURCE, _NONE),
    Feature("max", "largest pixel", 0, INTENSITY, _SOURCE, _NONE),
    Feature("mean", "mean over the pixels", 0, INTENSITY, _SOURCE, _NONE),
    Feature("sd", "standard deviation (divided by n)", 0, INTENSITY, _SOURCE, _NONE),
    Feature("q25", "25th percentile, linear interpolation", 0, INTENSITY, _SOURCE, _NONE),
    Feature("median", "median", 0, INTENSITY, _SOURCE, _NONE),
    Feature("q75", "75th percentile, linear interpolation", 0, INTENSITY, _SOURCE, _NONE),
    Feature("skewness", "third central moment / sd³", 0, "", _SOURCE, _FLAT),
    Feature("kurtosis", "fourth central moment / sd⁴ - 3", 0, "", _SOURCE, _FLAT),
)
_REGION = "perinucleus"


def _proteins(context: Context) -> list[str]:
    return [stain for stain in context.sorted_stains if stain != context.anchor]


def _columns(context: Context) -> Sequence[Column]:
    return [
        Column("protein", feature, _REGION, (stain,)) for stain in _proteins(context) for feature in FEATURES
    ]


def _measure(cells: Cells, context: Context) -> tuple[Values, Why]:
    proteins = _proteins(context)
    values, why = blank(len(cells.height), len(proteins) * len(FEATURES))
    channels = np.array([context.channel(stain) for stain in proteins], np.int64)
    _ten(cells, channels, context.config.protein_grow_px, values, why)
    return values, why


FAMILY = Family(
    "protein",
    "Ten statistics of each protein in the nucleus grown by a few pixels within the cell.",
    _columns,
    _measure,
)

_COUNT = len(FEATURES)
_NO_REGION = int(Reason.NO_REGION)
_CONSTANT = int(Reason.CONSTANT)


@kernel
def _ten(cells, channels, grow, out, why):  # type: ignore[no-untyped-def]
    for i in range(len(cells.height)):
        start, stop = cells.start[i], cells.start[i + 1]
        grown, nucleus = grown_nucleus(cells.mask[start:stop], cells.height[i], cells.width[i], grow, True)
        if nucleus == 0:
            why[i] = _NO_REGION
            continue
        for k in range(len(channels)):
            part = slice(k * _COUNT, (k + 1) * _COUNT)
            pixels = cells.pixels[channels[k], start:stop]
            ten_statistics(ascending(pixels[grown]), nucleus, out[i, part], why[i, part])


@kernel
def grown_nucleus(mask, height, width, steps, within):  # type: ignore[no-untyped-def]
    """Positions in the box of the nucleus grown by so many steps across pixel sides.

    With ``within`` it grows only over the cell's own cytoplasm, else over every pixel of the box.
    Returns the positions in ascending order and the number of pixels of the nucleus itself.
    """
    state = np.zeros(len(mask), np.uint8)
    order = np.empty(len(mask), np.int64)
    count = 0
    for at in range(len(mask)):
        if mask[at] == 2:
            state[at] = 1
            order[count] = at
            count += 1
    nucleus, begin = count, 0
    for _ in range(steps):
        end = count
        for k in range(begin, end):
            y, x = order[k] // width, order[k] % width
            for dy, dx in ((-1, 0), (1, 0), (0, -1), (0, 1)):
                ny, nx = y + dy, x + dx
                if 0 <= ny < height and 0 <= nx < width:
                    at = ny * width + nx
                    if not state[at] and (mask[at] or not within):
                        state[at] = 1
                        order[count] = at
                        count += 1
        begin = end
    return np.flatnonzero(state), nucleus


@kernel
def ten_statistics(ordered, area, out, why):  # type: ignore[no-untyped-def]
    """The ten statistics of ascending values, in the order of ``FEATURES``."""
    mean, m2, m3, m4 = central_moments(ordered)
    out[0] = total_of(ordered) / area
    out[1], out[2], out[3] = ordered[0], ordered[-1], mean
    out[4] = np.sqrt(m2)
    out[5], out[6], out[7] = quantile(ordered, 0.25), quantile(ordered, 0.5), quantile(ordered, 0.75)
    if ordered[0] == ordered[-1]:
        out[4] = 0.0
        why[8:] = _CONSTANT
        return
    out[8] = m3 / m2**1.5
    out[9] = m4 / m2**2 - 3.0
