"""TIFF of every kind that microscopes and ImageJ write, opened without being believed.

``tifffile`` finds the pages, their axes and their codecs; the pixels are fetched by
``tiff_planes``, in the parts that are asked for.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import tifffile

from napari_apollo.errors import ImageError
from napari_apollo.study.source import Complaints, Layout, Region, check_layout, damage_named
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
from napari_apollo.study.tiff_structure import check_structure

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
        shape: tuple[int, ...],
        kept: tuple[int, ...],
        pixels: _Linear | tuple[Plane, ...],
    ) -> None:
        self.path = path
        self.layout = layout
        self._shape = shape
        self._kept = kept
        self._pixels = pixels

    def read(self, region: Region) -> np.ndarray:
        """Pixels of a region, every axis of the layout kept.

        Raises
        ------
        ImageError
            When the file is damaged, or changed since it was opened.
        """
        full = [slice(0, 1)] * len(self._shape)
        for axis, part in zip(self._kept, region, strict=True):
            full[axis] = part
        with damage_named(self.path):
            if isinstance(self._pixels, _Linear):
                pixels = self._pixels.read(self.path, self._shape, full, self.layout.dtype)
            else:
                pixels = self._read_planes(self._pixels, full)
            return pixels.reshape([part.stop - part.start for part in region])

    def _read_planes(self, planes: Sequence[Plane], region: Sequence[slice]) -> np.ndarray:
        shaped = planes[0].page.shaped
        number = len(region) - inner_axes(self.path, self._shape, shaped)
        window = window_of(shaped, self._shape[number:], region[number:])
        strides = [math.prod(self._shape[axis + 1 : number]) for axis in range(number)]
        return np.stack(
            [
                read_plane(
                    planes[sum(i * stride for i, stride in zip(index, strides, strict=True))],
                    window,
                    self.layout.dtype,
                )
                for index in product(*[range(part.start, part.stop) for part in region[:number]])
            ]
        )


class _Linear:
    """Pixels that lie in the file as one uncompressed array, whatever its axes."""

    def __init__(self, offset: int, dtype: np.dtype) -> None:
        self.offset = offset
        self.dtype = dtype

    def read(self, path: Path, shape: Sequence[int], region: Sequence[slice], dtype: np.dtype) -> np.ndarray:
        return copied(path, self.offset, self.dtype, shape, tuple(region), dtype)


def open_tiff(path: Path) -> TiffSource:
    """Open a TIFF: its metadata are read, its pixels are not.

    Raises
    ------
    ImageError
        When it is no TIFF, damaged, cut off, holds several images, or its axes are not explained.
    """
    with damage_named(path):
        check_structure(path)
        with Complaints("tifffile") as complaints, tifffile.TiffFile(path) as file:
            for sibling in sibling_files(file):
                check_structure(sibling)
            series = _the_series(path, file)
            pages = list(_pages(path, series))
            _refuse_damage(path, complaints)
            axes, shape = series.get_axes(squeeze=False), tuple(series.get_shape(squeeze=False))
            kept, named = _kept_axes(path, axes, shape)
            sizes = tuple(shape[i] for i in kept)
            check_layout(path, named, sizes, series.dtype)
            layout = Layout(
                axes=named,
                shape=sizes,
                dtype=np.dtype(series.dtype).newbyteorder("="),
                channel_names=channel_names(file, series, dict(zip(named, sizes, strict=True))),
                pixel_size_um=pixel_size_um(file, series),
                block=block_of(series.keyframe),
            )
            pixels: _Linear | tuple[Plane, ...] | None = _linear(path, file, series, shape)
            if pixels is None:
                pixels = tuple(plane_of(path, page) for page in pages)
                check_planes(path, shape, pixels)
            _refuse_damage(path, complaints)
            return TiffSource(path, layout, shape, kept, pixels)


def _refuse_damage(path: Path, complaints: Complaints) -> None:
    for message in complaints.messages:
        if not any(word in message for word in _HARMLESS):
            said = message.split("> ", 1)[-1].strip().rstrip(".")
            raise ImageError(path, f"is damaged: {said}.", "Copy it again, or save it anew.")


def _the_series(path: Path, file: tifffile.TiffFile) -> Any:
    found = list(file.series)
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


def _linear(path: Path, file: tifffile.TiffFile, series: Any, shape: Sequence[int]) -> _Linear | None:
    if series.is_multifile or series.dataoffset is None:
        return None
    dtype = np.dtype(file.byteorder + series.keyframe.dtype.char)
    nbytes, there = math.prod(shape) * dtype.itemsize, file.filehandle.size - series.dataoffset
    if nbytes > there:
        raise cut_off(path, f"its pixels take {nbytes} bytes, {there} are there")
    for page in series._pages:
        check_counts(path, page.keyframe, np.asarray(page.databytecounts, np.int64))
    return _Linear(int(series.dataoffset), dtype)
