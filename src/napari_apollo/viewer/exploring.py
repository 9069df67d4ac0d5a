"""Maps of cells: where each cell lies by two latent axes, or by any two columns; what a direction is tied to.

Nothing here needs a window.
"""

from __future__ import annotations

import importlib
import importlib.util
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from napari_apollo.errors import DataError
from napari_apollo.interpret.axes import nearest_cells, tied_features
from napari_apollo.progress import Progress, ShouldStop, Step, never, silent, stop_if_asked
from napari_apollo.viewer.child import in_child
from napari_apollo.viewer.columns import CellColumns, block_title

PCA = "PCA of "
UMAP = "UMAP of "
TWO_COLUMNS = "Two columns"
_DRAWN = 5000


@dataclass(frozen=True)
class CellMap:
    """Where cells lie.

    Attributes
    ----------
    x, y
        What the axes are.
    points
        (cell, 2) float64; NaN for cells that are not on the map.
    """

    x: str
    y: str
    points: NDArray[np.float64]


class Explorer:
    """Maps of the cells of a store.

    Parameters
    ----------
    columns
        The cells.
    """

    def __init__(self, columns: CellColumns) -> None:
        self.columns = columns
        self._umaps: dict[str, NDArray[np.float64]] = {}

    @cached_property
    def maps(self) -> dict[str, tuple[str, str]]:
        """Maps by title: which kind, and of which block of latents."""
        found = {f"{PCA}{block_title(block)}": (PCA, block) for block in self.columns.blocks}
        if has_umap():
            found |= {f"{UMAP}{block_title(block)}": (UMAP, block) for block in self.columns.blocks}
        return {**found, TWO_COLUMNS: (TWO_COLUMNS, "")}

    def axis_names(self, title: str) -> list[str]:
        """What can be chosen as x and y of a map.

        Raises
        ------
        DataError
            When the block of latents has no axes.
        """
        kind, block = self.maps[title]
        if kind == TWO_COLUMNS:
            return list(self.columns.numbers)
        if kind == UMAP:
            return ["UMAP 1", "UMAP 2"]
        explained = self.columns.axes(block).explained
        return [f"Axis {number} ({part:.0%})" for number, part in enumerate(explained, start=1)]

    def is_ready(self, title: str) -> bool:
        """Whether a map can be shown at once; else ``make`` it first."""
        kind, block = self.maps[title]
        return kind != UMAP or block in self._umaps

    def make(
        self,
        title: str,
        *,
        place: Callable[..., NDArray[np.float64]] | None = None,
        progress: Progress = silent,
        should_stop: ShouldStop = never,
    ) -> str:
        """Compute what a map needs; its title comes back.

        Parameters
        ----------
        title
            One of ``maps``.
        place
            ``umap_of``, or what does the same elsewhere, as ``umap_beside``.
        progress, should_stop
            Told what is done; asked when it is.
        """
        kind, block = self.maps[title]
        if kind == UMAP and block not in self._umaps:
            progress(Step(f"Computing the UMAP of {block_title(block)}"))
            made = (place or umap_of)(self.columns.latents(block))
            stop_if_asked(should_stop)
            self._umaps[block] = made
        return title

    def map(self, title: str, x: str = "", y: str = "") -> CellMap:
        """A map.

        Parameters
        ----------
        title
            One of ``maps``.
        x, y
            Of ``axis_names``; the first two where not given.

        Raises
        ------
        DataError
            When there is no such column or block.
        """
        kind, block = self.maps[title]
        names = self.axis_names(title)
        x = x if x in names else names[0]
        y = y if y in names else names[min(1, len(names) - 1)]
        if kind == TWO_COLUMNS:
            values = [self.columns.column(name).values for name in (x, y)]
        else:
            scores = self._umaps[block] if kind == UMAP else self.columns.axes(block).scores
            values = [scores[:, names.index(name)] for name in (x, y)]
        return CellMap(x, y, np.column_stack(values))

    def block_of(self, title: str) -> str:
        """Block of latents of a map; the first one where a map has none."""
        block = self.maps[title][1]
        return block or next(iter(self.columns.blocks), "")

    def neighbours(self, block: str, cell: int, count: int = 8) -> NDArray[np.int64]:
        """Cells nearest to a cell in a block of latents, nearest first; none where it has no such latents."""
        if not block or not np.isfinite(self.columns.latents(block)[cell]).all():
            return np.zeros(0, np.int64)
        return nearest_cells(self.columns.latents(block), cell, count)[0]

    def tied(
        self,
        block: str,
        axis: int,
        *,
        count: int = 12,
        progress: Progress = silent,
        should_stop: ShouldStop = never,
    ) -> pd.DataFrame:
        """Columns most tied to an axis of a block: ``feature``, ``rho``, ``cells``."""
        progress(Step("Comparing features with the direction"))
        scores = self.columns.axes(block).scores[:, axis]
        known = np.flatnonzero(np.isfinite(scores))
        if len(known) > _DRAWN:
            known = np.sort(np.random.default_rng(0).choice(known, _DRAWN, replace=False))
        values = self.columns.measurements(known)
        stop_if_asked(should_stop)
        return tied_features(scores[known], values).head(count)


def has_umap() -> bool:
    """Whether umap-learn is installed."""
    found = importlib.util.find_spec("umap")
    return (
        found is not None and found.origin is not None
    )  # not a folder with compiled code that was left behind


def umap_of(latents: Any, *, seed: int = 0) -> NDArray[np.float64]:
    """UMAP of latents, (cell, 2); NaN for cells without them.

    McInnes, Healy and Melville, arXiv 1802.03426 (2018), by umap-learn with its own settings.

    Raises
    ------
    DataError
        When umap-learn is not installed, or too few cells have latents.
    """
    if not has_umap():
        raise DataError('UMAP needs the package umap-learn: pip install "napari-apollo[umap]".')
    umap = importlib.import_module("umap")
    latents = np.asarray(latents, np.float32)
    known = np.isfinite(latents).all(axis=1)
    if known.sum() < 10:
        raise DataError(f"{int(known.sum())} cells have latents of this block; a UMAP needs ten.")
    points = np.full((len(latents), 2), np.nan)
    neighbours = int(min(15, known.sum() - 1))
    points[known] = umap.UMAP(n_neighbors=neighbours, random_state=seed).fit_transform(latents[known])
    return points


def umap_beside(latents: Any, *, progress: Progress, should_stop: ShouldStop) -> NDArray[np.float64]:
    """``umap_of`` in a process of its own: compiling it would hold the window for seconds."""
    with tempfile.TemporaryDirectory() as folder:
        given, points = Path(folder, "latents.npy"), Path(folder, "points.npy")
        np.save(given, np.asarray(latents, np.float32))
        call = in_child("napari_apollo.viewer.work:umap_array", latents=str(given), points=str(points))
        call(progress, should_stop)
        return np.asarray(np.load(points))


def cell_in_words(columns: CellColumns, cell: int) -> str:
    """Name, panel, donor and annotation of a cell."""
    about = columns.store.obs.iloc[cell]
    words = f"{about['cell_id']}\n{about['panel']}, donor {about['donor']}"
    if about["condition"]:
        words += f", {about['condition']}"
    if about["annotation"]:
        words += f", annotated {about['annotation']}"
    return words
