"""Cells that a model of tables never saw: their latents, and the tables that they lack."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from napari_apollo.errors import ConfigError
from napari_apollo.model.apollo import Apollo
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
    model: Apollo | Run | Path | str, source: Any, *, layer: str = "", should_stop: ShouldStop = never
) -> tuple[pd.Index, TableLatents]:
    """Latents of cells by a trained model, whichever of its tables they have.

    Parameters
    ----------
    model
        A model of tables, a run, or the folder of either.
    source
        Tables as ``train`` takes them, under the names that the model knows; features are found by name.
    layer
        Layer that holds the values; ``X`` where it is empty.

    Returns
    -------
    cells : pandas.Index
        Names, in the order of the first table, then those that only later ones have.
    latents : TableLatents
        In that order.

    Raises
    ------
    ConfigError
        When the model knows no table of a name.
    DataError
        When a table lacks features that the model knows, or holds values that it cannot take.
    """
    own = _model(model)
    cards = own.card.tables
    tables, observed = {}, {}
    for name, table in open_tables(source, layer=layer, should_stop=should_stop).items():
        if name not in cards:
            raise ConfigError(f"The model knows no table {name!r}; it knows {', '.join(cards) or 'none'}.")
        tables[name] = select_features(table, np.array(cards[name].features, object))
    cells = pd.Index([], dtype=object)
    for table in tables.values():
        names = pd.Index(table.cells, dtype=object)
        cells = cells.append(names[~names.isin(cells)])
    for name, table in tables.items():
        observed[name] = _observed(own, table, Matched.rows_of(table, cells))
    data = CellData(observed, own.device)
    data.to_device()
    return cells, encode_cells(own.network, data, should_stop)


def _observed(model: Apollo, table: Table, rows: np.ndarray) -> Observed:
    card = model.card.tables[table.name]
    modality = model.card.architecture.modality(table.name)
    check_values(table, modality.loss, card.preparation, empty=True)
    centre = np.array(card.centre, np.float32) if card.centre else None
    prepared = prepare(table, card.preparation, centre=centre, scale=card.scale)
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
