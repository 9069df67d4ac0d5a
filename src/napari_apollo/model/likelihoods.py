"""What the values of a modality are, and how likely a decoder makes them.

``bce``, ``mse`` and ``mae`` are distances. ``nb``, ``poisson``, ``bernoulli`` and ``gaussian`` are negative
log likelihoods, in nats: of counts with the spread of a negative binomial, whose mean is the cell's library
(the sum of its counts) times what the decoder gives as parts of it (Lopez et al. 2018, scVI, with the
observed library); of counts as a Poisson of the same mean; of what is there or not; and of features with a
spread of their own. All are means over cells and features, so that tables of any length compare.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from napari_apollo.model.modality import COUNTED

_CACHED = 2**18
"""Values that are worked on at once, so that they stay in the processor's cache."""

LIBRARY = 1e4
"""Counts of the library that values are shown for: log(1 + LIBRARY x part)."""


class Spread(nn.Module):
    """How far the values of each feature scatter around what a decoder gives.

    ``log`` (feature,): of the inverse dispersion of a negative binomial, variance = mean + mean² / exp(log);
    of the standard deviation of a normal.
    """

    def __init__(self, features: int) -> None:
        super().__init__()
        self.log = nn.Parameter(torch.zeros(features))


def shown_counts(counts: Tensor) -> Tensor:
    """Counts (n, feature) as log(1 + LIBRARY x part of the cell's sum), whatever the library was."""
    return torch.log1p(counts * (LIBRARY / counts.sum(1, keepdim=True).clamp(min=1)))


def shown(loss: str, decoded: Tensor) -> Tensor:
    """What a decoder of counts gave (n, feature), in the units of ``shown_counts``; else as it is."""
    if loss not in COUNTED:
        return decoded
    return torch.log1p(LIBRARY * functional.softmax(decoded, dim=1))


def table_loss(
    loss: str, decoded: Tensor, values: Tensor, *, spread: Spread | None = None, positive_weight: float = 1.0
) -> Tensor:
    """Mean loss over cells and features.

    Parameters
    ----------
    loss
        One of ``LOSSES`` but ``mse`` and ``mae``.
    decoded
        (n, feature): logits; of counts, logits of a softmax over features.
    values
        (n, feature): in [0, 1] for ``bce``, counts for ``nb`` and ``poisson``, 0 or 1 for ``bernoulli``.
    spread
        Of ``nb`` and ``gaussian``.
    positive_weight
        Of ``bce``: how many times what is there counts more than what is not (the reference's pos_weight).
    """
    if loss in ("bce", "bernoulli"):
        weight = positive_weight if loss == "bce" else 1.0
        found: Tensor = _CrossEntropy.apply(decoded, values, weight)
        return found
    decoded = decoded.float()
    if loss == "gaussian":
        assert spread is not None
        return (0.5 * ((values - decoded) * torch.exp(-spread.log)).square() + spread.log).mean()
    log_mean = functional.log_softmax(decoded, dim=1) + values.sum(1, keepdim=True).clamp(min=1).log()
    if loss == "poisson":
        # The means of a cell add up to its library: they do not change.
        return (log_mean.exp() - values * log_mean + torch.lgamma(values + 1)).mean()
    assert spread is not None
    return _negative_binomial(log_mean, values, spread.log.clamp(-7, 7))


def _negative_binomial(log_mean: Tensor, values: Tensor, log_size: Tensor) -> Tensor:
    """-log P(values) for mean m and inverse dispersion r, mean over all entries.

    P = G(x+r) / (G(r) x!) (r / (r+m))^r (m / (r+m))^x; what vanishes where x = 0 is computed elsewhere alone.
    """
    n = values.numel()
    # log(r + m) - log r, without overflow
    excess = functional.softplus(log_mean - log_size)
    dense = ((values + log_size.exp()) * excess).sum()
    row, column = values.nonzero(as_tuple=True)
    counts, size = values[row, column], log_size[column]
    scale = size.exp()
    at = torch.lgamma(counts + scale) - torch.lgamma(scale) - torch.lgamma(counts + 1)
    at = at + counts * (log_mean[row, column] - size)
    return (dense - at.sum()) / n


class _CrossEntropy(torch.autograd.Function):
    """Binary cross entropy of logits z with soft targets y and a weight w of what is there, with its
    gradient.

    w y log(1 + exp(-z)) + (1 - y) log(1 + exp(z)) = (1 + (w - 1) y) softplus(z) - w y z; its derivative is (1
    + (w - 1) y) sigmoid(z) - w y. Both are made together, some rows at a time, while these are in the
    processor's cache: on wide tables several times as fast as one operation after the other on all rows.
    Logits may have 16 bits; the loss is computed with 32.
    """

    @staticmethod
    def forward(ctx: Any, logits: Tensor, values: Tensor, weight: float) -> Tensor:
        rows, features = logits.shape
        step = rows if logits.device.type != "cpu" else max(1, _CACHED // max(1, features))
        total = logits.new_zeros((), dtype=torch.float64 if logits.device.type == "cpu" else torch.float32)
        gradient = torch.empty_like(logits)
        for start in range(0, rows, step):
            z, y = logits[start : start + step].float(), values[start : start + step]
            positive = y * weight
            factor = torch.add(1.0, y, alpha=weight - 1)
            total += (functional.softplus(z).mul_(factor).sub_(positive * z)).sum()
            gradient[start : start + step] = (
                torch.sigmoid(z).mul_(factor).sub_(positive).div_(rows * features)
            )
        ctx.save_for_backward(gradient)
        return (total / (rows * features)).float()

    @staticmethod
    def backward(ctx: Any, *above: Tensor) -> tuple[Tensor, None, None]:
        (gradient,) = ctx.saved_tensors
        # A pass over all values is saved where nothing changes them; a GPU is not waited for to know.
        if gradient.device.type == "cpu" and float(above[0]) == 1:
            return gradient, None, None
        return gradient * above[0].to(gradient.dtype), None, None
