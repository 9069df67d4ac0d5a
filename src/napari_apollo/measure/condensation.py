"""Chromatin condensation: dense and loose chromatin in the nucleus, from the DNA stain."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from napari_apollo.measure.compiled import kernel
from napari_apollo.measure.gather import Cells
from napari_apollo.measure.ordering import ascending
from napari_apollo.measure.reasons import Reason
from napari_apollo.measure.regions import NUCLEUS, padded, quantile, values_of
from napari_apollo.measure.registry import Column, Context, Family, Feature, Values, Why, blank

_FLAT = "no nucleus, or constant intensity"
_DARK = f"{_FLAT}, or intensities that sum to zero or less"
_DENSE = "dense chromatin (pixels at or above mean + alpha sd of the nucleus)"
_SOURCE = "chrometrics (hetero- and euchromatin)"

FEATURES = (
    Feature("hc_area_fraction", f"area of {_DENSE} / area of the nucleus", source=_SOURCE, missing=_FLAT),
    Feature(
        "hc_ec_area_ratio",
        f"area of {_DENSE} / area of the rest",
        source=_SOURCE,
        missing=f"{_FLAT}, or no rest",
    ),
    Feature("hc_content_fraction", f"intensity in {_DENSE} / all intensity", source=_SOURCE, missing=_DARK),
    Feature(
        "hc_ec_content_ratio", f"intensity in {_DENSE} / intensity in the rest", source=_SOURCE, missing=_DARK
    ),
    Feature(
        "i80_i20",
        "80th / 20th percentile of the intensity",
        source=_SOURCE,
        missing=f"{_FLAT}, or a 20th percentile of zero or less",
    ),
    Feature("hc_pieces", f"number of 8-connected pieces of {_DENSE}", missing=_FLAT),
    Feature(
        "hc_largest_fraction", f"area of the largest piece of {_DENSE} / area of the nucleus", missing=_FLAT
    ),
    Feature(
        "edge_density",
        "mean length of the intensity gradient (central differences, pixels whose four neighbours are in the "
        "nucleus) / mean intensity, per length",
        -1,
        source="after Irianto, Lee & Knight 2014",
        missing=f"{_DARK}, or no pixel with four neighbours",
    ),
)


def _columns(context: Context) -> Sequence[Column]:
    if not context.anchor:
        return []
    return [Column("condensation", feature, "nucleus", (context.anchor,)) for feature in FEATURES]


def _measure(cells: Cells, context: Context) -> tuple[Values, Why]:
    columns = _columns(context)
    values, why = blank(len(cells.height), len(columns))
    if columns:
        _condensation(cells, context.channel(context.anchor), context.config.condensation_alpha, values, why)
    return values, why


FAMILY = Family("condensation", "Dense and loose chromatin in the nucleus.", _columns, _measure)

_NO_REGION = int(Reason.NO_REGION)
_CONSTANT = int(Reason.CONSTANT)
_NO_SIGNAL = int(Reason.NO_SIGNAL)
_TOO_SMALL = int(Reason.TOO_SMALL)
_NONE_FOUND = int(Reason.NONE_FOUND)


@kernel
def _condensation(cells, channel, alpha, out, why):  # type: ignore[no-untyped-def]
    for i in range(len(cells.height)):
        start, stop = cells.start[i], cells.start[i + 1]
        height, width = cells.height[i], cells.width[i]
        mask, pixels = cells.mask[start:stop], cells.pixels[channel, start:stop]
        ordered = ascending(values_of(mask, pixels, NUCLEUS))
        count = len(ordered)
        if count == 0:
            why[i] = _NO_REGION
            continue
        if ordered[0] == ordered[-1]:
            why[i] = _CONSTANT
            continue
        total = ordered.sum()
        mean = total / count
        threshold = mean + alpha * np.sqrt(((ordered - mean) ** 2).sum() / count)
        dense = np.searchsorted(ordered, threshold)
        content = ordered[dense:].sum()
        out[i, 0] = (count - dense) / count
        if dense:
            out[i, 1] = (count - dense) / dense
        else:
            why[i, 1] = _NONE_FOUND
        if total > 0.0 and total > content:
            out[i, 2] = content / total
            out[i, 3] = content / (total - content)
        else:
            why[i, 2:4] = _NO_SIGNAL
        low = quantile(ordered, 0.2)
        if low > 0.0:
            out[i, 4] = quantile(ordered, 0.8) / low
        else:
            why[i, 4] = _NO_SIGNAL
        region = padded(mask, height, width, NUCLEUS)
        gradient, inner = _gradient(region, pixels, height, width)
        if inner == 0:
            why[i, 7] = _TOO_SMALL
        elif mean > 0.0:
            out[i, 7] = gradient / inner / mean
        else:
            why[i, 7] = _NO_SIGNAL
        for y in range(height):
            for x in range(width):
                if pixels[y * width + x] < threshold:
                    region[y + 1, x + 1] = 0
        pieces, largest = count_pieces(region)
        out[i, 5] = pieces
        out[i, 6] = largest / count


@kernel
def _gradient(region, pixels, height, width):  # type: ignore[no-untyped-def]
    total = 0.0
    inner = 0
    for y in range(1, height - 1):
        for x in range(1, width - 1):
            if (
                region[y + 1, x + 1]
                and region[y, x + 1]
                and region[y + 2, x + 1]
                and region[y + 1, x]
                and region[y + 1, x + 2]
            ):
                at = y * width + x
                dy = 0.5 * (pixels[at + width] - pixels[at - width])
                dx = 0.5 * (pixels[at + 1] - pixels[at - 1])
                total += np.sqrt(dy * dy + dx * dx)
                inner += 1
    return total, inner


@kernel
def count_pieces(region):  # type: ignore[no-untyped-def]
    """Number of 8-connected pieces of a padded region, and pixels of the largest; clears the region."""
    height, width = region.shape
    waiting = np.empty(height * width, np.int64)
    pieces = largest = 0
    for y in range(1, height - 1):
        for x in range(1, width - 1):
            if not region[y, x]:
                continue
            pieces += 1
            size = 0
            waiting[0] = y * width + x
            region[y, x] = 0
            left = 1
            while left:
                left -= 1
                size += 1
                cy, cx = waiting[left] // width, waiting[left] % width
                for ny in range(cy - 1, cy + 2):
                    for nx in range(cx - 1, cx + 2):
                        if region[ny, nx]:
                            region[ny, nx] = 0
                            waiting[left] = ny * width + nx
                            left += 1
            largest = max(largest, size)
    return pieces, largest
