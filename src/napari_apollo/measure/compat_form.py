"""Form and outline as published by chrometrics, quirks included; compiled.

Written from the published definitions. Where these depend on how an image library treats the edge of
a cropped mask, that is part of the definition and said at the function.
"""

from __future__ import annotations

import numpy as np

from napari_apollo.measure.compiled import kernel
from napari_apollo.measure.hull import hull_of, pixels_inside
from napari_apollo.measure.regions import quantile
from napari_apollo.measure.shape import eigenvalues, spread

_PAD = 5


@kernel
def cropped(mask, height, width):  # type: ignore[no-untyped-def]
    """Nucleus (mask value 2) in its own box: (y, x) uint8, and where the box begins."""
    top, left, bottom, right = height, width, 0, 0
    for y in range(height):
        for x in range(width):
            if mask[y * width + x] == 2:
                top, left = min(top, y), min(left, x)
                bottom, right = max(bottom, y + 1), max(right, x + 1)
    if bottom == 0:
        return np.zeros((0, 0), np.uint8), 0, 0
    out = np.zeros((bottom - top, right - left), np.uint8)
    for y in range(top, bottom):
        for x in range(left, right):
            out[y - top, x - left] = mask[y * width + x] == 2
    return out, top, left


@kernel
def callipers(region):  # type: ignore[no-untyped-def]
    """Smallest and largest of the longest columns of the mask turned by 1, 11, ... 351 degrees.

    The mask is turned about the middle of its box by nearest neighbour, into a box that just holds
    it, as image libraries do with binary images.
    """
    height, width = region.shape
    cy, cx = height / 2.0 - 0.5, width / 2.0 - 0.5
    low, high = np.inf, 0.0
    for angle in range(1, 360, 10):
        cosine, sine = np.cos(np.deg2rad(float(angle))), np.sin(np.deg2rad(float(angle)))
        # Where the corners go: turned back about the middle.
        top = left = np.inf
        bottom = right = -np.inf
        for y in (0.0, height - 1.0):
            for x in (0.0, width - 1.0):
                u = cosine * (x - cx) + sine * (y - cy) + cx
                v = -sine * (x - cx) + cosine * (y - cy) + cy
                top, bottom = min(top, v), max(bottom, v)
                left, right = min(left, u), max(right, u)
        rows = int(np.round(bottom - top + 1.0))
        columns = int(np.round(right - left + 1.0))
        longest = 0
        for c in range(columns):
            count = 0
            u = c + left - cx
            for r in range(rows):
                v = r + top - cy
                x = int(np.floor(cosine * u - sine * v + cx + 0.5))
                y = int(np.floor(sine * u + cosine * v + cy + 0.5))
                if 0 <= y < height and 0 <= x < width and region[y, x]:
                    count += 1
            longest = max(longest, count)
        low, high = min(low, float(longest)), max(high, float(longest))
    return low, high


@kernel
def radii(region, out):  # type: ignore[no-untyped-def]
    """Distances from the centroid to the edge pixels, and the largest distance of two of these.

    Edge pixels have a background pixel on one side within the box; sides that lie on the box's own
    edge do not count.
    """
    height, width = region.shape
    _, cy, cx, _, _, _ = spread(region)
    places = np.empty((height * width, 2), np.int64)
    count = 0
    for y in range(height):
        for x in range(width):
            if region[y, x] and (
                (y > 0 and not region[y - 1, x])
                or (y + 1 < height and not region[y + 1, x])
                or (x > 0 and not region[y, x - 1])
                or (x + 1 < width and not region[y, x + 1])
            ):
                places[count, 0], places[count, 1] = y, x
                count += 1
    if count == 0:
        return False
    distance = np.empty(count)
    for k in range(count):
        dy, dx = places[k, 0] - cy, places[k, 1] - cx
        distance[k] = np.sqrt(dy * dy + dx * dx)
    distance = np.sort(distance)
    out[0], out[1] = distance[0], distance[-1]
    out[2], out[3] = quantile(distance, 0.5), distance.mean()
    out[4] = most_common(distance)
    out[5], out[6] = quantile(distance, 0.25), quantile(distance, 0.75)
    out[7] = np.sqrt(((distance - distance.mean()) ** 2).mean())
    longest = 0
    for i in range(count):
        for j in range(i + 1, count):
            dy, dx = places[i, 0] - places[j, 0], places[i, 1] - places[j, 1]
            longest = max(longest, dy * dy + dx * dx)
    out[8] = np.sqrt(float(longest))
    return count > 1


@kernel
def most_common(ordered):  # type: ignore[no-untyped-def]
    """Value that occurs most often among ascending ones, the smallest of several."""
    best, run, value = 0, 0, ordered[0]
    for k in range(len(ordered)):
        run = run + 1 if k and ordered[k] == ordered[k - 1] else 1
        if run > best:
            best, value = run, ordered[k]
    return value


