"""TIFF of every kind that microscopes and ImageJ write, opened without being believed.

``tifffile`` finds the pages, their axes and their codecs; the pixels are fetched by
``tiff_planes``, in the parts that are asked for.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import partial
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import tifffile

from napari_apollo.errors import ImageError
from napari_apollo.study.source import (
    Complaints,
    Layout,
    Region,
    Source,
    check_layout,
    damage_named,
    usable,
)
from napari_apollo.study.tiff_metadata import channel_names, pixel_size_um, sibling_files
from napari_apollo.study.tiff_planes import (
    Plane,
    block_of,
    check_counts,
    check_planes,
    copied,
    cut_off,
    inner_axes,
    plane_of,
    read_plane,
    window_of,
)
from napari_apollo.study.tiff_structure import check_apart, check_structure

# Axes of tifffile -> axes of a Layout. "I" and "Q": pages, or an axis nobody explained.
_AXES = {"Y": "Y", "X": "X", "C": "C", "S": "S", "Z": "Z", "T": "T", "I": "Q", "Q": "Q"}

# Whole slides: the first series is the slide, the others are its label and overview.
_SLIDES = ("qpi", "svs", "scn")

# Notes of tifffile on what neither the pixels nor our metadata depend on.
_HARMLESS = (
    "_metadata> raised",
    "_tags> raised",
    "GDAL_NODATA",
    "GeoKey",
    "<TiffTag.fromfile>",
    "unknown order",
)


class TiffSource:
    """A TIFF that was opened. Holds no open file; may be shared between threads."""

    def __init__(
        self,
        path: Path,
        layout: Layout,
        axes: int,
        kept: tuple[int, ...],
        pixels: _Linear | _Paged,
        levels: int = 1,
    ) -> None:
        self.path = path
        self.layout = layout
        self._levels = levels
        self._version = _version(path)
        self._axes = axes
        self._kept = kept
        self._pixels = pixels

    def read(self, region: Region) -> np.ndarray:
        """Pixels of a region, every axis of the layout kept.

        Raises
        ------
        ImageError
            When the file is damaged, or changed since it was opened.
        """
        full = [slice(0, 1)] * self._axes
        for axis, part in zip(self._kept, region, strict=True):
            full[axis] = part
        with damage_named(self.path):
            if _version(self.path) != self._version:
                raise ImageError(self.path, "was changed after it was opened.", "Open it again.")
            pixels = self._pixels.read(full, self.layout.dtype)
            return pixels.reshape([part.stop - part.start for part in region])

    def coarser(self) -> list[Source]:
        """The lower resolutions of the image in the file (SubIFDs, or pages that are marked as reduced)."""
        opening = (partial(open_tiff, self.path, level) for level in range(1, self._levels))
        return usable(self.layout, opening)


def _version(path: Path) -> tuple[int, int]:
    """What differs when a file was written anew."""
    stat = path.stat()
    return stat.st_mtime_ns, stat.st_size


class _Linear:
    """Pixels that lie in a file as one uncompressed array, whatever its axes."""

    def __init__(self, path: Path, shape: tuple[int, ...], offset: int, stored: np.dtype) -> None:
        self._path = path
        self._shape = shape
        self._offset = offset
        self._stored = stored

    def read(self, region: Sequence[slice], dtype: np.dtype) -> np.ndarray:
        return copied(self._path, self._offset, self._stored, self._shape, tuple(region), dtype)

    @property
    def block(self) -> tuple[int, int]:
        """``(y, x)`` of what has to be read together."""
        return 1, 1

    def places(self) -> tuple[np.ndarray, np.ndarray]:
        """First byte and number of bytes of every part in the file."""
        return np.array([self._offset]), np.array([math.prod(self._shape) * self._stored.itemsize])


class _Paged:
    """Pixels in the strips or tiles of pages; the last axes lie within a page, the others count pages."""

    def __init__(self, path: Path, shape: tuple[int, ...], planes: Sequence[Plane]) -> None:
        self._path = path
        self._shape = shape
        self._planes = planes
        self._shaped = planes[0].page.shaped
        self._outer = len(shape) - inner_axes(path, shape, self._shaped)
        check_planes(path, math.prod(shape[: self._outer]), planes)

    def read(self, region: Sequence[slice], dtype: np.dtype) -> np.ndarray:
        outer = self._shape[: self._outer]
        window = window_of(self._shaped, self._shape[self._outer :], region[self._outer :])
        numbers = product(*[range(part.start, part.stop) for part in region[: self._outer]])
        planes = [self._planes[int(np.ravel_multi_index(index, outer)) if outer else 0] for index in numbers]
        return np.stack([read_plane(plane, window, dtype) for plane in planes])

    @property
    def block(self) -> tuple[int, int]:
        """``(y, x)`` of what has to be read together."""
        return block_of(self._planes[0])

    def places(self) -> tuple[np.ndarray, np.ndarray]:
        """First byte and number of bytes of every part in the file that was opened."""
        own = [plane for plane in self._planes if plane.path.samefile(self._path)]
        nothing = np.empty(0, np.int64)
        return (
            np.concatenate([nothing, *[plane.offsets for plane in own]]),
            np.concatenate([nothing, *[plane.counts for plane in own]]),
        )


def open_tiff(path: Path, level: int = 0) -> TiffSource:
    """Open a TIFF: its metadata are read, its pixels are not.

    Parameters
    ----------
    level
        Which of the resolutions that it holds; 0 is the full one, which alone is told names and pixel size.

    Raises
    ------
    ImageError
        When it is no TIFF, damaged, cut off, holds several images, or its axes are not explained.
    """
    with damage_named(path):
        occupied = check_structure(path)
        with Complaints("tifffile") as complaints, tifffile.TiffFile(path) as file:
            for sibling in sibling_files(file):
                check_structure(sibling)
            found = list(file.series)
            _refuse_damage(path, complaints)
            levels = _levels(_the_series(path, found), found)
            series = levels[level]
            pages = list(_pages(path, series))
            axes, shape = series.get_axes(squeeze=False), tuple(series.get_shape(squeeze=False))
            kept, named = _kept_axes(path, axes, shape)
            sizes = tuple(shape[i] for i in kept)
            check_layout(path, named, sizes, series.dtype)
            pixels = _linear(path, file, series, shape) or _Paged(
                path, shape, [plane_of(path, page) for page in pages]
            )
            check_apart(path, occupied, *pixels.places())
            layout = Layout(
                axes=named,
                shape=sizes,
                dtype=np.dtype(series.dtype).newbyteorder("="),
                block=pixels.block,
            )
            if level == 0:
                names = channel_names(file, series, dict(zip(named, sizes, strict=True)))
                layout = replace(layout, channel_names=names, pixel_size_um=pixel_size_um(file, series))
            _refuse_damage(path, complaints)
            return TiffSource(path, layout, len(shape), kept, pixels, len(levels))


def _refuse_damage(path: Path, complaints: Complaints) -> None:
    for message in complaints.messages:
        if not any(word in message for word in _HARMLESS):
            said = message.split("> ", 1)[-1].strip().rstrip(".")
            raise ImageError(path, f"is damaged: {said}.", "Copy it again, or save it anew.")


def _the_series(path: Path, found: Sequence[Any]) -> Any:
    if not found:
        raise ImageError(path, "holds no image.", "Save it anew as TIFF or OME-TIFF.")
    if found[0].kind in _SLIDES:
        return found[0]
    full = [series for series in found if not series.keyframe.is_reduced]
    if len(full) != 1:
        sizes = ", ".join("x".join(map(str, series.shape)) for series in found[:6])
        raise ImageError(
            path,
            f"holds {len(found)} images ({sizes}) and does not say which is meant.",
            "Save each as its own file.",
        )
    return full[0]


def _levels(full: Any, found: Sequence[Any]) -> list[Any]:
    """An image and its lower resolutions, wherever the file has them."""
    loose = [] if full.kind in _SLIDES else [other for other in found if other.keyframe.is_reduced]
    return [full, *full.levels[1:], *(other for other in loose if other is not full)]


def _pages(path: Path, series: Any) -> Iterator[Any]:
    """Pages as they are stored: one where tifffile lets a single page stand for a whole array."""
    for number, page in enumerate(series._pages):
        if page is None:
            raise ImageError(
                path,
                f"lacks plane {number} of {len(series._pages)} that it declares.",
                "Put all files of the image into one folder, or save it anew.",
            )
        yield page


def _kept_axes(path: Path, axes: str, shape: Sequence[int]) -> tuple[tuple[int, ...], str]:
    """Axes of a Layout: those longer than one, y and x."""
    kept = tuple(i for i, axis in enumerate(axes) if axis in "YX" or shape[i] > 1)
    for i in kept:
        if axes[i] not in _AXES:
            meaning = tifffile.TIFF.AXES_NAMES.get(axes[i], axes[i])
            raise ImageError(
                path,
                f"has an axis {axes[i]!r} ({meaning}) of length {shape[i]}.",
                "Save channels, planes, y and x only.",
            )
    return kept, "".join(_AXES[axes[i]] for i in kept)


def _linear(path: Path, file: tifffile.TiffFile, series: Any, shape: tuple[int, ...]) -> _Linear | None:
    if series.is_multifile or series.dataoffset is None:
        return None
    dtype = np.dtype(file.byteorder + series.keyframe.dtype.char)
    nbytes, there = math.prod(shape) * dtype.itemsize, file.filehandle.size - series.dataoffset
    if nbytes > there:
        raise cut_off(path, f"its pixels take {nbytes} bytes, {there} are there")
    for page in series._pages:
        check_counts(path, page.keyframe, np.asarray(page.databytecounts, np.int64))
    return _Linear(path, shape, int(series.dataoffset), dtype)
