"""What the quality checks need to know of a nucleus: form, sharpness, DNA, saturated pixels.

Measured in the field's own pixels, within the window that the cell's crop covers, so that a value depends on
nothing but the field: not on tiles, not on the order of cells.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit
from numpy.typing import NDArray

COLUMNS = ("pixels", "solidity", "dna", "detail", "saturation", "border")
"""Columns of `measure_nuclei`."""


def detail_filter(scale: float) -> NDArray[np.float64]:
    """Laplacian of a Gaussian, made to sum to zero.

    The plain Laplacian mostly measures noise: blurred nuclei with fresh noise pass for sharp ones. Smoothing
    by one crop pixel first finds them (``docs/cells.md``).

    Parameters
    ----------
    scale
        Field pixels per crop pixel; the Gaussian is as wide, so that fields of different pixel sizes compare.

    Returns
    -------
    ndarray (k, k)
        Scale-normalised (times the variance; Lindeberg 1998), cut off at three standard deviations.
    """
    sigma = max(1.0, scale)
    radius = int(np.ceil(3 * sigma))
    y, x = np.mgrid[-radius : radius + 1, -radius : radius + 1] / sigma
    bell = np.exp(-(y**2 + x**2) / 2)
    kernel: NDArray[np.float64] = (y**2 + x**2 - 2) * bell / bell.sum()
    return kernel - kernel.mean()


def measure_nuclei(
    image: NDArray[Any],
    anchor: int,
    labels: NDArray[np.int32],
    cells: NDArray[np.int32],
    ids: NDArray[np.integer],
    windows: NDArray[np.integer],
    origin: tuple[int, int],
    field_shape: tuple[int, int],
    saturated: NDArray[np.floating],
    kernel: NDArray[np.float64],
) -> NDArray[np.float64]:
    """Measure nuclei in a region of a field.

    Parameters
    ----------
    image
        ``(stain, y, x)``, the region.
    anchor
        Channel of the DNA stain.
    labels, cells
        ``(y, x)`` nuclei and cell regions of the region.
    ids
        ``(n,)`` labels of the nuclei.
    windows
        ``(n, 4)`` first and last row and column of each crop, in pixels of the region; they may reach beyond
        it only where the field ends.
    origin
        ``(y, x)`` of the region in the field.
    field_shape
        ``(Y, X)`` of the field.
    saturated
        ``(stain,)`` intensity from which on a pixel is saturated; infinity where a stain has none.
    kernel
        From `detail_filter`. The region holds its radius around every window, or the field ends there.

    Returns
    -------
    ndarray (n, 6), float64
        ``pixels`` of the nucleus in its window; ``solidity``, these pixels over the lattice points in their
        convex hull (1 for every convex digital shape, whatever its size; the points are counted with Pick's
        theorem); ``dna``, the sum of the anchor; ``detail``, the root of the mean square of the anchor under
        ``kernel``; ``saturation``, the greatest fraction of saturated pixels among the stains; ``border``, 1
        where the cell region touches the edge of the field.
    """
    found = np.zeros((len(ids), len(COLUMNS)))
    rows = int((windows[:, 2] - windows[:, 0]).max(initial=0)) + 1
    _measure(
        image,
        anchor,
        labels,
        cells,
        np.asarray(ids, np.int32),
        np.asarray(windows, np.int64),
        np.array([origin[0], origin[1], *field_shape], np.int64),
        np.asarray(saturated, np.float64),
        kernel,
        np.empty((rows, 2), np.int64),
        np.empty((4 * rows + 2, 2), np.int64),
        found,
    )
    return found


@njit(nogil=True, cache=True)
def _measure(
    image: NDArray[Any],
    anchor: int,
    labels: NDArray[np.int32],
    cells: NDArray[np.int32],
    ids: NDArray[np.int32],
    windows: NDArray[np.int64],
    place: NDArray[np.int64],
    saturated: NDArray[np.float64],
    kernel: NDArray[np.float64],
    extent: NDArray[np.int64],
    hull: NDArray[np.int64],
    found: NDArray[np.float64],
) -> None:
    height, width = labels.shape
    stains = image.shape[0]
    counts = np.zeros(stains, np.int64)
    dna_image = image[anchor]
    for k in range(len(ids)):
        own = ids[k]
        top, left = max(0, windows[k, 0]), max(0, windows[k, 1])
        bottom, right = min(height - 1, windows[k, 2]), min(width - 1, windows[k, 3])
        counts[:] = 0
        pixels = 0
        dna, energy = 0.0, 0.0
        for y in range(top, bottom + 1):
            extent[y - top, 0] = right + 1
            extent[y - top, 1] = -1
            for x in range(left, right + 1):
                if labels[y, x] != own:
                    continue
                pixels += 1
                extent[y - top, 0] = min(extent[y - top, 0], x)
                extent[y - top, 1] = x
                dna += dna_image[y, x]
                response = _filtered(dna_image, kernel, y, x)
                energy += response * response
                for c in range(stains):
                    if image[c, y, x] >= saturated[c]:
                        counts[c] += 1
        found[k, 0] = pixels
        found[k, 2] = dna
        if pixels > 0:
            found[k, 1] = pixels / _lattice_points(extent[: bottom - top + 1], hull)
            found[k, 3] = np.sqrt(energy / pixels)
            found[k, 4] = counts.max() / pixels
        found[k, 5] = _at_border(cells, own, top, left, bottom, right, place)


@njit(nogil=True, cache=True)
def _filtered(image: NDArray[Any], kernel: NDArray[np.float64], y: int, x: int) -> float:
    # Beyond the field its last pixels go on.
    height, width = image.shape
    radius = kernel.shape[0] // 2
    total = 0.0
    inside = radius <= y < height - radius and radius <= x < width - radius
    for i in range(kernel.shape[0]):
        if inside:
            row = image[y + i - radius, x - radius : x + radius + 1]
            for j in range(kernel.shape[1]):
                total += kernel[i, j] * row[j]
        else:
            near_y = min(height - 1, max(0, y + i - radius))
            for j in range(kernel.shape[1]):
                total += kernel[i, j] * image[near_y, min(width - 1, max(0, x + j - radius))]
    return total


@njit(nogil=True, cache=True)
def _at_border(
    cells: NDArray[np.int32], own: int, top: int, left: int, bottom: int, right: int, place: NDArray[np.int64]
) -> bool:
    first_y, first_x = -place[0], -place[1]
    last_y, last_x = place[2] - 1 - place[0], place[3] - 1 - place[1]
    for y in (first_y, last_y):
        if top <= y <= bottom:
            for x in range(left, right + 1):
                if cells[y, x] == own:
                    return True
    for x in (first_x, last_x):
        if left <= x <= right:
            for y in range(top, bottom + 1):
                if cells[y, x] == own:
                    return True
    return False


@njit(nogil=True, cache=True)
def _lattice_points(extent: NDArray[np.int64], hull: NDArray[np.int64]) -> float:
    """Pixels in the convex hull of a nucleus, from the first and last pixel of each of its rows.

    Andrew's monotone chain; Pick's theorem (interior + boundary points = area + boundary / 2 + 1).
    """
    half = hull.shape[0] // 2
    lower, upper = hull[:half], hull[half:]
    n, m = 0, 0
    for y in range(extent.shape[0]):
        if extent[y, 1] < 0:
            continue
        n = _push(lower, n, y, extent[y, 0], 1)
        m = _push(upper, m, y, extent[y, 1], -1)
    twice_area = 0
    boundary = 0
    # Once round: down along the left side, back up along the right side.
    y0, x0 = upper[0, 0], upper[0, 1]
    for p in range(n + m):
        if p < n:
            y1, x1 = lower[p, 0], lower[p, 1]
        else:
            y1, x1 = upper[n + m - 1 - p, 0], upper[n + m - 1 - p, 1]
        twice_area += y0 * x1 - y1 * x0
        boundary += _gcd(abs(y1 - y0), abs(x1 - x0))
        y0, x0 = y1, x1
    return (abs(twice_area) + boundary) / 2 + 1


@njit(nogil=True, cache=True)
def _push(chain: NDArray[np.int64], count: int, y: int, x: int, side: int) -> int:
    while count >= 2:
        ay, ax = chain[count - 2, 0], chain[count - 2, 1]
        by, bx = chain[count - 1, 0], chain[count - 1, 1]
        turn = (by - ay) * (x - ax) - (bx - ax) * (y - ay)
        if turn * side > 0:
            break
        count -= 1
    chain[count, 0] = y
    chain[count, 1] = x
    return count + 1


@njit(nogil=True, cache=True)
def _gcd(a: int, b: int) -> int:
    while b:
        a, b = b, a % b
    return a
