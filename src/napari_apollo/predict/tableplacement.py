"""Cells that a model of tables never saw: their latents, and the tables that they lack."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from napari_apollo.errors import ConfigError
from napari_apollo.model.apollo import Apollo
from napari_apollo.model.modality import COUNTED
from napari_apollo.progress import ShouldStop, never
from napari_apollo.tables.checking import check_values
from napari_apollo.tables.matching import Matched
from napari_apollo.tables.preparing import prepare, select_features
from napari_apollo.tables.reading import Table, open_tables
from napari_apollo.train.data import CellData, Observed
from napari_apollo.train.rows import rows_of
from napari_apollo.train.run import Run
from napari_apollo.train.tablelatents import TableLatents, encode_cells


def place_tables(
    model: Apollo | Run | Path | str,
    source: Any,
    *,
    layer: str | None = None,
    should_stop: ShouldStop = never,
) -> tuple[pd.Index, TableLatents]:
    """Latents of cells by a trained model, whichever of its tables they have.

    Parameters
    ----------
    model
        A model of tables, a run, or the folder of either.
    source
        Tables as ``train`` takes them, under the names that the model knows; features are found by name.
    layer
        Layer that holds the values; ``X`` where it is empty, that which was learnt from where none is given.

    Returns
    -------
    cells : pandas.Index
        Names, in the order of the first table, then those that only later ones have.
    latents : TableLatents
        In that order; NaN of cells without a single count.

    Raises
    ------
    ConfigError
        When the model knows no table of a name.
    DataError
        When a table lacks features that the model knows, or holds values that it cannot take.
    """
    own = _model(model)
    cards = own.card.tables
    if layer is None:
        layer = next((card.layer for card in cards.values()), "")
    tables = {}
    for name, table in open_tables(source, layer=layer, should_stop=should_stop).items():
        if name not in cards:
            raise ConfigError(f"The model knows no table {name!r}; it knows {', '.join(cards) or 'none'}.")
        tables[name] = select_features(table, np.array(cards[name].features, object))
    cells = pd.Index([], dtype=object)
    for table in tables.values():
        names = pd.Index(table.cells, dtype=object)
        cells = cells.append(names[~names.isin(cells)])
    rows = {name: _rows(own, table, cells) for name, table in tables.items()}
    known = np.flatnonzero(np.any([own_rows >= 0 for own_rows in rows.values()], axis=0))
    observed = {name: _observed(own, table, rows[name][known]) for name, table in tables.items()}
    data = CellData(observed, own.device)
    data.to_device()
    return cells, _spread(encode_cells(own.network, data, should_stop), known, len(cells))


def _rows(model: Apollo, table: Table, cells: pd.Index) -> np.ndarray:
    """Rows (n,) of cells in a table, -1 where it has none, or not a single count: that says nothing."""
    rows = Matched.rows_of(table, cells)
    if model.card.architecture.modality(table.name).loss in COUNTED:
        counted = np.asarray(table.values.sum(axis=1)).ravel() > 0
        rows[rows >= 0] = np.where(counted[rows[rows >= 0]], rows[rows >= 0], -1)
    return rows


def _spread(latents: TableLatents, known: np.ndarray, n: int) -> TableLatents:
    """Latents of all n cells, NaN of those that nothing is known of."""

    def placed(values: np.ndarray) -> np.ndarray:
        whole = np.full((n, values.shape[1]), np.nan, np.float32)
        whole[known] = values
        return whole

    return TableLatents(
        placed(latents.shared),
        {name: placed(values) for name, values in latents.shared_by.items()},
        {name: placed(values) for name, values in latents.specific.items()},
    )


def _observed(model: Apollo, table: Table, rows: np.ndarray) -> Observed:
    card = model.card.tables[table.name]
    modality = model.card.architecture.modality(table.name)
    check_values(table, modality.loss, card.preparation, empty=True)
    centre = np.array(card.centre, np.float32) if card.centre else None
    scale = card.scale if isinstance(card.scale, float) else np.array(card.scale, np.float32)
    prepared = prepare(table, card.preparation, centre=centre, scale=scale)
    there = rows >= 0
    place = np.full((len(rows), 1), -1, np.int64)
    place[there, 0] = np.arange(there.sum())
    return Observed(rows_of(prepared, rows[there]), place, np.zeros(there.sum(), np.int64))


def _model(model: Apollo | Run | Path | str) -> Apollo:
    if isinstance(model, Apollo):
        return model
    if isinstance(model, Run):
        return model.model()
    folder = Path(model)
    return Run(folder).model() if (folder / "status.json").is_file() else Apollo.load(folder)
