"""Cutting cells out of a field: one crop and one mask per nucleus.

The geometry is the one rule of ``docs/architecture.md``: crop pixel ``(i, j)`` has its centre at field
position ``centre + (i - S//2, j - S//2) * scale``. What lies outside the field is zero.

The loops are compiled by numba on first use (a few seconds for each pixel type, kept in its cache afterwards)
and run without the interpreter's lock, so the threads of this module and of the tasks that call it share the
cores without asking for a threading layer.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Literal, get_args

import numpy as np
from numba import njit
from numpy.typing import NDArray

from napari_apollo.errors import ConfigError, DataError
from napari_apollo.tasks import available_cores

Neighbours = Literal["keep", "blank", "isolate"]
"""What becomes of pixels that are not the cell's: ``keep`` leaves all, ``blank`` zeroes the pixels of other
cells, ``isolate`` zeroes everything outside the cell's own region."""

BACKGROUND, CYTOPLASM, NUCLEUS, OTHER = 0, 1, 2, 3
"""Codes of a mask; ``OTHER`` (another cell) is used while cutting and never stored."""

_KEPT = {
    "keep": (True, True, True, True),
    "blank": (True, True, True, False),
    "isolate": (False, True, True, False),
}


def cut(
    image: NDArray[Any],
    labels: NDArray[np.integer],
    cells: NDArray[np.integer] | None,
    centres: NDArray[np.integer],
    ids: NDArray[np.integer],
    size: int,
    neighbours: Neighbours = "keep",
    *,
    scale: float = 1.0,
    threads: int | None = None,
) -> tuple[NDArray[Any], NDArray[np.uint8]]:
    """Crops and masks of the cells of a field.

    Parameters
    ----------
    image
        Field ``(stain, y, x)``, any real pixel type.
    labels
        Nuclei ``(y, x)``, 0 where there is none.
    cells
        Cell regions ``(y, x)`` with the labels of their nuclei, or None where only nuclei are known.
    centres
        ``(n, 2)`` integer positions ``(y, x)`` in field pixels; they may lie outside the field.
    ids
        ``(n,)`` label of each cell.
    size
        Height and width of a crop in pixels.
    neighbours
        ``"keep"``, ``"blank"`` or ``"isolate"``, see `Neighbours`.
    scale
        Field pixels per crop pixel. Where it is not 1, intensities are averaged with a triangular filter as
        wide as the coarser of the two pixels (the usual antialiased linear interpolation), labels are taken
        from the nearest field pixel, and integers are rounded.
    threads
        Threads used; every core where not given.

    Returns
    -------
    images : ndarray (n, stain, size, size)
        Pixel type as in the field, zero outside it.
    masks : ndarray (n, size, size), uint8
        0 not this cell, 1 its cytoplasm, 2 its nucleus.

    Raises
    ------
    DataError
        When the arrays do not fit each other.
    ConfigError
        When ``size``, ``scale`` or ``neighbours`` is out of bounds.
    """
    image, labels, cells, centres, ids = _checked(image, labels, cells, centres, ids)
    if size < 1:
        raise ConfigError(f"size = {size}: a crop has at least one pixel.")
    if not (np.isfinite(scale) and scale > 0):
        raise ConfigError(f"scale = {scale}: field pixels per crop pixel is a positive number.")
    if neighbours not in get_args(Neighbours):
        raise ConfigError(f"neighbours = {neighbours!r}: one of {', '.join(get_args(Neighbours))} would do.")
    kept = np.array(_KEPT[neighbours])
    images = np.empty((len(ids), image.shape[0], size, size), image.dtype)
    masks = np.empty((len(ids), size, size), np.uint8)
    offsets, taps, weights = _filter(size, scale)

    def work(start: int, stop: int) -> None:
        part = slice(start, stop)
        _cut_masks(labels, cells, centres[part], ids[part], offsets, masks[part])
        if scale == 1:
            _copy(image, centres[part], masks[part], kept, images[part])
        else:
            own, centre = ids[part], centres[part]
            _resample(
                image, labels, cells, centre, own, offsets, taps, weights, masks[part], kept, images[part]
            )
        _finish_masks(masks[part])

    _share(work, len(ids), threads or available_cores())
    return images, masks


