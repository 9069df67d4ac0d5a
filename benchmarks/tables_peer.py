"""One peer on tables that ``tables_peers.py`` wrote; it needs NumPy, SciPy and the peer alone.

    PYTHON benchmarks/tables_peer.py mofa FOLDER      PYTHON of an environment with mofapy2
    PYTHON benchmarks/tables_peer.py totalvi FOLDER   of one with scvi-tools; multivi likewise

FOLDER holds ``NAME.npz``, sparse counts (cell, feature) of two tables, and ``settings.json`` with their names
in order, the cells of the test, the seed and how long to train. What comes back lies beside them:
``predicted.SOURCE.TARGET.npy``, the test cells of one table made from the other, as log(1 + 10,000 x part)
or, of accessibility, as the probability; ``block.NAME.npy``, latents of all cells; and ``done.json``. No
method sees, of a test cell, the table that it is asked for.
"""

from __future__ import annotations

import argparse
import json
import time
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
from scipy import sparse


def shown(counts: Any) -> np.ndarray:
    """Counts (cell, feature) as log(1 + 10,000 x part of the cell's sum)."""
    dense = np.asarray(counts.todense() if sparse.issparse(counts) else counts, np.float64)
    return np.log1p(1e4 * dense / np.maximum(dense.sum(1, keepdims=True), 1))


def mofa(folder: Path, tables: dict[str, Any], test: np.ndarray, settings: dict[str, Any]) -> str:
    """MOFA+ (Argelaguet et al. 2020), Gaussian views; test cells lie by least squares on its weights."""
    from mofapy2.run.entry_point import entry_point

    names = list(tables)
    values = {name: shown(tables[name]) for name in names}
    centre = {name: values[name][~test].mean(0) for name in names}
    model = entry_point()
    model.set_data_options(scale_views=True)
    model.set_data_matrix([[values[name][~test]] for name in names], views_names=names)
    model.set_model_options(factors=settings["factors"])
    model.set_train_options(
        iter=settings["iterations"], convergence_mode="fast", seed=settings["seed"], verbose=False, quiet=True
    )
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

    for source, target in (names, names[::-1]):
        made = place(test, [source]) @ weights[target].T + centre[target]
        np.save(folder / f"predicted.{source}.{target}.npy", made)
    np.save(folder / "block.factors.npy", place(np.ones(len(test), bool), names))
    return f"mofapy2 {version('mofapy2')}"


def totalvi(folder: Path, tables: dict[str, Any], test: np.ndarray, settings: dict[str, Any]) -> str:
    """Of totalVI (Gayoso et al. 2021) test cells are a batch that lacks proteins, as its authors advise."""
    import anndata as ad
    import pandas as pd
    import scvi

    scvi.settings.seed = settings["seed"]
    rna, protein = tables.values()
    cells = [f"c{i}" for i in range(rna.shape[0])]
    joint = ad.AnnData(sparse.csr_matrix(rna, dtype=np.float32), obs=pd.DataFrame(index=cells))
    masked = np.asarray(protein.todense(), np.float32)
    masked[test] = 0
    names = [f"p{i}" for i in range(masked.shape[1])]
    joint.obsm["protein"] = pd.DataFrame(masked, index=cells, columns=names)
    joint.obs["part"] = np.where(test, "test", "train")
    scvi.model.TOTALVI.setup_anndata(joint, protein_expression_obsm_key="protein", batch_key="part")
    model = scvi.model.TOTALVI(joint)
    model.train(max_epochs=settings["epochs"], accelerator="cpu", enable_progress_bar=False)
    _, made = model.get_normalized_expression(n_samples=10, transform_batch="train", return_mean=True)
    source, target = tables
    np.save(folder / f"predicted.{source}.{target}.npy", shown(np.asarray(made)[test]))
    np.save(folder / "block.latent.npy", model.get_latent_representation())
    return f"scvi-tools {version('scvi-tools')}"


def multivi(folder: Path, tables: dict[str, Any], test: np.ndarray, settings: dict[str, Any]) -> str:
    """MultiVI (Ashuach et al. 2023), the second table as what is there or not.

    Test cells lack the second table in one model and the first in another; they are a batch, as for totalVI.
    """
    import anndata as ad
    import mudata
    import pandas as pd
    import scvi

    names = list(tables)
    cells = pd.DataFrame(index=[f"c{i}" for i in range(len(test))])
    for lacking, target in enumerate(names):
        scvi.settings.seed = settings["seed"]
        parts = {}
        for kind, (name, counts) in zip(("rna", "atac"), tables.items(), strict=True):
            values = np.asarray((counts > 0 if kind == "atac" else counts).todense(), np.float32)
            values[test] *= name != target
            features = pd.DataFrame(index=[f"{kind}{i}" for i in range(values.shape[1])])
            parts[kind] = ad.AnnData(sparse.csr_matrix(values), obs=cells.copy(), var=features)
        joint = mudata.MuData(parts)
        joint.obs["part"] = np.where(test, "test", "train")
        where = {"rna_layer": "rna", "atac_layer": "atac"}
        scvi.model.MULTIVI.setup_mudata(joint, modalities=where, batch_key="part")
        shape = {"n_genes": parts["rna"].n_vars, "n_regions": parts["atac"].n_vars}
        model = scvi.model.MULTIVI(joint, **shape)
        model.train(max_epochs=settings["epochs"], accelerator="cpu", enable_progress_bar=False)
        asked = {"indices": np.flatnonzero(test), "transform_batch": "train", "return_numpy": True}
        if lacking:
            made = np.asarray(model.get_normalized_accessibility(**asked))
            np.save(folder / "block.latent.npy", model.get_latent_representation())
        else:
            made = shown(np.asarray(model.get_normalized_expression(**asked)))
        np.save(folder / f"predicted.{names[1 - lacking]}.{target}.npy", made)
    return f"scvi-tools {version('scvi-tools')}"


METHODS = {"mofa": mofa, "totalvi": totalvi, "multivi": multivi}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("method", choices=list(METHODS))
    parser.add_argument("folder", type=Path)
    given = parser.parse_args()
    settings = json.loads((given.folder / "settings.json").read_text("utf-8"))
    tables = {name: sparse.load_npz(given.folder / f"{name}.npz").tocsr() for name in settings["tables"]}
    test = np.zeros(next(iter(tables.values())).shape[0], bool)
    test[settings["test"]] = True
    started = time.process_time()
    release = METHODS[given.method](given.folder, tables, test, settings)
    told = {"release": release, "processor_s": round(time.process_time() - started, 1)}
    (given.folder / "done.json").write_text(json.dumps(told), "utf-8")


if __name__ == "__main__":
    main()
