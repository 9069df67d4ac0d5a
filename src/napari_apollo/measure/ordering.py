"""Sorting intensities, and what follows from sorted ones, compiled.

Images are whole numbers of at most 16 bits nearly always: those are sorted by their digits in
linear time, several times faster than by comparison. Everything else is sorted by comparison.
"""

from __future__ import annotations

import numpy as np

from napari_apollo.measure.compiled import kernel
from napari_apollo.measure.regions import quantile


@kernel
def ascending(values):  # type: ignore[no-untyped-def]
    """Values in ascending order, float64."""
    count = len(values)
    if count < 2:
        return values.copy()
    low, high = values[0], values[0]
    whole = True
    for value in values:
        low, high = min(low, value), max(high, value)
        whole = whole and value == np.floor(value)
    if not whole or high - low >= 65536.0:
        return np.sort(values)
    keys = np.empty(count, np.uint16)
    for at in range(count):
        keys[at] = np.uint16(values[at] - low)
    keys = _by_digit(keys, 0)
    if high - low >= 256.0:
        keys = _by_digit(keys, 8)
    out = np.empty(count)
    for at in range(count):
        out[at] = keys[at] + low
    return out


@kernel
def _by_digit(keys, shift):  # type: ignore[no-untyped-def]
    place = np.zeros(257, np.int64)
    for key in keys:
        place[((key >> shift) & 255) + 1] += 1
    for digit in range(256):
        place[digit + 1] += place[digit]
    out = np.empty_like(keys)
    for key in keys:
        digit = (key >> shift) & 255
        out[place[digit]] = key
        place[digit] += 1
    return out


@kernel
def median_deviation(ordered):  # type: ignore[no-untyped-def]
    """Median of the absolute deviations of ascending values from their median."""
    count = len(ordered)
    middle = quantile(ordered, 0.5)
    above = np.searchsorted(ordered, middle)
    below = above - 1
    needed = (count - 1) // 2
    last = deviation = 0.0
    for _ in range(needed + 2):
        last = deviation
        if below < 0 or (above < count and ordered[above] - middle <= middle - ordered[below]):
            if above == count:
                break
            deviation = ordered[above] - middle
            above += 1
        else:
            deviation = middle - ordered[below]
            below -= 1
    if count % 2:
        # One step too far: the middle one is the one before.
        return last if needed + 2 <= count else deviation
    return 0.5 * (last + deviation)


@kernel
def central_moments(values):  # type: ignore[no-untyped-def]
    """Mean and second to fourth central moment, in two passes."""
    mean = values.sum() / len(values)
    m2 = m3 = m4 = 0.0
    for value in values:
        d = value - mean
        square = d * d
        m2 += square
        m3 += square * d
        m4 += square * square
    count = len(values)
    return mean, m2 / count, m3 / count, m4 / count


@kernel
def entropy(ordered, bins):  # type: ignore[no-untyped-def]
    """Shannon entropy in bits of ascending, not constant values in equal bins from first to last."""
    counts = np.zeros(bins, np.int64)
    scale = bins / (ordered[-1] - ordered[0])
    for value in ordered:
        counts[min(bins - 1, int((value - ordered[0]) * scale))] += 1
    total = 0.0
    for count in counts:
        if count:
            share = count / len(ordered)
            total -= share * np.log2(share)
    return total
