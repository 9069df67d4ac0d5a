"""Images of fields: opened without reading pixels, read in the parts that are needed."""

from __future__ import annotations

from collections.abc import Sequence
from functools import reduce
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_apollo.errors import ImageError, UnknownStain
from napari_apollo.panels import same_stain
from napari_apollo.study.channels import Channels, count, find_channels
from napari_apollo.study.fields import StudyField
from napari_apollo.study.source import Source, damage_named
from napari_apollo.study.values import require_finite

if TYPE_CHECKING:
    import dask.array

_LAZY_SIDE = 1024
_WHOLE = slice(None)


class FieldImage:
    """The image of a field: its stains by name, read on demand.

    Holds no open file, may be shared between threads, and is picklable: another process opens
    the file anew.

    Attributes
    ----------
    field
        The field it belongs to.
    stains
        Canonical names in the order in which ``read`` returns them.
    shape
        ``(Y, X)`` in pixels.
    dtype
        As acquired, in the byte order of this machine.
    pixel_size_um
        ``(y, x)`` in micrometres: the manifest's, else the file's, else None.
    pixel_size_in_file
        What the file alone says.
    block
        ``(y, x)`` in pixels of what has to be read together.
    level
        Which of the resolutions of the file; 0 is the full one.
    """

    def __init__(self, field: StudyField, source: Source, stains: Sequence[str] | None = None) -> None:
        self.field = field
        self.level = 0
        self.stains = field.panel.stains if stains is None else field.select(stains)
        self._source = source
        self._channels = find_channels(field, source.layout)
        layout = source.layout
        self.shape = (layout.length("Y"), layout.length("X"))
        self.dtype = layout.dtype
        size = field.pixel_size_um
        self.block = layout.block
        self.pixel_size_in_file = layout.pixel_size_um
        self.pixel_size_um = layout.pixel_size_um if size is None else (size, size)
        self._planes = _planes(field, source, self._channels)

    @property
    def source(self) -> Path:
        """The file, folder or pattern that the pixels come from."""
        return self.field.image

    def read(self, stains: Sequence[str] | None = None, y: slice = _WHOLE, x: slice = _WHOLE) -> np.ndarray:
        """Pixels of a region.

        Parameters
        ----------
        stains
            Names, in the order wanted; all of ``self.stains`` where not given.
        y, x
            Rows and columns, with a step of 1; what lies outside of the image is left out.

        Returns
        -------
        ndarray
            (stain, y, x) in the dtype of the image.

        Raises
        ------
        UnknownStain
            When the field does not have a stain.
        ImageError
            When the file is damaged, or holds values that are no numbers.
        """
        wanted = self.stains if stains is None else tuple(self._own(stain) for stain in stains)
        rows, columns = bounds(y, self.shape[0]), bounds(x, self.shape[1])
        out = np.empty((len(wanted), rows.stop - rows.start, columns.stop - columns.start), self.dtype)
        if out.size:
            self._fill(out, wanted, rows, columns)
        require_finite(out, self.source, wanted, origin=(rows.start, columns.start))
        return out

    def lazy(self) -> dask.array.Array:
        """The image as a dask array (stain, Y, X), one stain and about a thousand pixels a block."""
        import dask.array as da

        chunks = _chunks(self.block, self.shape)
        name = f"field-{self.field.field}-{_token(self)}"
        return da.from_array(
            _Sliced(self), chunks=(1, *chunks), name=name, meta=np.empty((0, 0, 0), self.dtype)
        )

    def coarser(self) -> tuple[FieldImage, ...]:
        """The image at the lower resolutions that the file holds as well, the finest first.

        Each covers the whole image, edge to edge; levels of which the file does not say so are left out.
        """
        return tuple(self._at(level, source) for level, source in enumerate(self._source.coarser(), start=1))

    def _at(self, level: int, source: Source) -> FieldImage:
        """The same stains read from another resolution of the file."""
        image = FieldImage.__new__(FieldImage)
        vars(image).update(vars(self), level=level, _source=source, block=source.layout.block)
        image.shape = (source.layout.length("Y"), source.layout.length("X"))
        image.pixel_size_um = _enlarged(self.pixel_size_um, self.shape, image.shape)
        image.pixel_size_in_file = _enlarged(self.pixel_size_in_file, self.shape, image.shape)
        return image

    def _own(self, stain: str) -> str:
        for own in self.stains:
            if same_stain(own, stain):
                return own
        raise UnknownStain(stain, self.stains, f"field {self.field.field!r} ({self.source})")

    def _fill(self, out: np.ndarray, stains: Sequence[str], rows: slice, columns: slice) -> None:
        channels = [self._channels.positions[self.field.panel.index(stain)] for stain in stains]
        axes, axis = self._source.layout.axes, self._channels.axis
        if axis and axes.index(axis) > axes.index("X"):
            # The channels of a pixel lie together: reading one reads all.
            first = min(channels)
            band = self._read_channels(slice(first, max(channels) + 1), rows, columns)
            for place, channel in enumerate(channels):
                out[place] = band[channel - first]
        else:
            for place, channel in enumerate(channels):
                out[place] = self._read_channels(slice(channel, channel + 1), rows, columns)[0]

    def _read_channels(self, channels: slice, rows: slice, columns: slice) -> np.ndarray:
        """Pixels (channel, y, x) of neighbouring channels of the file."""
        axes, channel_axis = self._source.layout.axes, self._channels.axis
        parts = {"Y": rows, "X": columns, channel_axis: channels}
        # One plane at a time: a maximum over planes never holds the stack.
        planes = (
            self._source.read(tuple(parts.get(axis, slice(plane, plane + 1)) for axis in axes))
            for plane in self._planes
        )
        pixels = reduce(np.maximum, planes)
        order = [axes.index(axis) for axis in (channel_axis, "Y", "X") if axis]
        rest = [axis for axis in range(len(axes)) if axis not in order]  # of length 1 by now
        size = [part.stop - part.start for part in (channels, rows, columns)]
        return pixels.transpose(rest + order).reshape(size)

    def __reduce__(self) -> tuple[Any, ...]:
        return _reopened, (self.field, self.stains, self.level)

    def __repr__(self) -> str:
        size = f"{self.shape[0]} x {self.shape[1]} {self.dtype}"
        return f"<FieldImage {self.field.field!r}: {', '.join(self.stains)}; {size}>"


