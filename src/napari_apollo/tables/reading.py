"""Tables of cells from AnnData and MuData, in memory or in files, sparse where they are sparse.

``.h5mu`` is a file whose group ``mod`` holds one AnnData a modality (https://mudata.readthedocs.io, "On-disk
format"), so it is read without the library of that name.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
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

_ROWS = 2048  # read at once from a file
_DENSE = 0.4  # of all values not zero: from here on a table takes less memory when it is not sparse

Values = Any  # scipy.sparse.csr_matrix or numpy.ndarray, (cell, feature) float32


@dataclass(frozen=True)
class Table:
    """One modality as it was given.

    Attributes
    ----------
    name
        Of the modality: letters, digits and ``_``.
    values
        (cell, feature) float32: CSR where most values are zero, else an array.
    cells, features
        Their names, (cell,) and (feature,) of str; each once.
    obs
        What is known of the cells, one row each, in their order.
    origin
        What messages call it: the file, or ``AnnData 'rna'``.
    """

    name: str
    values: Values
    cells: np.ndarray
    features: np.ndarray
    obs: pd.DataFrame
    origin: str

    @property
    def shape(self) -> tuple[int, int]:
        """Cells and features."""
        return self.values.shape[0], self.values.shape[1]

    def stored(self) -> np.ndarray:
        """All values that are kept in memory: the others are 0."""
        stored: np.ndarray = self.values.data if sparse.issparse(self.values) else self.values.ravel()
        return stored

    def place(self, position: int) -> tuple[str, str]:
        """Cell and feature of a position in ``stored()``."""
        if sparse.issparse(self.values):
            row = int(np.searchsorted(self.values.indptr, position, "right")) - 1
            return str(self.cells[row]), str(self.features[self.values.indices[position]])
        row, column = divmod(position, self.values.shape[1])
        return str(self.cells[row]), str(self.features[column])


def are_tables(path: Path | str) -> bool:
    """Whether a path names a file of tables."""
    return Path(path).suffix.lower() in SUFFIXES


def open_tables(
    source: Any,
    *,
    layer: str = "",
    names: Sequence[str] = (),
    memory: float = np.inf,
    should_stop: ShouldStop = never,
) -> dict[str, Table]:
    """Read tables, each under the name of its modality.

    Parameters
    ----------
    source
        A path of a ``.h5ad`` or ``.h5mu``, several of them, a MuData, or a mapping of names to AnnData or
        paths. Files of AnnData are called as the file is; backed objects are read.
    layer
        Layer that holds the values; ``X`` where it is empty.
    names
        Names of the modalities to take from all that is given, all where there are none.
    memory
        Bytes that the values may take.

    Raises
    ------
    FileError
        When a file is not there, or not what its name says.
    ConfigError
        When a name is taken twice, an asked-for modality or layer is not there, or memory is too small.
    DataError
        When a table has no cells, or a name twice.
    """
    tables: dict[str, Table] = {}
    budget = _Budget(memory)
    for name, given in _entries(source):
        if names and name not in names:
            continue
        if name in tables:
            raise ConfigError(f"Two tables are called {name!r}; name the files differently.")
        stop_if_asked(should_stop)
        tables[name] = _read(name, given, layer, budget, should_stop)
    unknown = [name for name in names if name not in tables]
    if unknown:
        known = ", ".join(name for name, _ in _entries(source))
        raise ConfigError(f"There is no modality {', '.join(unknown)}; the tables hold {known}.")
    if not tables:
        raise ConfigError("No table was given.")
    return tables


@dataclass(frozen=True)
class FilePart:
    """One AnnData in a file: its path, and its group (``/``, or ``mod/NAME`` of a ``.h5mu``)."""

    path: Path
    group: str = "/"

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
    if not are_tables(path) or path.is_dir():
        raise FileError(path, "is no table.", "Give files of AnnData (.h5ad) or MuData (.h5mu).")
    if path.suffix.lower() == ".h5ad":
        return {modality_name(path.stem): FilePart(path)}
    with _opened(path) as file:
        if "mod" not in file:
            raise FileError(path, "is no MuData file: it holds no group 'mod'.")
        order = file["mod"].attrs.get("mod-order", list(file["mod"]))
        return {modality_name(str(name)): FilePart(path, f"mod/{name}") for name in order}


def cell_names(paths: Sequence[Path | str], names: Sequence[str]) -> dict[str, np.ndarray]:
    """Names of all cells (cell,) of the tables of these names, without their values."""
    found = {}
    for path in paths:
        for name, part in file_parts(path).items():
            if name in names:
                with _opened(part.path) as file:
                    obs, _ = _frames(part, file[part.group])
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

    with _opened(path) as file:
        if "obs" not in file:
            raise FileError(path, "is no MuData file: it holds no obs.")
        return np.asarray(read_elem(file["obs"]).index.astype(str), object)


def modality_name(text: str) -> str:
    """A name that files, networks and columns can bear."""
    return re.sub(r"\W+", "_", text).strip("_") or "table"


def _entries(source: Any) -> Iterator[tuple[str, Any]]:
    if isinstance(source, (str, Path)):
        yield from file_parts(source).items()
    elif hasattr(source, "mod"):
        yield from ((modality_name(name), data) for name, data in source.mod.items())
    elif isinstance(source, Mapping):
        for name, given in source.items():
            if isinstance(given, (str, Path)):
                yield modality_name(name), next(iter(file_parts(given).values()))
            else:
                yield modality_name(name), given
    elif isinstance(source, Sequence):
        for given in source:
            yield from _entries(given)
    else:
        raise ConfigError(
            f"Tables are wanted as paths, a MuData, or a mapping of names to AnnData; found "
            f"{type(source).__name__}. A single AnnData needs a name: {{'rna': adata}}."
        )


@dataclass
class _Budget:
    left: float

    def take(self, origin: str, nbytes: float) -> None:
        if nbytes > self.left:
            raise ConfigError(
                f"{origin} takes {nbytes / 1e9:.1f} GB in memory, {max(0.0, self.left) / 1e9:.1f} GB are "
                "left for tables. Keep counts sparse (CSR), leave features out, or allow more by memory_gb."
            )
        self.left -= nbytes


def _read(name: str, given: Any, layer: str, budget: _Budget, should_stop: ShouldStop) -> Table:
    if isinstance(given, FilePart):
        with _opened(given.path) as file:
            obs, var = _frames(given, file[given.group])
            values = _values_of_file(given, file[given.group], layer, budget, should_stop)
        origin = str(given)
    else:
        origin = f"AnnData {name!r}"
        obs, var = given.obs, given.var
        if layer and layer not in given.layers:
            raise ConfigError(f"{origin} has no layer {layer!r}; it has {', '.join(given.layers) or 'none'}.")
        values = given.layers[layer] if layer else given.X
        if values is None:
            raise DataError(f"{origin} holds no X.")
        if isinstance(values, h5py.Dataset) or hasattr(values, "to_memory"):  # backed
            values = values[:] if isinstance(values, h5py.Dataset) else values.to_memory()
        values = _compact(values)
        budget.take(origin, _nbytes(values))
    cells, features = (np.asarray(frame.index.astype(str), object) for frame in (obs, var))
    if values.shape != (len(cells), len(features)) or not values.shape[0] or not values.shape[1]:
        raise DataError(
            f"{origin} has {len(cells)} cells and {len(features)} features, values {values.shape}."
        )
    _refuse_twice(cells, f"cells of {origin}")
    _refuse_twice(features, f"features of {origin}")
    return Table(name, values, cells, features, pd.DataFrame(obs).set_axis(cells), origin)


def _refuse_twice(names: np.ndarray, what: str) -> None:
    doubled = pd.Index(names)[pd.Index(names).duplicated()].unique()
    if len(doubled):
        shown = ", ".join(map(str, doubled[:5])) + (", ..." if len(doubled) > 5 else "")
        raise DataError(
            f"{len(doubled)} names stand twice among the {what}: {shown}. Cells are matched by name; make "
            "the names unique (AnnData.obs_names_make_unique, var_names_make_unique)."
        )


def _opened(path: Path) -> h5py.File:
    try:
        return h5py.File(path, "r")
    except OSError as error:
        raise FileError(
            path, f"cannot be read as HDF5: {error}", "Write it anew, or copy it again."
        ) from error


def _frames(part: FilePart, group: h5py.Group) -> tuple[pd.DataFrame, pd.DataFrame]:
    from anndata.io import read_elem

    missing = [key for key in ("obs", "var") if key not in group]
    if missing:
        raise FileError(part.path, f"is no AnnData: it holds no {' and no '.join(missing)}.")
    return read_elem(group["obs"]), read_elem(group["var"])


def _values_of_file(
    part: FilePart, group: h5py.Group, layer: str, budget: _Budget, should_stop: ShouldStop
) -> Values:
    from anndata.io import read_elem, sparse_dataset

    key = f"layers/{layer}" if layer else "X"
    if key not in group:
        known = ", ".join(group.get("layers", ())) or "none"
        raise ConfigError(f"{part} holds no {key}; its layers are {known}.")
    stored = group[key]
    if isinstance(stored, h5py.Group):
        if not stored.attrs.get("encoding-type", "").startswith("csr"):
            values = _compact(read_elem(stored))
            budget.take(str(part), _nbytes(values))
            return values
        budget.take(str(part), 8.0 * stored["data"].shape[0])  # float32 values, int32 columns
        lazy = sparse_dataset(stored)
        read = lambda start: lazy[start : start + _ROWS]  # noqa: E731
        n = int(lazy.shape[0])
    else:
        read = lambda start: stored[start : start + _ROWS]  # noqa: E731
        n = int(stored.shape[0])
    chunks = []
    for start in range(0, n, _ROWS):
        stop_if_asked(should_stop)
        chunks.append(_compact(read(start)))
        if not isinstance(stored, h5py.Group):
            budget.take(str(part), _nbytes(chunks[-1]))
    return _joined(
        chunks, int(stored.attrs["shape"][1] if isinstance(stored, h5py.Group) else stored.shape[1])
    )


def _joined(chunks: list[Values], features: int) -> Values:
    if not chunks:
        return np.zeros((0, features), np.float32)
    if all(sparse.issparse(chunk) for chunk in chunks):
        return sparse.csr_matrix(sparse.vstack(chunks, "csr"))
    return np.concatenate([chunk.toarray() if sparse.issparse(chunk) else chunk for chunk in chunks])


def _compact(values: Any) -> Values:
    """Float32, as CSR without stored zeros where that takes less memory."""
    if not sparse.issparse(values):
        values = np.asarray(values)
        if values.dtype.kind not in "biuf":
            raise DataError(f"Values of kind {values.dtype} are no numbers.")
        dense = values.astype(np.float32)
        return sparse.csr_matrix(dense) if np.count_nonzero(dense) < _DENSE * dense.size else dense
    matrix = sparse.csr_matrix(values, dtype=np.float32, copy=True)
    matrix.sum_duplicates()
    matrix.eliminate_zeros()
    size = matrix.shape[0] * matrix.shape[1]
    return matrix.toarray() if matrix.nnz >= _DENSE * max(1, size) else matrix


def _nbytes(values: Values) -> float:
    if sparse.issparse(values):
        return float(values.data.nbytes + values.indices.nbytes + values.indptr.nbytes)
    return float(values.nbytes)
