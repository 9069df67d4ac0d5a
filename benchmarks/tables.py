"""Speed and memory of training on tables, of the size of SHARE-seq, beside a plain loop.

    python benchmarks/tables.py                                   28,098 cells x 9,153 genes + 58,170 peaks
    python benchmarks/tables.py --cells 4000 --peaks 8000         smaller
    python benchmarks/tables.py --device cuda --epochs 2          whole epochs on a GPU
    python benchmarks/tables.py --whole 2 --preset agreement      a whole training from files, no plain loop

A few steps of each are timed, by the wall and by what this process used of the processor, which others may be
using, too: of several threads the first is what one waits for, the second what is paid.

Tables are drawn with the sparsity of the published ones. ``plain`` is a re-implementation of the reference's
loop as facts on it say: dense float tables, embeddings for all cells on the processor with dense Adam, an
optimiser for each decoder, one batch after the other. Both make the same steps: step 1 of the preset paper,
512 cells, four decoders of 1,024; ours in ``memory_kept``, as in the training's loop, the plain loop with
memory as the system gives it. Prints a table and a JSON line.

``--whole N`` writes the tables to files and types ``napari-apollo train``: N epochs of step 1 and one of step
2, scores of the held-out cells, latents of all. Its memory is the most that its processes held at once.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import torch
from scipy import sparse
from torch import nn

BATCH, HIDDEN, SHARED, SPECIFIC = 512, 1024, 50, 20


class Clock:
    """Seconds since it was started: on the wall, and of this process on the processor."""

    def __init__(self) -> None:
        self._wall, self._own = time.perf_counter(), time.process_time()

    def seconds(self) -> tuple[float, float]:
        return time.perf_counter() - self._wall, time.process_time() - self._own


def middle(times: list[tuple[float, float]]) -> np.ndarray:
    """Median (wall, processor) of all steps but the first."""
    return np.median(np.array(times[1:]), axis=0)


def draw(cells: int, features: int, per_cell: float, seed: int) -> sparse.csr_matrix:
    """Counts (cell, feature) with ``per_cell`` values above 0 in a cell on average, most of them 1."""
    rng = np.random.default_rng(seed)
    popularity = rng.gamma(0.6, 1, features)
    popularity /= popularity.sum()
    lengths = rng.poisson(per_cell * rng.lognormal(-0.125, 0.5, cells)).clip(20, features // 2)
    cumulative = np.cumsum(popularity)
    parts = [
        np.unique(np.searchsorted(cumulative, rng.random(n)).clip(max=features - 1)).astype(np.int32)
        for n in lengths
    ]
    starts = np.concatenate([[0], np.cumsum([len(part) for part in parts])])
    columns = np.concatenate(parts)
    data = (1 + rng.geometric(0.7, len(columns)) - 1).astype(np.float32)
    return sparse.csr_matrix((data, columns, starts), shape=(cells, features))


def block(inputs: int, outputs: int) -> list[nn.Module]:
    return [nn.Dropout(0.01), nn.Linear(inputs, outputs, bias=False), nn.BatchNorm1d(outputs), nn.LeakyReLU()]


def decoder(latent: int, features: int) -> nn.Sequential:
    return nn.Sequential(
        *block(latent, HIDDEN),
        *block(HIDDEN, HIDDEN),
        *block(HIDDEN, HIDDEN),
        nn.Linear(HIDDEN, features, bias=False),
    )


def plain_steps(tables: dict[str, np.ndarray], cells: int, steps: int, device: str) -> np.ndarray:
    """Seconds (wall, processor) of a step of the plain loop; ``tables`` dense, of the first rows alone."""
    torch.manual_seed(3)
    names = list(tables)
    shared = nn.Embedding(cells, SHARED)
    own = {name: nn.Embedding(cells, SPECIFIC) for name in names}
    full = {name: decoder(SHARED + SPECIFIC, tables[name].shape[1]).to(device) for name in names}
    alone = {name: decoder(SHARED, tables[name].shape[1]).to(device) for name in names}
    latents = torch.optim.Adam(
        [*shared.parameters(), *(p for e in own.values() for p in e.parameters())], 1e-3
    )
    decoders = [torch.optim.Adam(d.parameters(), 1e-4) for d in [*full.values(), *alone.values()]]
    values = {name: torch.from_numpy(table) for name, table in tables.items()}
    weight = {name: torch.tensor(20.0, device=device) for name in names}
    n = len(next(iter(tables.values())))
    times = []
    for step in range(steps + 1):
        clock = Clock()
        rows = torch.arange(step * BATCH, (step + 1) * BATCH) % n
        for optimiser in (latents, *decoders):
            optimiser.zero_grad()
        code = shared(rows).to(device)
        noisy = code + torch.randn_like(code)
        loss = 1e-3 * code.norm(dim=1).mean() / SHARED
        for name in names:
            target = values[name][rows].to(device)
            specific = own[name](rows).to(device)
            both = torch.cat([noisy, specific + torch.randn_like(specific)], 1)
            loss = loss + nn.functional.binary_cross_entropy_with_logits(
                full[name](both), target, pos_weight=weight[name]
            )
            loss = loss + nn.functional.binary_cross_entropy_with_logits(
                alone[name](noisy), target, pos_weight=weight[name]
            )
            loss = loss + 1e-3 * specific.norm(dim=1).mean() / SPECIFIC
        loss.backward()
        for optimiser in (latents, *decoders):
            optimiser.step()
        loss.item()
        times.append(clock.seconds())
    return middle(times)


def our_steps(
    tables: dict[str, sparse.csr_matrix], steps: int, device: str, precision: str, epochs: int
) -> tuple[np.ndarray, float, float]:
    """Seconds (wall, processor) of a step of ours; of reading, and of an epoch where one is asked for."""
    import pandas as pd

    from napari_apollo.model import Architecture, Modality, Network
    from napari_apollo.tables import Table
    from napari_apollo.tables.preparing import Prepared, prepare
    from napari_apollo.train.data import CellData, Observed
    from napari_apollo.train.machine import place_network
    from napari_apollo.train.memory import memory_kept
    from napari_apollo.train.objectives import get_objective
    from napari_apollo.train.rows import rows_of
    from napari_apollo.train.tableconfig import TableTrainConfig

    clock = Clock()
    config = TableTrainConfig(preset="paper")
    place = torch.device(device)
    observed, modalities = {}, []
    n = next(iter(tables.values())).shape[0]
    for name in list(tables):
        counts = tables.pop(name)
        table = Table(
            name,
            counts,
            np.arange(n).astype(str),
            np.arange(counts.shape[1]).astype(str),
            pd.DataFrame(),
            name,
        )
        prepared: Prepared = prepare(table, "paper")
        observed[name] = Observed(
            rows_of(prepared, np.arange(n)), np.arange(n)[:, None], np.zeros(n, np.int64)
        )
        modalities.append(
            Modality(name, "table", SPECIFIC, features=counts.shape[1], loss="bce", positive_weight=20.0)
        )
        del table, prepared, counts
    cells = CellData(observed, place)
    cells.to_device()
    reading = clock.seconds()[0]
    architecture = Architecture(tuple(modalities), (), SHARED, hidden=HIDDEN, table_blocks="paper")
    network = place_network(Network(architecture), place, precision=precision)
    objective = get_objective("two-step", network, cells, config)
    stage = objective.stages[0]
    stage.prepare()
    order = np.arange(n)

    def wait() -> None:
        if place.type == "cuda":
            torch.cuda.synchronize()

    times = []
    plan = [order[i * BATCH % (n - BATCH) :][:BATCH] for i in range(steps + 1)]
    with memory_kept(place):  # as the training's loop does
        for batch in cells.batches(plan):
            clock = Clock()
            losses = stage.step(batch, 1.0)
            float(losses[0])
            times.append(clock.seconds())
    # Expanding rows belongs to a step: time it with the batches.
    clock = Clock()
    for _ in cells.batches(plan[:3]):
        wait()
    expanding = np.array(clock.seconds()) / 3
    epoch = float("nan")
    for _ in range(epochs):
        clock = Clock()
        for batch in cells.batches([order[i : i + BATCH] for i in range(0, n, BATCH)]):
            losses = stage.step(batch, 1.0)
        float(losses[0])
        wait()
        epoch = clock.seconds()[0]
    return middle(times) + expanding, reading, epoch


def watched(command: subprocess.Popen) -> tuple[float, float]:
    """Processor seconds of a command and all that it starts, and the most bytes that they held at once."""
    import psutil

    used: dict[int, float] = {}
    peak = 0
    while command.poll() is None:
        held = 0
        with contextlib.suppress(psutil.NoSuchProcess):
            root = psutil.Process(command.pid)
            for process in (root, *root.children(recursive=True)):
                with contextlib.suppress(psutil.NoSuchProcess):
                    used[process.pid] = sum(process.cpu_times()[:2])
                    held += process.memory_info().rss
        peak = max(peak, held)
        time.sleep(0.2)
    if command.returncode:
        raise SystemExit(f"The training ended with code {command.returncode}.")
    return sum(used.values()), peak


def whole(tables: dict[str, sparse.csr_matrix], epochs: int, preset: str, threads: int) -> dict[str, object]:
    """A training typed as a command, from files to latents in files, measured from outside."""
    import anndata as ad
    import pandas as pd

    with tempfile.TemporaryDirectory() as made:
        folder = Path(made)
        for name in list(tables):
            counts = tables.pop(name)
            obs, var = (pd.DataFrame(index=np.arange(n).astype(str)) for n in counts.shape)
            ad.AnnData(counts, obs=obs, var=var).write_h5ad(folder / f"{name}.h5ad")
            del counts
        files = [str(path) for path in sorted(folder.glob("*.h5ad"), reverse=True)]
        # What the reference leaves out is left out, as it is in its published size.
        settings = {"preset": preset, "latent-epochs": epochs, "encoder-epochs": 1, "threads": threads}
        settings |= {"output": folder / "x.run", "least-features": 1, "least-cells": 1, "device": "cpu"}
        options = [word for name, value in settings.items() for word in (f"--{name}", str(value))]
        clock = time.perf_counter()
        command = [sys.executable, "-m", "napari_apollo", "train", *files, *options]
        used, peak = watched(subprocess.Popen(command))
        seconds = time.perf_counter() - clock
        status = json.loads((folder / "x.run" / "status.json").read_text("utf-8"))
        lines = (folder / "x.run" / "metrics.jsonl").read_text("utf-8").splitlines()
        latents = ad.read_h5ad(folder / "x.run" / "latents" / "rna.h5ad", backed="r").obsm
        return {
            "preset": preset,
            "state": status["state"],
            "epochs": len(lines),
            "epoch_s": [round(json.loads(line)["seconds"], 1) for line in lines],
            "latents": {name: values.shape for name, values in latents.items()},
            "wall_s": round(seconds, 1),
            "processor_s": round(used, 1),
            "peak_gb": round(peak / 1e9, 2),
        }


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--cells", type=int, default=28_098)
    parser.add_argument("--genes", type=int, default=9_153)
    parser.add_argument("--peaks", type=int, default=58_170)
    parser.add_argument("--steps", type=int, default=2)
    parser.add_argument("--epochs", type=int, default=0, help="whole epochs of ours, besides")
    parser.add_argument("--threads", type=int, default=0)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--precision", default="auto", choices=["auto", "float32", "bfloat16"])
    parser.add_argument("--only", default="both", choices=["both", "ours", "plain"])
    parser.add_argument("--whole", type=int, default=0, help="epochs of step 1 of a whole training")
    parser.add_argument("--preset", default="agreement", choices=["agreement", "paper"], help="of --whole")
    given = parser.parse_args()
    if given.threads:
        torch.set_num_threads(given.threads)
    tables = {
        "rna": draw(given.cells, given.genes, 0.1 * given.genes, 1),
        "atac": draw(given.cells, given.peaks, 0.055 * given.peaks, 2),
    }
    density = {name: round(float(t.nnz / np.prod(t.shape)), 4) for name, t in tables.items()}
    result: dict[str, object] = {
        "cells": given.cells,
        "density": density,
        "threads": torch.get_num_threads(),
    }
    if given.whole:
        result |= whole(tables, given.whole, given.preset, torch.get_num_threads())
        for name, value in result.items():
            print(f"{name:>20}  {value}")
        print(json.dumps(result))
        return
    sample = {name: table[: 2 * BATCH].copy() for name, table in tables.items()}
    if given.only != "plain":
        step, reading, epoch = our_steps(tables, given.steps, given.device, given.precision, given.epochs)
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6
        result |= {
            "ours_cells_per_s": np.round(BATCH / step, 1).tolist(),
            "prepare_s": round(reading, 1),
            "peak_gb": round(peak, 2),
        }
        if given.epochs:
            result["epoch_s"] = round(epoch, 3)
        if given.device == "cuda":
            result["device_gb"] = round(torch.cuda.max_memory_allocated() / 1e9, 2)
    if given.only != "ours":
        dense = {name: (table.toarray() > 0).astype(np.float32) for name, table in sample.items()}
        plain = plain_steps(dense, given.cells, given.steps, given.device)
        result["plain_cells_per_s"] = np.round(BATCH / plain, 1).tolist()
    if given.only == "both":
        result["ratio"] = np.round(plain / step, 2).tolist()
    print("cells/s and their ratio: by the wall, by the processor's time of this process")
    for name, value in result.items():
        print(f"{name:>20}  {value}")
    print(json.dumps(result))


if __name__ == "__main__":
    main()
