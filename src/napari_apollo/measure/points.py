"""Foci one by one, with their places in the image: for a Points layer, or to count otherwise."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from napari_apollo.cells import CellStore
from napari_apollo.errors import UnknownStain
from napari_apollo.measure.config import MeasureConfig
from napari_apollo.measure.field import make_context
from napari_apollo.measure.foci import focus_areas, spots_of_cell
from napari_apollo.measure.gather import Cells, gather_crops
from napari_apollo.measure.parts import FieldParts
from napari_apollo.panels import match_stains
from napari_apollo.progress import ShouldStop, never
from napari_apollo.tasks import map_tasks

COLUMNS = ("cell", "y", "x", "height", "area", "intensity", "background")


def find_foci(
    image: Any,
    labels: Any,
    stains: Sequence[str],
    stain: str,
    config: MeasureConfig | None = None,
    *,
    should_stop: ShouldStop = never,
) -> pd.DataFrame:
    """Foci of a stain in every nucleus of a field.

    Parameters
    ----------
    image
        (stain, y, x), as in ``measure_field``.
    labels
        (y, x) whole numbers; nuclei.
    stains
        Stain of every channel.
    stain
        The stain whose foci are wanted.
    config
        Settings; the defaults where not given.
    should_stop
        Asked between batches.

    Returns
    -------
    pandas.DataFrame
        One row a focus: ``cell`` (label), ``y`` and ``x`` (pixels of the field), ``height`` above the
        background, ``area`` (pixels), ``intensity`` above the background, ``background`` under it.
        ``table[["y", "x"]]`` is what a napari Points layer takes, the rest its features.

    Raises
    ------
    DataError
        When shapes, types or stains do not fit.
    PanelMismatch
        When the image does not have the stain.
    """
    config = config or MeasureConfig()
    context = make_context(stains, None, config)
    (channel,) = match_stains([stain], context.stains, "the image")
    parts = FieldParts(image, labels, None, len(context.stains), config, should_stop)
    run = partial(_foci_of_part, parts, channel, config)
    found = list(map_tasks(run, parts.batches, workers=config.workers, should_stop=should_stop))
    return _as_table(found)


def store_foci(
    store: CellStore | Path | str,
    stain: str,
    cells: NDArray[np.integer] | None = None,
    config: MeasureConfig | None = None,
) -> pd.DataFrame:
    """Foci of a stain in cells of a store, placed in the pixels of their fields.

    Parameters
    ----------
    store
        A cell store, or where it is.
    stain
        The stain whose foci are wanted; cells of panels without it are left out.
    cells
        Positions in the store's table; all cells where not given.
    config
        Settings; the defaults where not given.

    Returns
    -------
    pandas.DataFrame
        As ``find_foci``, with the position in the table as ``cell``, and the ``field``.

    Raises
    ------
    UnknownStain
        When no panel has the stain.
    """
    config = config or MeasureConfig()
    store = store if isinstance(store, CellStore) else CellStore.open(store)
    panels = {name: panel for name, panel in store.panels.items() if stain in panel}
    if not panels:
        known = sorted({own for panel in store.panels.values() for own in panel.stains})
        raise UnknownStain(stain, known, str(store.path))
    obs = store.obs
    found = []
    for name, panel in panels.items():
        rows = store.rows(name)
        rows = rows if cells is None else np.intersect1d(rows, cells)
        for at in range(0, len(rows), config.batch):
            part = rows[at : at + config.batch]
            own = obs["row"].to_numpy(np.int64)[part]
            gathered = gather_crops(store.read_images(name, own), store.read_masks(name, own))
            table = _foci_of(gathered, part, panel.index(stain), config, (0, 0))
            table[:, 1:3] -= store.crop_size // 2
            of_cell = obs.iloc[table[:, 0].astype(int)]
            scale = of_cell["scale"].to_numpy(float)
            table[:, 1] = of_cell["centre_y"].to_numpy(float) + table[:, 1] * scale
            table[:, 2] = of_cell["centre_x"].to_numpy(float) + table[:, 2] * scale
            found.append(table)
    whole = _as_table(found)
    whole["field"] = obs["field"].to_numpy()[whole["cell"]]
    return whole


def _as_table(found: list[NDArray[np.float64]]) -> pd.DataFrame:
    values = np.concatenate([np.empty((0, len(COLUMNS))), *found])
    table = pd.DataFrame(values, columns=list(COLUMNS))
    return table.astype({"cell": np.int64}).sort_values(["cell", "y", "x"], ignore_index=True)


def _foci_of_part(
    parts: FieldParts, channel: int, config: MeasureConfig, batch: NDArray[np.intp]
) -> NDArray[np.float64]:
    gathered, _, origin = parts.gather(batch, 0)
    return _foci_of(gathered, parts.ids[batch], channel, config, origin)


def _foci_of(
    cells: Cells, ids: NDArray[np.integer], channel: int, config: MeasureConfig, origin: tuple[int, int]
) -> NDArray[np.float64]:
    rows = [np.empty((0, len(COLUMNS)))]
    for i, cell in enumerate(ids):
        if cells.damaged[i, channel] or cells.height[i] == 0:
            continue
        sigma = config.foci_sigma_px
        place, height, under, image, region, top, left = spots_of_cell(
            cells, i, channel, sigma, config.foci_significance
        )
        area, light = focus_areas(place, height, under, image, region, sigma)
        at = np.round(place).astype(int)
        corner = np.array([origin[0] + cells.top[i] + top, origin[1] + cells.left[i] + left])
        rows.append(
            np.column_stack(
                [np.full(len(place), cell), place + corner, height, area, light, under[at[:, 0], at[:, 1]]]
            )
        )
    return np.concatenate(rows)
