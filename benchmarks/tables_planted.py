"""What blocks of latents hold of planted factors: RNA and protein counts drawn again and again.

    python benchmarks/tables_planted.py 41 42 43 44 45        seeds of the counts, one training each
    python benchmarks/tables_planted.py 51 52 53 --weak       few counts of weak factors
    python benchmarks/tables_planted.py 51 52 53 --weak --random-start

Counts are those of ``simulate_counts`` with 1,200 cells; the model is the default one, but for latents that
start at random numbers where that is asked for. Prints, for each draw
and block, its length and the held-out R² of every factor by a non-linear probe from what encoders give (of
types the mean), the correlation of each table predicted from the other, medians, and a JSON line.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from pathlib import Path
from typing import Any

import pandas as pd
import torch

from napari_apollo.probes import probe_matrix
from napari_apollo.simulate.counts import simulate_counts
from napari_apollo.train import TableTrainConfig, train

WEAK = {"cells": 900, "genes": 300, "proteins": 100, "types": 3, "depth": 0.25, "effect": 0.25}


def draw(
    seed: int, settings: dict[str, Any], folder: Path, *, start_at_factors: bool
) -> list[dict[str, object]]:
    """A row a block: what it holds."""
    started = time.process_time()
    made = simulate_counts(seed=seed, **settings)
    tables = {name: made.to_anndata(name) for name in ("rna", "protein")}
    config = TableTrainConfig(
        output=folder / f"{seed}.run",
        least_features=1,
        least_cells=1,
        device="cpu",
        threads=1,
        start_at_factors=start_at_factors,
    )
    scores = train(tables, config).model().card.scores
    blocks = {
        key.removeprefix("X_apollo_"): values
        for table in tables.values()
        for key, values in table.obsm.items()
    }
    held = probe_matrix(blocks, made.numbers(), probe="nonlinear", permutations=1).r2
    types = [name for name in held if name.startswith("type_")]
    held.insert(0, "type", held[types].mean(axis=1))
    rows = []
    for block, values in held.drop(columns=types).iterrows():
        row = {"seed": seed, "block": block, "length": blocks[block].shape[1], **values.round(2)}
        rows.append({**row, "processor_s": round(time.process_time() - started)})
    for target, source in (("protein", "rna"), ("rna", "protein")):
        print(f"{seed}: {target} from {source} {scores[target][f'prediction_from_{source}_pearson']:.3f}")
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("seeds", nargs="+", type=int)
    parser.add_argument("--weak", action="store_true", help="a quarter of the counts, of weaker factors")
    parser.add_argument("--random-start", action="store_true", help="latents start at random numbers")
    given = parser.parse_args()
    settings = WEAK if given.weak else {"cells": 1200}
    torch.set_num_threads(1)
    rows: list[dict[str, object]] = []
    with tempfile.TemporaryDirectory() as folder:
        for seed in given.seeds:
            made = draw(seed, settings, Path(folder), start_at_factors=not given.random_start)
            rows += made
            print(pd.DataFrame(made).to_string(index=False), flush=True)
    table = pd.DataFrame(rows)
    print("medians\n" + table.groupby("block").median(numeric_only=True).to_string())
    print(json.dumps(rows))


if __name__ == "__main__":
    main()
