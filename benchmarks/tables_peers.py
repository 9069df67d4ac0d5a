"""Prediction across tables and planted factors, beside MOFA+ and totalVI, in one run.

    python benchmarks/tables_peers.py                        simulated RNA and protein counts
    python benchmarks/tables_peers.py --data rna.h5ad atac.h5ad --label treatment_time

Needs mofapy2 and scvi-tools for their rows (``pip install mofapy2 scvi-tools``, best in an environment of
their own); what is not installed is left out and said. All methods learn from the same training cells; the
others are predicted, one table from the other, and compared with their counts as log(1 + 10,000 x part): the
mean over features of the correlation over cells. totalVI is given the test cells as a batch whose proteins
are missing, as its authors advise; MOFA+ places test cells by least squares on its weights. Prints a table
and a JSON line.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
import warnings
from pathlib import Path
from typing import Any

import anndata as ad
import numpy as np
import pandas as pd
import torch

from napari_apollo.probes import probe_matrix
from napari_apollo.simulate.counts import simulate_counts
from napari_apollo.tables.classes import class_accuracy
from napari_apollo.train import TableTrainConfig, train
from napari_apollo.train.split import TEST
from napari_apollo.train.tabledataset import open_table_dataset
from napari_apollo.train.tablescores import feature_correlations


def shown(counts: Any) -> np.ndarray:
    dense = np.asarray(counts.todense() if hasattr(counts, "todense") else counts, np.float64)
    return np.log1p(1e4 * dense / np.maximum(dense.sum(1, keepdims=True), 1))


def ours(tables: dict[str, ad.AnnData], folder: Path, **changes: Any) -> tuple[dict, dict, np.ndarray]:
    """Scores by (from, to), blocks of all cells, and which cells were tested."""
    config = TableTrainConfig(
        output=folder / "x.run", overwrite=True, least_features=1, least_cells=1, **changes
    )
    run = train(tables, config)
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
    return scores, blocks, np.array([cell in test for cell in tables[names[0]].obs_names])


def mofa(tables: dict[str, ad.AnnData], test: np.ndarray, factors: int, seed: int) -> tuple[dict, dict]:
    from mofapy2.run.entry_point import entry_point

    names = list(tables)
    values = {name: shown(tables[name].X) for name in names}
    centre = {name: values[name][~test].mean(0) for name in names}
    model = entry_point()
    model.set_data_options(scale_views=True)
    model.set_data_matrix([[values[name][~test]] for name in names], views_names=names)
    model.set_model_options(factors=factors)
    model.set_train_options(iter=500, convergence_mode="fast", seed=seed, verbose=False, quiet=True)
    model.build()
    model.run()
    found = model.model.nodes["W"].getExpectation()
    # Views were scaled to unit variance before they were learnt from.
    weights = {
        name: np.asarray(found[i]) * np.sqrt((values[name][~test] - centre[name]).var())
        for i, name in enumerate(names)
    }

    def place(rows: np.ndarray, using: list[str]) -> np.ndarray:
        w = np.concatenate([weights[name] for name in using])
        x = np.concatenate([values[name][rows] - centre[name] for name in using], axis=1)
        ridge = w.T @ w + 1e-2 * np.trace(w.T @ w) / max(1, w.shape[1]) * np.eye(w.shape[1])
        return np.linalg.solve(ridge, w.T @ x.T).T

    scores = {}
    for source in names:
        for target in names:
            if source != target:
                made = place(test, [source]) @ weights[target].T + centre[target]
                scores[source, target] = float(np.nanmean(feature_correlations(made, values[target][test])))
    return scores, {"factors": place(np.ones(len(test), bool), names)}


def totalvi(tables: dict[str, ad.AnnData], test: np.ndarray, epochs: int, seed: int) -> tuple[dict, dict]:
    import scvi

    scvi.settings.seed = seed
    joint = ad.AnnData(tables["rna"].X.copy(), obs=pd.DataFrame(index=tables["rna"].obs_names))
    proteins = np.asarray(tables["protein"].X.todense())
    masked = proteins.copy()
    masked[test] = 0
    joint.obsm["protein"] = pd.DataFrame(masked, index=joint.obs_names, columns=tables["protein"].var_names)
    joint.obs["part"] = np.where(test, "test", "train")
    scvi.model.TOTALVI.setup_anndata(joint, protein_expression_obsm_key="protein", batch_key="part")
    model = scvi.model.TOTALVI(joint)
    model.train(max_epochs=epochs, accelerator="cpu", enable_progress_bar=False)
    _, made = model.get_normalized_expression(n_samples=10, transform_batch="train", return_mean=True)
    r = feature_correlations(np.log1p(np.asarray(made)[test]), shown(proteins)[test])
    return {("rna", "protein"): float(np.nanmean(r))}, {"latent": model.get_latent_representation()}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--data", nargs=2, type=Path, help="files of two tables; simulated counts without them"
    )
    parser.add_argument("--label", help="column of obs to tell from every block of --data")
    parser.add_argument("--cells", type=int, default=1200)
    parser.add_argument("--factors", type=int, default=10)
    parser.add_argument("--totalvi-epochs", type=int, default=100)
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    warnings.simplefilter("ignore")
    torch.set_num_threads(1)
    truth = None
    if given.data:
        tables = {path.stem: ad.read_h5ad(path) for path in given.data}
        # One filter for all methods: cells and features without any count are left out.
        keep = np.all([np.asarray(t.X.sum(1)).ravel() > 0 for t in tables.values()], axis=0)
        tables = {name: t[keep].copy() for name, t in tables.items()}
    else:
        simulated = simulate_counts(cells=given.cells, seed=given.seed)
        tables = {name: simulated.to_anndata(name) for name in ("rna", "protein")}
        truth = simulated.numbers()
    tables = {name: t[:, np.asarray(t.X.sum(0)).ravel() > 0].copy() for name, t in tables.items()}
    rows, matrices = [], {}
    with tempfile.TemporaryDirectory() as folder:
        test = np.zeros(0, bool)
        methods = {
            "agreement": lambda: ours(tables, Path(folder)),
            "MOFA+": lambda: mofa(tables, test, given.factors, given.seed),
            "totalVI": lambda: totalvi(tables, test, given.totalvi_epochs, given.seed),
        }
        for name, method in methods.items():
            if name == "totalVI" and "protein" not in tables:
                continue
            started = time.process_time()
            try:
                scores, blocks, *tested = method()
            except ImportError as error:
                print(f"{name}: left out, {error}")
                continue
            if tested:
                test = tested[0]
            seconds = time.process_time() - started
            rows += [(name, source, target, r, seconds) for (source, target), r in scores.items()]
            if truth is not None:
                matrices[name] = probe_matrix(blocks, truth, probe="nonlinear", permutations=5).r2
            elif given.label:
                label = next(iter(tables.values())).obs[given.label].astype(str).to_numpy()
                inputs = {**blocks, "all": np.concatenate(list(blocks.values()), axis=1)}
                matrices[name] = class_accuracy(inputs, label, unseen=test)
    table = pd.DataFrame(rows, columns=["method", "from", "to", "pearson", "processor_s"])
    print(table.to_string(index=False, float_format="%.3f"))
    for name, matrix in matrices.items():
        print(f"\n{name}\n{matrix.to_string(float_format='%.3f')}")
    print(json.dumps({"prediction": table.round(4).to_dict("records")}))


if __name__ == "__main__":
    main()
