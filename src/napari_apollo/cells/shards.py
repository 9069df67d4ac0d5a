"""Arrays of cells on disk: zarr v3, one inner chunk per cell, many cells per shard file.

The files are plain zarr v3 (``sharding_indexed`` around ``bytes``, ``zstd``, ``crc32c``) and any zarr library
reads them. They are read and written here by hand because the road through a general library costs more than
the disk (``benchmarks/cells.py`` prints both), because a cell whose bytes are damaged must be named rather
than shown, and because a missing shard must not be taken for black images, which is what zarr makes of it.

Formats: https://zarr-specs.readthedocs.io/en/latest/v3/codecs/sharding-indexed/index.html
"""

from __future__ import annotations

import functools
import json
import os
import threading
from collections import OrderedDict
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise
from pathlib import Path
from typing import Any

import google_crc32c
import imagecodecs
import numpy as np
from numcodecs.zstd import Zstd
from numpy.typing import NDArray

from napari_apollo.errors import StoreDamaged
from napari_apollo.tasks import available_cores

LEVEL = 1
"""Compression level: higher ones save little on masked or noisy crops and write much slower."""

PLAIN = -20
"""Level of shards that compression does not halve, such as those of noisy 16-bit cameras: zstd then hardly
looks for anything, and reading takes a fifth of the time."""

_SAMPLED = 16  # cells of a shard that tell whether compression pays

SHARD_BYTES = 32_000_000
"""Uncompressed size aimed at for a shard."""

_ABSENT = 2**64 - 1
_OPEN_FILES = 64
_CRC = 4
_AXES = ("cell", "stain", "y", "x")


