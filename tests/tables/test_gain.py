"""What there is to be gained from a table, against factor models whose gain is known."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from scipy import sparse

from napari_apollo.simulate.counts import simulate_counts
from napari_apollo.tables.gain import likelihood_gain
from napari_apollo.train import TableTrainConfig
from napari_apollo.train.tabledataset import open_table_dataset
from napari_apollo.train.tableoperation import in_nats


def factors(told: float, features: int = 120, cells: int = 600, seed: int = 0) -> np.ndarray:
    """Features of which one factor tells the part ``told`` of the variance."""
    rng = np.random.default_rng(seed)
    z = rng.normal(size=(cells, 1))
    return np.sqrt(told) * z + np.sqrt(1 - told) * rng.normal(size=(cells, features))


@pytest.mark.parametrize("told", [0.1, 0.3, 0.6])
def test_the_gain_of_a_factor_is_that_of_its_normal(told: float) -> None:
    wanted = -0.5 * np.log1p(-told) * 120
    values = 3 + 5 * factors(told)
    assert likelihood_gain(values, counts=False) == pytest.approx(wanted, rel=0.1)
    assert likelihood_gain(sparse.csr_matrix(values), counts=False) == pytest.approx(wanted, rel=0.1)


def test_noise_gains_nothing() -> None:
    assert likelihood_gain(factors(0.0), counts=False) < 0.5
    counts = np.random.default_rng(1).poisson(np.linspace(0.2, 5, 80), (400, 80))
    assert likelihood_gain(sparse.csr_matrix(counts), counts=True) < 0.5
    assert likelihood_gain(np.ones((30, 4)), counts=False) == 0
    assert likelihood_gain(np.zeros((30, 4)), counts=True) == 0


def test_weak_counts_gain_less_and_depth_alone_gains_nothing() -> None:
    strong, weak = (simulate_counts(cells=400, genes=80, effect=e, seed=2).rna for e in (1, 0.3))
    assert likelihood_gain(strong, counts=True) > 3 * likelihood_gain(weak, counts=True) > 1
    library = np.random.default_rng(3).lognormal(0, 0.8, (400, 1))
    deep = np.random.default_rng(4).poisson(library * np.linspace(0.5, 4, 60))
    assert likelihood_gain(deep + np.eye(400, 60, dtype=int), counts=True) < 0.5


def test_cells_that_differ_in_depth_alone_gain_nothing() -> None:
    # Counts that scatter far more than Poisson's, in cells of very different libraries.
    rng = np.random.default_rng(6)
    mean = 0.3 * rng.lognormal(0, 1, (500, 1)) * rng.lognormal(0, 1, 120)
    counts = rng.poisson(rng.gamma(0.5, mean / 0.5))
    assert likelihood_gain(sparse.csr_matrix(counts), counts=True) < 1.5


def test_premiums_fall_with_what_there_is_to_gain(
    make_tables: Callable[..., Any], quick: Callable[..., TableTrainConfig]
) -> None:
    config = quick(eta=50, gamma=5, opening=10)
    dataset = open_table_dataset(make_tables(features=24), config)
    prices = {gain: in_nats(config, dataset, gain) for gain in (0, 5, 50, 500)}
    for gain, part in ((0, 0), (5, 0.1), (50, 1), (500, 1)):
        found = prices[gain]
        assert found.beta * 24 == pytest.approx(1)
        assert found.eta * 24 == pytest.approx(50 * part)
        assert found.gamma == pytest.approx(5**part)
        assert found.opening == pytest.approx(10**part)
        assert found.nuisance_weight * 24 == pytest.approx(100)
    assert 0 < dataset.gain() < 24
    paper = config.model_copy(update={"eta": 0.0, "gamma": 1.0, "opening": 1.0})
    assert in_nats(paper, dataset, 5).opening == 1
