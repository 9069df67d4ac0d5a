"""Which row of which table is which cell: by name, never by position."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
import pandas as pd

from napari_apollo.errors import DataError
from napari_apollo.tables.reading import Table

_EXACT = 2**53  # whole numbers that a float holds without a gap are below

LEAST_COMMON = 32
"""Fewer cells than this with two modalities or more cannot tell what is shared."""


@dataclass(frozen=True)
class Matched:
    """Cells of several tables.

    Attributes
    ----------
    cells
        (cell,) names: in the order of the first table, then those that only later ones have.
    rows
        By modality (cell,) int64: row in its table, -1 where the cell lacks it.
    obs
        What the tables say of the cells; where several say something, the first that has the cell.
    disputed
        By column of which two tables say different things of a cell, in words.
    """

    cells: np.ndarray
    rows: dict[str, np.ndarray]
    obs: pd.DataFrame
    disputed: dict[str, str] = field(default_factory=dict)

    @staticmethod
    def rows_of(table: Table, cells: pd.Index) -> np.ndarray:
        """Rows (n,) int64 of cells in a table by name, -1 for those that it lacks."""
        rows: np.ndarray = pd.Index(table.cells, dtype=object).get_indexer(cells).astype(np.int64)
        return rows

    @property
    def complete(self) -> np.ndarray:
        """(cell,) bool: cells that have every modality."""
        complete: np.ndarray = np.all([rows >= 0 for rows in self.rows.values()], axis=0)
        return complete

    def positions(self, cells: np.ndarray) -> np.ndarray:
        """Positions (n,) int64 of cells by name, -1 for those that are not there."""
        found: np.ndarray = pd.Index(self.cells).get_indexer(pd.Index(cells, dtype=object)).astype(np.int64)
        return found

    def only(self, chosen: np.ndarray) -> Matched:
        """The cells chosen (cell,) bool."""
        rows = {name: own[chosen] for name, own in self.rows.items()}
        return Matched(self.cells[chosen], rows, self.obs[chosen], self.disputed)

    def in_words(self) -> str:
        """How many cells have what."""
        counts = ", ".join(f"{int((rows >= 0).sum())} {name}" for name, rows in self.rows.items())
        return f"{len(self.cells)} cells ({counts}; {int(self.complete.sum())} have all)"


def _whole(values: pd.Series) -> pd.Series:
    """Numbers of one kind where tables may have them of two: whole ones stay so where cells lack some."""
    if pd.api.types.is_float_dtype(values):
        known = values.dropna()
        if ((known % 1 == 0) & (known.abs() < _EXACT)).all():
            return values.astype("Int64")
    return values


def match_cells(tables: Mapping[str, Table]) -> Matched:
    """Match the cells of tables by their names.

    Raises
    ------
    DataError
        When fewer than ``LEAST_COMMON`` cells have two modalities or more; examples of names are shown.
    """
    index = pd.Index([], dtype=object)
    for table in tables.values():
        own = pd.Index(table.cells, dtype=object)
        index = index.append(own[~own.isin(index)])
    rows = {name: Matched.rows_of(table, index) for name, table in tables.items()}
    columns: dict[str, pd.Series] = {}
    disputed: dict[str, str] = {}
    for table in tables.values():
        for column, values in table.obs.items():
            name, told = str(column), _whole(values).astype(object).reindex(index)
            known = columns.setdefault(name, told)
            if known is told:
                continue
            differs = known.notna() & told.notna() & (known.astype(str) != told.astype(str))
            if differs.any() and name not in disputed:
                first = int(np.argmax(differs))
                disputed[name] = (
                    f"the tables differ in {name} of {int(differs.sum())} cells; of {index[first]!r} it is "
                    f"{known.iloc[first]} in one, and {told.iloc[first]} in {table.origin}"
                )
            columns[name] = known.where(known.notna(), told)
    obs = pd.DataFrame(columns, index=index)
    matched = Matched(np.asarray(index, object), rows, obs, disputed)
    if len(tables) > 1:
        common = int((np.sum([own >= 0 for own in rows.values()], axis=0) > 1).sum())
        if common < LEAST_COMMON:
            shown = "; ".join(
                f"{name}: {', '.join(map(str, table.cells[:2]))}" for name, table in tables.items()
            )
            raise DataError(
                f"Only {common} cells are in more than one table; {LEAST_COMMON} are needed. Cells are "
                f"matched by name; the first names are {shown}."
            )
    return matched
