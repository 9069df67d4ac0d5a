"""What is found in simulated blood cells whose causes are known: train, interpret, evaluate, print.

python benchmarks/meaning.py --folder meaning --epochs 12
"""

from __future__ import annotations

import argparse
import json
import time
from dataclasses import replace
from pathlib import Path

import pandas as pd

from napari_apollo import CellStore
from napari_apollo.cells import CropConfig, crop
from napari_apollo.interpret import Interpretation, InterpretConfig, LatentCells, feature_shares, interpret
from napari_apollo.measure import MeasureConfig, measure
from napari_apollo.predict import EvaluateConfig, evaluate
from napari_apollo.report.evaluation import REPORT, evaluation_page
from napari_apollo.simulate import SimulateConfig, simulate
from napari_apollo.train import TrainConfig, train
from napari_apollo.train.presets import PRESETS

PLANTED = ("nucleus_area", "nucleus_foci_count_gammaH2AX")


SHARES = ("feature", "shared", "shared_low", "shared_high", "chromatin", "protein", "carried_by")


def with_truth(found: Interpretation, store: CellStore, folder: Path) -> LatentCells:
    """The cells with the causes that were simulated in place of their features."""
    truth = pd.read_csv(folder / "study" / "truth" / "cells.csv").set_index(["field", "label"])
    obs = store.obs.set_index("cell_id").loc[found.cells.obs["cell_id"]]
    own = truth.loc[list(zip(obs["field"].astype(str), obs["label"], strict=True))]
    names = ["nucleus_area_um2", "heterochromatin", "foci_count"]
    return replace(
        found.cells,
        features=own[names].astype(float).reset_index(drop=True),
        stains=("", "", "gammaH2AX"),
    )


def main() -> None:
    """Run the whole chain on one thread."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--folder", type=Path, required=True, help="Where everything is written.")
    parser.add_argument("--donors", type=int, default=5, help="Donors of each of the two conditions.")
    parser.add_argument("--cells", type=int, default=90, help="Cells of a field; each donor has two.")
    parser.add_argument("--epochs", type=int, default=12, help="Epochs of the latents.")
    options = parser.parse_args()
    import torch

    torch.set_num_threads(1)
    folder: Path = options.folder
    times = {}
    started = time.process_time()
    path = folder / "blood.cells.zarr"
    if not path.exists():
        manifest = simulate(
            SimulateConfig(
                output=folder / "study",
                conditions=("control", "glioma"),
                donors_per_condition=options.donors,
                held_out_donors=2,
                field_size=288,
                pixel_size_um=0.4,
                cells_per_field=options.cells,
            )
        )
        crop(manifest, CropConfig(output=path, size=32, expand=2, workers=1))
        families = ("shape", "intensity", "condensation", "texture", "radial", "protein", "foci")
        measure(path, MeasureConfig(families=families, workers=1))
    times["cells"] = time.process_time() - started
    store = CellStore.open(path)
    settings = PRESETS["agreement"] | {"latent_epochs": options.epochs}
    run = folder / "blood.run"
    started = time.process_time()
    if not run.exists():
        train(store, TrainConfig(output=run, preset="agreement", device="cpu", threads=1, **settings))
    times["training"] = time.process_time() - started
    started = time.process_time()
    config = InterpretConfig(output=folder / "meaning", published=True, overwrite=True, device="cpu")
    found = interpret(run, config)
    times["interpreting"] = time.process_time() - started
    started = time.process_time()
    scores = evaluate(
        store,
        run,
        EvaluateConfig(output=folder / "scores", features=True, baselines=("neighbour",), device="cpu"),
    )
    evaluation_page(scores).write(folder / "scores" / REPORT)
    times["evaluating"] = time.process_time() - started
    pd.set_option("display.width", 200, "display.max_columns", 30, "display.max_colwidth", 90)
    print(found.in_words())
    shares = found.shares.set_index("feature")
    planted = shares.reindex([name for name in PLANTED if name in shares.index])
    print(planted[["shared", "shared_low", "shared_high", "chromatin", "protein", "carried_by"]].round(2))
    print(feature_shares(with_truth(found, store, folder))[list(SHARES)].round(2).to_string(index=False))
    print(found.phenotypes.table.drop(columns=["kind", "classes"]).round(3).to_string(index=False))
    print(found.phenotypes.ablation.head(8).round(3).to_string(index=False))
    columns = ["stain", "kind", "cells", "mae", "mean_mae", "neighbour_mae", "pearson", "verdict"]
    print(scores.table[columns].round(3).to_string(index=False))
    print(scores.features.groupby(["stain", "kind"])["spearman"].median().unstack().round(2))
    made = scores.intervals[scores.intervals["note"] == ""]
    print(made.groupby(["stain", "unit"])[["coverage", "worst", "width"]].mean().round(3))
    print(json.dumps({"cells": len(found.cells), "cpu_seconds": {k: round(v, 1) for k, v in times.items()}}))


if __name__ == "__main__":
    main()
