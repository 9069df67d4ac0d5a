"""How long 30,000 cells take to interpret, and how long again when steps were kept.

Cells of a store with latents and features that were drawn at random, some of them tied to one another; images
are a few pixels, as an interpretation of a store looks at none but for its pictures.

python benchmarks/interpret_scale.py --folder scale
"""

from __future__ import annotations

import argparse
import json
import resource
import time
from pathlib import Path

import numpy as np
import pandas as pd

from napari_apollo.cells import CellStore, CellStoreWriter
from napari_apollo.errors import Cancelled
from napari_apollo.interpret import InterpretConfig, interpret
from napari_apollo.panels import Panel
from napari_apollo.predict.table import CHROMATIN_SPECIFIC, PROTEIN_SPECIFIC, SHARED, SHARED_FROM
from napari_apollo.progress import Step

_STAINS = ("CD3", "CD4", "CD8")


def make_store(path: Path, cells: int, donors: int, features: int, size: int, seed: int = 0) -> CellStore:
    """Store of one panel with latents of ``size`` dimensions a block and so many features of each stain."""
    rng = np.random.default_rng(seed)
    panel = Panel.parse("/".join(("DAPI", *_STAINS)), "all")
    donor = np.array([f"D{k:02d}" for k in range(donors)])[np.arange(cells) % donors]
    obs = pd.DataFrame({"field": donor, "donor": donor, "label": np.arange(cells) + 1, "y": 4.0, "x": 4.0})
    obs["condition"] = np.where(np.arange(cells) % donors % 2, "treated", "control")
    with CellStoreWriter(path, [panel], crop_size=8, dtype=np.uint16) as writer:
        images = rng.integers(0, 1000, (cells, 4, 8, 8), dtype=np.uint16)
        writer.append(panel.name, images, np.full((cells, 8, 8), 2, np.uint8), obs.assign(qc=True))
    store = CellStore.open(path)
    table = store.table.copy()
    blocks = {
        name: rng.normal(size=(cells, size)).astype(np.float32) for name in (SHARED, CHROMATIN_SPECIFIC)
    }
    for stain in _STAINS:
        blocks[PROTEIN_SPECIFIC + stain] = rng.normal(size=(cells, size)).astype(np.float32)
        blocks[SHARED_FROM + stain] = blocks[SHARED] + rng.normal(size=(cells, size)).astype(np.float32)
    sources = {"": SHARED, "DAPI": CHROMATIN_SPECIFIC} | {
        stain: PROTEIN_SPECIFIC + stain for stain in _STAINS
    }
    columns, stains = {}, []
    for stain, block in sources.items():
        for k in range(features):
            name = f"nucleus_{('sum', 'mean')[k]}_{stain}" if k < 2 and stain in _STAINS else f"f{k}_{stain}"
            tied = blocks[block][:, k % size] + blocks[SHARED][:, k % 3] * (k % 2)
            columns[name] = np.exp(0.3 * (tied + rng.normal(size=cells)))
            stains.append(stain)
    for stain in _STAINS:
        for name in ("cell_sum", "cytoplasm_mean", "cell_cv"):
            columns[f"{name}_{stain}"] = np.exp(0.3 * rng.normal(size=cells)) * 3
            stains.append(stain)
    import anndata

    filled = anndata.AnnData(
        X=pd.DataFrame(columns).to_numpy(np.float32),
        obs=table.obs,
        var=pd.DataFrame({"stain": stains}, index=list(columns)),
        obsm=blocks,
        uns=dict(table.uns),
    )
    store.write_table(filled)
    return CellStore.open(path)


def main() -> None:
    """Print seconds of each step, of one process, and one line of JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--folder", type=Path, required=True, help="Where everything is written.")
    parser.add_argument("--cells", type=int, default=30_000)
    parser.add_argument("--donors", type=int, default=20)
    parser.add_argument("--features", type=int, default=30, help="Of form, and of each of four stains.")
    parser.add_argument("--size", type=int, default=32, help="Dimensions of each block.")
    options = parser.parse_args()
    path = options.folder / "scale.cells.zarr"
    options.folder.mkdir(parents=True, exist_ok=True)
    store = (
        CellStore.open(path)
        if path.exists()
        else make_store(path, options.cells, options.donors, options.features, options.size)
    )
    config = InterpretConfig(
        output=options.folder / "meaning", overwrite=True, compartments=True, published=True
    )
    spent: dict[str, float] = {}
    last = [time.process_time(), "Reading"]

    def note(step: Step) -> None:
        now = time.process_time()
        spent[str(last[1])] = spent.get(str(last[1]), 0.0) + now - float(last[0])
        last[:] = [now, step.stage]

    stopping = [True]
    started = time.process_time()
    try:
        interpret(store, config, progress=note, should_stop=lambda: stopping[0] and last[1] == "Classifying")
    except Cancelled:
        stopped = time.process_time() - started
    stopping[0] = False
    started = time.process_time()
    found = interpret(store, config, progress=note)
    resumed = time.process_time() - started
    started = time.process_time()
    interpret(store, config)
    again = time.process_time() - started
    note(Step("End"))
    for stage, seconds in sorted(spent.items(), key=lambda item: -item[1]):
        print(f"{seconds:8.1f} s  {stage}")
    result = {
        "cells": len(found.cells),
        "features": found.cells.features.shape[1],
        "blocks": len(found.cells.blocks),
        "until_stopped_at_phenotypes": round(stopped, 1),
        "resumed": round(resumed, 1),
        "nothing_changed": round(again, 1),
        "gigabytes": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6, 2),
    }
    print(json.dumps({"cpu_seconds": result}))


if __name__ == "__main__":
    main()
