"""Normal distributions with independent dimensions, and how two blocks of numbers depend on each other."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor

from napari_apollo.model.network import LOG_VARIANCE


def split(table: Tensor) -> tuple[Tensor, Tensor]:
    """Means and log variances (n, d) of a table (n, 2 d) that holds them side by side."""
    mean, log_variance = table.chunk(2, dim=1)
    return mean, log_variance.clamp(*LOG_VARIANCE)


def sample(mean: Tensor, log_variance: Tensor) -> Tensor:
    """A draw from every normal, through which gradients pass (Kingma and Welling 2014)."""
    return torch.addcmul(mean, torch.randn_like(mean), torch.exp(0.5 * log_variance))


def divergence(mean: Tensor, log_variance: Tensor, other_mean: Tensor, other_log_variance: Tensor) -> Tensor:
    """Kullback-Leibler divergence KL(first | other) in nats, by dimension (n, d).

    1/2 [log v2/v1 + v1/v2 + (m1 - m2)² / v2 - 1], for variances v and means m.
    """
    gap = log_variance - other_log_variance
    return 0.5 * (gap.exp() - gap + (mean - other_mean).square() * torch.exp(-other_log_variance) - 1)


def information(mean: Tensor, log_variance: Tensor) -> Tensor:
    """Divergence from the standard normal in nats, by dimension (n, d): what storing the value costs."""
    return 0.5 * (log_variance.exp() - log_variance + mean.square() - 1)


def product(
    n: int, codes: Iterable[tuple[Tensor, Tensor, Tensor]], length: int, like: Tensor
) -> tuple[Tensor, Tensor]:
    """Product of the standard normal and of what each modality says of a cell (Hinton 2002).

    Parameters
    ----------
    n, length
        Cells, and dimensions.
    codes
        For each modality: means and log variances (p, d), and the cell (p,) each belongs to. Cells may
        have any number of them, none included.
    like
        Gives device and type.

    Returns
    -------
    mean, log_variance : torch.Tensor
        (n, d); precisions add up, means are weighted by them.
    """
    precision, weighted = like.new_ones(n, length), like.new_zeros(n, length)
    for mean, log_variance, cell in codes:
        own = torch.exp(-log_variance)
        precision = precision.index_add(0, cell, own)
        weighted = weighted.index_add(0, cell, own * mean)
    return weighted / precision, -precision.log()


WIDTHS = (1.0, 0.02)
"""Widths of the kernels of ``dependence``, in units of the mean squared distance: the wide one sees how
groups of cells lie to each other, the narrow one what is written into the fine digits within a group."""


def dependence(first: Tensor, second: Tensor) -> Tensor:
    """How much two blocks (n, d) and (n, e) of one batch depend on each other: 0 not, 1 entirely.

    The Hilbert-Schmidt independence criterion (Gretton et al. 2005), normalised as Kornblith et al.
    (2019) do: HSIC(a, b) / sqrt(HSIC(a, a) HSIC(b, b)), with the mean of Gaussian kernels
    exp(-d² / (width * mean of d²)).
    """
    kernels = [_centred(_gaussian(block)) for block in (first, second)]
    own = torch.stack([(kernel * kernel).sum() for kernel in kernels])
    return (kernels[0] * kernels[1]).sum() / (own.prod() + 1e-12).sqrt()


def _gaussian(values: Tensor) -> Tensor:
    square = values.square().sum(1)
    distances = (square[:, None] + square[None] - 2 * values @ values.T).clamp(min=0)
    scaled = distances / distances.detach().mean().clamp(min=1e-6)
    return torch.stack([torch.exp(-scaled / width) for width in WIDTHS]).mean(0)


def _centred(kernel: Tensor) -> Tensor:
    rows = kernel.mean(0)
    return kernel - rows[None] - rows[:, None] + rows.mean()
