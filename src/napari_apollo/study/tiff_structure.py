"""Whether a file is a TIFF whose directories hold together.

Readers of TIFF forgive: they skip a directory that was cut off, drop a tag they cannot place, and
fill what is missing with zeros. Here a damaged file has to be refused, and before anything is
allocated at its word, so the directories are walked once with nothing believed: every offset and
length must lie inside the file, no directory may be reached twice, and pixels may lie neither on a
directory nor on each other.

Format: TIFF 6.0 (Adobe, 1992), section 2; BigTIFF as in the libtiff specification.
"""

from __future__ import annotations

import os
import struct
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import numpy as np

from napari_apollo.errors import ImageError

_SIZE_OF_TYPE = {
    1: 1, 2: 1, 3: 2, 4: 4, 5: 8, 6: 1, 7: 1, 8: 2, 9: 4, 10: 8, 11: 4, 12: 8, 13: 4, 16: 8, 17: 8, 18: 8,
}  # fmt: skip
_UNSIGNED = {1, 3, 4, 13, 16, 18}

# Width, length, bits, compression, photometric, strip offsets, samples, rows, strip counts, planar
# configuration, predictor, tile width, length, offsets and counts, sample format, depths.
_STRUCTURAL = {
    256, 257, 258, 259, 262, 273, 277, 278, 279, 284, 317, 322, 323, 324, 325, 339, 32997, 32998,
}  # fmt: skip
# Of these there is one in a directory. Rows per strip are written more than once in the wild.
_SINGLE = {256, 257, 259, 262, 277, 284, 317, 322, 323, 32997, 32998}
_NEEDED = ({256}, {257}, {273, 324, 513})
_SUBIFDS = 330
_MOST_TAGS = 4096

_OTHER_KINDS = {
    b"\x89PNG": "PNG",
    b"\xff\xd8\xff": "JPEG",
    b"\x89HDF": "HDF5",
    b"PK\x03\x04": "ZIP",
    b"\x93NUM": "NumPy",
    b"GIF8": "GIF",
    b"%PDF": "PDF",
    b"ZISR": "CZI",
    b"\x70\x00\x00\x00": "LIF",
}


@dataclass(frozen=True)
class _Format:
    """How numbers are laid out: byte order, and the two widths of offsets."""

    order: str
    big: bool

    @property
    def offset(self) -> struct.Struct:
        return struct.Struct(self.order + ("Q" if self.big else "I"))

    @property
    def count(self) -> struct.Struct:
        return struct.Struct(self.order + ("Q" if self.big else "H"))

    @property
    def entry(self) -> struct.Struct:
        return struct.Struct(self.order + ("HHQ8s" if self.big else "HHI4s"))


@dataclass
class _Walk:
    """A file, and which of its bytes are spoken for."""

    path: Path
    stream: BinaryIO
    size: int
    layout: _Format
    occupied: list[tuple[int, int]]


def check_structure(path: Path) -> np.ndarray:
    """Walk the directories of a TIFF.

    Returns
    -------
    ndarray
        (part, 2): first byte, and the byte after the last one, of the header, of each directory,
        and of each list of sizes and places that belongs to one.

    Raises
    ------
    ImageError
        When the file is empty, no TIFF, cut off, or its directories point outside of it or back
        to each other.
    """
    with path.open("rb") as stream:
        size = os.fstat(stream.fileno()).st_size
        layout, first = _header(path, stream, size)
        walk = _Walk(path, stream, size, layout, [(0, 16 if layout.big else 8)])
        waiting = [first]
        seen: set[int] = set()
        while waiting:
            offset = waiting.pop()
            if offset in seen:
                raise _damaged(path, f"its directory at byte {offset} is reached twice")
            seen.add(offset)
            following, inner = _directory(walk, offset)
            # tifffile reads each inner directory by itself and follows none of their chains.
            for start in inner:
                if start in seen:
                    raise _damaged(path, f"its directory at byte {start} is reached twice")
                seen.add(start)
                _directory(walk, start)
            if following:
                waiting.append(following)
        return np.array(walk.occupied, np.int64)


def check_apart(path: Path, occupied: np.ndarray, starts: np.ndarray, counts: np.ndarray) -> None:
    """Refuse pixels that lie on a directory, or on one another.

    Parameters
    ----------
    occupied
        What ``check_structure`` returned.
    starts, counts
        First byte and number of bytes of every strip or tile. Equal ones may be stored once.

    Raises
    ------
    ImageError
        When places overlap.
    """
    pixels = np.stack([starts, starts + counts], axis=1)
    parts = np.unique(np.concatenate([occupied, pixels]), axis=0)  # sorted by the first byte
    overlapping = np.flatnonzero(parts[1:, 0] < np.maximum.accumulate(parts[:, 1])[:-1])
    if overlapping.size:
        raise _damaged(path, f"two of its parts lie on byte {int(parts[overlapping[0] + 1, 0])}")


