"""The one way in which tables of cells are attached to label layers."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from typing import TYPE_CHECKING

import dask.array as da
import numpy as np
import pandas as pd

from napari_apollo.errors import DataError

if TYPE_CHECKING:
    from napari.layers import Labels

_READ_AT_MOST = 100_000_000


class UnmatchedCells(UserWarning):
    """Some rows of a table have no cell in the label image, or the other way round."""


@dataclass(frozen=True)
class Match:
    """How a table and a label image fit.

    Attributes
    ----------
    matched
        Cells that are in both.
    without_cell
        Label numbers of rows that the image does not have.
    without_row
        Label numbers of the image that have no row.
    checked
        False where the image is too large to be read for the purpose and no ids were given.
    """

    matched: int
    without_cell: tuple[int, ...]
    without_row: tuple[int, ...]
    checked: bool = True


def attach_table(
    labels: Labels, table: pd.DataFrame, *, id_column: str = "label", ids: np.ndarray | None = None
) -> Match:
    """Make a table of cells the features of a labels layer.

    napari finds the row of a label only by a column named ``index``; without one it takes row k
    for label k. The column is set here from ``id_column``, which stays for people to read.

    Parameters
    ----------
    labels
        The layer.
    table
        One row a cell; its own index is dropped.
    id_column
        Column with the number of the cell in the label image.
    ids
        (n,) the numbers in the label image where they are known; else the image is read.

    Returns
    -------
    Match
        What fits; a warning ``UnmatchedCells`` gives the counts where something does not.

    Raises
    ------
    DataError
        When the column is absent, has no whole numbers, or names a cell twice.
    """
    features = as_features(table, id_column)
    index = features["index"].to_numpy()
    present = np.asarray(ids, np.int64) if ids is not None else _ids_of(labels)
    labels.features = features
    if present is None:
        return Match(len(index), (), (), checked=False)
    present = np.unique(present[present != 0])
    without_cell = np.setdiff1d(index, present)
    without_row = np.setdiff1d(present, index)
    if len(without_cell) or len(without_row):
        warnings.warn(
            f"{labels.name}: {len(index) - len(without_cell)} cells matched; {len(without_cell)} rows of the "
            f"table have no cell in the image and {len(without_row)} cells of the image have no row.",
            UnmatchedCells,
            stacklevel=2,
        )
    return Match(
        len(index) - len(without_cell),
        tuple(without_cell.tolist()),
        tuple(without_row.tolist()),
    )


def as_features(table: pd.DataFrame, id_column: str = "label") -> pd.DataFrame:
    """A table as the features of a labels layer: ``index`` first, made from the column of label numbers.

    Raises
    ------
    DataError
        When the column is absent, has no whole numbers, or names a cell twice.
    """
    index = _whole_numbers(table, id_column)
    features = table.reset_index(drop=True).drop(columns="index", errors="ignore")
    features.insert(0, "index", index)
    return features


def _whole_numbers(table: pd.DataFrame, column: str) -> np.ndarray:
    if column not in table:
        raise DataError(f"The table has no column {column!r}; it has {', '.join(map(str, table.columns))}.")
    values = pd.to_numeric(table[column], errors="coerce").to_numpy(np.float64)
    wrong = ~np.isfinite(values) | (values != np.floor(values))
    if wrong.any():
        raise DataError(
            f"Column {column!r} must hold whole label numbers; row {int(np.argmax(wrong))} holds "
            f"{table[column].iloc[int(np.argmax(wrong))]!r}."
        )
    index = values.astype(np.int64)
    numbers, counts = np.unique(index, return_counts=True)
    if (counts > 1).any():
        twice = ", ".join(map(str, numbers[counts > 1][:5]))
        raise DataError(f"Column {column!r} names {int((counts > 1).sum())} cells twice: {twice} ...")
    return index


def _ids_of(labels: Labels) -> np.ndarray | None:
    data = labels.data[0] if labels.multiscale else labels.data
    if np.prod(data.shape) > _READ_AT_MOST:
        return None
    if isinstance(data, da.Array):
        return np.unique(np.concatenate([np.unique(np.asarray(block)) for block in data.blocks.ravel()]))
    return np.unique(np.asarray(data)).astype(np.int64)
