"""Compiled helpers on one cell: its box, and the pixels of one of its regions."""

from __future__ import annotations

import numpy as np

from napari_apollo.measure.compiled import inlined, kernel

CELL = 0
CYTOPLASM = 1
NUCLEUS = 2
"""Region codes: nucleus and cytoplasm are their mask values, the cell is both."""


@inlined
def in_region(value, region):  # type: ignore[no-untyped-def]
    """Whether a mask value belongs to a region."""
    return value != 0 and (region == CELL or value == region)


@kernel
def padded(mask, height, width, region):  # type: ignore[no-untyped-def]
    """Region of one cell as (height + 2, width + 2) uint8 with a rim of background."""
    out = np.zeros((height + 2, width + 2), np.uint8)
    for y in range(height):
        for x in range(width):
            if in_region(mask[y * width + x], region):
                out[y + 1, x + 1] = 1
    return out


@kernel
def values_of(mask, pixels, region):  # type: ignore[no-untyped-def]
    """Intensities of the pixels of a region, in the order of the box."""
    count = 0
    for at in range(len(mask)):
        if in_region(mask[at], region):
            count += 1
    out = np.empty(count)
    count = 0
    for at in range(len(mask)):
        if in_region(mask[at], region):
            out[count] = pixels[at]
            count += 1
    return out


@kernel
def quantile(ordered, fraction):  # type: ignore[no-untyped-def]
    """Quantile of ascending values, linear between neighbours (NumPy's default)."""
    position = fraction * (len(ordered) - 1)
    low = int(np.floor(position))
    high = min(low + 1, len(ordered) - 1)
    return ordered[low] + (position - low) * (ordered[high] - ordered[low])
