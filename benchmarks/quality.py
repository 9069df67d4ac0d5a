"""Quality on cells that no model has seen: reconstruction, and prediction of proteins from chromatin.

MCF-7 cells (BBBC021) carry DNA, actin and tubulin. Half of the cells are given the panel DNA/actin, the
others DNA/tubulin; whole fields are held out, and there every prediction is compared with the stain that
was measured, whichever panel the cell has.

Usage: python benchmarks/quality.py --data FOLDER [--cells 3000] [--methods agreement two-step unet ...]

FOLDER holds ``mcf7_bbbc021/cells.npz``. Methods that learn by gradient descent are given the same
processor time (--minutes): their epochs are worked out from a short calibration.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from quality_baselines import Inpainting, UNet, nearest_neighbour, train_network

from napari_apollo.cells import CellStore, CellStoreWriter
from napari_apollo.model import Apollo
from napari_apollo.panels import Panel
from napari_apollo.predict.scores import structural_similarity
from napari_apollo.progress import Step
from napari_apollo.train import TrainConfig, train

STAINS = ("actin", "tubulin")
SIZE = 64
COMMON: dict[str, Any] = {"device": "cpu", "threads": 1, "previews_every": 0, "checkpoint_seconds": 3600}
MODELS: dict[str, dict[str, Any]] = {
    # The paper's objective as it is: unit noise, its penalty, one protein a cell, encoders that regress on
    # latents alone; at the sizes of the others, and with rates that suit short trainings.
    "two-step": {
        "preset": "small",
        "noise": 1.0,
        "regression_weight": 1.0,
        "reconstruction_weight": 0.0,
        "tune_decoders": False,
        "turn_cells": False,
    },
    "small": {"preset": "small"},
    "agreement": {"preset": "agreement"},
}
# Of a model's time, the part that goes to its first step.
FIRST = {"two-step": 0.75, "small": 0.3, "agreement": 0.28}


def main() -> None:
    """Print a table and one line of JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="folder of the development data")
    parser.add_argument("--cells", type=int, default=3000)
    parser.add_argument("--fields", type=int, default=10, help="fields held out")
    parser.add_argument("--minutes", type=float, default=5, help="processor time of each training")
    parser.add_argument("--seed", type=int, default=0)
    known = [*MODELS, "unet", "inpainting", "neighbour", "mean"]
    parser.add_argument("--methods", nargs="+", choices=known, default=known)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    rows, seconds = [], {}
    with tempfile.TemporaryDirectory() as folder:
        cells = Cells(arguments, Path(folder))
        for method in arguments.methods:
            started = time.process_time()
            made = METHODS[method](cells, arguments)
            seconds[method] = round(time.process_time() - started)
            found = [
                {"method": method, "task": task, "stain": stain, **scores(images, cells.truth[stain])}
                for (task, stain), images in made.items()
            ]
            rows += found
            print(pd.DataFrame(found).to_string(index=False, float_format="%.3f"), flush=True)
    table = pd.DataFrame(rows)
    print(table.to_string(index=False, float_format="%.3f"))
    print(
        json.dumps(
            {
                "cells": arguments.cells,
                "minutes": arguments.minutes,
                "cpu_seconds": seconds,
                "load": round(os.getloadavg()[0], 1),
                "torch": torch.__version__,
                "machine": platform.processor() or platform.machine(),
                "scores": rows,
            }
        )
    )


def scores(made: np.ndarray, truth: np.ndarray) -> dict[str, float]:
    """Mean absolute error, correlation over pixels, similarity, correlation of the cells' mean intensity."""

    def correlation(first: np.ndarray, second: np.ndarray) -> float:
        if np.ptp(first) == 0:
            return float("nan")
        return float(np.corrcoef(first.ravel(), second.ravel())[0, 1])

    return {
        "mae": float(np.abs(made - truth).mean()),
        "pearson": correlation(made, truth),
        "ssim": float(structural_similarity(made, truth).mean()),
        "intensity_pearson": correlation(made.mean((1, 2)), truth.mean((1, 2))),
    }


