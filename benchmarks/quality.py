"""Quality on cells that no model has seen: reconstruction, and prediction of proteins from chromatin.

Cells that carry every stain are given one of two panels each (MCF-7: DNA/actin or DNA/tubulin); fields, or a
part of the only field, are held out, and there every prediction is compared with the stain that was
measured, whichever panel the cell has.

Usage: python benchmarks/quality.py --data FOLDER [--set mcf7] [--cells 3000] [--methods agreement unet ...]

FOLDER is that of the development data, with a folder for each set. Methods that learn by gradient descent
are given the same processor time (--minutes): their epochs are worked out from a short calibration.
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
from quality_baselines import nearest_neighbour, train_network
from quality_cells import SOURCES, Cells

from napari_apollo.model import Apollo
from napari_apollo.predict.rivals import Inpainting, UNet
from napari_apollo.predict.scores import structural_similarity
from napari_apollo.progress import Step
from napari_apollo.train import TrainConfig, train

COMMON: dict[str, Any] = {"device": "cpu", "threads": 1, "previews_every": 0, "checkpoint_seconds": 3600}
PUBLISHED: dict[str, Any] = {
    "preset": "small",
    "noise": 1.0,
    "regression_weight": 1.0,
    "reconstruction_weight": 0.0,
    "tune_decoders": False,
    "turn_cells": False,
}
MODELS: dict[str, dict[str, Any]] = {
    # The paper's objective as it is: unit noise, its penalty, one protein a cell, encoders that regress on
    # latents alone; at the sizes of the others. First with the paper's learning rates, then with rates that
    # suit short trainings.
    "published": {**PUBLISHED, "decoder_rate": 1e-4, "latent_rate": 1e-3, "schedule": "constant"}
    | {"encoder_rate": 1e-3},
    "two-step": PUBLISHED,
    "small": {"preset": "small"},
    "agreement": {"preset": "agreement"},
    "sharp": {"preset": "sharp"},
}
# Of a model's time, the part that goes to its first step.
FIRST = {"published": 0.75, "two-step": 0.75, "small": 0.3, "agreement": 0.28, "sharp": 0.28}
NAMES = {
    "mean": "mean training image",
    "neighbour": "nearest neighbour by DNA",
    "unet": "U-Net from DNA, told the stain",
    "inpainting": "paired cell inpainting",
    "published": "`two-step`, the paper's way",
    "two-step": "`two-step`, the paper's way at higher rates",
    "small": "`two-step`, preset `small`",
    "agreement": "`agreement`",
    "sharp": "`agreement`, preset `sharp`",
}
SCORES = ("mae", "pearson", "ssim", "intensity_pearson")


def main() -> None:
    """Print a table and one line of JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="folder of the development data")
    parser.add_argument("--set", choices=list(SOURCES), default="mcf7")
    parser.add_argument("--cells", type=int, default=3000)
    parser.add_argument("--minutes", type=float, default=5, help="processor time of each training")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--methods", nargs="+", choices=list(NAMES), default=list(NAMES))
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    rows, seconds = [], {}
    with tempfile.TemporaryDirectory() as folder:
        rng = np.random.default_rng(arguments.seed)
        cells = Cells(SOURCES[arguments.set](arguments.data, arguments.cells, rng), Path(folder), rng)
        print(
            f"{arguments.set}: {cells.store.n_cells} cells, held out {len(cells.test_dna)} "
            f"of {', '.join(cells.held_out)}",
            flush=True,
        )
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
    print(markdown(pd.DataFrame(rows)))
    print(
        json.dumps(
            {
                "set": arguments.set,
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


def markdown(found: pd.DataFrame) -> str:
    """Rows of the table in docs/training.md: error, correlation, similarity, correlation of intensities.

    One column a stain and task; means over the stains where there are more than two.
    """
    stains = list(dict.fromkeys(found["stain"]))
    if len(stains) > 2:
        found = found.assign(stain=f"{len(stains)} proteins")
    means = found.groupby(["method", "task", "stain"], sort=False)[list(SCORES)].mean()
    rows = dict(zip(means.index, means.to_numpy().tolist(), strict=True))
    kinds = {(task, stain): None for _, task, stain in rows}
    columns = [key for task in ("rebuilt", "predicted") for key in kinds if key[0] == task]
    lines = ["| | " + " | ".join(f"{stain} {task}" for task, stain in columns) + " |"]
    lines.append("|---" * (1 + len(columns)) + "|")
    for method, name in NAMES.items():
        if method in found["method"].to_numpy():
            cells = [_short(rows.get((method, *column), [])) for column in columns]
            lines.append("| " + " | ".join([name, *cells]) + " |")
    return "\n".join(lines)


def _short(values: list[float]) -> str:
    digits = [3, *[2] * (len(values) - 1)][: len(values)]
    words = ["–" if np.isnan(value) else f"{value:.{d}f}" for value, d in zip(values, digits, strict=True)]
    return ", ".join(word.replace("0.", ".", 1) for word in words) or "–"


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
        for stain in cells.proteins:
            own = model.encode(cells.truth[stain][:, None], "protein", stain)
            made["rebuilt", stain] = model.decode(own.shared, own.specific, "protein", stain)
            made["predicted", stain] = model.decode(by_dna.shared, None, "protein", stain)
        return made

    return run


def unet(cells: Cells, arguments: argparse.Namespace) -> Made:
    """A U-Net from DNA, told which stain is meant."""
    network = UNet(len(cells.proteins))
    train_network(network, cells.dna, cells.stain, cells.image, 60 * arguments.minutes, arguments.seed)
    return {("predicted", s): network.predict(cells.test_dna, i) for i, s in enumerate(cells.proteins)}


def inpainting(cells: Cells, arguments: argparse.Namespace) -> Made:
    """Paired cell inpainting: another cell's DNA and protein show what the stain looks like."""
    network = Inpainting(cells.dna, cells.stain, cells.image)
    train_network(network, cells.dna, cells.stain, cells.image, 60 * arguments.minutes, arguments.seed)
    return {("predicted", s): network.predict(cells.test_dna, i) for i, s in enumerate(cells.proteins)}


def neighbour(cells: Cells, arguments: argparse.Namespace) -> Made:
    """The image of the training cell whose DNA is most alike."""
    return {
        ("predicted", s): nearest_neighbour(
            cells.dna[cells.stain == i], cells.image[cells.stain == i], cells.test_dna
        )
        for i, s in enumerate(cells.proteins)
    }


def mean_image(cells: Cells, arguments: argparse.Namespace) -> Made:
    """The mean of the training cells."""
    means = {s: cells.image[cells.stain == i].mean(0) for i, s in enumerate(cells.proteins)}
    return {("predicted", s): np.broadcast_to(means[s], cells.truth[s].shape) for s in cells.proteins}


METHODS: dict[str, Callable[[Cells, argparse.Namespace], Made]] = {
    **{name: apollo(name) for name in MODELS},
    "unet": unet,
    "inpainting": inpainting,
    "neighbour": neighbour,
    "mean": mean_image,
}


if __name__ == "__main__":
    main()
