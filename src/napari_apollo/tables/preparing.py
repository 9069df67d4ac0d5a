"""Filters and transformations of tables, by name; zeros stay zeros, so that sparse tables stay sparse."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Literal, get_args

import numpy as np
from scipy import sparse

from napari_apollo.errors import ConfigError, DataError
from napari_apollo.tables.files import Values
from napari_apollo.tables.reading import Table

PreparationName = Literal["none", "paper", "binarise", "log-normalise", "clr", "centre", "standardise"]
PREPARATIONS: tuple[str, ...] = get_args(PreparationName)

TARGET = 1e4
"""Counts per cell that ``log-normalise`` scales to."""

Scale = float | np.ndarray
"""What values are divided by: a number, or one a feature."""

_CONSTANT = 1e-6
"""Standard deviation over mean, of features that are taken not to vary."""

_ROWS = 4096
_STORED = 2**22
"""Values that are not 0, looked at together."""


@dataclass(frozen=True)
class Prepared:
    """Values of one modality as networks take them: ``(values - centre) / scale``.

    Attributes
    ----------
    values
        (cell, feature) float32, CSR or array.
    centre
        (feature,) float32; None for 0, so that sparse values need not become dense before they are used.
    scale
        One number for all features, or (feature,) float32.
    """

    values: Values
    centre: np.ndarray | None = None
    scale: Scale = 1.0

    def dense(self, rows: np.ndarray) -> np.ndarray:
        """Values (n, feature) float32 of rows, as networks take them."""
        values = self.values[rows]
        values = values.toarray() if sparse.issparse(values) else np.asarray(values)
        if self.centre is not None:
            values = values - self.centre
        return np.asarray(values if is_one(self.scale) else values / self.scale, np.float32)


def is_one(scale: Scale) -> bool:
    """Whether a scale changes nothing."""
    return isinstance(scale, float) and scale == 1


def prepare(
    table: Table,
    name: str,
    *,
    centre: np.ndarray | None = None,
    scale: Scale = 1.0,
    learnt: np.ndarray | None = None,
) -> Prepared:
    """Transform a table.

    ``none``: as it is. ``paper``: log(x + 1/2), then each cell from its least to its largest value onto 0 to
    1 (the reference's, for RNA, ATAC and protein counts). ``binarise``: 1 where there is anything.
    ``log-normalise``: log(1 + 10,000 x / sum of the cell). ``clr``: log(1 + x / g), g the geometric mean of 1
    + x over the cell's features (centred log ratio as for surface proteins, Stoeckius et al. 2017).
    ``standardise``: each feature minus its mean, over its standard deviation, so that features may have units
    of their own. ``centre``: each feature minus its mean, all divided by one number, so that features have
    variance 1 on average: of values of one kind, such as logarithms of counts, in which rare features are not
    to be magnified. All from the ``learnt`` rows.

    Parameters
    ----------
    table
        Values, checked.
    name
        One of ``PREPARATIONS``.
    centre, scale
        Of ``standardise`` and ``centre``, where they are known already: for cells that were not learnt from.
    learnt
        Rows (n,) that these take means and spread from; all where not given.

    Raises
    ------
    ConfigError
        When no preparation has that name.
    """
    if name not in PREPARATIONS:
        raise ConfigError(f"prepare = {name!r}: {', '.join(PREPARATIONS)} would do.")
    if name in ("standardise", "centre"):
        if centre is None:
            own = table.values if learnt is None else table.values[learnt]
            centre, scale = _moments(own, together=name == "centre")
        return Prepared(table.values, centre, scale)
    if name == "none":
        return Prepared(table.values)
    return Prepared(_TRANSFORMS[name](table.values))


def filter_tables(
    tables: Mapping[str, Table], *, least_cells: int = 0, least_features: int = 0, rounds: int = 2
) -> dict[str, Table]:
    """Drop features that few cells have and cells that have few features, again and again.

    Parameters
    ----------
    tables
        By modality.
    least_cells
        Cells that a feature must be more than 0 in.
    least_features
        Features that must be more than 0 in a cell, in every modality that it has; else it goes from all.
    rounds
        How often both are done; the reference does it twice. Features and cells that are 0 throughout when
        the last round is done go, too.

    Raises
    ------
    DataError
        When nothing is left of a table.
    """
    kept = dict(tables)
    for _ in range(rounds if least_cells or least_features else 0):
        kept = _filtered(kept, least_cells, least_features)
    while True:  # what the last round left empty
        before, kept = kept, _filtered(kept, min(1, least_cells), min(1, least_features))
        if all(kept[name].shape == table.shape for name, table in before.items()):
            return kept


def _filtered(tables: Mapping[str, Table], least_cells: int, least_features: int) -> dict[str, Table]:
    if not least_cells and not least_features:
        return dict(tables)
    kept = {name: _columns(table, _present(table, 0) >= least_cells) for name, table in tables.items()}
    low = {str(cell) for table in kept.values() for cell in table.cells[_present(table, 1) < least_features]}
    kept = {name: _rows(table, ~np.isin(table.cells.astype(str), list(low))) for name, table in kept.items()}
    for table in kept.values():
        if not min(table.shape):
            raise DataError(
                f"Nothing is left of {table.origin}: no feature is in {least_cells} cells, or no cell "
                f"has {least_features} features. Lower least_cells or least_features."
            )
    return kept


def _present(table: Table, axis: int) -> np.ndarray:
    if sparse.issparse(table.values):
        if (table.values.data > 0).all():  # no copy is made of counts
            own = table.values.indices
            return np.bincount(own, minlength=table.shape[1]) if axis == 0 else np.diff(table.values.indptr)
        return np.asarray((table.values > 0).sum(axis=axis)).ravel()
    counts: np.ndarray = np.count_nonzero(table.values > 0, axis=axis)
    return counts


def _columns(table: Table, chosen: np.ndarray) -> Table:
    if chosen.all():
        return table
    values = table.values[:, np.flatnonzero(chosen)]
    return replace(table, values=values, features=table.features[chosen])


def _rows(table: Table, chosen: np.ndarray) -> Table:
    if chosen.all():
        return table
    values = table.values[np.flatnonzero(chosen)]
    return replace(table, values=values, cells=table.cells[chosen], obs=table.obs[chosen])


def select_features(table: Table, features: np.ndarray) -> Table:
    """The table with exactly these features in this order, found by name.

    Raises
    ------
    DataError
        When some are not there; they are named.
    """
    import pandas as pd

    position = pd.Index(table.features).get_indexer(features)
    if (position < 0).any():
        lacking = features[position < 0]
        raise DataError(
            f"{table.origin} lacks {len(lacking)} of {len(features)} features that the model knows: "
            f"{', '.join(map(str, lacking[:5]))}{', ...' if len(lacking) > 5 else ''}."
        )
    return replace(table, values=table.values[:, position], features=np.asarray(features, object))


def feature_moments(values: Values) -> tuple[np.ndarray, np.ndarray]:
    """Means and variances (feature,) float64 of values (cell, feature).

    Twice over the values: sums of squares less squares of sums lose the spread of features that are large
    everywhere. Of sparse values some at a time, so that little memory is taken beside them.
    """
    if not sparse.issparse(values):
        return values.mean(axis=0, dtype=np.float64), values.var(axis=0, dtype=np.float64)
    cells, features = values.shape
    parts = [slice(start, start + _STORED) for start in range(0, values.nnz, _STORED)]
    mean, beyond = np.zeros(features), np.zeros(features)
    for part in parts:
        mean += np.bincount(values.indices[part], values.data[part], features) / cells
    for part in parts:
        own = values.indices[part]
        beyond += np.bincount(own, (values.data[part] - mean[own]) ** 2, features)
    zeros = cells - np.bincount(values.indices, minlength=features)
    return mean, (beyond + zeros * mean**2) / cells


def _moments(values: Values, *, together: bool) -> tuple[np.ndarray, Scale]:
    mean, variances = feature_moments(values)
    centre = mean.astype(np.float32)
    if together:
        variance = float(variances.mean())
        return centre, float(np.sqrt(variance)) if variance > 0 else 1.0
    spread = np.sqrt(variances)
    # What a constant feature varies by is the last bit of its numbers.
    return centre, np.where(spread > _CONSTANT * np.abs(mean), spread, 1).astype(np.float32)


def _by_cell(values: Values, change: Callable[[np.ndarray, np.ndarray, int], np.ndarray]) -> Values:
    """Change values cell by cell: ``change`` takes values, and the cell of each from 0, and how many."""
    if sparse.issparse(values):
        data = np.empty(values.nnz, np.float32)
        for start in range(0, values.shape[0], _ROWS):
            starts = values.indptr[start : start + _ROWS + 1]
            cell = np.repeat(np.arange(len(starts) - 1), np.diff(starts))
            own = slice(int(starts[0]), int(starts[-1]))
            data[own] = change(values.data[own].astype(np.float64), cell, len(starts) - 1)
        return sparse.csr_matrix((data, values.indices, values.indptr), shape=values.shape)
    out = np.empty_like(values, np.float32)
    for start in range(0, len(values), _ROWS):
        part = values[start : start + _ROWS].astype(np.float64)
        cell = np.repeat(np.arange(len(part)), part.shape[1])
        out[start : start + _ROWS] = change(part.ravel(), cell, len(part)).reshape(part.shape)
    return out


def _binarise(values: Values) -> Values:
    return _by_cell(values, lambda own, cell, n: (own > 0).astype(np.float64))


def _log_normalise(values: Values) -> Values:
    def change(own: np.ndarray, cell: np.ndarray, n: int) -> np.ndarray:
        total = np.bincount(cell, own, n)
        return np.log1p(own * (TARGET / np.where(total > 0, total, 1))[cell])

    return _by_cell(values, change)


def _clr(values: Values) -> Values:
    features = values.shape[1]

    def change(own: np.ndarray, cell: np.ndarray, n: int) -> np.ndarray:
        centre = np.exp(np.bincount(cell, np.log1p(own), n) / features)
        return np.log1p(own / centre[cell])

    return _by_cell(values, change)


def _paper(values: Values) -> Values:
    features = values.shape[1]

    def change(own: np.ndarray, cell: np.ndarray, n: int) -> np.ndarray:
        logs = np.log(own + 0.5)
        stored = np.bincount(cell, minlength=n)
        # A cell with any zero, stored or not, has log(1/2) as its least value.
        low = np.where(stored < features, np.log(0.5), np.inf)
        high = np.where(stored < features, np.log(0.5), -np.inf)
        np.minimum.at(low, cell, logs)
        np.maximum.at(high, cell, logs)
        span = np.where(high > low, high - low, 1.0)
        return (logs - low[cell]) / span[cell]

    return _by_cell(values, change)


_TRANSFORMS: dict[str, Callable[[Values], Values]] = {
    "binarise": _binarise,
    "log-normalise": _log_normalise,
    "clr": _clr,
    "paper": _paper,
}
