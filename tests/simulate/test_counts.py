"""Simulated RNA and protein counts: the same seed, and factors that act where they are said to."""

from __future__ import annotations

import numpy as np
import pytest

from napari_apollo.errors import ConfigError
from napari_apollo.simulate.counts import COUNT_BLOCK_OF, simulate_counts


def test_the_same_seed_gives_the_same_counts() -> None:
    first, again, other = (simulate_counts(cells=60, seed=seed) for seed in (1, 1, 2))
    assert (first.rna != again.rna).nnz == 0
    assert first.factors.equals(again.factors)
    assert (first.rna != other.rna).nnz > 0


def test_factors_act_on_their_tables_alone() -> None:
    made = simulate_counts(cells=3000, genes=60, proteins=40, seed=3)
    for table, other in (("rna", "protein"), ("protein", "rna")):
        assert set(made.loadings[table]) == {
            k for k, block in COUNT_BLOCK_OF.items() if block in ("shared", table)
        }
        counts = getattr(made, table).toarray()
        logs = np.log1p(1e4 * counts / counts.sum(1, keepdims=True))
        for name, block in COUNT_BLOCK_OF.items():
            if name in ("type", "batch"):
                continue
            r = np.corrcoef(made.factors[name].to_numpy(float), logs.T)[0, 1:]
            if block == other:
                assert np.abs(r).max() < 0.08
            else:
                assert np.corrcoef(r, made.loadings[table][name])[0, 1] > 0.7


def test_tables_carry_names_factors_and_loadings() -> None:
    made = simulate_counts(cells=50, genes=20, proteins=12, types=3, batches=2)
    rna, protein = made.to_anndata("rna"), made.to_anndata("protein")
    assert list(rna.obs_names) == list(protein.obs_names)
    assert rna.shape == (50, 20)
    assert protein.var_names[0] == "protein1"
    assert rna.varm["type"].shape == (20, 3)
    assert "cycle" not in protein.varm
    assert list(made.numbers().columns) == [
        "type_T1", "type_T2", "type_T3", "batch_B2", "activation", "cycle", "binding",
    ]  # fmt: skip
    with pytest.raises(ConfigError, match="types = 1"):
        simulate_counts(types=1)


def test_counts_may_be_few_and_factors_weak() -> None:
    full, weak = (simulate_counts(cells=400, seed=4, **kw) for kw in ({}, {"depth": 0.25, "effect": 0.2}))
    assert full.factors.equals(weak.factors)
    assert weak.rna.sum() / full.rna.sum() == pytest.approx(0.25, rel=0.05)
    for name, values in weak.loadings["rna"].items():
        assert np.allclose(values, 0.2 * full.loadings["rna"][name])
    with pytest.raises(ConfigError, match="depth = 0"):
        simulate_counts(depth=0)
