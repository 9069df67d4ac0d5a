"""Prediction across tables and planted factors, beside MOFA+, totalVI and MultiVI, in one run.

    python benchmarks/tables_peers.py --mofa MOFA_PYTHON --scvi SCVI_PYTHON      simulated RNA and proteins
    python benchmarks/tables_peers.py --data rna.h5ad atac.h5ad --label treatment_time --mofa ... --scvi ...

MOFA_PYTHON and SCVI_PYTHON are interpreters of environments with mofapy2 and with scvi-tools, apart from
this one; without them their rows are left out. All methods learn from the same training cells (those of our
validation go to the peers, too); the test cells' tables are predicted one from the other, and compared with
their counts as log(1 + 10,000 x part): the mean over features of the correlation over cells. How each peer is
used is said in ``tables_peer.py``. Prints a table, what blocks hold, and a JSON line.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import tempfile
import time
import warnings
from pathlib import Path
from typing import Any

import anndata as ad
import numpy as np
import pandas as pd
import torch
from scipy import sparse
from tables_peer import shown

from napari_apollo.probes import probe_matrix
from napari_apollo.simulate.counts import simulate_counts
from napari_apollo.tables.classes import class_accuracy
from napari_apollo.train import TableTrainConfig, train
from napari_apollo.train.split import TEST
from napari_apollo.train.tabledataset import open_table_dataset
from napari_apollo.train.tablescores import feature_correlations

Tables = dict[str, ad.AnnData]
Found = tuple[dict[tuple[str, str], float], dict[str, np.ndarray], float]
"""Scores by (from, to), blocks of all cells, and seconds of the processor."""


def ours(tables: Tables, folder: Path) -> tuple[Found, np.ndarray]:
    """What our default finds, and which cells (cell,) bool it was tested on."""
    config = TableTrainConfig(output=folder / "x.run", overwrite=True, device="cpu", threads=1)
    started = time.process_time()
    run = train(tables, config)
    seconds = time.process_time() - started
    dataset = open_table_dataset(run.tables, run.config)
    card = run.model().card
    names = list(tables)
    scores = {
        (source, target): card.scores[target][f"prediction_from_{source}_pearson"]
        for source in names
        for target in names
        if source != target
    }
    blocks = {"shared": tables[names[0]].obsm["X_apollo_shared"]}
    for name in names:
        if f"X_apollo_{name}" in tables[name].obsm:
            blocks[name] = tables[name].obsm[f"X_apollo_{name}"]
    test = set(dataset.matched.cells[dataset.split.cells(TEST)])
    return (scores, blocks, seconds), np.array([cell in test for cell in tables[names[0]].obs_names])


def peer(python: Path, method: str, tables: Tables, test: np.ndarray, settings: dict[str, Any]) -> Found:
    """What a peer finds, run by an interpreter of its own."""
    names = list(tables)
    with tempfile.TemporaryDirectory() as made:
        folder = Path(made)
        for name, table in tables.items():
            sparse.save_npz(folder / f"{name}.npz", sparse.csr_matrix(table.X))
        told = {"tables": names, "test": np.flatnonzero(test).tolist(), **settings}
        (folder / "settings.json").write_text(json.dumps(told), "utf-8")
        script = Path(__file__).with_name("tables_peer.py")
        subprocess.run([str(python), str(script), method, str(folder)], check=True)
        done = json.loads((folder / "done.json").read_text("utf-8"))
        scores = {}
        for source, target in (names, names[::-1]):
            path = folder / f"predicted.{source}.{target}.npy"
            if path.exists():
                r = feature_correlations(np.load(path), shown(tables[target].X)[test])
                scores[source, target] = float(np.nanmean(r))
        blocks = {path.name.split(".")[1]: np.load(path) for path in sorted(folder.glob("block.*.npy"))}
    print(f"{method}: {done['release']}")
    return scores, blocks, done["processor_s"]


def read(paths: list[Path]) -> Tables:
    """Tables of files, without cells and features that are 0 throughout: one filter for all methods."""
    tables = {path.stem: ad.read_h5ad(path) for path in paths}
    keep = np.all([np.asarray(t.X.sum(1)).ravel() > 0 for t in tables.values()], axis=0)
    return {name: t[keep].copy() for name, t in tables.items()}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--data", nargs=2, type=Path, help="files of two tables; simulated counts without them"
    )
    parser.add_argument("--label", help="column of obs to tell from every block of --data")
    parser.add_argument("--cells", type=int, default=1200)
    parser.add_argument("--mofa", type=Path, help="interpreter with mofapy2")
    parser.add_argument("--scvi", type=Path, help="interpreter with scvi-tools")
    parser.add_argument("--factors", type=int, default=10, help="of MOFA+")
    parser.add_argument("--iterations", type=int, default=500, help="of MOFA+, at most")
    parser.add_argument("--epochs", type=int, default=100, help="of totalVI and MultiVI")
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    warnings.simplefilter("ignore")
    torch.set_num_threads(1)
    truth = None
    if given.data:
        tables = read(given.data)
    else:
        simulated = simulate_counts(cells=given.cells, seed=given.seed)
        tables = {name: simulated.to_anndata(name) for name in ("rna", "protein")}
        truth = simulated.numbers()
    tables = {name: t[:, np.asarray(t.X.sum(0)).ravel() > 0].copy() for name, t in tables.items()}
    settings = {name: getattr(given, name) for name in ("factors", "iterations", "epochs", "seed")}
    methods = [("MOFA+", "mofa", given.mofa), ("totalVI", "totalvi", given.scvi)]
    if "atac" in tables:
        methods[1] = ("MultiVI", "multivi", given.scvi)
    found = {}
    with tempfile.TemporaryDirectory() as folder:
        found["agreement"], test = ours(tables, Path(folder))
    for name, method, python in methods:
        if python is None:
            print(f"{name}: left out, no interpreter was named that has it")
        else:
            found[name] = peer(python, method, tables, test, settings)
    rows = [
        (name, source, target, r, seconds)
        for name, (scores, _, seconds) in found.items()
        for (source, target), r in scores.items()
    ]
    table = pd.DataFrame(rows, columns=["method", "from", "to", "pearson", "processor_s"])
    print(table.to_string(index=False, float_format="%.3f"))
    for name, (_, blocks, _) in found.items():
        if truth is not None:
            held = probe_matrix(blocks, truth, probe="nonlinear", permutations=1).r2
        elif given.label:
            label = next(iter(tables.values())).obs[given.label].astype(str).to_numpy()
            inputs = {**blocks, "all": np.concatenate(list(blocks.values()), axis=1)}
            held = class_accuracy(inputs, label, unseen=test)
        else:
            continue
        print(f"\n{name}\n{held.to_string(float_format='%.2f')}")
    print(json.dumps({"prediction": table.round(4).to_dict("records")}))


if __name__ == "__main__":
    main()
