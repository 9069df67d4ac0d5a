"""Measuring the cells of a store from their crops and masks, batch by batch."""

from __future__ import annotations

import gc
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from napari_apollo.cells import CellStore
from napari_apollo.measure import neighbours
from napari_apollo.measure.compiled import say_if_compiling
from napari_apollo.measure.config import MeasureConfig
from napari_apollo.measure.engine import Measured, columns_of, families_of, measure_cells, union_of
from napari_apollo.measure.field import neighbours_of
from napari_apollo.measure.foci import require_foci_stains
from napari_apollo.measure.gather import gather_crops
from napari_apollo.measure.reasons import Reason
from napari_apollo.measure.registry import Context, Values, Why, blank, white_of
from napari_apollo.measure.table import describe, record_of, refuse_clash, with_columns, without_measured
from napari_apollo.progress import Progress, ShouldStop, Step, never, silent
from napari_apollo.tasks import map_tasks

if TYPE_CHECKING:
    import anndata


def measure(
    store: CellStore | Path | str,
    config: MeasureConfig | None = None,
    *,
    progress: Progress = silent,
    should_stop: ShouldStop = never,
) -> CellStore:
    """Fill the store's table with features of every cell.

    Crops are read in batches (``config.batch`` cells a worker), so memory does not grow with the
    store. Columns of an earlier measurement are replaced, all others are kept; the table is
    written whole or not at all, at the end. Whether measuring ends or fails, ``store.table`` is read anew
    from disk afterwards.

    Parameters
    ----------
    store
        A cell store, or where it is.
    config
        Settings; the defaults where not given.
    progress, should_stop
        Told the cells done; asked between batches.

    Returns
    -------
    CellStore
        The store. ``table.X`` holds the features as float32, ``table.var`` their ``family``,
        ``region``, ``stain``, ``unit`` and ``description``; ``table.uns["measure"]`` holds
        ``measure_version``, ``parameters`` (JSON), ``pixel_size_um`` (NaN where not known) and
        ``missing``, the number of missing values by reason.

    Raises
    ------
    StoreError
        When the store cannot be read.
    FileError
        When it may not be written to.
    DataError
        When a column of somebody else bears the name of a feature.
    UnknownStain
        When ``config.foci_stains`` names a stain that no panel has.
    Cancelled
        When ``should_stop`` says so; the table stays as it was.
    """
    config = config or MeasureConfig()
    store = store if isinstance(store, CellStore) else CellStore.open(store)
    known = (stain for panel in store.panels.values() for stain in panel.stains)
    require_foci_stains(config, known, str(store.path))
    store.require_writable()
    contexts = {
        name: Context(panel.stains, panel.anchor, config, white_of(store.dtype(name), config))
        for name, panel in sorted(store.panels.items())
    }
    columns = union_of([columns_of(context) for context in contexts.values()])
    own_count = len(columns)
    columns += neighbours.COLUMNS if config.with_neighbours else ()
    others = without_measured(store.table)
    refuse_clash(others, [column.name for column in columns])
    # What is measured again is not held in memory beside what replaces it; it is on disk until then. A table
    # refers to itself, so that it goes when it is looked for only.
    store.table = others
    gc.collect()
    try:
        whole = np.full((store.n_cells, others.n_vars + len(columns)), np.nan, np.float32)
        values = whole[:, others.n_vars :]
        why = np.full(values.shape, int(Reason.NO_STAIN), np.uint8)
        _fill(store, contexts, {column.name: at for at, column in enumerate(columns)}, values, why, config,
              progress, should_stop)  # fmt: skip
        size = store.pixel_size_um
        if config.with_neighbours:
            values[:, own_count:], why[:, own_count:] = _neighbours(store, config)
        record = record_of(config, size, why)

        def with_measured(table: anndata.AnnData) -> anndata.AnnData:
            now = table if table is others else without_measured(table)  # somebody wrote to it meanwhile
            refuse_clash(now, [column.name for column in columns])
            room = whole
            if now.n_vars != others.n_vars:
                room = np.concatenate([np.empty((now.n_obs, now.n_vars), np.float32), values], axis=1)
            return with_columns(now, room, describe(columns, size), record)

        store.update_table(with_measured)
    finally:
        vars(store).pop("table", None)
    return store


def _fill(
    store: CellStore, contexts: Mapping[str, Context], place: Mapping[str, int], values: NDArray[np.float32],
    why: Why, config: MeasureConfig, progress: Progress, should_stop: ShouldStop,
) -> None:  # fmt: skip
    """Measure batch by batch into ``values`` and ``why``; ``place`` says which column is where."""
    tasks = [task for name, context in contexts.items() for task in _tasks(store, name, context)]
    results = map_tasks(
        _measure_rows, tasks, scheduler=config.scheduler, workers=config.workers, should_stop=should_stop
    )
    done = 0
    if config.scheduler is None:
        say_if_compiling({name for context in contexts.values() for name in families_of(context)}, progress)
    for task, measured in zip(tasks, results, strict=True):
        own = np.array([place[column.name] for column in columns_of(task.context)], np.intp)
        values[task.cells[:, None], own] = measured.values
        why[task.cells[:, None], own] = measured.why
        done += len(task.cells)
        progress(Step("Measuring", done, store.n_cells, task.panel))


@dataclass(frozen=True)
class _Rows:
    """Some cells of one panel, by position in the table and by row of the panel's arrays."""

    path: Path
    panel: str
    cells: NDArray[np.int64]
    rows: NDArray[np.int64]
    context: Context
    pixel_size_um: float | None


def _tasks(store: CellStore, panel: str, context: Context) -> Iterator[_Rows]:
    cells = store.rows(panel)
    rows = store.obs["row"].to_numpy(np.int64)[cells]
    for at in range(0, len(cells), context.config.batch):
        part = slice(at, at + context.config.batch)
        yield _Rows(store.path, panel, cells[part], rows[part], context, store.pixel_size_um)


def _measure_rows(task: _Rows) -> Measured:
    store = CellStore.open(task.path)
    images = store.read_images(task.panel, task.rows)
    masks = store.read_masks(task.panel, task.rows)
    return measure_cells(gather_crops(images, masks, task.context.margin), task.context, task.pixel_size_um)


def _neighbours(store: CellStore, config: MeasureConfig) -> tuple[Values, Why]:
    """Neighbours of every cell among all cells of its image, whichever panel these were given."""
    obs = store.obs
    centres = obs[["y", "x"]].to_numpy(float) / obs["scale"].to_numpy(float)[:, None]
    values, why = blank(store.n_cells, len(neighbours.COLUMNS))
    for rows in obs.groupby("image", observed=True, sort=False).indices.values():
        values[rows], why[rows] = neighbours_of(centres[rows], None, store.pixel_size_um, config)
    return values, why
