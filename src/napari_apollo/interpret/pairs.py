"""Latents of cells as models of pairs of stains see them, to stand beside those of another model.

The study's way to compartments: a model for each pair of reference stains, all of the same cells.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from napari_apollo.cells.store import CellStore
from napari_apollo.errors import ConfigError, DataError
from napari_apollo.interpret.cells import LatentCells
from napari_apollo.interpret.digests import digest
from napari_apollo.interpret.encoding import content_of, encode_cells
from napari_apollo.interpret.kept import KeptSteps
from napari_apollo.panels import Panel
from napari_apollo.predict.fit import require_fit
from napari_apollo.predict.inference import Inference, inference_for, load_model
from napari_apollo.predict.table import CHROMATIN_SPECIFIC, PROTEIN_SPECIFIC, SHARED, SHARED_FROM
from napari_apollo.progress import Progress, ShouldStop

Floats = NDArray[np.float64]


def with_pairs(
    cells: LatentCells,
    store: CellStore,
    models: Sequence[Path],
    *,
    device: str,
    batch_size: int,
    kept: KeptSteps,
    progress: Progress,
    should_stop: ShouldStop,
) -> LatentCells:
    """Cells with the latents that further models give them, in ``beside``.

    Each model encodes the images of the store in its own stains; its anchor need not be the store's. Blocks
    are called ``DAPI+ER: ER shared`` (the shared latents, as the image of the ER says them) and
    ``DAPI+ER: ER specific``.

    Parameters
    ----------
    cells
        Of the store.
    store
        Its panels hold the stains of the models.
    models
        Run or model folders.
    device, batch_size
        Where to compute; cells at once.
    kept
        Where latents are kept.
    progress, should_stop
        Told of batches; asked between them.

    Raises
    ------
    ConfigError
        When two models have the same stains.
    DataError
        When no cell of the store was given both stains of a model.
    ModelError
        When a model goes with other crops than the store's.
    """
    rows = store.obs.index.get_indexer(pd.Index(cells.obs["cell_id"].astype(str)))
    beside: dict[str, Floats] = {}
    for path in models:
        model, place = load_model(path, device)
        require_fit(model, place, store, skip_unknown=True, other_anchor=True)
        inference = inference_for(model, store, "store", batch_size)
        anchor, panels = _own_panels(inference, store)
        if not panels:
            raise DataError(
                f"{store.path} has no panel with {anchor} and {' or '.join(inference.vocabulary)}, which "
                f"{path} learnt from."
            )

        def encode(
            inference: Inference = inference, panels: dict[str, Panel] = panels, what: str = path.name
        ) -> dict[str, np.ndarray]:
            return encode_cells(store, inference, panels, what, progress, should_stop)

        about = {
            "model": model.card.weights_sha256,
            "stains": {name: panel.stains for name, panel in panels.items()},
        }
        latents = kept.take(f"pair_{digest(about)[:12]}", {"store": content_of(store), **about}, encode)
        pair = "+".join((anchor, *inference.vocabulary))
        names = {name: f"{pair}: {_in_words(name, anchor)}" for name in latents}
        if set(names.values()) & set(beside):
            raise ConfigError(f"{path} is the second model of {pair}; give one model of each pair.")
        beside |= {names[name]: values[rows].astype(np.float64) for name, values in latents.items()}
    return replace(cells, beside=beside)


def _own_panels(inference: Inference, store: CellStore) -> tuple[str, dict[str, Panel]]:
    """The model's anchor, and panels of the store reduced to the model's stains, where they have them."""
    learnt = inference.model.card.panels
    anchor = learnt[0].anchor if learnt else next(iter(store.panels.values())).anchor
    panels = {}
    for name, panel in store.panels.items():
        proteins = tuple(stain for stain in inference.vocabulary if stain in panel)
        if anchor in panel and proteins:
            panels[name] = Panel(name=name, stains=(anchor, *proteins), anchor=anchor)
    return anchor, panels


def _in_words(block: str, anchor: str) -> str:
    if block.startswith(SHARED_FROM):
        return f"{block.removeprefix(SHARED_FROM)} shared"
    if block.startswith(PROTEIN_SPECIFIC):
        return f"{block.removeprefix(PROTEIN_SPECIFIC)} specific"
    return {SHARED: f"{anchor} shared", CHROMATIN_SPECIFIC: f"{anchor} specific"}[block]
