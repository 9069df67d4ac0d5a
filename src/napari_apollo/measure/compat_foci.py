"""Foci counted as the APOLLO study did: a threshold, watershed from maxima, pieces of a least size; compiled.

Written from the published definition. Pixels outside of the nucleus count as zero.
"""

from __future__ import annotations

from heapq import heappop, heappush
from typing import Any

import numpy as np

from napari_apollo.measure.compiled import kernel

_ALPHA = 2.5
_LEAST = 4


@kernel
def count_foci(region, light):  # type: ignore[no-untyped-def]
    """Number of foci of a nucleus.

    Intensities are brought to whole grey levels 0 to 255 between the nucleus's least and greatest. What
    is above their mean by more than 2.5 standard deviations is split by a watershed that starts from local
    maxima (3 x 3 pixels); pieces of less than 4 pixels do not count, neither before nor after.

    Parameters
    ----------
    region
        (y, x) uint8 with a rim of background.
    light
        (y, x) float64, not constant in the region.
    """
    grey = _grey_levels(region, light)
    count, total, squares = 0, np.int64(0), np.int64(0)
    for y in range(grey.shape[0]):
        for x in range(grey.shape[1]):
            if region[y, x]:
                level = np.int64(grey[y, x])
                count, total, squares = count + 1, total + level, squares + level * level
    mean = total / count
    threshold = mean + _ALPHA * np.sqrt(max(0.0, squares / count - mean * mean))
    lit = np.zeros(grey.shape, np.uint8)
    for y in range(grey.shape[0]):
        for x in range(grey.shape[1]):
            lit[y, x] = region[y, x] and grey[y, x] > threshold
    _drop_small(lit)
    sizes = _flood(grey, lit, _mark_maxima(grey))
    return (sizes >= _LEAST).sum()


@kernel
def _grey_levels(region, light):  # type: ignore[no-untyped-def]
    low, high = np.inf, -np.inf
    for y in range(region.shape[0]):
        for x in range(region.shape[1]):
            if region[y, x]:
                low, high = min(low, light[y, x]), max(high, light[y, x])
    grey = np.zeros(region.shape, np.uint8)
    for y in range(region.shape[0]):
        for x in range(region.shape[1]):
            if region[y, x]:
                grey[y, x] = np.uint8((light[y, x] - low) / (high - low) * 255.0)
    return grey


@kernel
def _drop_small(lit):  # type: ignore[no-untyped-def]
    """Take out pieces of fewer pixels than count, joined by pixel sides."""
    seen = np.zeros(lit.shape, np.uint8)
    waiting = np.empty((lit.size, 2), np.int64)
    for y in range(1, lit.shape[0] - 1):
        for x in range(1, lit.shape[1] - 1):
            if not lit[y, x] or seen[y, x]:
                continue
            waiting[0, 0], waiting[0, 1] = y, x
            seen[y, x] = 1
            size, done = 1, 0
            while done < size:
                cy, cx = waiting[done, 0], waiting[done, 1]
                done += 1
                for dy, dx in ((-1, 0), (1, 0), (0, -1), (0, 1)):
                    ny, nx = cy + dy, cx + dx
                    if lit[ny, nx] and not seen[ny, nx]:
                        seen[ny, nx] = 1
                        waiting[size, 0], waiting[size, 1] = ny, nx
                        size += 1
            if size < _LEAST:
                for k in range(size):
                    lit[waiting[k, 0], waiting[k, 1]] = 0


@kernel
def _mark_maxima(grey):  # type: ignore[no-untyped-def]
    """Numbers of local maxima, from 1; of equal ones that touch, the first counts."""
    height, width = grey.shape
    marks = np.zeros((height, width), np.int32)
    number = 0
    for y in range(1, height - 1):
        for x in range(1, width - 1):
            top = grey[y, x] > 0
            for ny in range(y - 1, y + 2):
                for nx in range(x - 1, x + 2):
                    top = top and grey[ny, nx] <= grey[y, x] and not marks[ny, nx]
            if top:
                number += 1
                marks[y, x] = number
    return marks


@kernel
def _flood(grey, lit, marks):  # type: ignore[no-untyped-def]
    """Pixels that each mark gets when lit ones are taken from the brightest down, first come first served."""
    sizes = np.zeros(marks.max() + 1, np.int64)
    queue: Any = [(np.int64(0), np.int64(0), np.int64(0), np.int64(0))]
    queue.clear()
    age = np.int64(0)
    for y in range(grey.shape[0]):
        for x in range(grey.shape[1]):
            if not lit[y, x]:
                marks[y, x] = 0
            elif marks[y, x]:
                heappush(queue, (-np.int64(grey[y, x]), np.int64(0), np.int64(y), np.int64(x)))
                sizes[marks[y, x]] += 1
    while len(queue):
        _, _, y, x = heappop(queue)
        for dy, dx in ((-1, 0), (0, -1), (0, 1), (1, 0)):
            ny, nx = y + dy, x + dx
            if lit[ny, nx] and not marks[ny, nx]:
                age += 1
                marks[ny, nx] = marks[y, x]
                sizes[marks[y, x]] += 1
                heappush(queue, (-np.int64(grey[ny, nx]), age, ny, nx))
    return sizes
