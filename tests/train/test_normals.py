"""Closed forms and dependence against independent ways of computing them."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.distributions import Independent, MultivariateNormal, Normal, kl_divergence

from napari_apollo.train.objectives.normals import (
    dependence,
    divergence,
    information,
    product,
    sample,
    split,
)


def normals(seed: int, n: int = 5, d: int = 3) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    mean, log_variance = torch.randn(2, n, d, generator=generator, dtype=torch.float64)
    return mean, log_variance


@given(seed=st.integers(0, 10_000))
@settings(max_examples=20, deadline=None)
def test_divergence_is_that_of_torch_distributions(seed: int) -> None:
    first, second = normals(seed), normals(seed + 1)
    wanted = kl_divergence(*(Normal(mean, (0.5 * log).exp()) for mean, log in (first, second)))
    assert torch.allclose(divergence(*first, *second), wanted)
    assert (divergence(*first, *second) >= 0).all()
    assert torch.allclose(divergence(*first, *first), torch.zeros_like(first[0]), atol=1e-12)
    standard = (torch.zeros_like(first[0]), torch.zeros_like(first[0]))
    assert torch.allclose(information(*first), divergence(*first, *standard))


def test_divergence_by_the_formula_for_covariance_matrices() -> None:
    (mean, log), (other, other_log) = normals(1), normals(2)
    wanted = [
        kl_divergence(
            MultivariateNormal(mean[i], torch.diag(log[i].exp())),
            MultivariateNormal(other[i], torch.diag(other_log[i].exp())),
        )
        for i in range(len(mean))
    ]
    assert torch.allclose(divergence(mean, log, other, other_log).sum(1), torch.stack(wanted))


def test_product_is_that_of_the_densities() -> None:
    codes = [(*normals(seed, 2, 1), torch.tensor([0, 2])) for seed in (3, 4)]
    mean, log_variance = product(3, codes, 1, codes[0][0])
    assert mean[1] == 0
    assert log_variance[1] == 0  # nobody says anything of this cell: the prior
    grid = torch.linspace(-8, 8, 20_001, dtype=torch.float64)
    for row, cell in enumerate((0, 2)):
        density = Normal(0.0, 1.0).log_prob(grid)
        for code in codes:
            density = density + Normal(code[0][row, 0], (0.5 * code[1][row, 0]).exp()).log_prob(grid)
        weight = torch.softmax(density, 0)
        centre = (weight * grid).sum()
        assert float(mean[cell, 0]) == pytest.approx(float(centre), abs=1e-6)
        spread = (weight * (grid - centre).square()).sum()
        assert float(log_variance[cell, 0].exp()) == pytest.approx(float(spread), rel=1e-6)


def test_samples_have_the_moments_and_pass_gradients() -> None:
    torch.manual_seed(0)
    mean = torch.full((40_000, 1), 1.5, requires_grad=True)
    log_variance = torch.full((40_000, 1), -2.0, requires_grad=True)
    drawn = sample(mean, log_variance)
    assert float(drawn.detach().mean()) == pytest.approx(1.5, abs=0.01)
    assert float(drawn.detach().std()) == pytest.approx(np.exp(-1), rel=0.02)
    drawn.sum().backward()
    assert torch.equal(mean.grad, torch.ones_like(mean))
    assert float(log_variance.grad.abs().sum()) > 0


def test_tables_hold_means_beside_bounded_log_variances() -> None:
    mean, log_variance = split(torch.tensor([[1.0, 2.0, -99.0, 99.0]]))
    assert mean.tolist() == [[1.0, 2.0]]
    assert log_variance.tolist() == [[-10.0, 4.0]]


def naive_dependence(first: np.ndarray, second: np.ndarray) -> float:
    """Gretton et al. (2005): means over pairs, quadruples and triples of cells, written as loops."""

    def kernel(values: np.ndarray) -> np.ndarray:
        n = len(values)
        square = np.array([[((values[i] - values[j]) ** 2).sum() for j in range(n)] for i in range(n)])
        return (np.exp(-square / square.mean()) + np.exp(-50 * square / square.mean())) / 2

    def hsic(k: np.ndarray, own: np.ndarray) -> float:
        n = len(k)
        pairs = sum(k[i, j] * own[i, j] for i in range(n) for j in range(n)) / n**2
        apart = sum(k[i, j] for i in range(n) for j in range(n)) / n**2
        apart *= sum(own[i, j] for i in range(n) for j in range(n)) / n**2
        triples = sum(
            sum(k[i, j] for j in range(n)) / n * sum(own[i, j] for j in range(n)) / n for i in range(n)
        )
        return pairs + apart - 2 * triples / n

    k, own = kernel(first), kernel(second)
    return hsic(k, own) / np.sqrt(hsic(k, k) * hsic(own, own))


def test_dependence_is_the_naive_sum() -> None:
    rng = np.random.default_rng(0)
    first = rng.normal(size=(14, 3))
    second = first[:, :1] ** 2 + 0.3 * rng.normal(size=(14, 2))
    value = float(dependence(torch.from_numpy(first), torch.from_numpy(second)))
    assert value == pytest.approx(naive_dependence(first, second), rel=1e-6)


def test_dependence_is_one_for_copies_small_for_strangers_and_gives_gradients_at_rest() -> None:
    torch.manual_seed(1)
    first, stranger = torch.randn(300, 2), torch.randn(300, 2)
    assert float(dependence(first, first)) == pytest.approx(1, abs=1e-4)
    assert float(dependence(first, -3 * first)) == pytest.approx(1, abs=1e-4)
    assert float(dependence(first, stranger)) < 0.1
    closed = torch.zeros(300, 2, requires_grad=True)
    value = dependence(first, closed)
    value.backward()
    assert float(value) == pytest.approx(0, abs=1e-3)
    assert torch.isfinite(closed.grad).all()


def test_independent_is_what_the_sum_over_dimensions_means() -> None:
    first, second = normals(5), normals(6)
    pair = [Independent(Normal(mean, (0.5 * log).exp()), 1) for mean, log in (first, second)]
    assert torch.allclose(divergence(*first, *second).sum(1), kl_divergence(*pair))
