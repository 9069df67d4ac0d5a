"""Latents of all cells of a store, as a model says them."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from napari_apollo.cells.store import CellStore
from napari_apollo.panels import Panel
from napari_apollo.predict.inference import Inference
from napari_apollo.predict.table import CellResults
from napari_apollo.progress import Progress, ShouldStop, Step, stop_if_asked


def encode_cells(
    store: CellStore,
    inference: Inference,
    panels: Mapping[str, Panel],
    what: str,
    progress: Progress,
    should_stop: ShouldStop,
) -> dict[str, np.ndarray]:
    """Latents of every cell by the names of their blocks, (cell, dimension), NaN for cells without them.

    Parameters
    ----------
    store, inference
        The cells, the model at work.
    panels
        Panel of the store to the stains of it that are encoded, and the one taken for the chromatin.
    what
        Said of the work; may be empty.
    progress, should_stop
        Told of batches; asked between them.
    """
    results = CellResults(store.n_cells)
    done, total = 0, sum(store.count(name) for name in panels)
    for name, panel in panels.items():
        channels = [store.panels[name].index(stain) for stain in panel.stains]
        positions = store.rows(name)
        for start in range(0, len(positions), inference.batch_size):
            stop_if_asked(should_stop)
            progress(Step("Placing cells", done, total, f"{what}, panel {name}" if what else f"panel {name}"))
            rows = np.arange(start, min(start + inference.batch_size, len(positions)))
            images = inference.normalised(store, name, rows)[:, channels]
            results.latents(positions[rows], inference.encode(images, panel))
            done += len(rows)
    progress(Step("Placing cells", total, total))
    return results.blocks()


def content_of(store: CellStore) -> list[str]:
    """What stands for the images of a store: its descriptions, which carry checksums."""
    described = [store.path / "zarr.json", store.path / "panels" / "zarr.json"]
    return [path.read_text("utf-8") for path in described]
