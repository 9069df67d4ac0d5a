"""Losses of tables against SciPy's distributions and torch's own functions, with their gradients."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats
from torch.nn import functional

from napari_apollo.model import Architecture, Modality, Network
from napari_apollo.model.likelihoods import Spread, shown, shown_counts, table_loss

SHAPE = (6, 9)


def logits(seed: int = 0) -> torch.Tensor:
    return torch.from_numpy(np.random.default_rng(seed).normal(0, 2, SHAPE)).float().requires_grad_(True)


def counts(seed: int = 1) -> torch.Tensor:
    made = np.random.default_rng(seed).poisson(2.0, SHAPE)
    made[:, 0] += 1
    return torch.from_numpy(made).float()


@given(st.integers(0, 50), st.floats(0.2, 40))
def test_the_fused_cross_entropy_is_torchs(seed: int, weight: float) -> None:
    values = torch.rand(SHAPE, generator=torch.Generator().manual_seed(seed))
    ours, theirs = logits(seed), logits(seed)
    first = table_loss("bce", ours, values, positive_weight=weight)
    second = functional.binary_cross_entropy_with_logits(theirs, values, pos_weight=torch.tensor(weight))
    (3 * first).backward()
    (3 * second).backward()
    assert first.item() == pytest.approx(second.item(), rel=1e-5)
    assert ours.grad is not None
    assert theirs.grad is not None
    assert torch.allclose(ours.grad, theirs.grad, rtol=1e-4, atol=1e-7)


def test_extreme_logits_stay_finite() -> None:
    z = torch.tensor([[-300.0, 300.0, 0.0]], requires_grad=True)
    loss = table_loss("bernoulli", z, torch.tensor([[0.0, 1.0, 1.0]]))
    loss.backward()
    assert loss.item() == pytest.approx(np.log(2) / 3, rel=1e-5)
    assert torch.isfinite(z.grad).all()


def test_counts_have_scipys_likelihoods() -> None:
    z, x, spread = logits(), counts(), Spread(SHAPE[1])
    with torch.no_grad():
        spread.log.copy_(torch.linspace(-1, 2, SHAPE[1]))
    mean = functional.softmax(z, dim=1) * x.sum(1, keepdim=True)
    m, k, size = mean.detach().numpy(), x.numpy(), spread.log.exp().detach().numpy()
    poisson = table_loss("poisson", z, x)
    assert poisson.item() == pytest.approx(-stats.poisson.logpmf(k, m).mean(), rel=1e-5)
    binomial = table_loss("nb", z, x, spread=spread)
    assert binomial.item() == pytest.approx(-stats.nbinom.logpmf(k, size, size / (size + m)).mean(), rel=1e-5)


def test_features_have_scipys_likelihood() -> None:
    z, x, spread = logits(), logits(5).detach(), Spread(SHAPE[1])
    with torch.no_grad():
        spread.log.copy_(torch.linspace(-1, 1, SHAPE[1]))
    wanted = -stats.norm.logpdf(x.numpy(), z.detach().numpy(), spread.log.exp().detach().numpy()).mean()
    # The constant log(2 pi) / 2 is left out.
    found = table_loss("gaussian", z, x, spread=spread).item()
    assert found == pytest.approx(wanted - 0.5 * np.log(2 * np.pi), rel=1e-5)


@pytest.mark.parametrize("loss", ["nb", "poisson", "bernoulli", "gaussian", "bce"])
def test_gradients_are_those_of_differences(loss: str) -> None:
    x = (counts() > 1).float() if loss in ("bernoulli", "bce") else counts()
    spread = Spread(SHAPE[1])
    z = logits()
    table_loss(loss, z, x, spread=spread, positive_weight=3.0).backward()
    assert z.grad is not None
    for place in ((0, 0), (3, 5)):
        shift = torch.zeros(SHAPE)
        shift[place] = 1e-2
        with torch.no_grad():
            up, down = (
                table_loss(loss, z + s * shift, x, spread=spread, positive_weight=3.0) for s in (1, -1)
            )
        assert z.grad[place].item() == pytest.approx((up - down).item() / 2e-2, rel=0.05, abs=2e-5)


@given(st.floats(1, 500))
def test_what_networks_see_does_not_depend_on_the_library(factor: float) -> None:
    assert torch.allclose(shown_counts(counts() * factor), shown_counts(counts()), atol=1e-3)


def test_decoders_show_what_encoders_see() -> None:
    x = counts()
    assert torch.allclose(shown("nb", torch.log(x / x.sum(1, keepdim=True))), shown_counts(x), atol=1e-4)
    modalities = tuple(
        Modality(name, "table", 2, features=9, activation="composition", loss="nb")
        for name in ("rna", "protein")
    )
    network = Network(Architecture(modalities, (), shared=3, hidden=8)).eval()
    first, second = (network.encode("rna", values, None).shared for values in (x, 7 * x))
    assert torch.allclose(first, second, atol=1e-5)