def _checked(
    image: NDArray[Any],
    labels: NDArray[np.integer],
    cells: NDArray[np.integer] | None,
    centres: NDArray[np.integer],
    ids: NDArray[np.integer],
) -> tuple[NDArray[Any], NDArray[np.int32], NDArray[np.int32], NDArray[np.int64], NDArray[np.int32]]:
    if image.ndim != 3 or image.dtype.kind not in "uif":
        raise DataError(
            f"A field to cut from has axes (stain, y, x) and real values, not {image.shape} of {image.dtype}."
        )
    for name, plane in (("labels", labels), ("cells", cells)):
        if plane is None:
            continue
        if plane.shape != image.shape[1:]:
            raise DataError(f"{name} have shape {plane.shape}; the field has {image.shape[1:]}.")
        if plane.dtype.kind not in "ui":
            raise DataError(f"{name} are {plane.dtype}; label images hold integers.")
    centres, ids = np.asarray(centres), np.asarray(ids)
    if centres.shape != (len(ids), 2) or (len(ids) and centres.dtype.kind not in "ui"):
        raise DataError(
            f"{len(ids)} cells need integer centres of shape ({len(ids)}, 2), not {centres.shape} of "
            f"{centres.dtype}."
        )
    nuclei = np.ascontiguousarray(labels, dtype=np.int32)
    return (
        np.ascontiguousarray(image),
        nuclei,
        nuclei if cells is None else np.ascontiguousarray(cells, dtype=np.int32),
        np.ascontiguousarray(centres, dtype=np.int64),
        np.ascontiguousarray(ids, dtype=np.int32),
    )


def _share(work: Callable[[int, int], None], count: int, threads: int) -> None:
    """Run ``work(start, stop)`` over ``count`` cells in as many parts as there are threads."""
    edges: Sequence[int] = np.linspace(0, count, min(threads, max(1, count)) + 1).astype(int).tolist()
    if len(edges) <= 2:
        work(0, count)
        return
    with ThreadPoolExecutor(len(edges) - 1) as pool:
        for _ in pool.map(work, edges[:-1], edges[1:]):
            pass


