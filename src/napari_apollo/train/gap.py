"""The distance between the latents that were optimised and those that encoders give."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from napari_apollo.model.network import Network
from napari_apollo.train.data import CellData
from napari_apollo.train.objectives.base import Objective, reconstruction_loss

_BATCH = 256
_MOST = 2048
"""Training cells that are looked at, spread evenly."""


@torch.no_grad()
def encoding_gap(
    network: Network, objective: Objective, cells: CellData, loss: str
) -> dict[str, dict[str, float]]:
    """How far encoders fall behind the latents that were optimised, on training cells.

    Parameters
    ----------
    network, objective
        Trained.
    cells
        The training cells.
    loss
        Reconstruction loss, as in ``reconstruction_loss``.

    Returns
    -------
    dict
        For each modality ``shared`` and ``specific``: mean squared distance between encoded and optimised
        latents, as a part of the variance of the latter (0 none, 1 no better than their mean); and the
        loss of its values decoded from latents that were ``optimised`` and ``encoded``.
    """
    network.eval()
    order = np.arange(cells.n_cells)[:: max(1, -(-cells.n_cells // _MOST))]
    plan = [order[start : start + _BATCH] for start in range(0, len(order), _BATCH)]
    found: dict[str, dict[str, list[Tensor]]] = {}
    decoded: dict[str, dict[str, list[float]]] = {}
    for batch in cells.batches(plan):
        for name, view in batch.views.items():
            code = network.encode(name, view.values, view.stain)
            shared = objective.optimised("shared", batch.cells.index_select(0, view.cell))
            own = None if code.specific is None else objective.optimised(name, view.row)
            pairs = found.setdefault(name, {})
            pairs.setdefault("shared", []).append(torch.stack([code.shared, shared]))
            if own is not None and code.specific is not None:
                pairs.setdefault("specific", []).append(torch.stack([code.specific, own]))
            for kind, latents in (("optimised", (shared, own)), ("encoded", (code.shared, code.specific))):
                values = reconstruction_loss(
                    network, name, network.decode(name, *latents, view.stain), view.values, loss
                )
                decoded.setdefault(name, {}).setdefault(kind, []).append(float(values) * len(view.row))
    result = {}
    for name, pairs in found.items():
        n = sum(part.shape[1] for part in pairs["shared"])
        result[name] = {key: _part(torch.cat(parts, dim=1)) for key, parts in pairs.items()}
        result[name] |= {kind: sum(values) / n for kind, values in decoded[name].items()}
    return result


def _part(pair: Tensor) -> float:
    encoded, optimised = pair.double()
    variance = (optimised - optimised.mean(0)).square().sum()
    distance = (encoded - optimised).square().sum()
    return float(distance / variance) if float(variance) > 0 else 0.0
