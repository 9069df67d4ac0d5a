"""Tables of cells from AnnData and MuData, in memory or in files, sparse where they are sparse."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import h5py
import numpy as np
import pandas as pd
from scipy import sparse

from napari_apollo.errors import ConfigError, DataError
from napari_apollo.progress import ShouldStop, never, stop_if_asked
from napari_apollo.tables.files import (
    RAW,
    Budget,
    FilePart,
    Values,
    compact,
    file_parts,
    frames,
    modality_name,
    nbytes,
    opened,
    values_of_file,
    with_common,
)


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
        Layer that holds the values; ``X`` where it is empty, and what AnnData keeps as ``raw`` where it is
        ``raw`` and no layer is called so.
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
    budget = Budget(memory)
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


def _entries(source: Any) -> Iterator[tuple[str, Any]]:
    if isinstance(source, (str, Path)):
        yield from file_parts(source).items()
    elif hasattr(source, "mod"):
        yield from ((modality_name(name), _Part(data, source.obs)) for name, data in source.mod.items())
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


class _Part(NamedTuple):
    """An AnnData of a MuData, and the ``obs`` of all cells beside it."""

    data: Any
    common: pd.DataFrame


def _read(name: str, given: Any, layer: str, budget: Budget, should_stop: ShouldStop) -> Table:
    from anndata.io import read_elem

    if isinstance(given, FilePart):
        with opened(given.path) as file:
            obs, var = frames(given, file[given.group], layer)
            if given.in_mudata and "obs" in file:
                obs = with_common(obs, read_elem(file["obs"]))
            values = values_of_file(given, file[given.group], layer, budget, should_stop)
        origin = str(given)
    else:
        origin = f"AnnData {name!r}"
        given, common = given if isinstance(given, _Part) else (given, None)
        obs, var = given.obs if common is None else with_common(given.obs, common), given.var
        if layer == RAW and layer not in given.layers and given.raw is not None:
            var, values = given.raw.var, given.raw.X
        elif layer and layer not in given.layers:
            known = [*given.layers, *([] if given.raw is None else [RAW])]
            raise ConfigError(f"{origin} has no layer {layer!r}; it has {', '.join(known) or 'none'}.")
        else:
            values = given.layers[layer] if layer else given.X
        if values is None:
            raise DataError(f"{origin} holds no X.")
        if isinstance(values, h5py.Dataset) or hasattr(values, "to_memory"):  # backed
            values = values[:] if isinstance(values, h5py.Dataset) else values.to_memory()
        values = compact(values)
        budget.take(origin, nbytes(values))
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