def _filter(size: int, scale: float) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.float64]]:
    """Where each crop pixel of an axis lies, relative to the centre, and what it averages.

    Returns
    -------
    offsets : ndarray (size,)
        Nearest field pixel.
    taps : ndarray (size,)
        First field pixel under the filter.
    weights : ndarray (size, taps)
        Triangular weights of the pixels from there on.
    """
    positions = (np.arange(size) - size // 2) * scale
    reach = max(1.0, scale)
    taps = np.ceil(positions - reach).astype(np.int64)
    steps = np.arange(int(np.floor(2 * reach)) + 1)
    distance = np.abs(taps[:, None] + steps - positions[:, None])
    return (
        np.floor(positions + 0.5).astype(np.int64),
        taps,
        np.maximum(0.0, 1.0 - distance / reach),
    )


def reach(size: int, scale: float) -> int:
    """Field pixels that a crop of ``size`` may need on each side of its centre."""
    return int(np.ceil((size // 2 + 1) * scale + max(1.0, scale)))


@njit(nogil=True, cache=True, inline="always")
def _code(nucleus: int, cell: int, own: int) -> int:
    known = nucleus if nucleus != 0 else cell
    mine = NUCLEUS if nucleus != 0 else CYTOPLASM
    return BACKGROUND if known == 0 else (mine if known == own else OTHER)


@njit(nogil=True, cache=True)
def _cut_masks(
    labels: NDArray[np.int32],
    cells: NDArray[np.int32],
    centres: NDArray[np.int64],
    ids: NDArray[np.int32],
    offsets: NDArray[np.int64],
    masks: NDArray[np.uint8],
) -> None:
    height, width = labels.shape
    size = len(offsets)
    dense = offsets[size - 1] - offsets[0] == size - 1
    for k in range(len(ids)):
        own = ids[k]
        left = centres[k, 1] + offsets[0]
        for i in range(size):
            y = centres[k, 0] + offsets[i]
            row = masks[k, i]
            if y < 0 or y >= height:
                row[:] = BACKGROUND
            elif dense:
                first = min(size, max(0, -left))
                last = max(first, min(size, width - left))
                row[:first] = BACKGROUND
                row[last:] = BACKGROUND
                codes = row[first:last]
                nuclei = labels[y, left + first : left + last]
                regions = cells[y, left + first : left + last]
                for j in range(len(codes)):
                    codes[j] = _code(nuclei[j], regions[j], own)
            else:
                for j in range(size):
                    x = centres[k, 1] + offsets[j]
                    inside = 0 <= x < width
                    row[j] = _code(labels[y, x], cells[y, x], own) if inside else BACKGROUND


@njit(nogil=True, cache=True)
def _finish_masks(masks: NDArray[np.uint8]) -> None:
    flat = masks.reshape(-1)
    for p in range(len(flat)):
        flat[p] = flat[p] if flat[p] != OTHER else BACKGROUND


@njit(nogil=True, cache=True)
def _copy(
    image: NDArray[Any],
    centres: NDArray[np.int64],
    masks: NDArray[np.uint8],
    kept: NDArray[np.bool_],
    images: NDArray[Any],
) -> None:
    stains, height, width = image.shape
    size = masks.shape[1]
    all_kept, background = kept.all(), kept[BACKGROUND]
    zero, one = np.zeros(1, image.dtype)[0], np.ones(1, image.dtype)[0]
    shown = np.ones(size, image.dtype)  # of the image's width, so that the loop below is vectorised
    for k in range(len(centres)):
        top, left = centres[k, 0] - size // 2, centres[k, 1] - size // 2
        first = min(size, max(0, -left))
        last = max(first, min(size, width - left))
        for i in range(size):
            y = top + i
            if y < 0 or y >= height:
                for c in range(stains):
                    images[k, c, i, :] = zero
                continue
            show = shown[first:last]
            codes = masks[k, i, first:last]
            if not all_kept:
                for j in range(len(codes)):
                    show[j] = one if codes[j] != OTHER and (codes[j] != BACKGROUND or background) else zero
            for c in range(stains):
                images[k, c, i, :first] = zero
                images[k, c, i, last:] = zero
                source = image[c, y, left + first : left + last]
                target = images[k, c, i, first:last]
                if all_kept:
                    for j in range(len(target)):
                        target[j] = source[j]
                else:
                    for j in range(len(target)):
                        target[j] = source[j] if show[j] != zero else zero


@njit(nogil=True, cache=True)
def _resample(
    image: NDArray[Any],
    labels: NDArray[np.int32],
    cells: NDArray[np.int32],
    centres: NDArray[np.int64],
    ids: NDArray[np.int32],
    offsets: NDArray[np.int64],
    taps: NDArray[np.int64],
    weights: NDArray[np.float64],
    masks: NDArray[np.uint8],
    kept: NDArray[np.bool_],
    images: NDArray[Any],
) -> None:
    # Pixels that are blanked, or lie outside the field, have no part in the average: a cell keeps its
    # brightness up to its edge and nothing of its neighbour leaks in.
    stains, height, width = image.shape
    size, steps = weights.shape
    whole = np.array([0.5]).astype(image.dtype)[0] == 0
    sums = np.empty(stains)
    for k in range(len(ids)):
        for i in range(size):
            for j in range(size):
                sums[:] = 0
                total = 0.0
                y0, x0 = centres[k, 0] + offsets[i], centres[k, 1] + offsets[j]
                inside = 0 <= y0 < height and 0 <= x0 < width
                if inside and kept[masks[k, i, j]]:
                    for a in range(steps):
                        y = centres[k, 0] + taps[i] + a
                        if y < 0 or y >= height or weights[i, a] == 0:
                            continue
                        for b in range(steps):
                            x = centres[k, 1] + taps[j] + b
                            weight = weights[i, a] * weights[j, b]
                            if x < 0 or x >= width or weight == 0:
                                continue
                            if not kept[_code(labels[y, x], cells[y, x], ids[k])]:
                                continue
                            total += weight
                            for c in range(stains):
                                sums[c] += weight * image[c, y, x]
                for c in range(stains):
                    value = sums[c] / total if total > 0 else 0.0
                    images[k, c, i, j] = np.floor(value + 0.5) if whole else value
