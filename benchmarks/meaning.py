"""What is found in simulated blood cells, whose causes are known, and in MCF-7.

python benchmarks/meaning.py --set blood --folder meaning
python benchmarks/meaning.py --set mcf7 --folder meaning --data FOLDER [--baselines neighbour unet inpainting]

FOLDER holds ``mcf7_bbbc021/cells.npz``. Steps that are there are not done again.
"""

from __future__ import annotations

import argparse
import json
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas as pd
import torch
from meaning_data import blood, mcf7

from napari_apollo import CellStore
from napari_apollo.interpret import Interpretation, InterpretConfig, LatentCells, feature_shares, interpret
from napari_apollo.predict import EvaluateConfig, evaluate
from napari_apollo.predict.baselines import IN_WORDS
from napari_apollo.report.evaluation import REPORT, evaluation_page
from napari_apollo.train import TrainConfig, train

PLANTED = ("nucleus_area", "nucleus_foci_count_gammaH2AX")


SHARES = ("feature", "shared", "shared_low", "shared_high", "chromatin", "protein", "carried_by")
TRAINING: dict[str, dict[str, Any]] = {
    "blood": {"latent_epochs": 10},
    "mcf7": {"latent_epochs": 8, "encoder_epochs": 16, "test_fraction": 0.35},
}


def with_truth(found: Interpretation, store: CellStore) -> LatentCells:
    """The cells with the causes that were simulated in place of their features."""
    truth = pd.read_csv(store.path.with_suffix(".study") / "truth" / "cells.csv")
    obs = store.obs.set_index("cell_id").loc[found.cells.obs["cell_id"]]
    own = truth.set_index(["field", "label"]).loc[
        list(zip(obs["field"].astype(str), obs["label"], strict=True))
    ]
    names = ["nucleus_area_um2", "heterochromatin", "foci_count"]
    return replace(
        found.cells,
        features=own[names].astype(float).reset_index(drop=True),
        stains=("", "", "gammaH2AX"),
    )


def main() -> None:
    """Run the whole chain on one thread."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--set", choices=tuple(TRAINING), default="blood")
    parser.add_argument("--folder", type=Path, required=True, help="Where everything is written.")
    parser.add_argument("--data", type=Path, help="Folder of the development data.")
    parser.add_argument(
        "--baselines",
        nargs="+",
        choices=tuple(name for name in IN_WORDS if name != "mean"),
        default=["neighbour"],
        help="Beside the mean image; the networks need minutes.",
    )
    parser.add_argument("--preset", choices=("agreement", "sharp"), default="agreement")
    parser.add_argument("--baseline-epochs", type=int, default=15, help="Of the networks.")
    options = parser.parse_args()
    torch.set_num_threads(1)
    folder: Path = options.folder / options.set
    folder.mkdir(parents=True, exist_ok=True)
    path, truth, times = folder / f"{options.set}.cells.zarr", None, {}
    started = time.process_time()
    if options.set == "blood":
        store = blood(path, donors=5, cells=80, held_out=2)
    else:
        store, whole = mcf7(path, options.data, cells=2400)
        truth = whole.path
    times["cells"] = time.process_time() - started
    run = folder / f"{options.set}.run"
    started = time.process_time()
    if not run.exists():
        settings = {"preset": options.preset, "device": "cpu", "threads": 1, "previews_every": 0}
        train(store, TrainConfig(output=run, **settings | TRAINING[options.set]))
    times["training"] = time.process_time() - started
    started = time.process_time()
    config = InterpretConfig(output=folder / "meaning", published=True, overwrite=True, device="cpu")
    found = interpret(run, config)
    times["interpreting"] = time.process_time() - started
    started = time.process_time()
    scores = evaluate(
        store,
        run,
        EvaluateConfig(
            output=folder / "scores",
            truth=truth,
            features=True,
            baselines=tuple(options.baselines),
            baseline_epochs=options.baseline_epochs,
            device="cpu",
        ),
    )
    evaluation_page(scores).write(folder / "scores" / REPORT)
    times["evaluating"] = time.process_time() - started
    pd.set_option("display.width", 200, "display.max_columns", 30, "display.max_colwidth", 90)
    print(found.in_words())
    if options.set == "blood":
        shares = found.shares.set_index("feature")
        planted = shares.reindex([name for name in PLANTED if name in shares.index])
        print(planted[["shared", "shared_low", "shared_high", "chromatin", "protein", "carried_by"]].round(2))
        print(feature_shares(with_truth(found, store))[list(SHARES)].round(2).to_string(index=False))
    print(found.phenotypes.table.drop(columns=["kind", "classes"]).round(3).to_string(index=False))
    print(found.phenotypes.ablation.head(8).round(3).to_string(index=False))
    wanted = [
        f"{which}{score}" for score in ("mae", "pearson") for which in ("", *(f"{n}_" for n in IN_WORDS))
    ]
    columns = ["stain", "kind", "truth", "cells", *wanted, "verdict"]
    print(scores.table[[name for name in columns if name in scores.table]].round(3).to_string(index=False))
    print(scores.features.groupby(["stain", "kind"])["spearman"].median().unstack().round(2))
    made = scores.intervals[scores.intervals["note"] == ""]
    print(made.groupby(["stain", "truth", "unit", "units"])[["coverage", "worst", "width"]].mean().round(3))
    print(json.dumps({"cells": len(found.cells), "cpu_seconds": {k: round(v, 1) for k, v in times.items()}}))


if __name__ == "__main__":
    main()
