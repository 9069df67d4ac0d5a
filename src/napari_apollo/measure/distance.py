"""Exact distance of every pixel of a region to the nearest pixel outside; compiled."""

from __future__ import annotations

import numpy as np

from napari_apollo.measure.compiled import kernel


@kernel
def depth_of(region):  # type: ignore[no-untyped-def]
    """Squared Euclidean distance to the nearest background pixel, in whole numbers.

    Two passes in linear time (Meijster, Roerdink & Hesselink 2000).

    Parameters
    ----------
    region
        (y, x) uint8 with a rim of background.

    Returns
    -------
    (y, x) int64
        Squared distance between pixel centres, 0 outside of the region.
    """
    height, width = region.shape
    column = np.zeros((height, width), np.int64)
    for y in range(1, height):
        for x in range(width):
            if region[y, x]:
                column[y, x] = column[y - 1, x] + 1
    for y in range(height - 2, -1, -1):
        for x in range(width):
            if column[y + 1, x] < column[y, x]:
                column[y, x] = column[y + 1, x] + 1
    out = np.zeros((height, width), np.int64)
    centre = np.empty(width, np.int64)
    begin = np.empty(width, np.int64)
    for y in range(1, height - 1):
        last = 0
        centre[0] = begin[0] = 0
        for x in range(1, width):
            own = column[y, x] ** 2
            while last >= 0:
                c, t = centre[last], begin[last]
                if (t - c) ** 2 + column[y, c] ** 2 <= (t - x) ** 2 + own:
                    break
                last -= 1
            if last < 0:
                last = 0
                centre[0], begin[0] = x, 0
                continue
            c = centre[last]
            # First place where the parabola of x lies below that of c.
            place = 1 + (x * x - c * c + own - column[y, c] ** 2) // (2 * (x - c))
            if place < width:
                last += 1
                centre[last], begin[last] = x, place
        for x in range(width - 1, -1, -1):
            c = centre[last]
            if region[y, x]:
                out[y, x] = (x - c) ** 2 + column[y, c] ** 2
            if x == begin[last]:
                last -= 1
    return out
