"""Keeping out of the shared latent what was declared a nuisance, a batch for example."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from napari_apollo.model.network import Code
from napari_apollo.train.data import Batch
from napari_apollo.train.objectives.normals import dependence


def told_nuisance(settings: Any, batch: Batch, shared: Tensor | None, codes: Mapping[str, Code]) -> Tensor:
    """Weighted dependence of shared latents on the nuisance, one term for each block; 0 where none is
    declared.

    Parameters
    ----------
    settings
        ``nuisance_weight`` of them is read where there is a nuisance.
    batch
        Its ``nuisance`` (b, k).
    shared
        (b, s) latents of the cells, if they are to be told to keep it out.
    codes
        By modality, what encoders say.
    """
    total = batch.cells.new_zeros((), dtype=torch.float32)
    if batch.nuisance is None:
        return total
    if shared is not None:
        total = total + dependence(shared, batch.nuisance)
    for name, code in codes.items():
        total = total + dependence(code.shared, batch.nuisance.index_select(0, batch.views[name].cell))
    return settings.nuisance_weight * total
