"""The pixels of TIFF pages: where their strips and tiles are, and how a region is fetched.

Only the strips and tiles that a region touches are read, and one that is missing, too short or
does not decode is an error where other readers put zeros.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from napari_apollo.errors import ImageError

# How many times its stored size a strip may grow: deflate 1032, LZW 1365 (12-bit codes), PackBits
# 64; the codecs without such a bound reach a few ten thousands on tiles of one value.
_GROWTH = {8: 1100, 32946: 1100, 5: 1400, 32773: 64}
_ANY_GROWTH = 200_000
_SMALLEST_STREAM = 64

_LINEAR_BITS = {8, 16, 32, 64}


@dataclass(frozen=True)
class Plane:
    """Where the strips or tiles of one page are.

    Attributes
    ----------
    path
        The file; planes of an OME-TIFF may be spread over several.
    page
        The page of tifffile that knows size and codec.
    offsets, counts
        First byte and number of bytes of every strip or tile.
    tables
        What JPEG tiles share.
    decode
        Makes pixels of the bytes of a strip or tile; None where the page is one uncompressed array.
    """

    path: Path
    page: Any
    offsets: np.ndarray
    counts: np.ndarray
    tables: bytes | None
    decode: Callable[..., Any] | None


def plane_of(path: Path, page: Any) -> Plane:
    """Plane of a page, every strip or tile of it checked to lie inside the file.

    Raises
    ------
    ImageError
        When strips or tiles are missing, outside of the file, or too small for what they hold.
    """
    keyframe = page.keyframe
    offsets = np.asarray(page.dataoffsets, np.int64)
    counts = np.asarray(page.databytecounts, np.int64)
    expected = math.prod(_grid(keyframe))
    if len(offsets) != expected or len(counts) != expected:
        raise cut_off(
            path, f"a plane of {expected} parts lists {len(offsets)} places and {len(counts)} sizes"
        )
    gaps = int(((offsets <= 0) | (counts <= 0)).sum())
    if gaps:
        raise cut_off(path, f"{gaps} of the {expected} parts of a plane were never written")
    end = int((offsets + counts).max())
    if end > page.parent.filehandle.size:
        raise cut_off(path, f"its pixels end at byte {end}, the file at {page.parent.filehandle.size}")
    check_counts(path, keyframe, counts)
    linear = (
        keyframe.is_final
        and not keyframe.is_tiled
        and keyframe.bitspersample in _LINEAR_BITS
        and bool((offsets[:-1] + counts[:-1] == offsets[1:]).all())
    )
    return Plane(
        Path(page.parent.filehandle.path),
        keyframe,
        offsets,
        counts,
        page.jpegtables,
        None if linear else keyframe.decode,  # made here, where no other thread makes it too
    )


def check_counts(path: Path, page: Any, counts: np.ndarray) -> None:
    """Refuse strips and tiles that are too small for what they are said to hold.

    Raises
    ------
    ImageError
        Before anything is allocated at the word of the file.
    """
    depth, length, width, samples = _segment(page)
    row = math.ceil(width * samples * _bits(page) / 8)
    if page.compression != 1:
        stored = max(int(counts.max(initial=0)), _SMALLEST_STREAM)
        if depth * length * row > _GROWTH.get(int(page.compression), _ANY_GROWTH) * stored:
            raise cut_off(
                path, f"a part of {depth * length * row} bytes cannot come from the {stored} that are stored"
            )
        return
    if page.nbytes >= 1 << 32:
        return  # 32-bit counts overflow in files of this size, and ImageJ lets them
    whole = depth * length * row
    if page.is_tiled:
        wrong = counts != whole
    else:
        per_image = _grid(page)[2]
        needed = np.full(len(counts), whole)
        needed[per_image - 1 :: per_image] = (page.imagelength - (per_image - 1) * length) * row
        # Some writers round up to an even number, some pad the last strip to its full height.
        wrong = (counts != needed) & (counts != needed + 1) & (counts != whole)
    if wrong.any():
        part = int(np.flatnonzero(wrong)[0])
        raise cut_off(path, f"part {part} of a plane has {int(counts[part])} bytes, which is not its size")


def check_planes(path: Path, expected: int, planes: Sequence[Plane]) -> None:
    """Refuse a file whose planes are not those it declares.

    Raises
    ------
    ImageError
        When their number or sizes differ.
    """
    if len(planes) != expected:
        raise cut_off(path, f"it declares {expected} planes and holds {len(planes)}")
    if any(plane.page.shaped != planes[0].page.shaped for plane in planes):
        raise ImageError(path, "has planes of different sizes.", "Save planes of one size.")


def inner_axes(path: Path, shape: Sequence[int], shaped: Sequence[int]) -> int:
    """How many of the last axes of an array lie inside one page.

    Raises
    ------
    ImageError
        When pages and array do not fit.
    """
    page = [length for length in shaped if length > 1]
    for inner in range(len(shape) + 1):
        tail = shape[len(shape) - inner :]
        if math.prod(tail) == math.prod(shaped) and [length for length in tail if length > 1] == page:
            return inner
    raise ImageError(path, "its pages do not fit the size it declares.", "Save it anew.")


def window_of(shaped: Sequence[int], tail: Sequence[int], region: Sequence[slice]) -> tuple[slice, ...]:
    """Region of a page as slices of its five axes (separate sample, depth, y, x, sample)."""
    parts = iter([part for part, length in zip(region, tail, strict=True) if length > 1])
    return tuple(next(parts) if length > 1 else slice(0, 1) for length in shaped)


def read_plane(plane: Plane, window: tuple[slice, ...], dtype: np.dtype) -> np.ndarray:
    """Pixels of a window of a page, its five axes kept.

    Raises
    ------
    ImageError
        When the file ends too early.
    """
    page = plane.page
    if plane.decode is None:
        stored = np.dtype(page.parent.byteorder + page.dtype.char)
        return copied(plane.path, int(plane.offsets[0]), stored, page.shaped, window, dtype)
    out = np.empty([part.stop - part.start for part in window], dtype)
    separate, *inner, samples = window
    part, grid = _segment(page), _grid(page)
    with plane.path.open("rb") as stream:
        for s in range(separate.start, separate.stop):
            for d, y, x in product(*map(_touched, inner, part)):
                index = ((s * grid[1] + d) * grid[2] + y) * grid[3] + x
                pixels = plane.decode(_stored(plane, stream, index), index, jpegtables=plane.tables)[0]
                place = (d * part[0], y * part[1], x * part[2])
                _paste(out[s - separate.start], pixels[..., samples], place, inner)
    return out


def copied(
    path: Path,
    offset: int,
    stored: np.dtype,
    shape: Sequence[int],
    region: tuple[slice, ...],
    dtype: np.dtype,
) -> np.ndarray:
    """Region of an uncompressed array in a file; touches only the bytes it needs.

    Raises
    ------
    ImageError
        When the file ends before the array does.
    """
    end, size = offset + math.prod(shape) * stored.itemsize, path.stat().st_size
    if end > size:
        raise cut_off(path, f"its pixels end at byte {end}, the file at {size}")
    mapped = np.memmap(path, dtype=stored, mode="r", offset=offset, shape=tuple(shape))
    return np.array(mapped[region], dtype=dtype)


def block_of(plane: Plane) -> tuple[int, int]:
    """``(y, x)`` of what has to be read together: a tile, a strip, or a pixel where nothing is packed."""
    if plane.decode is None:
        return 1, 1
    _, length, width, _ = _segment(plane.page)
    return max(int(length), 1), max(int(width), 1)


def cut_off(path: Path, how: str) -> ImageError:
    """The error for a file that does not hold what it declares."""
    return ImageError(path, f"is cut off or damaged: {how}.", "Copy it again from where it came from.")


def _bits(page: Any) -> int:
    bits = page.bitspersample
    return max(bits) if isinstance(bits, tuple) else int(bits)


def _segment(page: Any) -> tuple[int, int, int, int]:
    """Depth, length, width and samples of a strip or tile."""
    samples = page.samplesperpixel if page.planarconfig == 1 else 1
    if page.is_tiled:
        return page.tiledepth, page.tilelength, page.tilewidth, samples
    return 1, page.rowsperstrip, page.imagewidth, samples


def _grid(page: Any) -> tuple[int, int, int, int]:
    """Number of strips or tiles along separate samples, depth, length and width."""
    separate, depth, length, width, _ = page.shaped
    part = _segment(page)
    if min(part) < 1:
        raise ValueError(f"parts of {part} pixels")
    return separate, math.ceil(depth / part[0]), math.ceil(length / part[1]), math.ceil(width / part[2])


def _touched(window: slice, step: int) -> range:
    return range(window.start // step, -(-window.stop // step))


def _stored(plane: Plane, stream: BinaryIO, index: int) -> bytes:
    offset, count = int(plane.offsets[index]), int(plane.counts[index])
    stream.seek(offset)
    stored = stream.read(count)
    if len(stored) != count:
        raise cut_off(plane.path, f"{count} bytes should follow byte {offset}, {len(stored)} do")
    return stored


def _paste(out: np.ndarray, pixels: np.ndarray, place: tuple[int, int, int], window: Sequence[slice]) -> None:
    """Copy what a decoded part (depth, y, x, sample) shares with the window."""
    source, target = [], []
    for start, size, part in zip(place, pixels.shape, window, strict=False):
        low, high = max(start, part.start), min(start + size, part.stop)
        source.append(slice(low - start, high - start))
        target.append(slice(low - part.start, high - part.start))
    out[tuple(target)] = pixels[tuple(source)]
