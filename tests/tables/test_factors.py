"""Where latents start: components against exact ones, agreement against canonical correlations."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.numpy import load_file
from scipy import linalg

from napari_apollo.errors import Cancelled
from napari_apollo.simulate.counts import simulate_counts
from napari_apollo.tables import factors
from napari_apollo.tables.factors import agreed, apart, components
from napari_apollo.train import TableTrainConfig, train
from napari_apollo.train.sampling import generator
from napari_apollo.train.tabledataset import open_table_dataset
from napari_apollo.train.tablefactors import start_factors
from napari_apollo.train.tableoperation import table_architecture


def planted(
    cells: int = 300, features: int = 60, strengths: tuple[float, ...] = (1.5, 1.0), seed: int = 0
) -> tuple[np.ndarray, np.ndarray]:
    """Features of some factors and noise, in units of their own; and the factors (cell, factor)."""
    rng = np.random.default_rng(seed)
    z = rng.normal(size=(cells, len(strengths)))
    values = (z * strengths) @ rng.normal(size=(len(strengths), features)) + rng.normal(
        size=(cells, features)
    )
    return 5 + values * rng.uniform(0.1, 10, features), z


def told(factor: np.ndarray, scores: np.ndarray) -> float:
    """R² of a factor from scores, by least squares."""
    with_mean = np.column_stack([scores, np.ones(len(scores))])
    rest = factor - with_mean @ np.linalg.lstsq(with_mean, factor, rcond=None)[0]
    return 1 - float(rest.var() / factor.var())


def test_components_are_the_exact_ones() -> None:
    values, z = planted()
    rows = np.arange(300)
    found = components(values, rows, counts=False)
    standard = (values - values.mean(0)) / values.std(0)
    left, strength, _ = linalg.svd(standard, full_matrices=False)
    assert found.edge == pytest.approx((1 + np.sqrt(60 / 300)) ** 2)
    assert found.scores.shape == (300, int((strength**2 / 300 > found.edge).sum())) == (300, 2)
    exact = left[:, :2] * strength[:2]
    signs = np.sign((exact * found.scores).sum(0))
    np.testing.assert_allclose(found.scores * signs, exact, atol=2e-3)
    assert min(told(z[:, k], found.scores) for k in range(2)) > 0.9


def test_sparse_tables_blocks_and_an_order_of_cells_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    made = simulate_counts(cells=200, genes=50, proteins=10, types=3, seed=3)
    counts = made.to_anndata("rna").X
    rows = np.arange(200)
    whole = components(counts, rows, counts=True).scores
    assert whole.shape[1] > 2
    np.testing.assert_allclose(components(counts.toarray(), rows, counts=True).scores, whole, atol=1e-4)
    monkeypatch.setattr(factors, "_VALUES", 50 * 7)
    np.testing.assert_allclose(components(counts, rows, counts=True).scores, whole, atol=1e-3)
    turned = components(counts, rows[::-1], counts=True).scores
    np.testing.assert_allclose(np.abs(turned[::-1]), np.abs(whole), atol=1e-3)


def test_directions_of_some_cells_place_all(monkeypatch: pytest.MonkeyPatch) -> None:
    values, z = planted(cells=600)
    monkeypatch.setattr(factors, "CELLS", 200)
    found = components(values, np.arange(600), counts=False)
    assert len(found.scores) == 600
    assert min(told(z[:, k], found.scores) for k in range(2)) > 0.85
    assert found.edge == pytest.approx((1 + np.sqrt(60 / 200)) ** 2)


@settings(max_examples=15, deadline=None)
@given(st.integers(0, 2**16), st.integers(40, 200), st.integers(3, 80), st.booleans())
def test_noise_has_next_to_no_components(seed: int, cells: int, features: int, counts: bool) -> None:
    rng = np.random.default_rng(seed)
    if counts:  # libraries that vary much are no factor
        library = np.exp(rng.normal(0, 0.7, (cells, 1)))
        values = rng.poisson(3 * library * rng.uniform(0.5, 2, features)).astype(float)
        values[:, 0] += 1
    else:
        values = rng.normal(size=(cells, features)) * rng.uniform(0.1, 9, features)
    assert components(values, np.arange(cells), counts=counts).scores.shape[1] <= 2


@pytest.mark.parametrize("values", [np.ones((30, 4)), np.zeros((30, 4)), np.eye(30)[:, :1], np.ones((3, 2))])
def test_tables_without_any_have_none(values: np.ndarray) -> None:
    for counts in (False, True):
        assert components(values, np.arange(len(values)), counts=counts).scores.shape == (len(values), 0)


def test_agreement_of_two_is_their_canonical_correlation() -> None:
    rng = np.random.default_rng(5)
    z = rng.normal(size=400)
    first = np.column_stack([z + rng.normal(size=400), rng.normal(size=400)]).astype(np.float32)
    second = np.column_stack([rng.normal(size=400), z + rng.normal(size=400)]).astype(np.float32)
    scores = {"a": first - first.mean(0), "b": second - second.mean(0)}
    agreement = agreed(scores, {"a": np.arange(400), "b": np.arange(400)}, most=5)
    found = agreement.scores
    # By the covariances: Hotelling 1936.
    across = np.cov(scores["a"].T, scores["b"].T)
    inner = linalg.solve(across[:2, :2], across[:2, 2:]) @ linalg.solve(across[2:, 2:], across[2:, :2])
    values, vectors = linalg.eig(inner)
    best = np.real(vectors[:, np.argmax(np.real(values))])
    said = scores["a"] @ best
    other = scores["b"] @ linalg.solve(across[2:, 2:], across[2:, :2] @ best)
    mean = said / said.std() + other / other.std()
    assert found.shape == (400, 1)
    assert abs(np.corrcoef(found[:, 0], mean)[0, 1]) == pytest.approx(1, abs=1e-5)
    assert found.std() == pytest.approx(1, abs=1e-5)
    r = float(np.sqrt(np.real(values).max()))
    assert agreement.correlation == pytest.approx([r], abs=1e-5)
    assert agreement.expected.var() == pytest.approx(2 * r / (1 + r), abs=1e-4)
    assert agreement.certain.shape == (400, 0)  # r is about a half
    assert told(z, found) > 0.6 > max(told(z, said[:, None]), told(z, other[:, None]))


def test_tables_without_anything_in_common_agree_on_nothing() -> None:
    rng = np.random.default_rng(2)
    scores = {name: rng.normal(size=(300, 6)).astype(np.float32) for name in "abc"}
    rows = dict.fromkeys("abc", np.arange(300))
    assert agreed(scores, rows, most=5).scores.shape == (300, 0)
    assert agreed({"a": scores["a"]}, {"a": np.arange(300)}, most=5).scores.shape == (300, 0)
    copied = agreed({**scores, "b": scores["a"][:, ::-1]}, rows, most=4)
    assert copied.scores.shape == copied.certain.shape == (300, 4)
    np.testing.assert_allclose(copied.correlation, 1, atol=0.2)


def test_cells_are_matched_and_may_lack_tables() -> None:
    rng = np.random.default_rng(4)
    z = rng.normal(size=500)
    order = rng.permutation(500)
    lacks = np.arange(500) < 100
    scores, rows = {}, {}
    for name in "abc":
        values = np.column_stack([z + 0.5 * rng.normal(size=500), rng.normal(size=(500, 3))])
        at = order if name == "b" else np.arange(500)
        at = at[~lacks[at]] if name == "c" else at
        scores[name] = (values[at] - values[at].mean(0)).astype(np.float32)
        rows[name] = np.full(500, -1)
        rows[name][at] = np.arange(len(at))
    found = agreed(scores, rows, most=3).scores
    assert found.shape == (500, 1)
    assert told(z, found) > 0.85
    assert found[lacks].std() == pytest.approx(found[~lacks].std(), rel=0.2)


def test_what_is_left_is_apart_from_what_is_shared() -> None:
    values, z = planted(strengths=(1.5, 1.0, 0.8))
    own = components(values, np.arange(300), counts=False)
    shared = ((z[:, :1] - z[:, :1].mean()) / z[:, :1].std()).astype(np.float32)
    rest = apart(own, shared, most=6)
    assert np.abs(rest.T @ shared).max() / 300 < 1e-4
    np.testing.assert_allclose(rest.T @ rest / 300, np.eye(rest.shape[1]), atol=1e-3)
    assert rest.shape[1] == 2
    assert min(told(z[:, k], rest) for k in (1, 2)) > 0.8
    assert apart(own, shared, most=1).shape == (300, 1)
    assert apart(own, shared, most=0).shape == (300, 0)
    assert apart(own, shared[:, :0], most=6).shape == (300, 3)


def _start(tables: Any, config: TableTrainConfig, **changes: Any) -> tuple[dict[str, np.ndarray], Any]:
    from napari_apollo.train.build import seeded_network

    dataset = open_table_dataset(tables, config)
    chosen = dataset.learnt(config.seed)
    network = seeded_network(table_architecture(dataset, config), 0)
    given = {"seed": 0, "progress": lambda step: None, "should_stop": lambda: False, **changes}
    found = start_factors(dataset, chosen, network, **given)
    return {name: values.numpy() for name, values in found.items()}, dataset.matched.cells[chosen]


def test_planted_factors_start_in_their_blocks(quick: Callable[..., TableTrainConfig]) -> None:
    made = simulate_counts(cells=600, genes=100, proteins=30, types=2, seed=6)
    tables = {name: made.to_anndata(name) for name in ("rna", "protein")}
    tables["protein"] = tables["protein"][generator(1, 2).permutation(600)].copy()  # matched by name
    found, cells = _start(tables, quick(shared=4, specific=3, least_features=1, least_cells=1))
    truth = made.numbers().loc[cells]
    assert told(truth["type_T1"].to_numpy(), found["shared"]) > 0.9
    assert told(truth["activation"].to_numpy(), found["shared"]) > 0.8
    assert told(truth["batch_B2"].to_numpy(), found["rna"]) > 0.8
    for block, name in (("shared", "batch_B2"), ("rna", "type_T1"), ("protein", "batch_B2")):
        assert told(truth[name].to_numpy(), found[block]) < 0.1
    assert found["shared"].shape[1] <= 4
    assert found["rna"].shape[1] <= 3


def test_a_nuisance_of_both_tables_does_not_start_as_shared(
    quick: Callable[..., TableTrainConfig], batch_in_both: tuple[Any, pd.DataFrame]
) -> None:
    tables, truth = batch_in_both
    settings = {"shared": 4, "least_features": 1, "least_cells": 1}
    for nuisance, low, high in (("", 0.5, 1.0), ("batch", -0.1, 0.05)):
        found, cells = _start(tables, quick(nuisance=nuisance, **settings))
        assert low < told(truth.loc[cells, "batch"].to_numpy(), found["shared"]) < high
        assert told(truth.loc[cells, "type"].to_numpy(), found["shared"]) > 0.8


def test_a_training_starts_there_unless_told_otherwise(
    quick: Callable[..., TableTrainConfig], make_tables: Any
) -> None:
    """With a learning rate that moves nothing, what was started from is what is found."""
    tables = make_tables(n=300)
    kind = (tables["rna"].obs["kind"] == "a").to_numpy(float)
    still = {"latent_rate": 1e-9, "encoder_epochs": 1, "latent_epochs": 1, "latents": "none"}
    heard: list[str] = []
    for wanted in (True, False):
        config = quick(start_at_factors=wanted, overwrite=True, unused_below=0.0, told_above=1.0, **still)
        run = train(tables, config, progress=lambda step: heard.append(step.stage))
        assert ("Finding factors" in heard) == wanted
        heard.clear()
        state = load_file(run.folder / "checkpoints" / "last" / "state.safetensors")
        (name,) = [key for key in state if key.endswith("posteriors.shared.values")]
        dataset = open_table_dataset(tables, config)
        there = dict(zip(tables["rna"].obs_names, kind, strict=True))
        truth = np.array([there[cell] for cell in dataset.matched.cells[dataset.learnt(config.seed)]])
        assert (told(truth, state[name][:, :3]) > 0.8) == wanted


def test_it_stops_when_asked(quick: Callable[..., TableTrainConfig], make_tables: Any) -> None:
    with pytest.raises(Cancelled):
        _start(make_tables(), quick(), should_stop=lambda: True)
