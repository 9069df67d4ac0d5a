"""Label images: 0 is background, every nucleus has its own number, which is its identity."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_apollo.errors import ImageError, LabelsError
from napari_apollo.study.images import bounds, open_source, ranges_of
from napari_apollo.study.source import Source

if TYPE_CHECKING:
    import dask.array

_LARGEST = np.iinfo(np.int32).max
_WHOLE = slice(None)
_BLOCK = 1024


class LabelImage:
    """A label image, read on demand. Numbers may have gaps; they are kept as they are.

    Attributes
    ----------
    path
        The file.
    shape
        ``(Y, X)`` in pixels.
    dtype
        int32, whatever the file holds.
    """

    dtype = np.dtype(np.int32)

    def __init__(self, path: Path, source: Source) -> None:
        self.path = path
        self._source = source
        self.shape = (source.layout.length("Y"), source.layout.length("X"))

    def read(self, y: slice = _WHOLE, x: slice = _WHOLE) -> np.ndarray:
        """Labels of a region as int32 (y, x).

        Raises
        ------
        LabelsError
            When a label is negative or beyond 2,147,483,647, or the file is damaged.
        """
        rows, columns = bounds(y, self.shape[0]), bounds(x, self.shape[1])
        shape = (rows.stop - rows.start, columns.stop - columns.start)
        if 0 in shape:
            return np.zeros(shape, self.dtype)
        parts = {"Y": rows, "X": columns}
        axes = self._source.layout.axes
        try:
            pixels = self._source.read(tuple(parts[axis] for axis in axes))
        except ImageError as error:
            raise LabelsError(error.path, error.problem, error.remedy) from error
        labels = pixels if axes == "YX" else pixels.T
        if labels.dtype.kind == "i" and (low := int(labels.min())) < 0:
            raise LabelsError(
                self.path,
                f"holds the negative label {low}.",
                "Labels are 0 for background and positive numbers.",
            )
        if labels.dtype.itemsize >= 4 and (high := int(labels.max())) > _LARGEST:
            raise LabelsError(
                self.path, f"holds the label {high}.", f"Number nuclei from 1; the largest is {_LARGEST}."
            )
        return labels.astype(self.dtype, copy=False)

    def lazy(self) -> dask.array.Array:
        """The labels as a dask array (Y, X), int32."""
        import dask.array as da

        chunks = tuple(min(_BLOCK, length) for length in self.shape)
        return da.from_array(_Sliced(self), chunks=chunks, name=False, meta=np.empty((0, 0), self.dtype))

    def __reduce__(self) -> tuple[Any, ...]:
        return open_labels, (self.path,)

    def __repr__(self) -> str:
        return f"<LabelImage {self.path.name}: {self.shape[0]} x {self.shape[1]}>"


def open_labels(path: Path | str, shape: tuple[int, int] | None = None) -> LabelImage:
    """Open a label image: metadata are read and checked, pixels are not.

    Parameters
    ----------
    path
        TIFF or OME-Zarr of one plane and one channel.
    shape
        ``(Y, X)`` of the image that the labels belong to.

    Raises
    ------
    LabelsError
        When the file is missing or damaged, not of integers, not of one plane, or of another
        shape than its image.
    """
    path = Path(path)
    try:
        source = open_source(path)
    except ImageError as error:
        raise LabelsError(error.path, error.problem, error.remedy) from error
    layout = source.layout
    if set(layout.axes) != {"Y", "X"}:
        sizes = " x ".join(f"{axis}={size}" for axis, size in zip(layout.axes, layout.shape, strict=True))
        raise LabelsError(
            path, f"is no label image of one plane ({sizes}).", "Save the labels as one channel of y, x."
        )
    if layout.dtype.kind == "f":
        raise LabelsError(
            path,
            f"holds floats ({layout.dtype}), and labels are whole numbers.",
            "Convert it once, for example with labels.round().astype('int32'), and save it as TIFF.",
        )
    labels = LabelImage(path, source)
    if shape is not None and labels.shape != tuple(shape):
        raise LabelsError(
            path,
            f"is {labels.shape[0]} x {labels.shape[1]} pixels, its image {shape[0]} x {shape[1]}.",
            "Labels must cover the image pixel by pixel; name the label image that was made from it.",
        )
    return labels


class _Sliced:
    """A label image as dask slices it."""

    def __init__(self, labels: LabelImage) -> None:
        self._labels = labels
        self.shape = labels.shape
        self.dtype = labels.dtype
        self.ndim = 2

    def __getitem__(self, index: tuple[slice | int, ...]) -> np.ndarray:
        ranges, rest = ranges_of(index, self.shape)
        return self._labels.read(*ranges)[rest]
