"""Sorting intensities, and what follows from sorted ones, compiled.

Images are whole numbers of at most 16 bits nearly always: those are sorted by their digits in
linear time, several times faster than by comparison. Everything else is sorted by comparison.
"""

from __future__ import annotations

import numpy as np

from napari_apollo.measure.compiled import kernel, summing
from napari_apollo.measure.regions import NUCLEUS, quantile


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
def ascending_regions(mask, pixels):  # type: ignore[no-untyped-def]
    """Ascending values of nucleus, cytoplasm and cell, sorted once."""
    count = nuclear = 0
    for value in mask:
        count += value != 0
        nuclear += value == NUCLEUS
    keys, values = np.empty(count, np.uint32), np.empty(count)
    count, low, high = 0, np.inf, -np.inf
    whole = True
    for at in range(len(mask)):
        if mask[at]:
            value = pixels[at]
            values[count] = value
            count += 1
            low, high = min(low, value), max(high, value)
            whole = whole and value == np.floor(value)
    nucleus, cytoplasm, cell = np.empty(nuclear), np.empty(count - nuclear), np.empty(count)
    if not whole or high - low >= 65536.0:
        i = j = k = 0
        for at in range(len(mask)):
            if mask[at]:
                if mask[at] == NUCLEUS:
                    nucleus[i] = values[k]
                    i += 1
                else:
                    cytoplasm[j] = values[k]
                    j += 1
                k += 1
        return np.sort(nucleus), np.sort(cytoplasm), np.sort(values)
    k = 0
    for at in range(len(mask)):
        if mask[at]:
            # The lowest bit remembers the region and takes no part in the order.
            keys[k] = np.uint32(values[k] - low) * np.uint32(2) + np.uint32(mask[at] == NUCLEUS)
            k += 1
    keys = _by_digit(keys, 1)
    if high - low >= 256.0:
        keys = _by_digit(keys, 9)
    i = j = 0
    for k in range(count):
        value = (keys[k] >> np.uint32(1)) + low
        cell[k] = value
        if keys[k] & np.uint32(1):
            nucleus[i] = value
            i += 1
        else:
            cytoplasm[j] = value
            j += 1
    return nucleus, cytoplasm, cell


@kernel
def median_deviation(ordered):  # type: ignore[no-untyped-def]
    """Median of the absolute deviations of ascending values from their median."""
    count = len(ordered)
    middle = quantile(ordered, 0.5)
    upper = _nth_deviation(ordered, middle, count // 2)
    if count % 2:
        return upper
    return 0.5 * (_nth_deviation(ordered, middle, count // 2 - 1) + upper)


@kernel
def _nth_deviation(ordered, middle, n):  # type: ignore[no-untyped-def]
    """The deviation from the middle that n others do not exceed: n-th of two ascending rows, by bisection."""
    above = np.searchsorted(ordered, middle)
    below = above - 1
    ups = len(ordered) - above
    # Of the n + 1 smallest deviations, ``taken`` lie at or above the middle.
    least, most = max(0, n - below), min(n + 1, ups)
    while least < most:
        taken = (least + most) // 2
        if ordered[above + taken] - middle < middle - ordered[below - (n - taken)]:
            least = taken + 1
        else:
            most = taken
    up = ordered[above + least - 1] - middle if least else -np.inf
    down = middle - ordered[below - (n - least)] if n - least >= 0 and n - least <= below else -np.inf
    return max(up, down)


@summing
def central_moments(values):  # type: ignore[no-untyped-def]
    """Mean and second to fourth central moment, in two passes."""
    total = 0.0
    for value in values:
        total += value
    mean = total / len(values)
    m2 = m3 = m4 = 0.0
    for value in values:
        d = value - mean
        square = d * d
        m2 += square
        m3 += square * d
        m4 += square * square
    count = len(values)
    return mean, m2 / count, m3 / count, m4 / count


@summing
def total_of(values):  # type: ignore[no-untyped-def]
    """Sum of values."""
    total = 0.0
    for value in values:
        total += value
    return total


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