def cells_per_shard(cell_bytes: int) -> int:
    """How many cells of the given size share a shard."""
    return int(min(8192, max(32, SHARD_BYTES // max(1, cell_bytes))))


def array_metadata(shape: Sequence[int], dtype: np.dtype[Any], per_shard: int) -> dict[str, Any]:
    """The ``zarr.json`` of an array of cells ``(cell, ..., y, x)``."""
    little: dict[str, Any] = {"name": "bytes", "configuration": {"endian": "little"}}
    inner = [
        little if dtype.itemsize > 1 else {"name": "bytes"},
        {"name": "zstd", "configuration": {"level": LEVEL, "checksum": False}},
        {"name": "crc32c"},
    ]
    axes = _AXES if len(shape) == len(_AXES) else (_AXES[0], *_AXES[2:])
    return {
        "zarr_format": 3,
        "node_type": "array",
        "shape": [int(length) for length in shape],
        "data_type": dtype.name,
        "chunk_grid": {
            "name": "regular",
            "configuration": {"chunk_shape": [per_shard, *(int(length) for length in shape[1:])]},
        },
        "chunk_key_encoding": {"name": "default", "configuration": {"separator": "/"}},
        "fill_value": 0,
        "codecs": [
            {
                "name": "sharding_indexed",
                "configuration": {
                    "chunk_shape": [1, *(int(length) for length in shape[1:])],
                    "codecs": inner,
                    "index_codecs": [little, {"name": "crc32c"}],
                    "index_location": "end",
                },
            }
        ],
        "attributes": {},
        "dimension_names": list(axes),
        "storage_transformers": [],
    }


def shard_name(shard: int, dimensions: int) -> str:
    """Path of a shard inside its array's folder."""
    return "/".join(["c", str(shard), *["0"] * (dimensions - 1)])


def encode_shard(cells: NDArray[Any], per_shard: int) -> bytes:
    """The bytes of a shard file.

    Parameters
    ----------
    cells
        ``(n, ..., y, x)`` with ``n`` at most ``per_shard``.
    per_shard
        Cells that the shard has room for.
    """
    cells = np.ascontiguousarray(cells, cells.dtype.newbyteorder("<"))

    zstd = Zstd(level=_level_for(cells))

    def encode(part: range) -> list[bytes]:
        return [_sealed(bytes(zstd.encode(cells[k]))) for k in part]

    blobs = [blob for blobs in _pool(os.getpid()).map(encode, _parts(len(cells), 16)) for blob in blobs]
    index = np.full((per_shard, 2), _ABSENT, "<u8")
    lengths = np.array([len(blob) for blob in blobs], np.int64)
    index[: len(blobs), 0] = np.cumsum(lengths) - lengths
    index[: len(blobs), 1] = lengths
    return b"".join([*blobs, _sealed(index.tobytes())])


def _level_for(cells: NDArray[Any]) -> int:
    """Compression level for a shard, from some of its cells."""
    sample = cells[:: max(1, len(cells) // _SAMPLED)]
    zstd = Zstd(level=LEVEL)
    return LEVEL if 2 * sum(len(zstd.encode(cell)) for cell in sample) <= sample.nbytes else PLAIN


class CellArray:
    """Cells of one panel, read at random.

    Parameters
    ----------
    folder
        The array's folder.
    name
        What the cells are called in errors, for example ``"panel A, images"``.

    Attributes
    ----------
    shape : tuple of int
        ``(cell, ..., y, x)``.
    dtype : numpy.dtype

    Raises
    ------
    StoreDamaged
        When the description of the array is gone or is not what this module writes.
    """

    def __init__(self, folder: Path, name: str) -> None:
        self.folder = folder
        self.name = name
        try:
            metadata = json.loads((folder / "zarr.json").read_text("utf-8"))
            shape = tuple(int(length) for length in metadata["shape"])
            dtype = np.dtype(metadata["data_type"])
            per_shard = int(metadata["chunk_grid"]["configuration"]["chunk_shape"][0])
            expected = array_metadata(shape, dtype, per_shard)
        except (OSError, ValueError, KeyError, TypeError, IndexError) as error:
            raise StoreDamaged(folder / "zarr.json", f"the description of {name} cannot be read.") from error
        if metadata["codecs"] != expected["codecs"] or metadata["chunk_grid"] != expected["chunk_grid"]:
            raise StoreDamaged(
                folder / "zarr.json", f"{name} are not stored the way a cell store stores them."
            )
        self.shape = shape
        self.dtype = dtype
        self.per_shard = per_shard
        self._cell_bytes = int(np.prod(shape[1:])) * dtype.itemsize
        self._shards: OrderedDict[int, _Shard] = OrderedDict()
        self._indexes: dict[int, NDArray[np.uint64]] = {}
        self._lock = threading.Lock()

    def read(
        self, rows: Sequence[int] | NDArray[np.integer], out: NDArray[Any] | None = None
    ) -> NDArray[Any]:
        """Cells in the order asked; rows may repeat.

        Parameters
        ----------
        rows
            Positions along the first axis.
        out
            Written to where given: C-contiguous, ``(len(rows), *shape[1:])`` of this dtype. Reading batch
            after batch into one array is faster than asking the system for new memory each time.

        Raises
        ------
        IndexError
            When a row does not exist.
        StoreDamaged
            When bytes are missing or do not match their checksums; the rows are named.
        """
        wanted = np.asarray(rows, dtype=np.int64).reshape(-1)
        if len(wanted) and (wanted.min() < 0 or wanted.max() >= self.shape[0]):
            bad = wanted[(wanted < 0) | (wanted >= self.shape[0])][0]
            raise IndexError(f"{self.name}: row {bad} of {self.shape[0]} does not exist.")
        if out is None:
            out = np.empty((len(wanted), *self.shape[1:]), self.dtype)
        elif (
            out.shape != (len(wanted), *self.shape[1:])
            or out.dtype != self.dtype
            or not out.flags.c_contiguous
        ):
            raise ValueError(f"out must be C-contiguous, {(len(wanted), *self.shape[1:])} of {self.dtype}.")
        target = out.reshape(len(wanted), -1).view(np.uint8) if len(wanted) else out
        places = wanted.tolist()

        def work(part: range) -> list[tuple[int, Path, str]]:
            return [bad for k in part if (bad := self._read_cell(places[k], target[k]))]

        parts = _parts(len(places), 64)
        if len(parts) <= 1:
            damage = [bad for part in parts for bad in work(part)]
        else:
            damage = [bad for bads in _pool(os.getpid()).map(work, parts) for bad in bads]
        if damage:
            self._report(damage)
        return out

    def _read_cell(self, row: int, target: NDArray[np.uint8]) -> tuple[int, Path, str] | None:
        shard = row // self.per_shard
        try:
            blob = self._shard(shard).cell(row % self.per_shard)
            written = imagecodecs.zstd_decode(blob, out=target.data)
            if len(written) != self._cell_bytes:
                raise ValueError("a cell is shorter than it should be")
        except FileNotFoundError:
            return row, self.folder / shard_name(shard, len(self.shape)), "the file is gone"
        except (OSError, ValueError, RuntimeError) as error:
            return row, self.folder / shard_name(shard, len(self.shape)), str(error)
        return None

    def _shard(self, number: int) -> _Shard:
        with self._lock:
            shard = self._shards.get(number)
            if shard is not None:
                self._shards.move_to_end(number)
                return shard
        path = self.folder / shard_name(number, len(self.shape))
        shard = _Shard(path, self.per_shard, self._indexes.get(number))
        with self._lock:
            self._indexes[number] = shard.index
            self._shards[number] = shard
            while len(self._shards) > _OPEN_FILES:
                self._shards.popitem(last=False)
        return shard

    def _report(self, damage: list[tuple[int, Path, str]]) -> None:
        rows = sorted({row for row, _, _ in damage})
        _, path, problem = damage[0]
        listed = ", ".join(map(str, rows[:10])) + (f" and {len(rows) - 10} more" if len(rows) > 10 else "")
        raise StoreDamaged(
            path,
            f"{self.name}, rows {listed}: {problem}.",
            "Restore the store from a copy, or cut the cells again; 'napari-apollo verify' lists all damage.",
        )


class _Shard:
    """An open shard file and its index: first byte and length of each cell."""

    def __init__(self, path: Path, per_shard: int, index: NDArray[np.uint64] | None) -> None:
        self._file = os.open(path, os.O_RDONLY | getattr(os, "O_BINARY", 0))
        self._lock = threading.Lock()
        length = per_shard * 16 + _CRC
        size = os.fstat(self._file).st_size
        if size < length:
            raise ValueError("the file is shorter than its index")
        if index is None:
            index = np.frombuffer(_opened(self._read(size - length, length), "the index"), "<u8")
        self.index = index

    def __del__(self) -> None:
        if hasattr(self, "_file"):
            os.close(self._file)

    def cell(self, position: int) -> bytes:
        """The compressed bytes of a cell, checked."""
        offset, length = int(self.index[2 * position]), int(self.index[2 * position + 1])
        if offset == _ABSENT:
            raise ValueError("the cell is missing from its shard")
        return _opened(self._read(offset, length), "a cell")

    def _read(self, offset: int, length: int) -> bytes:
        if hasattr(os, "pread"):
            return os.pread(self._file, length, offset)
        with self._lock:
            os.lseek(self._file, offset, os.SEEK_SET)
            return os.read(self._file, length)


def _sealed(data: bytes) -> bytes:
    return data + int(google_crc32c.value(data)).to_bytes(_CRC, "little")


def _opened(data: bytes, what: str) -> bytes:
    body = data[:-_CRC]
    if len(data) < _CRC or int(google_crc32c.value(body)) != int.from_bytes(data[-_CRC:], "little"):
        raise ValueError(f"{what} does not match its checksum")
    return body


def _parts(count: int, least: int) -> list[range]:
    """Split a count over the cores, no part smaller than is worth a thread."""
    parts = max(1, min(available_cores(), count // least))
    edges = [round(count * k / parts) for k in range(parts + 1)]
    return [range(start, stop) for start, stop in pairwise(edges) if stop > start]


@functools.cache
def _pool(pid: int) -> ThreadPoolExecutor:
    """Threads of this process; asked for by process id because threads do not survive a fork."""
    return ThreadPoolExecutor(available_cores(), thread_name_prefix="cells")
