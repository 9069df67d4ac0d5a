"""From maps to nuclei: every pixel names its nucleus's centre, the centres are counted, pixels follow.

Each foreground pixel points at where it holds the centre of its nucleus to be. Where many pointers land, a
nucleus has its seed; every pixel joins the seed nearest to where it points. Votes are integers, distances are
compared as integers and ties go to the pixel that comes first in raster order, and nothing depends on pixels
further away than ``margin``: a region decoded on its own therefore equals that region of the whole.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numba
import numpy as np
import numpy.typing as npt

_ROUNDS = 3
_SMOOTHING = 2
_HALF = 128


@dataclass(frozen=True)
class Maps:
    """What an engine sees in a region of the work grid.

    Attributes
    ----------
    foreground
        uint8 (y, x): how sure it is that the pixel is nucleus; 128 and above is nucleus.
    landing
        int16 (2, y, x): rows and columns from the pixel to the centre of its nucleus, in work pixels.
    """

    foreground: npt.NDArray[np.uint8]
    landing: npt.NDArray[np.int16]


@dataclass(frozen=True)
class Decoding:
    """Lengths and areas, in work pixels, that decide what is one nucleus.

    Attributes
    ----------
    reach
        Furthest landing of a pixel, in rows or columns.
    separation
        Two seeds are further apart than this.
    capture
        A pixel joins a seed that is no further than this from where it lands.
    least_area
        Smaller nuclei are dropped.
    least_votes
        A seed gathers the pointers of at least so many pixels.
    looks
        How often a pixel asks: 1 takes its own word, with 2 the pixel where it lands is asked in turn, and so
        on. Pixels nearer to the centre know better.
    """

    reach: int
    separation: float
    capture: float
    least_area: float
    least_votes: float
    looks: int = 1

    @property
    def extent(self) -> int:
        """Furthest that a pixel can be from its seed, in rows or columns."""
        return self.reach + math.ceil(self.capture)

    @property
    def hearsay(self) -> int:
        """Furthest pixel that is asked for the way to the centre, in rows or columns."""
        return (self.looks - 1) * self.reach

    @property
    def margin(self) -> int:
        """Work pixels beyond a region on which its labels depend.

        A pixel's nucleus is all of its pixels (twice the extent); each of them is joined to a seed (once
        more), which stands or falls with seeds nearby and the pixels that point at them.
        """
        seeds = 2 * _ROUNDS * math.ceil(self.separation) + _SMOOTHING + self.reach
        return 3 * self.extent + seeds + self.hearsay + 1


def decode(maps: Maps, decoding: Decoding) -> tuple[npt.NDArray[np.int32], npt.NDArray[np.int32]]:
    """Nuclei of a region.

    Parameters
    ----------
    maps
        What the engine sees.
    decoding
        Lengths and areas.

    Returns
    -------
    labels
        int32 (y, x): 0 is background, ``n`` the nucleus of seed ``n - 1``. Pixels outside a nucleus that
        point into it carry its label too where the foreground is faint (64 to 127), so that its outline can
        be drawn between work pixels.
    seeds
        int32 (n, 2): row and column of each seed, in raster order.
    """
    landing = _asked(maps.landing, maps.foreground, decoding.reach, decoding.looks)
    votes = _count_votes(maps.foreground, landing)
    seeds = _find_seeds(
        _smoothed(votes), votes, _disc(decoding.separation), np.int64(round(decoding.least_votes * 256))
    )
    nearest = _nearest_seed(votes.shape, seeds, _disc(decoding.capture))
    labels = _follow(maps.foreground, landing, nearest)
    _tidy(labels, maps.foreground, len(seeds), decoding.least_area)
    return labels, seeds


def _disc(radius: float) -> npt.NDArray[np.int64]:
    """Offsets within a radius, (n, 2), nearest first, then in raster order."""
    span = np.arange(-math.floor(radius), math.floor(radius) + 1)
    grid = np.stack(np.meshgrid(span, span, indexing="ij"), axis=-1).reshape(-1, 2)
    squared = (grid**2).sum(axis=1)
    grid, squared = grid[squared <= radius**2], squared[squared <= radius**2]
    return grid[np.lexsort((grid[:, 1], grid[:, 0], squared))].astype(np.int64)


@numba.njit(nogil=True, cache=True)
def _asked(landing, foreground, reach, looks):  # type: ignore[no-untyped-def]
    """Landings no further than ``reach`` away, after asking where one lands."""
    height, width = foreground.shape
    result = np.zeros_like(landing)
    for y in range(height):
        for x in range(width):
            if foreground[y, x] < _HALF // 2:
                continue
            dy, dx = np.int64(0), np.int64(0)
            for _ in range(looks):
                row, column = min(max(y + dy, 0), height - 1), min(max(x + dx, 0), width - 1)
                if foreground[row, column] < _HALF // 2:
                    break
                dy = min(max(row - y + landing[0, row, column], -reach), reach)
                dx = min(max(column - x + landing[1, row, column], -reach), reach)
            result[0, y, x], result[1, y, x] = dy, dx
    return result


@numba.njit(nogil=True, cache=True)
def _count_votes(foreground, landing):  # type: ignore[no-untyped-def]
    height, width = foreground.shape
    votes = np.zeros((height, width), np.int32)
    for y in range(height):
        for x in range(width):
            if foreground[y, x] >= _HALF:
                row = min(max(y + landing[0, y, x], 0), height - 1)
                column = min(max(x + landing[1, y, x], 0), width - 1)
                votes[row, column] += 1
    return votes


@numba.njit(nogil=True, cache=True)
def _smoothed(votes):  # type: ignore[no-untyped-def]
    """Binomial mean over 5 x 5 pixels, times 256, so that it stays an integer."""
    height, width = votes.shape
    result = np.zeros((height, width), np.int64)
    taps = np.array([1, 4, 6, 4, 1], np.int64)
    for y in range(height):
        for x in range(width):
            if votes[y, x]:
                for i in range(5):
                    for j in range(5):
                        row, column = y + i - 2, x + j - 2
                        if 0 <= row < height and 0 <= column < width:
                            result[row, column] += taps[i] * taps[j] * votes[y, x]
    return result


@numba.njit(nogil=True, cache=True)
def _find_seeds(density, votes, disc, least):  # type: ignore[no-untyped-def]
    """Peaks of the density that no higher peak overshadows, and that enough pixels point at.

    In each round, pixels that are the highest of those left in their disc become seeds and clear it; a few
    rounds find all but long chains of ever lower neighbours, and bound how far a seed can depend on others.
    """
    height, width = density.shape
    state = np.zeros((height, width), np.uint8)  # 1: cleared, 2: seed
    for _ in range(_ROUNDS):
        fresh = [(0, 0) for _ in range(0)]
        for y in range(height):
            for x in range(width):
                value = density[y, x]
                if value == 0 or state[y, x]:
                    continue
                highest = True
                for k in range(1, len(disc)):
                    row, column = y + disc[k, 0], x + disc[k, 1]
                    if 0 <= row < height and 0 <= column < width and state[row, column] == 0:
                        other = density[row, column]
                        if other > value or (other == value and (row < y or (row == y and column < x))):
                            highest = False
                            break
                if highest:
                    fresh.append((y, x))
        for y, x in fresh:
            for k in range(len(disc)):
                row, column = y + disc[k, 0], x + disc[k, 1]
                if 0 <= row < height and 0 <= column < width and state[row, column] == 0:
                    state[row, column] = 1
            state[y, x] = 2
    count = 0
    seeds = np.zeros((np.count_nonzero(state == 2), 2), np.int32)
    for y in range(height):
        for x in range(width):
            if state[y, x] == 2:
                total = np.int64(0)
                for k in range(len(disc)):
                    row, column = y + disc[k, 0], x + disc[k, 1]
                    if 0 <= row < height and 0 <= column < width:
                        total += votes[row, column]
                if total * 256 >= least:
                    seeds[count, 0], seeds[count, 1] = y, x
                    count += 1
    return seeds[:count]


@numba.njit(nogil=True, cache=True)
def _nearest_seed(shape, seeds, disc):  # type: ignore[no-untyped-def]
    height, width = shape
    nearest = np.zeros((height, width), np.int32)
    distance = np.full((height, width), np.int32(2**31 - 1), np.int32)
    for n in range(len(seeds)):
        for k in range(len(disc)):
            row, column = seeds[n, 0] + disc[k, 0], seeds[n, 1] + disc[k, 1]
            if 0 <= row < height and 0 <= column < width:
                squared = disc[k, 0] ** 2 + disc[k, 1] ** 2
                if squared < distance[row, column]:
                    distance[row, column] = squared
                    nearest[row, column] = n + 1
    return nearest


@numba.njit(nogil=True, cache=True)
def _follow(foreground, landing, nearest):  # type: ignore[no-untyped-def]
    height, width = foreground.shape
    labels = np.zeros((height, width), np.int32)
    for y in range(height):
        for x in range(width):
            if foreground[y, x] >= _HALF // 2:
                row = min(max(y + landing[0, y, x], 0), height - 1)
                column = min(max(x + landing[1, y, x], 0), width - 1)
                labels[y, x] = nearest[row, column]
    return labels


@numba.njit(nogil=True, cache=True)
def _tidy(labels, foreground, count, least_area):  # type: ignore[no-untyped-def]
    """Keep the largest connected piece of each nucleus, fill its holes, drop what is too small; in place."""
    height, width = labels.shape
    low = np.full((count + 1, 2), np.int64(2**31), np.int64)
    high = np.full((count + 1, 2), np.int64(-1), np.int64)
    for y in range(height):
        for x in range(width):
            n = labels[y, x]
            if n:
                low[n, 0], low[n, 1] = min(low[n, 0], y), min(low[n, 1], x)
                high[n, 0], high[n, 1] = max(high[n, 0], y), max(high[n, 1], x)
    for n in range(1, count + 1):
        if high[n, 0] < 0:
            continue
        y0, x0 = low[n, 0] - 1, low[n, 1] - 1
        rows, columns = high[n, 0] - y0 + 2, high[n, 1] - x0 + 2
        piece = np.zeros((rows, columns), np.int32)
        stack = np.empty((rows * columns, 2), np.int64)
        pieces, best, best_area = 0, 0, 0
        for i in range(1, rows - 1):
            for j in range(1, columns - 1):
                if labels[y0 + i, x0 + j] != n or foreground[y0 + i, x0 + j] < _HALF or piece[i, j]:
                    continue
                pieces += 1
                area = _flood(piece, stack, i, j, pieces, labels, foreground, y0, x0, n)
                if area > best_area:
                    best, best_area = pieces, area
        outside = np.zeros((rows, columns), np.uint8)
        _flood_outside(piece, best, stack, outside)
        inside = 0
        for i in range(rows):
            for j in range(columns):
                inside += outside[i, j] == 0
        keep = inside >= least_area and best > 0
        for i in range(1, rows - 1):
            for j in range(1, columns - 1):
                y, x = y0 + i, x0 + j
                if keep and outside[i, j] == 0:
                    if labels[y, x] == 0 or (labels[y, x] == n and foreground[y, x] < _HALF):
                        labels[y, x], foreground[y, x] = n, max(foreground[y, x], _HALF)
                elif labels[y, x] == n and (not keep or foreground[y, x] >= _HALF):
                    labels[y, x] = 0


@numba.njit(nogil=True, cache=True)
def _flood(piece, stack, i, j, number, labels, foreground, y0, x0, n):  # type: ignore[no-untyped-def]
    piece[i, j] = number
    stack[0, 0], stack[0, 1] = i, j
    top, area = 1, 0
    while top:
        top -= 1
        r, c = stack[top, 0], stack[top, 1]
        area += 1
        for dr, dc in ((-1, 0), (1, 0), (0, -1), (0, 1)):
            a, b = r + dr, c + dc
            if a < 1 or b < 1 or a > piece.shape[0] - 2 or b > piece.shape[1] - 2 or piece[a, b]:
                continue
            if labels[y0 + a, x0 + b] == n and foreground[y0 + a, x0 + b] >= _HALF:
                piece[a, b] = number
                stack[top, 0], stack[top, 1] = a, b
                top += 1
    return area


@numba.njit(nogil=True, cache=True)
def _flood_outside(piece, best, stack, outside):  # type: ignore[no-untyped-def]
    outside[0, 0] = 1
    stack[0, 0], stack[0, 1] = 0, 0
    top = 1
    while top:
        top -= 1
        r, c = stack[top, 0], stack[top, 1]
        for dr, dc in ((-1, 0), (1, 0), (0, -1), (0, 1)):
            a, b = r + dr, c + dc
            if a < 0 or b < 0 or a >= piece.shape[0] or b >= piece.shape[1] or outside[a, b]:
                continue
            if best == 0 or piece[a, b] != best:
                outside[a, b] = 1
                stack[top, 0], stack[top, 1] = a, b
                top += 1


@numba.njit(nogil=True, cache=True)
def paint(labels, foreground, work_origin, work_shape, zoom, origin, shape):  # type: ignore[no-untyped-def]
    """Draw nuclei from the work grid on a region of the image.

    Parameters
    ----------
    labels, foreground
        int32 and uint8 (y, x) on a region of the work grid.
    work_origin, work_shape
        Where that region begins, and the size of the whole work grid: row, column.
    zoom
        Work pixels per image pixel.
    origin, shape
        Where the image region begins, and its size: row, column.

    Returns
    -------
    ndarray
        int32 (y, x): at every pixel where the interpolated foreground is nucleus, the label that weighs most
        among the four work pixels around it; the lowest of equals.
    """
    result = np.zeros(shape, np.int32)
    corner = np.zeros(4, np.int32)
    weight = np.zeros(4, np.float64)
    for y in range(shape[0]):
        v = min(max((y + origin[0] + 0.5) * zoom - 0.5, 0.0), work_shape[0] - 1.0)
        a = v - int(v)
        i = int(v) - work_origin[0]
        k = min(i + 1, labels.shape[0] - 1)
        for x in range(shape[1]):
            u = min(max((x + origin[1] + 0.5) * zoom - 0.5, 0.0), work_shape[1] - 1.0)
            b = u - int(u)
            j = int(u) - work_origin[1]
            m = min(j + 1, labels.shape[1] - 1)
            corner[0], corner[1], corner[2], corner[3] = (
                labels[i, j],
                labels[i, m],
                labels[k, j],
                labels[k, m],
            )
            if corner[0] == 0 and corner[1] == 0 and corner[2] == 0 and corner[3] == 0:
                continue
            weight[0], weight[1] = (1 - a) * (1 - b), (1 - a) * b
            weight[2], weight[3] = a * (1 - b), a * b
            level = (
                weight[0] * foreground[i, j]
                + weight[1] * foreground[i, m]
                + weight[2] * foreground[k, j]
                + weight[3] * foreground[k, m]
            )
            if level < _HALF:
                continue
            best, most = 0, 0.0
            for p in range(4):
                if corner[p] == 0:
                    continue
                total = 0.0
                for q in range(4):
                    if corner[q] == corner[p]:
                        total += weight[q]
                if total > most or (total == most and corner[p] < best):
                    best, most = corner[p], total
            result[y, x] = best
    return result