def open_field(field: StudyField, *, stains: Sequence[str] | None = None) -> FieldImage:
    """Open the image of a field: metadata are read and checked, pixels are not.

    Parameters
    ----------
    field
        The row of the manifest.
    stains
        Stains wanted, in the order wanted; those of the panel where not given.

    Raises
    ------
    ImageError
        When the file is missing, unreadable, damaged, or its axes or channels are ambiguous.
    PanelMismatch
        When the file's channels lack a stain of the panel.
    UnknownStain
        When a wanted stain is not in the panel.
    """
    return FieldImage(field, open_source(field.image), stains)


def open_source(path: Path) -> Source:
    """Open an image of any supported kind.

    Raises
    ------
    ImageError
        When there is no such file, or it is no image.
    """
    from napari_apollo.study.omezarr import is_zarr, open_zarr
    from napari_apollo.study.stainfiles import is_pattern, open_stain_files

    with damage_named(path):
        if is_pattern(path):
            return open_stain_files(path)
        if path.is_dir():
            return open_zarr(path) if is_zarr(path) else open_stain_files(path)
        if not path.exists():
            raise FileNotFoundError(path)
        if not path.is_file():  # a pipe or device would be waited for without end
            raise ImageError(path, "is no file.", "Name an image file.")
        from napari_apollo.study.tiff import open_tiff

        return open_tiff(path)


def bounds(part: slice, length: int) -> slice:
    """A slice with its ends, as numpy would read it.

    Raises
    ------
    ValueError
        For a step other than 1.
    """
    start, stop, step = part.indices(length)
    if step != 1:
        raise ValueError(f"regions are read with a step of 1, not {step}")
    return slice(start, max(start, stop))


def ranges_of(
    index: tuple[slice | int, ...], shape: tuple[int, ...]
) -> tuple[tuple[slice, ...], tuple[slice | int, ...]]:
    """What to read for an index, and what to take of it.

    Dask hands on whatever was selected of an array: single positions and steps too.
    """
    ranges: list[slice] = []
    rest: list[slice | int] = []
    for part, length in zip(index, shape, strict=True):
        if isinstance(part, slice):
            positions = range(length)[part]
            low, high = (min(positions), max(positions) + 1) if len(positions) else (0, 0)
            ranges.append(slice(low, high))
            rest.append(slice(None, None, positions.step))
        else:
            ranges.append(slice(int(part), int(part) + 1))
            rest.append(0)
    return tuple(ranges), tuple(rest)


def _planes(field: StudyField, source: Source, channels: Channels) -> Sequence[int]:
    """Planes of the stack that are taken."""
    number = 1 if channels.axis == "Z" else source.layout.length("Z")
    if field.z == "max":
        return range(number)
    if field.z >= number:
        raise ImageError(
            field.image,
            f"has {count(number, 'plane')}, and plane {field.z} is asked for.",
            f"Give z as 'max' or a number from 0 to {number - 1}.",
        )
    return (field.z,)


def _reopened(field: StudyField, stains: tuple[str, ...], level: int) -> FieldImage:
    image = open_field(field, stains=stains)
    return image.coarser()[level - 1] if level else image


def _enlarged(
    pixel_size: tuple[float, float] | None, full: tuple[int, int], shape: tuple[int, int]
) -> tuple[float, float] | None:
    """Size of a pixel where fewer of them cover the same image."""
    if pixel_size is None:
        return None
    return pixel_size[0] * full[0] / shape[0], pixel_size[1] * full[1] / shape[1]


def _chunks(stored: tuple[int, int], shape: tuple[int, int]) -> tuple[int, int]:
    """Blocks of about a million pixels that hold whole tiles or strips."""
    x = min(shape[1], stored[1] * max(1, round(_LAZY_SIDE / stored[1])))
    y = min(shape[0], stored[0] * max(1, round(_LAZY_SIDE**2 / x / stored[0])))
    return y, x


def _token(image: FieldImage) -> str:
    from dask.base import tokenize

    try:
        stat = image.source.stat()
        version: tuple[int, ...] = (stat.st_mtime_ns, stat.st_size)
    except OSError:
        version = ()
    field = image.field
    what = (str(image.source.absolute()), version, image.stains, field.channels, field.z, image.level)
    return str(tokenize(*what))


class _Sliced:
    """A field image as dask slices it."""

    def __init__(self, image: FieldImage) -> None:
        self._image = image
        self.shape = (len(image.stains), *image.shape)
        self.dtype = image.dtype
        self.ndim = 3

    def __getitem__(self, index: tuple[slice | int, ...]) -> np.ndarray:
        ranges, rest = ranges_of(index, self.shape)
        stains, y, x = ranges
        return self._image.read(self._image.stains[stains], y, x)[rest]
