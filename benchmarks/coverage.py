"""Whether intervals of predicted stains' features cover what they say on donors that nobody has seen.

Of the donors (or fields) of a store that a model never learnt from, some are drawn to calibrate on; coverage
is that of all others, in many draws. Prints the mean for each stain and number of calibrating donors.

python benchmarks/coverage.py --run blood.run --new-donors 12 --folder coverage
python benchmarks/coverage.py --run mcf7.run --truth truth_mcf7.cells.zarr
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from meaning_data import blood

from napari_apollo.errors import DataError
from napari_apollo.predict import EvaluateConfig, evaluate
from napari_apollo.predict.conformal import fit_interval
from napari_apollo.predict.featurescores import FeaturePairs
from napari_apollo.train import Run


def main() -> None:
    """Print a table and one line of JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--run", type=Path, required=True, help="Run folder.")
    parser.add_argument("--new-donors", type=int, default=0, help="Simulate so many of each condition.")
    parser.add_argument("--folder", type=Path, help="Where simulated donors are written.")
    parser.add_argument("--truth", type=Path, help="Store of the same cells with all stains.")
    parser.add_argument("--calibrate", type=int, nargs="+", default=[3, 4, 6], help="Calibrating donors.")
    parser.add_argument("--draws", type=int, default=60)
    parser.add_argument("--features", type=int, default=12, help="Features of each stain, evenly drawn.")
    parser.add_argument("--level", type=float, default=0.9)
    options = parser.parse_args()
    torch.set_num_threads(1)
    started = time.process_time()
    run = Run(options.run)
    store, parts = run.store, ("test",)
    if options.new_donors:
        path = options.folder / "new.cells.zarr"
        store = blood(path, donors=options.new_donors, cells=50, held_out=0, seed=77).path
        parts = ("train", "validation", "test")  # none of these donors were learnt from, whatever their names
    config = EvaluateConfig(features=True, parts=parts, truth=options.truth, device="cpu")
    found = evaluate(store, run, config)
    by_stain: dict[str, list[FeaturePairs]] = {}
    for (_, stain, kind, _), pairs in found.pairs.items():
        if kind == "predicted":
            by_stain.setdefault(stain, []).append(pairs)
    rows = []
    for stain, several in by_stain.items():
        for count in options.calibrate:
            rows += covered(stain, several, count, options)
    table = pd.DataFrame(rows)
    summary = table.groupby(["stain", "calibrating"])[["coverage", "of_draw_low", "of_draw_high"]].mean()
    print(summary.round(3).to_string())
    overall = table.groupby("calibrating")["coverage"].mean().round(3)
    print(overall.to_string())
    print(
        json.dumps(
            {
                "level": options.level,
                "coverage": {f"{s}, {n}": round(v, 3) for (s, n), v in summary["coverage"].items()},
                "cpu_seconds": round(time.process_time() - started, 1),
            }
        )
    )


def covered(
    stain: str, several: list[FeaturePairs], count: int, options: argparse.Namespace
) -> list[dict[str, object]]:
    """One row a feature: coverage of unseen donors, mean and 10th and 90th percentile of the draws."""
    made = np.concatenate([pairs.made for pairs in several])
    truth = np.concatenate([pairs.truth for pairs in several])
    donors = np.concatenate([pairs.donors for pairs in several]).astype(str)
    names = np.unique(donors)
    if count > len(names) - 2:
        return []
    chosen = np.unique(np.linspace(0, made.shape[1] - 1, options.features).astype(int))
    found: dict[int, list[float]] = {}
    for draw in range(options.draws):
        known = np.random.default_rng(draw).permutation(names)[:count]
        inside = np.isin(donors, known)
        for at in chosen:
            try:
                interval = fit_interval(
                    made[inside, at], truth[inside, at], donors[inside], level=options.level
                )
            except DataError:
                continue
            low, high = interval.interval(made[~inside, at])
            hit = (low <= truth[~inside, at]) & (truth[~inside, at] <= high)
            there = np.isfinite(low) & np.isfinite(truth[~inside, at])
            by_donor = pd.Series(hit[there]).groupby(donors[~inside][there]).mean()
            found.setdefault(int(at), []).append(float(by_donor.mean()))
    return [
        {
            "stain": stain,
            "calibrating": count,
            "feature": several[0].names[at],
            "coverage": float(np.mean(values)),
            "of_draw_low": float(np.quantile(values, 0.1)),
            "of_draw_high": float(np.quantile(values, 0.9)),
        }
        for at, values in found.items()
    ]


if __name__ == "__main__":
    main()
