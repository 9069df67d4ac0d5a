"""More cells than memory: training from a store that is read batch by batch, and the memory it takes.

Writes synthetic stores of several sizes, trains a small model on each with a fixed budget of memory for
crops, in a process of its own, and prints the peak of that process's memory beside the size of the crops, and
cells/s.

    python benchmarks/train_scale.py --cells 50000 1000000 --folder scale
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from napari_apollo.cells import CellStore, CellStoreWriter
from napari_apollo.panels import Panel
from napari_apollo.train import Run, TrainConfig
from napari_apollo.train.operation import prepare_folder

_CHUNK = 20_000  # cells made and written at once
_PANEL = Panel.parse("DAPI/CD3", "blood")

# The process that trains, and then says how much memory it had at most, and how much processor time it took.
_WORKER = """
import resource, sys
from napari_apollo.train.worker import main
code = main(sys.argv[1:])
used = resource.getrusage(resource.RUSAGE_SELF)
print(used.ru_maxrss * 1024, used.ru_utime + used.ru_stime)
sys.exit(code)
"""


def write_store(path: Path, cells: int, size: int, seed: int = 0) -> None:
    """Nuclei, and a protein that is the brighter the smaller they are; made a chunk at a time."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:size, :size] - (size - 1) / 2
    distance = np.hypot(y, x).astype(np.float32)[None]
    with CellStoreWriter(path, [_PANEL], crop_size=size, dtype=np.uint8, pixel_size_um=0.5) as writer:
        for start in range(0, cells, _CHUNK):
            n = min(_CHUNK, cells - start)
            radius = rng.uniform(0.2, 0.4, (n, 1, 1)).astype(np.float32) * size
            nucleus = np.clip(radius - distance, 0, 1)
            ring = np.clip(2 - np.abs(radius - distance), 0, 1) * (1.6 - 3 * radius / size)
            values = np.stack([180 * nucleus, 160 * ring], 1) + rng.integers(5, 25, (n, 2, size, size))
            numbers = start + np.arange(n)
            obs = pd.DataFrame(
                {
                    "field": [f"f{number // 1000}" for number in numbers],
                    "donor": [f"d{number // 1000 % 20}" for number in numbers],
                    "label": numbers % 1000 + 1,
                    "y": rng.uniform(0, 2000, n),
                    "x": rng.uniform(0, 2000, n),
                    "qc": True,
                }
            )
            masks = np.where(nucleus > 0, 2, 0).astype(np.uint8)
            writer.append(_PANEL.name, values.clip(0, 255).astype(np.uint8), masks, obs)


def train_on(store: Path, folder: Path, arguments: argparse.Namespace) -> dict[str, Any]:
    """Train in a process of its own; its memory, times and what it said of memory beforehand."""
    config = TrainConfig(
        output=folder,
        overwrite=True,
        device="cpu",
        threads=arguments.threads,
        shared=16,
        specific=8,
        embedding=4,
        width=4,
        head=12,
        specific_maps=4,
        regression_weight=1,
        reconstruction_weight=0,
        tune_decoders=False,
        turn_cells=False,
        batch_size=arguments.batch,
        latent_epochs=arguments.epochs,
        encoder_epochs=arguments.epochs,
        memory_gb=arguments.budget_mb / 1e3,
        checkpoint_seconds=60,
        previews_every=0,
    )
    prepare_folder(store, config)
    started = time.perf_counter()
    ended = subprocess.run(
        [sys.executable, "-c", _WORKER, str(folder)], stdout=subprocess.PIPE, text=True, check=True
    )
    wall = time.perf_counter() - started
    peak, process = (float(word) for word in ended.stdout.split())
    metrics = Run(folder).metrics()
    rates = {
        str(stage): float((own["cells"] / own["seconds"]).max()) for stage, own in metrics.groupby("stage")
    }
    return {"peak_bytes": peak, "wall_s": wall, "process_s": process, "cells_per_s": rates}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--cells", type=int, nargs="+", default=[50_000, 1_000_000])
    parser.add_argument("--size", type=int, default=16, help="pixels of a crop")
    parser.add_argument("--batch", type=int, default=512)
    parser.add_argument("--epochs", type=int, default=1)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--budget-mb", type=float, default=64, help="memory allowed for crops")
    parser.add_argument("--folder", type=Path, default=Path("scale"))
    arguments = parser.parse_args()
    arguments.folder.mkdir(parents=True, exist_ok=True)
    print(f"{arguments.size} px, batches of {arguments.batch}, crops allowed {arguments.budget_mb:.0f} MB")
    print(f"{'cells':>10}{'crops':>10}{'peak':>10}{'step 1':>12}{'step 2':>12}{'CPU s':>8}{'wall s':>8}")
    results = []
    for cells in arguments.cells:
        store = arguments.folder / f"{cells}_{arguments.size}.cells.zarr"
        if not store.exists():
            write_store(store, cells, arguments.size)
        crops = cells * 2 * arguments.size**2
        found = train_on(store, arguments.folder / f"{cells}.run", arguments)
        rates = found["cells_per_s"]
        written = CellStore.open(store).n_cells
        print(
            f"{written:>10,}{crops / 1e6:>7,.0f} MB{found['peak_bytes'] / 1e6:>7,.0f} MB"
            f"{rates['latents']:>10,.0f}/s{rates['encoders']:>10,.0f}/s"
            f"{found['process_s']:>8,.0f}{found['wall_s']:>8,.0f}",
            flush=True,
        )
        results.append({"cells": cells, "crop_bytes": crops, **found})
    print(json.dumps({"cores": os.cpu_count(), "results": results}))


if __name__ == "__main__":
    main()