class Cells:
    """The cells: a store to learn from, and the truth of the held-out ones.

    Attributes
    ----------
    store
        Two panels, all cells.
    held_out
        Names of the fields kept away.
    dna, stain, image
        Of the training cells (n, y, x) float32 in [0, 1]: DNA, which stain each has, and that image.
    test_dna, truth
        The same of the held-out cells, with both stains.
    """

    def __init__(self, arguments: argparse.Namespace, folder: Path) -> None:
        with np.load(arguments.data / "mcf7_bbbc021" / "cells.npz") as data:
            images, fields = data["images"], data["field"]
            wells = data["well"]
        rng = np.random.default_rng(arguments.seed)
        chosen = np.sort(rng.permutation(len(images))[: arguments.cells])
        edge = (images.shape[-1] - SIZE) // 2
        images = images[chosen][:, :, edge : edge + SIZE, edge : edge + SIZE]
        fields, wells = fields[chosen], wells[chosen]
        self.folder = folder
        self.held_out = tuple(sorted(rng.permutation(np.unique(fields))[: arguments.fields].tolist()))
        test = np.isin(fields, self.held_out)
        stain = rng.integers(0, 2, len(images))
        panels = [Panel.parse(f"DAPI/{name}", name) for name in STAINS]
        path = folder / "mcf7.cells.zarr"
        with CellStoreWriter(path, panels, crop_size=SIZE, dtype=np.uint16) as writer:
            for index, panel in enumerate(panels):
                own = np.flatnonzero(stain == index)
                table = pd.DataFrame(
                    {
                        "field": fields[own],
                        "donor": wells[own],
                        "condition": "none",
                        "label": own + 1,
                        "y": 0.0,
                        "x": 0.0,
                        "qc": True,
                    }
                )
                mask = np.full((len(own), SIZE, SIZE), 2, np.uint8)
                writer.append(panel.name, np.ascontiguousarray(images[own][:, [0, index + 1]]), mask, table)
        self.store = CellStore.open(path)
        values = np.stack(
            [self._normalised(images[:, 0], "DAPI", STAINS[0])]
            + [self._normalised(images[:, index + 1], name, name) for index, name in enumerate(STAINS)]
        )
        self.dna, self.stain = values[0][~test], stain[~test]
        self.image = np.take_along_axis(values[1:], stain[None, :, None, None], 0)[0][~test]
        self.test_dna = values[0][test]
        self.truth = {name: values[index + 1][test] for index, name in enumerate(STAINS)}

    def _normalised(self, images: np.ndarray, stain: str, panel: str) -> np.ndarray:
        low, high = self.store.normalisation.limits(stain, [panel])[0]
        return np.clip((images - low) / (high - low), 0, 1).astype(np.float32)


Made = dict[tuple[str, str], np.ndarray]


def apollo(name: str) -> Callable[[Cells, argparse.Namespace], Made]:
    """A model of ours: rebuilt from a protein's own image, and predicted from DNA."""

    def run(cells: Cells, arguments: argparse.Namespace) -> Made:
        def trained(first: int, second: int) -> tuple[Apollo, dict[str, list[float]]]:
            ends: dict[str, list[float]] = {}

            def note(step: Step) -> None:
                if step.total:
                    ends.setdefault(step.stage, []).append(time.process_time())

            config = TrainConfig(
                output=cells.folder / f"{name}.run",
                overwrite=True,
                held_out=cells.held_out,
                seed=arguments.seed,
                **{
                    **COMMON,
                    **MODELS[name],
                    "latent_epochs": first,
                    "encoder_epochs": second,
                    "latent_patience": 0,
                    "encoder_patience": 0,
                },
            )
            return train(cells.store, config, progress=note).model(), ends

        # The second epoch of each step says what an epoch costs.
        cost = [times[1] - times[0] for title, times in trained(2, 2)[1].items() if title.startswith("Step")]
        budget = 60 * arguments.minutes
        first = max(1, round(FIRST[name] * budget / cost[0]))
        second = max(1, round((1 - FIRST[name]) * budget / cost[1]))
        model, ends = trained(first, second)
        times = [time for title, times in ends.items() if title.startswith("Step") for time in times]
        print(
            f"{name}: {first} + {second} epochs, {times[-1] - times[0] + cost[0]:.0f} s of processor time",
            flush=True,
        )
        by_dna = model.encode(cells.test_dna[:, None], "chromatin")
        made: Made = {}
        for stain in STAINS:
            own = model.encode(cells.truth[stain][:, None], "protein", stain)
            made["rebuilt", stain] = model.decode(own.shared, own.specific, "protein", stain)
            made["predicted", stain] = model.decode(by_dna.shared, None, "protein", stain)
        return made

    return run


def unet(cells: Cells, arguments: argparse.Namespace) -> Made:
    """A U-Net from DNA, told which stain is meant."""
    network = UNet(len(STAINS))
    train_network(network, cells.dna, cells.stain, cells.image, 60 * arguments.minutes, arguments.seed)
    return {("predicted", s): network.predict(cells.test_dna, i) for i, s in enumerate(STAINS)}


def inpainting(cells: Cells, arguments: argparse.Namespace) -> Made:
    """Paired cell inpainting: another cell's DNA and protein show what the stain looks like."""
    network = Inpainting(cells.dna, cells.stain, cells.image)
    train_network(network, cells.dna, cells.stain, cells.image, 60 * arguments.minutes, arguments.seed)
    return {("predicted", s): network.predict(cells.test_dna, i) for i, s in enumerate(STAINS)}


def neighbour(cells: Cells, arguments: argparse.Namespace) -> Made:
    """The image of the training cell whose DNA is most alike."""
    return {
        ("predicted", s): nearest_neighbour(
            cells.dna[cells.stain == i], cells.image[cells.stain == i], cells.test_dna
        )
        for i, s in enumerate(STAINS)
    }


def mean_image(cells: Cells, arguments: argparse.Namespace) -> Made:
    """The mean of the training cells."""
    means = {s: cells.image[cells.stain == i].mean(0) for i, s in enumerate(STAINS)}
    return {("predicted", s): np.broadcast_to(means[s], cells.truth[s].shape) for s in STAINS}


METHODS: dict[str, Callable[[Cells, argparse.Namespace], Made]] = {
    **{name: apollo(name) for name in MODELS},
    "unet": unet,
    "inpainting": inpainting,
    "neighbour": neighbour,
    "mean": mean_image,
}


if __name__ == "__main__":
    main()
