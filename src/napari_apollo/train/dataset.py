"""From a cell store to the cells of a training: what is learnt from, and what is kept away."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
import pandas as pd
import torch

from napari_apollo.cells import CellStore
from napari_apollo.cells.quality import none_passed
from napari_apollo.errors import DataError
from napari_apollo.model.modality import CHROMATIN, PROTEIN
from napari_apollo.panels import Panel, vocabulary
from napari_apollo.train.config import TrainConfig
from napari_apollo.train.data import CellData, Crops, Observed
from napari_apollo.train.sampling import assign_proteins
from napari_apollo.train.split import TEST, TRAIN, VALIDATION, Split, split_cells
from napari_apollo.train.team import Team

_CHUNK = 2048  # cells read at once where all are looked at

_COLUMNS = ("cell_id", "panel", "row", "donor", "condition", "field", "y", "x")


@dataclass(frozen=True)
class Dataset:
    """Cells of a store, as a training uses them.

    Attributes
    ----------
    store
        Where they come from.
    panels
        Its panels that have cells.
    vocabulary
        All proteins of the panels, in the order of the embedding.
    obs
        One row for each cell used: ``cell_id, panel, row, donor, condition, field, y, x``.
    protein
        (cell,) int64: position, among the proteins of its panel, of the one it is trained with.
    split
        Which cells are for what.
    """

    store: CellStore
    panels: Mapping[str, Panel]
    vocabulary: tuple[str, ...]
    obs: pd.DataFrame
    protein: np.ndarray
    split: Split

    def stain(self, cell: int, protein: int) -> str:
        """Name of a protein of a cell."""
        return self.panels[str(self.obs["panel"].iat[cell])].proteins[protein]

    def cell_name(self, cell: int) -> str:
        """Name of a cell for messages."""
        return str(self.obs["cell_id"].iat[cell])

    def cells(
        self, part: str, device: torch.device, *, every_protein: bool, team: Team | None = None
    ) -> CellData:
        """Modalities of the cells of a part, in the order of ``split.cells(part)``.

        Parameters
        ----------
        part
            ``train``, ``validation`` or ``test``.
        device
            Where batches are wanted.
        every_protein
            All proteins of a cell, or the one it is trained with.
        team
            Processes that the cells are divided among; this one's are wanted.
        """
        chosen = (team or Team()).own(self.split.cells(part))
        most = max(len(panel.proteins) for panel in self.panels.values()) if every_protein else 1
        images = _Images(self.store)
        panels = self.obs["panel"].to_numpy(object)[chosen]
        counts = np.ones(len(chosen), np.int64)
        anchors = np.zeros(len(chosen), np.int64)
        for name, panel in self.panels.items():
            anchors[panels == name] = panel.index(panel.anchor)
            if every_protein:
                counts[panels == name] = len(panel.proteins)
        starts = np.cumsum(counts) - counts
        columns = np.arange(most)[None]
        rows = np.where(columns < counts[:, None], starts[:, None] + columns, -1)
        within = np.arange(counts.sum()) - np.repeat(starts, counts)
        protein = within if every_protein else self.protein[chosen]
        stains, channels = self._proteins(np.repeat(panels, counts), protein)
        paired = np.zeros(len(chosen), np.int64) if every_protein else stains
        chromatin = Observed(self._crops(images, chosen, anchors), np.arange(len(chosen))[:, None], paired)
        proteins = Observed(self._crops(images, np.repeat(chosen, counts), channels), rows, stains)
        return CellData({CHROMATIN: chromatin, PROTEIN: proteins}, device)

    def _proteins(self, panels: np.ndarray, protein: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Positions in the vocabulary, and among the panel's stains, of proteins of panels, each (n,)."""
        stains, channels = (np.zeros(len(panels), np.int64) for _ in range(2))
        for name, panel in self.panels.items():
            own = panels == name
            stains[own] = np.array([self.vocabulary.index(stain) for stain in panel.proteins])[protein[own]]
            channels[own] = np.array([panel.index(stain) for stain in panel.proteins])[protein[own]]
        return stains, channels

    def _crops(self, images: _Images, cells: np.ndarray, channels: np.ndarray) -> Crops:
        """Crops of channels of cells, as they are asked for."""
        limits = np.zeros((len(cells), 2))
        panels = self.obs["panel"].to_numpy(object)[cells]
        store_rows = self.obs["row"].to_numpy(np.int64)[cells]
        groups = self.obs[self.store.normalisation.by].astype(str).to_numpy()[cells]
        for name, panel in self.panels.items():
            for channel, stain in enumerate(panel.stains):
                own = (panels == name) & (channels == channel)
                if own.any():
                    limits[own] = self.store.normalisation.limits(stain, groups[own])
        dtype = np.result_type(*(self.store.dtype(name) for name in self.panels))
        read = _reader(images, panels, store_rows, channels, dtype)
        return Crops(read, limits[:, 0], limits[:, 1], dtype)

    def fingerprint(self) -> str:
        """SHA-256 over the training cells, their order, what is kept of them, and a sample of crops."""
        digest = hashlib.sha256()
        chosen = self.split.cells(TRAIN)
        names = self.obs["cell_id"].to_numpy(object)
        panels = self.obs["panel"].to_numpy(object)
        for start in range(0, len(chosen), _CHUNK):
            part = chosen[start : start + _CHUNK]
            stains, _ = self._proteins(panels[part], self.protein[part])
            lines = [
                f"{name}\t{self.vocabulary[stain]}\n" for name, stain in zip(names[part], stains, strict=True)
            ]
            digest.update("".join(lines).encode())
        digest.update(self.store.normalisation.model_dump_json().encode())
        for cell in chosen[:: max(1, len(chosen) // 256)]:
            row = self.obs["row"].to_numpy(np.int64)[cell]
            image = self.store.read_images(str(self.obs["panel"].iat[cell]), [row])
            digest.update(np.ascontiguousarray(image).tobytes())
        return digest.hexdigest()


class _Images:
    """Images of a store; those of a batch are read once, whichever of their stains are wanted one by one."""

    def __init__(self, store: CellStore) -> None:
        self.store = store
        self._last: tuple[str, bytes, np.ndarray] | None = None

    def of(self, panel: str, rows: np.ndarray) -> np.ndarray:
        """Images (n, stain, y, x) of rows (n,), each once, in ascending order."""
        last, asked = self._last, rows.tobytes()
        if last is not None and last[:2] == (panel, asked):
            return last[2]
        images = self.store.read_images(panel, rows)
        self._last = (panel, asked, images) if len(rows) <= _CHUNK else None
        return images


def _reader(
    source: _Images, panels: np.ndarray, rows: np.ndarray, channels: np.ndarray, dtype: np.dtype
) -> Callable[[np.ndarray], np.ndarray]:
    size = source.store.crop_size

    def read(wanted: np.ndarray) -> np.ndarray:
        crops = np.empty((len(wanted), size, size), dtype)
        names = panels[wanted]
        for name in sorted(set(names)):
            own = np.flatnonzero(names == name)
            unique, position = np.unique(rows[wanted[own]], return_inverse=True)
            crops[own] = source.of(name, unique)[position, channels[wanted[own]]]
        return crops

    return read


def open_dataset(store: CellStore, config: TrainConfig) -> Dataset:
    """Choose the cells to train on and those to hold out, and refuse what cannot be learnt from.

    Raises
    ------
    DataError
        When too few cells passed the quality check, a panel has no protein or a stain no contrast,
        or crops hold values that are not finite or chromatin that is constant; cells are named.
    ConfigError
        When ``held_out`` names what is not there.
    """
    obs = store.obs
    used = obs[obs["qc"].to_numpy(bool)].reset_index(drop=True)
    if used.empty:
        raise none_passed(obs, store.path)
    panels = {name: panel for name, panel in store.panels.items() if (used["panel"] == name).any()}
    bare = [name for name, panel in panels.items() if not panel.proteins]
    if bare:
        raise DataError(
            f"Panel {', '.join(bare)} has no protein stain; there is nothing to predict or learn."
        )
    split = split_cells(
        used,
        held_out=config.held_out,
        test_fraction=config.test_fraction,
        validation_fraction=config.validation_fraction,
        seed=config.seed,
        crop_size=round(store.crop_size * float(used["scale"].max())),
    )
    counts = [len(panels[name].proteins) for name in used["panel"]]
    groups = (used["donor"].astype(str) + "\n" + used["panel"].astype(str)).to_list()
    protein = assign_proteins(groups, counts, config.seed)
    dataset = Dataset(
        store, panels, vocabulary(list(panels.values())), used[list(_COLUMNS)].copy(), protein, split
    )
    _check_limits(dataset)
    _check_crops(dataset)
    return dataset


def _check_limits(dataset: Dataset) -> None:
    normalisation = dataset.store.normalisation
    for name, panel in dataset.panels.items():
        own = dataset.obs["panel"] == name
        for group in sorted(set(dataset.obs.loc[own, normalisation.by].astype(str))):
            for stain in panel.stains:
                low, high = normalisation.limits(stain, [group])[0]
                if not (np.isfinite([low, high]).all() and low < high):
                    raise DataError(
                        f"{stain} of {normalisation.by} {group} has no contrast: its limits are {low:g} and "
                        f"{high:g}. Leave the stain out of panel {name}, or normalise by panel."
                    )


def _check_crops(dataset: Dataset) -> None:
    """Look at every crop once: all values finite, chromatin not constant."""
    for name, panel in dataset.panels.items():
        cells = np.flatnonzero((dataset.obs["panel"] == name).to_numpy())
        rows = dataset.obs["row"].to_numpy(np.int64)[cells]
        anchor = panel.index(panel.anchor)
        for start in range(0, len(cells), _CHUNK):
            images = dataset.store.read_images(name, rows[start : start + _CHUNK])
            chunk = cells[start : start + _CHUNK]
            if not np.issubdtype(images.dtype, np.integer):
                finite = np.isfinite(images).reshape(len(images), -1).all(axis=1)
                _refuse_cells(dataset, chunk[~finite], "hold values that are not finite")
            flat = images[:, anchor].reshape(len(images), -1)
            _refuse_cells(
                dataset, chunk[flat.min(axis=1) == flat.max(axis=1)], f"have a constant {panel.anchor} image"
            )


def _refuse_cells(dataset: Dataset, cells: np.ndarray, problem: str) -> None:
    if len(cells):
        names = ", ".join(dataset.cell_name(cell) for cell in cells[:5])
        raise DataError(
            f"{len(cells)} cells {problem}: {names}{', ...' if len(cells) > 5 else ''}. Flag them in the "
            "quality check, or leave their field out."
        )


__all__ = ["TEST", "TRAIN", "VALIDATION", "Dataset", "open_dataset"]
