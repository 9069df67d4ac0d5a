"""From a run, a model or a cell store to the cells that are interpreted."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from napari_apollo.cells.store import CellStore
from napari_apollo.errors import ConfigError, FileError
from napari_apollo.interpret.cells import LatentCells, cells_of_store, cells_of_table
from napari_apollo.interpret.config import InterpretConfig
from napari_apollo.interpret.digests import digest
from napari_apollo.interpret.encoding import content_of, encode_cells
from napari_apollo.interpret.kept import KeptSteps
from napari_apollo.interpret.pairs import with_pairs
from napari_apollo.predict.fit import doubts_of_fit, require_fit
from napari_apollo.predict.heldout import parts_of
from napari_apollo.predict.inference import Inference, inference_for, load_model
from napari_apollo.progress import Progress, ShouldStop

if TYPE_CHECKING:
    from napari_apollo.model import Apollo
    from napari_apollo.train import Run


_PLACED = (
    "The latents of this model say where in the cell things are. What does not depend on that, such as how "
    "many foci there are, is read badly from them; a model of the preset 'agreement' shows it better."
)


@dataclass(frozen=True)
class Source:
    """What an interpretation starts from.

    Attributes
    ----------
    store
        The cells.
    model
        The trained model; None where the store's own latents are interpreted.
    place
        Folder of the model; empty without one.
    """

    store: CellStore
    model: Apollo | None
    place: str

    def part(self) -> np.ndarray | None:
        """(cell,) part of the data each cell belonged to in the training; None without a model."""
        if self.model is None:
            return None
        return parts_of(self.store.obs, self.model.card, self.store.crop_size)

    def doubts(self) -> tuple[str, ...]:
        """Why the model might not fit the cells, or be hard to read, in words."""
        if self.model is None:
            return ()
        architecture = self.model.card.architecture
        placed = architecture.spatial or any(modality.spatial for modality in architecture.modalities)
        return (*doubts_of_fit(self.model, self.store), *((_PLACED,) if placed else ()))

    def content(self) -> str:
        """SHA-256 that stands for the images and the model: both carry checksums of their own."""
        return digest(
            {
                "store": content_of(self.store),
                "model": None if self.model is None else self.model.card.weights_sha256,
            }
        )

    def inference(self, batch_size: int) -> Inference | None:
        """The model at work on the store."""
        return None if self.model is None else inference_for(self.model, self.store, "store", batch_size)


def open_source(run_or_store: Run | CellStore | Path | str, config: InterpretConfig) -> Source:
    """Cells and model behind a run, its folder, a model folder with a store, or a cell store.

    Raises
    ------
    FileError
        When there is nothing of the kind at the path.
    ConfigError
        When a model folder is given without a store, or a cell store with settings that need a model.
    """
    if isinstance(run_or_store, CellStore):
        return _of_store(run_or_store, config)
    if isinstance(run_or_store, (str, Path)):
        path = Path(run_or_store)
        if not path.exists():
            raise FileError(path, "does not exist.", "Give a run folder, a model folder or a cell store.")
        if (path / "status.json").is_file():
            from napari_apollo.train import Run

            return _of_run(Run(path), config)
        if (path / "model.json").is_file():
            if config.store is None:
                raise ConfigError(f"{path} is a model folder; say by store which cells to interpret.")
            model, place = load_model(path, config.device)
            return Source(CellStore.open(config.store), model, place)
        return _of_store(CellStore.open(path), config)
    return _of_run(run_or_store, config)


def _of_store(store: CellStore, config: InterpretConfig) -> Source:
    """A cell store whose own latents are interpreted: nothing is known of the model that gave them."""
    if config.parts:
        raise ConfigError(
            f"parts = {', '.join(config.parts)}: {store.path} does not say which of its cells a model learnt "
            "from. Interpret the run folder, or the model folder with this store."
        )
    if config.store is not None:
        raise ConfigError(
            f"{store.path} and {config.store} are both cell stores; give a run or model folder with a store."
        )
    return Source(store, None, "")


def _of_run(run: Run, config: InterpretConfig) -> Source:
    model, place = load_model(run, config.device)
    store = config.store or run.store_there("Say by store (--store) where its cells are.")
    return Source(CellStore.open(store), model, place)


def gather(
    source: Source, config: InterpretConfig, kept: KeptSteps, progress: Progress, should_stop: ShouldStop
) -> LatentCells:
    """Latents and features of the cells that are asked for; latents that were kept are not made again.

    Raises
    ------
    DataError
        When no cell is left.
    PanelMismatch, ModelError
        When model and cells do not go together.
    ConfigError
        When two of the models beside have the same stains.
    """
    part = source.part()
    inference = source.inference(config.batch_size)
    if inference is None:
        cells = cells_of_store(source.store, parts=part, wanted=config.parts)
    else:
        latents = kept.take(
            "latents", {"of": source.content()}, lambda: _encode(source, inference, progress, should_stop)
        )
        cells = cells_of_table(source.store, latents, parts=part, wanted=config.parts)
    if not config.pairs:
        return cells
    return with_pairs(
        cells,
        source.store,
        config.pairs,
        device=config.device,
        batch_size=config.batch_size,
        kept=kept,
        progress=progress,
        should_stop=should_stop,
    )


def _encode(
    source: Source, inference: Inference, progress: Progress, should_stop: ShouldStop
) -> dict[str, np.ndarray]:
    store = source.store
    fitting = require_fit(inference.model, source.place, store, skip_unknown=True)
    panels = {name: store.panels[name] for name in fitting}
    return encode_cells(store, inference, panels, "", progress, should_stop)


def donors_in_words(obs: pd.DataFrame) -> str:
    """Cells, donors and conditions of a table, in words."""
    conditions = obs["condition"].astype(str)
    donors = obs["donor"].astype(str).nunique()
    return f"{len(obs)} cells of {donors} donors; conditions: {', '.join(sorted(set(conditions)))}"