def _header(path: Path, stream: BinaryIO, size: int) -> tuple[_Format, int]:
    if size == 0:
        raise ImageError(path, "is empty (0 bytes).", "Copy it again from where it came from.")
    start = stream.read(16)
    order = {b"II": "<", b"MM": ">"}.get(start[:2])
    version = struct.unpack(order + "H", start[2:4])[0] if order and len(start) >= 4 else 0
    if order is None or version not in (42, 43):
        kind = next((name for magic, name in _OTHER_KINDS.items() if start.startswith(magic)), None)
        raise ImageError(
            path,
            f"is not a TIFF but a {kind} file." if kind else "is not a TIFF.",
            "Save the image as TIFF, OME-TIFF or OME-Zarr.",
        )
    layout = _Format(order, version == 43)
    if layout.big:
        if len(start) < 16 or struct.unpack(order + "HH", start[4:8]) != (8, 0):
            raise _damaged(path, "the beginning of a BigTIFF is wrong")
        first = layout.offset.unpack(start[8:16])[0]
    else:
        if len(start) < 8:
            raise _damaged(path, f"it ends after {size} bytes")
        first = layout.offset.unpack(start[4:8])[0]
    if first == 0:
        raise _damaged(path, "it has no directory: whatever wrote it did not finish")
    return layout, first


def _directory(walk: _Walk, offset: int) -> tuple[int, list[int]]:
    """Offset of the next directory (0 where none), and those of the directories inside this one."""
    path, stream, size, layout = walk.path, walk.stream, walk.size, walk.layout
    if offset < 8 or offset + layout.count.size > size:
        raise _damaged(path, f"a directory should be at byte {offset}, the file has {size}")
    stream.seek(offset)
    (number,) = layout.count.unpack(stream.read(layout.count.size))
    if not 0 < number <= _MOST_TAGS:
        raise _damaged(path, f"the directory at byte {offset} claims {number} entries")
    block = stream.read(number * layout.entry.size + layout.offset.size)
    if len(block) < number * layout.entry.size + layout.offset.size:
        raise _damaged(path, f"it ends inside the directory at byte {offset}")
    walk.occupied.append((offset, offset + layout.count.size + len(block)))
    codes: set[int] = set()
    inner: list[int] = []
    for position in range(number):
        code, kind, count, value = layout.entry.unpack_from(block, position * layout.entry.size)
        codes.add(code)
        value = _entry(walk, f"entry {code} of the directory at byte {offset}", code, kind, count, value)
        if code == _SUBIFDS and kind in (4, 13, 16, 18):
            number_format = layout.order + ("I" if _SIZE_OF_TYPE[kind] == 4 else "Q")
            inner = [found[0] for found in struct.iter_unpack(number_format, value)]
    if not all(codes & alternatives for alternatives in _NEEDED):
        raise _damaged(
            path, f"the directory at byte {offset} lacks the size of its image or the place of its pixels"
        )
    (following,) = layout.offset.unpack_from(block, number * layout.entry.size)
    return following, [start for start in inner if start]


def _entry(walk: _Walk, which: str, code: int, kind: int, count: int, value: bytes) -> bytes:
    """Check an entry of a directory; its value where that names more directories, else nothing."""
    if code in _STRUCTURAL and (kind not in _UNSIGNED or count == 0 or (count > 1 and code in _SINGLE)):
        raise _damaged(walk.path, f"{which} is no number")
    nbytes = _SIZE_OF_TYPE.get(kind, 0) * count
    if nbytes <= len(value):
        return value[:nbytes]
    (start,) = walk.layout.offset.unpack(value)
    if start + nbytes > walk.size:
        raise _damaged(walk.path, f"{which} lies outside of the {walk.size} bytes of the file")
    if code in _STRUCTURAL:
        walk.occupied.append((start, start + nbytes))
    if code != _SUBIFDS:
        return b""
    walk.stream.seek(start)
    return walk.stream.read(nbytes)


def _damaged(path: Path, how: str) -> ImageError:
    return ImageError(path, f"is cut off or damaged: {how}.", "Copy it again from where it came from.")
