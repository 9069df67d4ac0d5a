"""Small tables of counts with planted structure."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import anndata as ad
import numpy as np
import pandas as pd
import pytest
import torch
from scipy import sparse

from napari_apollo.simulate.counts import simulate_counts
from napari_apollo.train import TableTrainConfig

Tables = dict[str, ad.AnnData]


@pytest.fixture(autouse=True)
def _one_thread() -> None:
    torch.set_num_threads(1)


@pytest.fixture
def make_tables() -> Callable[..., Tables]:
    """Counts of two or three tables that share two classes; every count table is sparse, no cell or feature
    is 0."""

    def make(
        n: int = 160, *, features: int = 24, names: tuple[str, ...] = ("rna", "protein"), seed: int = 0
    ) -> Tables:
        rng = np.random.default_rng(seed)
        kind = rng.integers(0, 2, n)
        obs = pd.DataFrame(
            {
                "kind": np.array(["a", "b"], object)[kind],
                "donor": np.array([f"d{i}" for i in range(8)], object)[np.arange(n) % 8],
                "batch": np.array(["u", "v"], object)[rng.integers(0, 2, n)],
            },
            index=[f"cell{i}" for i in range(n)],
        )
        tables = {}
        for name in names:
            rate = np.exp(rng.normal(0, 0.5, features) + kind[:, None] * rng.normal(0, 1, features))
            counts = rng.poisson(3 * rate)
            counts[:, 0] += 1
            counts[0] += 1
            tables[name] = ad.AnnData(
                sparse.csr_matrix(counts.astype(np.float32)),
                obs=obs.copy(),
                var=pd.DataFrame(index=[f"{name}{i}" for i in range(features)]),
            )
        return tables

    return make


@pytest.fixture
def batch_in_both() -> tuple[Tables, pd.DataFrame]:
    """RNA and protein counts of 400 cells whose batch acts on proteins, too: without a word it is shared; and
    the factors ``batch`` and ``type``, 0 or 1, by cell."""
    made = simulate_counts(cells=400, genes=60, proteins=24, types=2, seed=2)
    tables = {name: made.to_anndata(name) for name in ("rna", "protein")}
    factors = pd.DataFrame({"batch": made.factors["batch"] == "B2", "type": made.factors["type"] == "T1"})
    second = factors["batch"].to_numpy()
    counts = tables["protein"].X.toarray()
    counts[second, :8] = np.round(counts[second, :8] * 3)
    tables["protein"].X = counts
    return tables, factors.astype(float)


@pytest.fixture
def quick(tmp_path: Any) -> Callable[..., TableTrainConfig]:
    """Settings of a training of a second."""

    def settings(**changes: Any) -> TableTrainConfig:
        small = {
            "output": tmp_path / "x.run",
            "shared": 3,
            "specific": 2,
            "hidden": 16,
            "batch_size": 64,
            "latent_epochs": 4,
            "encoder_epochs": 2,
            "least_cells": 0,
            "least_features": 0,
            "threads": 1,
            "device": "cpu",
        }
        return TableTrainConfig(**{**small, **changes})

    return settings
