"""Convex hull of a pixel region, in exact integer arithmetic.

Hulls are taken around the midpoints of the pixels' sides (as scikit-image does), so a row of ``n``
pixels is ``n`` wide. Coordinates are doubled to stay whole.
"""

from __future__ import annotations

import numpy as np

from napari_apollo.measure.compiled import kernel


@kernel
def hull_of(region):  # type: ignore[no-untyped-def]
    """Hull of a padded region.

    Parameters
    ----------
    region
        (y, x) uint8 with a rim of background.

    Returns
    -------
    left, right
        (k, 2) int64 vertices (y, x) in half pixels from top to bottom along either side; both
        begin and end in the same rows.
    """
    height, width = region.shape
    low = np.full(2 * height, 2 * width, np.int64)
    high = np.full(2 * height, -1, np.int64)
    for y in range(1, height - 1):
        first, last = -1, -1
        for x in range(1, width - 1):
            if region[y, x]:
                if first < 0:
                    first = x
                last = x
        if first < 0:
            continue
        low[2 * y] = min(low[2 * y], 2 * first - 1)
        high[2 * y] = max(high[2 * y], 2 * last + 1)
        for row in (2 * y - 1, 2 * y + 1):
            low[row] = min(low[row], 2 * first)
            high[row] = max(high[row], 2 * last)
    return _chain(low, high, 1), _chain(high, high, -1)


@kernel
def _chain(columns, filled, sign):  # type: ignore[no-untyped-def]
    out = np.empty((len(columns), 2), np.int64)
    count = 0
    for row in range(len(columns)):
        if filled[row] < 0:
            continue
        x = columns[row]
        while count >= 2:
            y1, x1 = out[count - 1]
            y0, x0 = out[count - 2]
            # Keep the middle point only where it lies strictly outside of the chord.
            if sign * ((x1 - x0) * (row - y0) - (x - x0) * (y1 - y0)) < 0:
                break
            count -= 1
        out[count, 0] = row
        out[count, 1] = x
        count += 1
    return out[:count].copy()


@kernel
def hull_vertices(left, right):  # type: ignore[no-untyped-def]
    """Vertices of the hull in pixels, (k, 2) float64 in order around it."""
    count = len(left) + len(right)
    out = np.empty((count, 2))
    used = 0
    for k in range(len(left)):
        out[used, 0] = 0.5 * left[k, 0]
        out[used, 1] = 0.5 * left[k, 1]
        used += 1
    for k in range(len(right) - 1, -1, -1):
        y, x = 0.5 * right[k, 0], 0.5 * right[k, 1]
        if y == out[used - 1, 0] and x == out[used - 1, 1]:
            continue
        if y == out[0, 0] and x == out[0, 1]:
            continue
        out[used, 0] = y
        out[used, 1] = x
        used += 1
    return out[:used].copy()


@kernel
def pixels_inside(left, right):  # type: ignore[no-untyped-def]
    """Number of pixels whose centre lies in the hull or on it."""
    total = 0
    i = j = 0
    for row in range(left[0, 0], left[-1, 0] + 1):
        while i + 2 < len(left) and left[i + 1, 0] < row:
            i += 1
        while j + 2 < len(right) and right[j + 1, 0] < row:
            j += 1
        if row % 2:
            continue
        run = left[i + 1, 0] - left[i, 0]
        # Smallest x >= the left side, largest x <= the right side, as exact fractions.
        begin = left[i, 1] * run + (left[i + 1, 1] - left[i, 1]) * (row - left[i, 0])
        first = -((-begin) // (2 * run))
        run = right[j + 1, 0] - right[j, 0]
        end = right[j, 1] * run + (right[j + 1, 1] - right[j, 1]) * (row - right[j, 0])
        last = end // (2 * run)
        total += max(0, last - first + 1)
    return total


@kernel
def callipers(vertices):  # type: ignore[no-untyped-def]
    """Smallest and largest calliper, area of the smallest box, perimeter of the hull, in pixels.

    The smallest width and the smallest box of a convex polygon each lie along one of its sides.
    """
    count = len(vertices)
    narrowest, widest, box, around = np.inf, 0.0, np.inf, 0.0
    for i in range(count):
        j = (i + 1) % count
        dy = vertices[j, 0] - vertices[i, 0]
        dx = vertices[j, 1] - vertices[i, 1]
        length = np.sqrt(dy * dy + dx * dx)
        around += length
        across, low, high = 0.0, np.inf, -np.inf
        for k in range(count):
            ky = vertices[k, 0] - vertices[i, 0]
            kx = vertices[k, 1] - vertices[i, 1]
            across = max(across, abs(ky * dx - kx * dy))
            along = ky * dy + kx * dx
            low, high = min(low, along), max(high, along)
            widest = max(widest, ky * ky + kx * kx)
        across /= length
        narrowest = min(narrowest, across)
        box = min(box, across * (high - low) / length)
    return narrowest, np.sqrt(widest), box, around
