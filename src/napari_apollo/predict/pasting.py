"""The inner loops of putting crops back, compiled; they run without the interpreter's lock."""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit

_NUCLEUS_FIRST = 1e12


def find_owners(
    masks: np.ndarray,
    centre: np.ndarray,
    centroid: np.ndarray,
    scale: np.ndarray,
    region: tuple[int, int, int, int],
) -> np.ndarray:
    """Which of some cells each pixel of a region belongs to.

    Parameters
    ----------
    masks
        (n, y, x) uint8: 0 not this cell, 1 its cytoplasm, 2 its nucleus.
    centre, centroid
        (n, 2) crop centre (int64) and nucleus centroid (float64), field pixels, (y, x).
    scale
        (n,) field pixels per crop pixel.
    region
        Rows ``y0:y1`` and columns ``x0:x1``.

    Returns
    -------
    numpy.ndarray
        (y1 - y0, x1 - x0) int32 index of the cell, -1 where there is none. A nucleus wins over
        cytoplasm, then the nearer centroid, then the cell that comes first.
    """
    y0, y1, x0, x1 = region
    owner = np.full((y1 - y0, x1 - x0), -1, np.int32)
    best = np.full(owner.shape, np.inf)
    _find_owners(np.ascontiguousarray(masks), centre, centroid, scale, y0, x0, owner, best)
    return owner


def paste(
    crops: np.ndarray,
    owner: np.ndarray,
    crop_of: np.ndarray,
    centre: np.ndarray,
    scale: np.ndarray,
    origin: tuple[int, int],
    dtype: np.dtype[Any],
) -> np.ndarray:
    """Crops in the places that their cells own.

    Parameters
    ----------
    crops
        (k, y, x) values.
    owner
        (Y, X) int32 index of a cell, -1 where there is none.
    crop_of
        (n,) index into ``crops`` for each cell, -1 where it has none.
    centre, scale
        (n, 2) and (n,) as of ``find_owners``.
    origin
        Field position of the first pixel of ``owner``.
    dtype
        Of the result.

    Returns
    -------
    numpy.ndarray
        (Y, X); the value at a crop pixel's centre is that pixel's, between centres it is bilinear. 0
        where no cell is.
    """
    out = np.zeros(owner.shape, dtype)
    if len(crops):
        whole = np.issubdtype(dtype, np.integer)
        _paste(np.ascontiguousarray(crops), owner, crop_of, centre, scale, origin[0], origin[1], whole, out)
    return out


@njit(nogil=True, cache=True)
def _find_owners(masks, centre, centroid, scale, y0, x0, owner, best):  # type: ignore[no-untyped-def]
    size = masks.shape[1]
    half = size // 2
    height, width = owner.shape
    for k in range(masks.shape[0]):
        f = scale[k]
        top = max(0, int(np.ceil(centre[k, 0] + (-0.5 - half) * f)) - y0)
        bottom = min(height, int(np.floor(centre[k, 0] + (size - 0.5 - half) * f)) - y0 + 1)
        left = max(0, int(np.ceil(centre[k, 1] + (-0.5 - half) * f)) - x0)
        right = min(width, int(np.floor(centre[k, 1] + (size - 0.5 - half) * f)) - x0 + 1)
        for y in range(top, bottom):
            i = int(np.floor(half + (y + y0 - centre[k, 0]) / f + 0.5))
            if i < 0 or i >= size:
                continue
            dy = y + y0 - centroid[k, 0]
            for x in range(left, right):
                j = int(np.floor(half + (x + x0 - centre[k, 1]) / f + 0.5))
                if j < 0 or j >= size or masks[k, i, j] == 0:
                    continue
                dx = x + x0 - centroid[k, 1]
                rank = dy * dy + dx * dx
                if masks[k, i, j] == 2:
                    rank -= _NUCLEUS_FIRST
                if rank < best[y, x]:
                    best[y, x] = rank
                    owner[y, x] = k


@njit(nogil=True, cache=True)
def _paste(crops, owner, crop_of, centre, scale, y0, x0, whole, out):  # type: ignore[no-untyped-def]
    size = crops.shape[1]
    half = size // 2
    for y in range(owner.shape[0]):
        for x in range(owner.shape[1]):
            k = owner[y, x]
            if k < 0 or crop_of[k] < 0:
                continue
            row = half + (y + y0 - centre[k, 0]) / scale[k]
            column = half + (x + x0 - centre[k, 1]) / scale[k]
            top, left = int(np.floor(row)), int(np.floor(column))
            down, right = row - top, column - left
            if down == 0 and right == 0:
                out[y, x] = crops[crop_of[k], top, left]
                continue
            i0, i1 = max(top, 0), min(top + 1, size - 1)
            j0, j1 = max(left, 0), min(left + 1, size - 1)
            crop = crops[crop_of[k]]
            above = (1 - right) * crop[i0, j0] + right * crop[i0, j1]
            below = (1 - right) * crop[i1, j0] + right * crop[i1, j1]
            value = (1 - down) * above + down * below
            out[y, x] = np.rint(value) if whole else value
