"""Images of cells beside their tables: every stain of a cell store is a modality of its own."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from napari_apollo.cells import CellStore
from napari_apollo.cells.quality import none_passed
from napari_apollo.errors import DataError
from napari_apollo.tables.files import modality_name
from napari_apollo.tables.reading import Table
from napari_apollo.train.data import Crops

STORE_SUFFIX = ".cells.zarr"

_SPREAD = 0.1  # standard deviation that pixels, from 0 to 1, are taken to scatter with


@dataclass(frozen=True)
class StainImages:
    """Crops of one stain, of all cells of a store that passed the quality check and were given it.

    Attributes
    ----------
    store, stain
        Where they are.
    cells
        (n,) names.
    panels, rows
        (n,) of each cell: panel, and row in its arrays.
    limits
        (n, 2) intensities that become 0 and 1.
    obs
        What the store says of the cells.
    """

    store: CellStore
    stain: str
    cells: np.ndarray
    panels: np.ndarray
    rows: np.ndarray
    limits: np.ndarray
    obs: pd.DataFrame

    @property
    def crop_size(self) -> int:
        """Height and width in pixels."""
        return self.store.crop_size

    @property
    def weight(self) -> float:
        """What a mean squared difference of pixels is multiplied by to be nats of a normal."""
        return 0.5 * self.crop_size**2 / _SPREAD**2

    def stub(self, name: str) -> Table:
        """A table without columns, by which its cells are matched."""
        nothing = np.zeros((len(self.cells), 0), np.float32)
        return Table(
            name, nothing, self.cells, np.zeros(0, object), self.obs, f"{self.store.path} ({self.stain})"
        )

    def sample(self, chosen: np.ndarray) -> np.ndarray:
        """Some of the crops of cells (k,), as acquired: what a fingerprint goes by."""
        spread = chosen[:: max(1, len(chosen) // 256)]
        return self.crops(spread).fetch(np.arange(len(spread)))[0].numpy()

    def crops(self, chosen: np.ndarray) -> Crops:
        """Crops of cells (k,) int64, read as they are asked for."""
        panels, rows, limits = self.panels[chosen], self.rows[chosen], self.limits[chosen]
        size = self.store.crop_size
        names = sorted(set(panels))
        dtype = np.result_type(*(self.store.dtype(name) for name in names)) if names else np.dtype(np.uint16)

        def read(wanted: np.ndarray) -> np.ndarray:
            made = np.empty((len(wanted), size, size), dtype)
            for name in sorted(set(panels[wanted])):
                own = np.flatnonzero(panels[wanted] == name)
                unique, position = np.unique(rows[wanted[own]], return_inverse=True)
                channel = self.store.panels[name].index(self.stain)
                made[own] = self.store.read_images(name, unique)[position, channel]
            return made

        return Crops(read, limits[:, 0], limits[:, 1], dtype)


def stain_images(path: Path | str) -> dict[str, StainImages]:
    """The stains of a cell store, by name of the modality.

    Raises
    ------
    StoreError
        When there is no cell store at the path.
    DataError
        When none of its cells passed the quality check, or a stain has no contrast.
    """
    store = CellStore.open(path)
    used = store.obs[store.obs["qc"].to_numpy(bool)]
    if used.empty:
        raise none_passed(store.obs, store.path)
    found = {}
    for stain in dict.fromkeys(stain for panel in store.panels.values() for stain in panel.stains):
        having = [name for name, panel in store.panels.items() if stain in panel.stains]
        obs = used[used["panel"].isin(having)]
        if obs.empty:
            continue
        groups = obs[store.normalisation.by].astype(str).to_list()
        limits = np.asarray(store.normalisation.limits(stain, groups), np.float64)
        flat = ~(np.isfinite(limits).all(axis=1) & (limits[:, 0] < limits[:, 1]))
        if flat.any():
            raise DataError(f"{store.path}: {stain} of {groups[int(np.argmax(flat))]} has no contrast.")
        cells = obs["cell_id"].astype(str).to_numpy(object)
        found[modality_name(stain)] = StainImages(
            store,
            stain,
            cells,
            obs["panel"].to_numpy(object),
            obs["row"].to_numpy(np.int64),
            limits,
            obs.set_axis(cells),
        )
    return found