@kernel
def perimeter_of(region):  # type: ignore[no-untyped-def]
    """Perimeter after Benkrid & Crookes, edge pixels weighted by the pattern of their edge neighbours."""
    height, width = region.shape
    edge = np.zeros((height + 2, width + 2), np.uint8)
    for y in range(height):
        for x in range(width):
            if region[y, x]:
                inner = (
                    0 < y < height - 1
                    and 0 < x < width - 1
                    and region[y - 1, x]
                    and region[y + 1, x]
                    and region[y, x - 1]
                    and region[y, x + 1]
                )
                edge[y + 1, x + 1] = not inner
    total = 0.0
    for y in range(1, height + 1):
        for x in range(1, width + 1):
            if not edge[y, x]:
                continue
            sides = edge[y - 1, x] + edge[y + 1, x] + edge[y, x - 1] + edge[y, x + 1]
            corners = edge[y - 1, x - 1] + edge[y - 1, x + 1] + edge[y + 1, x - 1] + edge[y + 1, x + 1]
            code = 1 + 2 * sides + 10 * corners
            if code in (5, 7, 15, 17, 25, 27):
                total += 1.0
            elif code in (21, 33):
                total += np.sqrt(2.0)
            elif code in (13, 23):
                total += 0.5 * (1.0 + np.sqrt(2.0))
    return total


@kernel
def simple_form(region, perimeter, out):  # type: ignore[no-untyped-def]
    """Centroid, area, perimeter, box, hull, axes and their ratios, in the published order."""
    height, width = region.shape
    area, cy, cx, vyy, vxx, vyx = spread(region)
    larger, smaller = eigenvalues(vyy, vxx, vyx)
    rim = np.zeros((height + 2, width + 2), np.uint8)
    rim[1:-1, 1:-1] = region
    left, right = hull_of(rim)
    convex = pixels_inside(left, right)
    out[0], out[1], out[2], out[3] = cy, cx, area, perimeter
    out[4], out[5] = height * width, convex
    out[6] = 2.0 * np.sqrt(area / np.pi)
    major, minor = 4.0 * np.sqrt(larger), 4.0 * np.sqrt(max(0.0, smaller))
    out[7], out[8] = major, minor
    if larger > 0.0:
        out[9] = np.sqrt(max(0.0, 1.0 - max(0.0, smaller) / larger))
        out[13] = minor / major
    if vyy == vxx:
        out[10] = np.pi / 4.0 if vyx >= 0.0 else -np.pi / 4.0
    else:
        out[10] = 0.5 * np.arctan2(2.0 * vyx, vyy - vxx)
    out[11] = (convex - area) / convex
    out[12] = area / convex
    out[14] = perimeter**2 / (4.0 * np.pi * area)
    out[15] = area / (height * width)


@kernel
def local_curvature(region):  # type: ignore[no-untyped-def]
    """Curvature at the edge pixels, ordered by their angle about their mean.

    One over the radius, plus a pixel, of the circle through the pixel and those two places before and
    after; negative where the circle's centre lies outside of the nucleus; 0 on a straight line.
    """
    height, width = region.shape[0] + 2 * _PAD, region.shape[1] + 2 * _PAD
    wide = np.zeros((height, width), np.uint8)
    wide[_PAD:-_PAD, _PAD:-_PAD] = region
    ys, xs = np.empty(region.size, np.int64), np.empty(region.size, np.int64)
    count = 0
    for y in range(1, height - 1):
        for x in range(1, width - 1):
            inner = wide[y - 1, x] and wide[y + 1, x] and wide[y, x - 1] and wide[y, x + 1]
            if wide[y, x] and not inner:
                ys[count], xs[count] = y, x
                count += 1
    ys, xs = ys[:count], xs[:count]
    order = np.argsort(np.arctan2(ys - ys.mean(), xs - xs.mean()), kind="mergesort")[::-1]
    out = np.zeros(count)
    for k in range(count):
        a, b, c = order[(k - 2) % count], order[k], order[(k + 2) % count]
        y1, x1, y2, x2, y3, x3 = ys[a], xs[a], ys[b], xs[b], ys[c], xs[c]
        twice = 2 * (y1 * (x2 - x3) + y2 * (x3 - x1) + y3 * (x1 - x2))
        if twice == 0:
            continue
        s1, s2, s3 = y1 * y1 + x1 * x1, y2 * y2 + x2 * x2, y3 * y3 + x3 * x3
        uy = (s1 * (x2 - x3) + s2 * (x3 - x1) + s3 * (x1 - x2)) / twice
        ux = (s1 * (y3 - y2) + s2 * (y1 - y3) + s3 * (y2 - y1)) / twice
        radius = np.sqrt((uy - y2) ** 2 + (ux - x2) ** 2) + 1.0
        fy, fx = np.floor(uy), np.floor(ux)
        inside = 0 <= fy < height and 0 <= fx < width and wide[int(fy), int(fx)] != 0
        out[k] = 1.0 / radius if inside else -1.0 / radius
    return out


@kernel
def curvature_statistics(bends, perimeter, out):  # type: ignore[no-untyped-def]
    """The first 15 and the last 3 of the published curvature features; values that do not exist stay NaN."""
    mean = bends.mean()
    out[0] = mean
    out[1] = np.sqrt(((bends - mean) ** 2).mean())
    signs = np.sign(bends)
    out[2] = (signs[1:] != signs[:-1]).sum()
    for side in range(2):
        part = np.sort(bends[bends > 0]) if side == 0 else np.sort(-bends[bends < 0])
        at = 3 + 6 * side
        if len(part):
            middle = part.mean()
            out[at], out[at + 1], out[at + 2] = part[-1], middle, quantile(part, 0.5)
            out[at + 3] = np.sqrt(((part - middle) ** 2).mean())
            out[at + 4], out[at + 5] = part.sum(), len(part)
    if perimeter > 0.0:
        out[23] = out[8] / perimeter
        out[24] = out[14] / perimeter
        out[25] = out[2] / perimeter
