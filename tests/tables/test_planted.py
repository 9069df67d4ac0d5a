"""RNA and protein counts with planted factors: shared, specific, and a nuisance that is kept out."""

from __future__ import annotations

from pathlib import Path

import anndata as ad
import pandas as pd
import pytest

from napari_apollo.predict import TableEvaluateConfig, evaluate_tables
from napari_apollo.probes import probe_matrix
from napari_apollo.simulate.counts import simulate_counts
from napari_apollo.train import TableTrainConfig, train


def settings(folder: Path, **changes: object) -> TableTrainConfig:
    small = {
        "output": folder / "x.run", "shared": 6, "specific": 4, "hidden": 48, "batch_size": 128,
        "latent_epochs": 120, "encoder_epochs": 10, "least_cells": 1, "least_features": 1, "threads": 1,
        "device": "cpu",
    }  # fmt: skip
    return TableTrainConfig(**{**small, **changes})


@pytest.mark.slow
def test_type_is_shared_and_batch_is_of_rna(tmp_path: Path) -> None:
    made = simulate_counts(cells=500, genes=80, proteins=24, types=3, seed=1)
    tables = {name: made.to_anndata(name) for name in ("rna", "protein")}
    run = train(tables, settings(tmp_path))
    rna, protein = tables["rna"].obsm, tables["protein"].obsm
    blocks = {
        "shared": rna["X_apollo_shared"],
        "rna": rna["X_apollo_rna"],
        "protein": protein["X_apollo_protein"],
    }
    r2 = probe_matrix(blocks, made.numbers(), probe="nonlinear", permutations=1).r2
    types = [name for name in r2.columns if name.startswith("type_")]
    assert r2.loc["shared", types].min() > 0.9
    assert r2.loc["shared", ["batch_B2", "cycle", "binding"]].max() < 0.1
    assert r2.loc["rna", "batch_B2"] > 0.8
    assert r2.loc["protein", ["batch_B2", "cycle"]].max() < 0.1
    assert r2.loc["rna", "binding"] < 0.1
    found = evaluate_tables(run, TableEvaluateConfig(label=("type",), components=False, folds=3))
    told = found.classes.set_index("input")["accuracy"]
    assert told["shared"] > 0.95
    mixing = found.mixing.set_index(["column", "block"])
    assert mixing.loc[("type", "shared"), "lisi"] < 1.3


@pytest.mark.slow
def test_a_nuisance_of_both_tables_is_kept_out_of_the_shared_latent(
    tmp_path: Path, batch_in_both: tuple[dict[str, ad.AnnData], pd.DataFrame]
) -> None:
    tables, factors = batch_in_both
    told = {}
    for nuisance in ("", "batch"):
        config = settings(tmp_path, nuisance=nuisance, latent_epochs=60, overwrite=True)
        run = train(tables, config)
        shared = tables["rna"].obsm["X_apollo_shared"]
        told[nuisance] = probe_matrix({"shared": shared}, factors, probe="nonlinear", permutations=1).r2.loc[
            "shared"
        ]
    assert told[""]["batch"] > 0.6
    assert told["batch"]["batch"] < 0.1
    assert told["batch"]["type"] > 0.85
    where = evaluate_tables(run, TableEvaluateConfig(components=False, folds=3)).nuisance.set_index("input")
    assert where.loc["shared", "accuracy"] < 0.65
    assert where.loc[[name for name in where.index if name != "shared"], "accuracy"].max() > 0.75
