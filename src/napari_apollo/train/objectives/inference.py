"""Losses of the model as it will be used: what encoded latents decode to."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor

from napari_apollo.model.network import Network
from napari_apollo.train.data import Batch
from napari_apollo.train.objectives.base import reconstruction_loss


def decoded_losses(
    network: Network, batch: Batch, name: str, shared: Tensor, specific: Tensor | None, kind: str
) -> dict[str, Tensor]:
    """Losses of everything that one modality's latents decode to.

    Parameters
    ----------
    network, batch, name
        The networks, the cells, and the modality that was encoded.
    shared, specific
        (p, s) and (p, d) for the p values of the modality; None where it has no latent of its own.
    kind
        See ``reconstruction_loss``.

    Returns
    -------
    dict
        ``full`` from both latents; ``shared`` from the shared latent alone; ``to_<other>``, the prediction
        of every other modality of the same cells, the latter two where there are shared-only decoders.
    """
    view = batch.views[name]
    losses = {}
    if specific is not None:
        losses["full"] = rebuilt_loss(network, batch, name, shared, specific, kind)
    if name in network.shared_decoders:
        decoded = network.decode(name, shared, None, view.stain)
        losses["shared"] = reconstruction_loss(network, name, decoded, view.values, kind)
    return losses | crossed_losses(network, batch, name, shared, kind)


def rebuilt_loss(
    network: Network, batch: Batch, name: str, shared: Tensor, specific: Tensor, kind: str
) -> Tensor:
    """Loss of one modality's values decoded from both latents; see ``decoded_losses``."""
    view = batch.views[name]
    decoded = network.decode(name, shared, specific, view.stain)
    return reconstruction_loss(network, name, decoded, view.values, kind)


def crossed_losses(network: Network, batch: Batch, name: str, shared: Tensor, kind: str) -> dict[str, Tensor]:
    """Losses of the predictions of other modalities alone, as ``to_<other>``; see ``decoded_losses``."""
    losses = {}
    for other in network.shared_decoders:
        if other == name or other not in batch.views:
            continue
        target = batch.views[other]
        own, theirs = batch.pairs(name, other)
        if not len(own):
            continue
        stain = target.stain.index_select(0, theirs)
        decoded = network.decode(other, shared.index_select(0, own), None, stain)
        values = target.values.index_select(0, theirs)
        losses[f"to_{other}"] = reconstruction_loss(network, other, decoded, values, kind)
    return losses


@torch.no_grad()
def batch_gap(code: Tensor, target: Tensor, weight: Tensor) -> Tensor:
    """How far encoded latents (n, d) lie from optimised ones, as a part of the variance of the latter.

    Over the rows of weight (n,) 1; what ``train.gap`` says at the end of all training cells, this says
    on the way of a batch.
    """
    rows = weight.sum().clamp(min=1)
    centred = target - (target * weight[:, None]).sum(0) / rows
    variance = (centred.square().sum(1) * weight).sum()
    return ((code - target).square().sum(1) * weight).sum() / variance.clamp(min=1e-12)


@torch.no_grad()
def validation_losses(network: Network, batches: Iterable[Batch], kind: str) -> dict[str, float]:
    """Means over cells of ``decoded_losses`` of every modality, in evaluation mode.

    ``criterion`` adds, over the modalities, the loss of the full reconstruction and, where there are
    shared-only decoders, of the prediction of each modality from every other one.
    """
    network.eval()
    sums: dict[str, Tensor] = {}
    cells: dict[str, int] = {}
    for batch in batches:
        for name, view in batch.views.items():
            code = network.encode(name, view.values, view.stain)
            losses = decoded_losses(network, batch, name, code.shared, code.specific, kind)
            for key, loss in losses.items():
                key = f"{name}_{key}"
                sums[key] = sums.get(key, torch.zeros_like(loss)) + loss * len(batch.cells)
                cells[key] = cells.get(key, 0) + len(batch.cells)
    means = {key: float(value) / cells[key] for key, value in sums.items()}
    # What the shared latent makes of its own modality counts only where nothing else makes it.
    aside = {f"{name}_shared" for name in network.decoders}
    return {**means, "criterion": sum(value for key, value in means.items() if key not in aside)}
