"""The outline of a region as an ordered, closed curve, and its curvature; compiled."""

from __future__ import annotations

import numpy as np

from napari_apollo.measure.compiled import inlined, kernel

_SLANT = np.sqrt(0.5)


@kernel
def outline(region):  # type: ignore[no-untyped-def]
    """Outer contour of a padded region: midpoints of the pixel sides on it, in order.

    Pixels that touch at a corner belong together. Of several pieces the one that encloses the
    largest area is taken; holes are left out.

    Parameters
    ----------
    region
        (y, x) uint8 with a rim of background.

    Returns
    -------
    (n, 2) float64
        Points (y, x), clockwise on the screen.
    """
    seen = np.zeros(region.shape, np.uint8)
    best = np.empty((0, 2))
    largest = 0.0
    start = _unseen_top(region, seen, region.shape[1])
    while start:
        points, area = _trace(region, start // region.shape[1], start % region.shape[1], seen)
        if area > largest:
            largest, best = area, points
        start = _unseen_top(region, seen, start)
    return best


@kernel
def _unseen_top(region, seen, start):  # type: ignore[no-untyped-def]
    """Next pixel, counted row by row, whose top side is on a contour not yet followed; 0 if none."""
    width = region.shape[1]
    for y in range(start // width, region.shape[0]):
        for x in range(width):
            if region[y, x] and not region[y - 1, x] and not seen[y, x]:
                return y * width + x
    return 0


@kernel
def _trace(region, top, left, seen):  # type: ignore[no-untyped-def]
    """Follow the sides of pixels with the region on the right, from the top side of one pixel."""
    points = np.empty((256, 2))
    count = 0
    # Corner (y, x) is the upper left corner of pixel (y, x); directions east, south, west, north.
    y, x, way = top, left, 0
    area = 0.0
    while True:
        if way == 0:
            dy, dx = 0, 1
            seen[y, x] = 1
        elif way == 1:
            dy, dx = 1, 0
        elif way == 2:
            dy, dx = 0, -1
        else:
            dy, dx = -1, 0
        if count == len(points):
            points = np.concatenate((points, np.empty_like(points)))
        points[count, 0] = y + 0.5 * dy - 0.5
        points[count, 1] = x + 0.5 * dx - 0.5
        count += 1
        area += x * dy - y * dx
        y, x = y + dy, x + dx
        # The two pixels ahead of corner (y, x): on the left and on the right of the way.
        if way == 0:
            ahead_left, ahead_right = region[y - 1, x], region[y, x]
        elif way == 1:
            ahead_left, ahead_right = region[y, x], region[y, x - 1]
        elif way == 2:
            ahead_left, ahead_right = region[y, x - 1], region[y - 1, x - 1]
        else:
            ahead_left, ahead_right = region[y - 1, x - 1], region[y - 1, x]
        if ahead_left:
            way = (way + 3) % 4
        elif not ahead_right:
            way = (way + 1) % 4
        if y == top and x == left and way == 0:
            return points[:count].copy(), 0.5 * area


@kernel
def curvature(points, fraction, least):  # type: ignore[no-untyped-def]
    """Curvature along a closed curve that is smoothed by a Gaussian of its arc length.

    The width of the Gaussian is a fraction of the curve's length, at least ``least`` pixels. Points
    are weighted by the arc they stand for, so the result does not depend on where the curve begins.

    Parameters
    ----------
    points
        (n, 2) float64, (y, x), clockwise on the screen.

    Returns
    -------
    curvature, weight
        (n,) float64 each: curvature in 1/px, positive where the curve is convex; arc length in px along
        the smoothed curve.
    """
    count = len(points)
    # From the middle of a pixel's side to that of the next it is 1 where both lie in line, else the slant.
    straight = np.empty(count, np.uint8)
    lines = 0
    for i in range(count):
        j = i + 1 if i + 1 < count else 0
        straight[i] = points[j, 0] == points[i, 0] or points[j, 1] == points[i, 1]
        lines += straight[i]
    length = lines + (count - lines) * _SLANT
    weight = np.empty(count)
    for i in range(count):
        weight[i] = 0.5 * ((1.0 if straight[i] else _SLANT) + (1.0 if straight[i - 1] else _SLANT))
    sigma = max(fraction * length, least)
    reach = min(3.0 * sigma, 0.499 * length)
    bell = _bells(sigma, reach)
    # Sums of both derivatives, and of what they give for a straight line and a parabola.
    first = np.zeros((count, 3))
    second = np.zeros((count, 3))
    for i in range(count):
        ahead = aslant = 0
        j = i
        while True:
            ahead += straight[j]
            aslant += 1 - straight[j]
            u = ahead + aslant * _SLANT
            j = j + 1 if j + 1 < count else 0
            if u > reach or j == i:
                break
            t = u / sigma
            g = bell[ahead, aslant]
            slope, bend = t * g, (t * t - 1.0) * g
            dy, dx = points[j, 0] - points[i, 0], points[j, 1] - points[i, 1]
            _add(first, i, weight[j] * slope, dy, dx, u)
            _add(second, i, weight[j] * bend, dy, dx, 0.5 * u * u)
            # The same pair seen from the other end: the differences and the slope change sign.
            _add(first, j, weight[i] * slope, dy, dx, u)
            _add(second, j, weight[i] * bend, -dy, -dx, 0.5 * u * u)
    out = np.empty(count)
    for i in range(count):
        y1, x1 = first[i, 0] / first[i, 2], first[i, 1] / first[i, 2]
        y2, x2 = second[i, 0] / second[i, 2], second[i, 1] / second[i, 2]
        speed = np.sqrt(y1 * y1 + x1 * x1)
        out[i] = (x1 * y2 - y1 * x2) / speed**3 if speed > 0.0 else 0.0
        weight[i] *= speed
    return out, weight


@kernel
def _bells(sigma, reach):  # type: ignore[no-untyped-def]
    """Gaussian of every arc within reach, by its straight and its slanting steps."""
    out = np.zeros((int(reach) + 2, int(reach / _SLANT) + 2))
    for ahead in range(out.shape[0]):
        for aslant in range(out.shape[1]):
            u = ahead + aslant * _SLANT
            if u > reach:
                break
            out[ahead, aslant] = np.exp(-0.5 * (u / sigma) ** 2)
    return out


@inlined
def _add(sums, at, weight, dy, dx, line):  # type: ignore[no-untyped-def]
    sums[at, 0] += weight * dy
    sums[at, 1] += weight * dx
    sums[at, 2] += weight * line


@kernel
def circular_peaks(values, prominence):  # type: ignore[no-untyped-def]
    """Positive local maxima of a closed curve of values with at least this prominence.

    Returns
    -------
    count, total
        Number of peaks and the sum of their heights.
    """
    count = len(values)
    peaks, total = 0, 0.0
    lowest = values.min()
    for i in range(count):
        if values[i] <= max(lowest, 0.0) or values[i - 1] >= values[i]:
            continue
        # A plateau counts once, at its first point.
        j = (i + 1) % count
        while j != i and values[j] == values[i]:
            j = (j + 1) % count
        if values[j] > values[i]:
            continue
        height = values[i]
        base = lowest
        for step in (1, -1):
            low, j = height, i
            for _ in range(count):
                j = (j + step) % count
                if values[j] > height:
                    base = max(base, low)
                    break
                low = min(low, values[j])
        if height - base >= prominence:
            peaks += 1
            total += height
    return peaks, total
