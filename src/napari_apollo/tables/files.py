"""Files of tables: AnnData and MuData on disk, read a part at a time, sparse where they are sparse.

``.h5mu`` is a file whose group ``mod`` holds one AnnData a modality (https://mudata.readthedocs.io, "On-disk
format"), so it is read without the library of that name.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pandas as pd
from scipy import sparse

from napari_apollo.errors import ConfigError, DataError, FileError
from napari_apollo.progress import ShouldStop, never, stop_if_asked

SUFFIXES = (".h5ad", ".h5mu")
"""Files that hold tables."""

RAW = "raw"
"""Layer that stands for what AnnData keeps as ``raw``, where no layer has that name."""

_ROWS = 2048  # read at once from a file
_DENSE = 0.4  # of all values not zero: from here on a table takes less memory when it is not sparse

Values = Any  # scipy.sparse.csr_matrix or numpy.ndarray, (cell, feature) float32


def are_tables(path: Path | str) -> bool:
    """Whether a path names a file of tables."""
    return Path(path).suffix.lower() in SUFFIXES


@dataclass(frozen=True)
class FilePart:
    """One AnnData in a file: its path, and its group (``/``, or ``mod/NAME`` of a ``.h5mu``)."""

    path: Path
    group: str = "/"

    @property
    def in_mudata(self) -> bool:
        """Whether other tables lie beside it, and an ``obs`` of all cells."""
        return self.group != "/"

    def __str__(self) -> str:
        return str(self.path) if self.group == "/" else f"{self.path} ({self.group.removeprefix('mod/')})"


def file_parts(path: Path | str) -> dict[str, FilePart]:
    """The tables of a file, by name of the modality.

    Raises
    ------
    FileError
        When the file is not there, or holds no tables.
    """
    path = Path(path)
    if not path.exists():
        raise FileError(path, "does not exist.", "Give files of AnnData (.h5ad) or MuData (.h5mu).")
    if path.suffix.lower() in (".gz", ".zip", ".zst", ".bz2"):
        raise FileError(path, "is packed.", "Unpack it, and give the file that comes out.")
    if not are_tables(path) or path.is_dir():
        raise FileError(path, "is no table.", "Give files of AnnData (.h5ad) or MuData (.h5mu).")
    if path.suffix.lower() == ".h5ad":
        return {modality_name(path.stem): FilePart(path)}
    with opened(path) as file:
        if "mod" not in file:
            raise FileError(path, "is no MuData file: it holds no group 'mod'.")
        order = file["mod"].attrs.get("mod-order", list(file["mod"]))
        parts: dict[str, FilePart] = {}
        for given in map(str, order):
            name = modality_name(given)
            if name in parts:
                raise ConfigError(f"{path}: {given!r} and another modality are both called {name!r} here.")
            parts[name] = FilePart(path, f"mod/{given}")
        return parts


def cell_names(paths: Sequence[Path | str], names: Sequence[str]) -> dict[str, np.ndarray]:
    """Names of all cells (cell,) of the tables of these names, without their values."""
    found = {}
    for path in paths:
        for name, part in file_parts(path).items():
            if name in names:
                with opened(part.path) as file:
                    obs, _ = frames(part, file[part.group])
                found[name] = np.asarray(obs.index.astype(str), object)
    return found


def cell_names_of_all(path: Path) -> np.ndarray:
    """Names (cell,) of all cells of a MuData file, in its order.

    Raises
    ------
    FileError
        When it holds none.
    """
    from anndata.io import read_elem

    with opened(path) as file:
        if "obs" not in file:
            raise FileError(path, "is no MuData file: it holds no obs.")
        return np.asarray(read_elem(file["obs"]).index.astype(str), object)


def modality_name(text: str) -> str:
    """A name that files, networks and columns can bear."""
    return re.sub(r"\W+", "_", text).strip("_") or "table"


def with_common(obs: pd.DataFrame, common: pd.DataFrame) -> pd.DataFrame:
    """What a table says of its cells, and what a MuData says of all cells beside it, found by name.

    What the table says itself stands; columns ``NAME:COLUMN``, copies of what tables say, are left out. Where
    a name stands twice in ``common`` nothing can be found by it, and nothing is taken.
    """
    columns = [name for name in common.columns if ":" not in str(name) and name not in obs]
    if not columns or not common.index.is_unique:
        return obs
    return obs.join(common[columns].set_axis(common.index.astype(str)))


@dataclass
class Budget:
    """Bytes that tables may still take."""

    left: float

    def take(self, origin: str, nbytes: float) -> None:
        """Take so many for a table.

        Raises
        ------
        ConfigError
            When so many are not left.
        """
        if nbytes > self.left:
            raise ConfigError(
                f"{origin} takes {nbytes / 1e9:.1f} GB in memory, {max(0.0, self.left) / 1e9:.1f} GB are "
                "left for tables. Keep counts sparse (CSR), leave features out, or allow more by memory_gb."
            )
        self.left -= nbytes


def opened(path: Path) -> h5py.File:
    """A file of HDF5, to read from.

    Raises
    ------
    FileError
        When it is none.
    """
    try:
        return h5py.File(path, "r")
    except OSError as error:
        raise FileError(
            path, f"cannot be read as HDF5: {error}", "Write it anew, or copy it again."
        ) from error


def frames(part: FilePart, group: h5py.Group, layer: str = "") -> tuple[pd.DataFrame, pd.DataFrame]:
    """``obs``, and the ``var`` that goes with a layer.

    Raises
    ------
    FileError
        When one of them is not there.
    """
    from anndata.io import read_elem

    missing = [key for key in ("obs", "var") if key not in group]
    if missing:
        raise FileError(part.path, f"is no AnnData: it holds no {' and no '.join(missing)}.")
    if not all(isinstance(group[key], h5py.Group) for key in ("obs", "var")):
        raise FileError(
            part.path,
            "was written by an anndata before 0.7.",
            "Write it anew: anndata.read_h5ad(OLD).write_h5ad(NEW).",
        )
    return read_elem(group["obs"]), read_elem(group["raw/var" if _is_raw(group, layer) else "var"])


def _is_raw(group: h5py.Group, layer: str) -> bool:
    """Whether a layer is what AnnData keeps as ``raw``, with features of its own."""
    return layer == RAW and f"layers/{layer}" not in group and "raw/X" in group


def values_of_file(
    part: FilePart, group: h5py.Group, layer: str, budget: Budget, should_stop: ShouldStop = never
) -> Values:
    """Values (cell, feature) of an AnnData in a file.

    Raises
    ------
    ConfigError
        When the layer is not there, or memory is too small.
    """
    from anndata.io import read_elem, sparse_dataset

    key = f"layers/{layer}" if layer else "X"
    if _is_raw(group, layer):
        key = "raw/X"
    if key not in group:
        known = ", ".join([*group.get("layers", ()), *([RAW] if "raw/X" in group else [])]) or "none"
        raise ConfigError(f"{part} holds no {key}; its layers are {known}.")
    stored = group[key]
    if isinstance(stored, h5py.Group):
        budget.take(str(part), 8.0 * stored["data"].shape[0])  # float32 values, int32 columns
        if not stored.attrs.get("encoding-type", "").startswith("csr"):
            return compact(read_elem(stored))
        return _sparse_rows(sparse_dataset(stored), stored["data"].shape[0], should_stop)
    chunks = []
    for start in range(0, int(stored.shape[0]), _ROWS):
        stop_if_asked(should_stop)
        chunks.append(compact(stored[start : start + _ROWS]))
        budget.take(str(part), nbytes(chunks[-1]))
    return _joined(chunks, int(stored.shape[1]))


def _sparse_rows(lazy: Any, stored: int, should_stop: ShouldStop) -> Values:
    """Rows of a sparse table on disk, a part at a time into the memory that all of them take."""
    cells, features = map(int, lazy.shape)
    data, columns = np.empty(stored, np.float32), np.empty(stored, np.int32)
    starts = np.zeros(cells + 1, np.int64)
    for start in range(0, cells, _ROWS):
        stop_if_asked(should_stop)
        part = _thin(lazy[start : start + _ROWS])
        first = starts[start]
        data[first : first + part.nnz] = part.data
        columns[first : first + part.nnz] = part.indices
        starts[start + 1 : start + 1 + part.shape[0]] = first + part.indptr[1:]
    used = starts[-1]
    matrix = sparse.csr_matrix((data[:used], columns[:used], starts), shape=(cells, features))
    return matrix.toarray() if used >= _DENSE * max(1, cells * features) else matrix


def _joined(chunks: list[Values], features: int) -> Values:
    if not chunks:
        return np.zeros((0, features), np.float32)
    stored = sum(chunk.nnz if sparse.issparse(chunk) else np.count_nonzero(chunk) for chunk in chunks)
    cells = sum(chunk.shape[0] for chunk in chunks)
    if stored < _DENSE * cells * features:
        return sparse.csr_matrix(sparse.vstack([sparse.csr_matrix(chunk) for chunk in chunks], "csr"))
    whole = np.empty((cells, features), np.float32)
    start = 0
    for chunk in chunks:
        whole[start : start + chunk.shape[0]] = chunk.toarray() if sparse.issparse(chunk) else chunk
        start += chunk.shape[0]
    return whole


def _thin(values: Any) -> sparse.csr_matrix:
    """Sparse values as rows of float32, each column once, without zeros."""
    matrix = sparse.csr_matrix(values, dtype=np.float32, copy=True)
    matrix.sum_duplicates()
    matrix.eliminate_zeros()
    return matrix


def compact(values: Any) -> Values:
    """Values as float32, as CSR without stored zeros where that takes less memory."""
    if not sparse.issparse(values):
        values = np.asarray(values)
        if values.dtype.kind not in "biuf":
            raise DataError(f"Values of kind {values.dtype} are no numbers.")
        dense = values.astype(np.float32)
        return sparse.csr_matrix(dense) if np.count_nonzero(dense) < _DENSE * dense.size else dense
    matrix = _thin(values)
    size = matrix.shape[0] * matrix.shape[1]
    return matrix.toarray() if matrix.nnz >= _DENSE * max(1, size) else matrix


def nbytes(values: Values) -> float:
    """Bytes that values take."""
    if sparse.issparse(values):
        return float(values.data.nbytes + values.indices.nbytes + values.indptr.nbytes)
    return float(values.nbytes)
