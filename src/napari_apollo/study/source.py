"""What every kind of image file offers, once opened: an array with named axes that is read in parts."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Protocol

import numpy as np

from napari_apollo.errors import ApolloError, FileError, ImageError

Region = tuple[slice, ...]
"""One slice with start and stop for every axis."""

_LONGEST_SIDE = 10_000_000
_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Layout:
    """What an image file says about itself.

    Attributes
    ----------
    axes
        A letter for each axis in the order of the array: ``Y X`` and any of ``C`` (channels), ``S``
        (samples of a pixel), ``Z``, ``T``, ``Q`` (pages or an axis that the file does not explain).
    shape
        Length of each axis.
    dtype
        Of the pixels, in the byte order of this machine.
    channel_names
        As the file has them, one for each position on the channel axis; None where it names none.
    pixel_size_um
        ``(y, x)`` in micrometres; None where the file does not say.
    block
        ``(y, x)`` of what is stored, and therefore read, together.
    """

    axes: str
    shape: tuple[int, ...]
    dtype: np.dtype
    channel_names: tuple[str, ...] | None = None
    pixel_size_um: tuple[float, float] | None = None
    block: tuple[int, int] = (1024, 1024)

    def length(self, axis: str) -> int:
        """Length of an axis; 1 where the image does not have it."""
        return self.shape[self.axes.index(axis)] if axis in self.axes else 1

    def reduces(self, full: Layout) -> bool:
        """Whether this is a whole image of which ``full`` is the larger one, all else being equal.

        Y and X have to be smaller by one factor, up to the rounding of either.
        """
        if (self.axes, self.dtype) != (full.axes, full.dtype):
            return False
        low, high = 1.0, np.inf  # factors that the lengths allow
        for axis, own, whole in zip(self.axes, self.shape, full.shape, strict=True):
            if axis in "YX":
                low = max(low, whole / (own + 1))
                high = min(high, whole / (own - 1) if own > 1 else np.inf)
            elif own != whole:
                return False
        smaller = self.length("Y") * self.length("X") < full.length("Y") * full.length("X")
        return smaller and low < high


class Source(Protocol):
    """An image that was opened: its layout is known, its pixels are read on demand.

    Sources are shared between threads and hold no open file.
    """

    path: Path
    layout: Layout

    def read(self, region: Region) -> np.ndarray:
        """Pixels of a region, every axis kept.

        Raises
        ------
        ImageError
            When the file was damaged, or changed since it was opened.
        """
        ...

    def coarser(self) -> Sequence[Source]:
        """The lower resolutions that the file holds as well, the finest first; those that can be used.

        Their layouts need name neither channels nor a pixel size: those are the full image's.
        """
        ...


@contextmanager
def damage_named(path: Path, kind: type[FileError] = ImageError) -> Iterator[None]:
    """Turn whatever a decoder raises on bytes it cannot make sense of into an error naming the file.

    Decoders have no common error: a flipped byte surfaces as anything from ``KeyError`` to
    ``MemoryError``. All of them mean the same to the user, and none is swallowed.

    Raises
    ------
    FileError
        Of the kind asked for, in place of any error that is not the project's own.
    """
    try:
        yield
    except ApolloError:
        raise
    except FileNotFoundError as error:
        raise kind(path, "no such file.", "Correct the path; it is relative to the manifest.") from error
    except IsADirectoryError as error:
        raise kind(path, "is a folder.", "Name the image file itself.") from error
    except PermissionError as error:
        raise kind(path, "may not be read by this user.", "Change its permissions.") from error
    except OSError as error:
        raise kind(
            path, f"cannot be read: {error.strerror or error}.", "Correct the path, or copy it."
        ) from error
    except Exception as error:
        reason = str(error).strip().splitlines()
        raise kind(
            path,
            f"is damaged or of an unknown kind ({type(error).__name__}: {''.join(reason[:1])[:200]}).",
            "Copy it again from where it came from, or save it anew as TIFF or OME-Zarr.",
        ) from error


def usable(full: Layout, opening: Iterable[Callable[[], Source]]) -> list[Source]:
    """Lower resolutions of an image that can stand for it, the finest first.

    The pixels of the image are those of full resolution: a lower one that is damaged, or of another kind or
    shape, is left out and can be made anew.
    """
    found: list[Source] = []
    for open_level in opening:
        try:
            source = open_level()
        except ImageError as error:
            _log.warning("A lower resolution is left out: %s", error)
            continue
        if source.layout.reduces(full) and (not found or source.layout.reduces(found[-1].layout)):
            found.append(source)
    return found


class Complaints(logging.Handler):
    """Collects what a library logs, on this thread, instead of raising it.

    Also where the application has turned the library's log down: damage is not a matter of taste.
    """

    _lock = threading.Lock()
    _listeners: ClassVar[dict[str, list[Complaints]]] = {}
    _levels: ClassVar[dict[str, int]] = {}

    def __init__(self, logger: str) -> None:
        super().__init__(logging.WARNING)
        self.messages: list[str] = []
        self._logger = logging.getLogger(logger)
        self._thread = threading.get_ident()

    def emit(self, record: logging.LogRecord) -> None:
        """Keep a message of this thread."""
        if record.thread == self._thread:
            self.messages.append(record.getMessage())

    def __enter__(self) -> Complaints:
        name = self._logger.name
        with self._lock:
            listeners = self._listeners.setdefault(name, [])
            if not listeners:
                self._levels[name] = self._logger.level
                self._logger.setLevel(min(self._logger.getEffectiveLevel(), logging.WARNING))
            listeners.append(self)
            self._logger.addHandler(self)
        return self

    def __exit__(self, *_: object) -> None:
        name = self._logger.name
        with self._lock:
            self._logger.removeHandler(self)
            self._listeners[name].remove(self)
            if not self._listeners[name]:
                self._logger.setLevel(self._levels[name])


def check_layout(path: Path, axes: str, shape: Sequence[int], dtype: np.dtype | None) -> None:
    """Refuse sizes and kinds of pixels that no image has, before anything is allocated.

    Raises
    ------
    ImageError
        Naming the size or kind.
    """
    if dtype is None or dtype.kind not in "uif" or dtype.itemsize > 8:
        raise ImageError(
            path,
            f"pixels of kind {dtype} are not supported.",
            "Save it as 8, 16 or 32 bit integers or floats.",
        )
    sizes = " x ".join(f"{axis}={length}" for axis, length in zip(axes, shape, strict=False)) or "none"
    if len(axes) != len(shape) or min(shape, default=0) < 1 or max(shape, default=0) > _LONGEST_SIDE:
        raise ImageError(
            path,
            f"declares a size of {sizes}, which cannot be.",
            "The file is damaged; copy it again.",
        )
    if "Y" not in axes or "X" not in axes or len(set(axes)) != len(axes):
        raise ImageError(
            path,
            f"its axes ({sizes}) are not explained.",
            "Save it with its axes named, for example as OME-TIFF with the axes CYX.",
        )
