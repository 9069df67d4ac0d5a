"""Rotations and flips of whole cells, on the device.

A cell turned over is as good a cell. All images of a cell are turned alike, so that what they share
stays shared; the latents that step 1 found for it belong to the cell as it lay, though, and are no
target for the turned one.
"""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from napari_apollo.train.data import Batch


def turn(batch: Batch) -> tuple[Batch, Tensor]:
    """Turn half of the cells of a batch by one of the seven other symmetries of the square.

    Draws from torch's random numbers.

    Returns
    -------
    batch : Batch
        With the images turned; tables stay as they are.
    kept : torch.Tensor
        (b,) bool: cells that lie as they did.
    """
    n, device = len(batch.cells), batch.cells.device
    # Bits of a number from 0 to 7: flip left to right, flip top to bottom, transpose.
    symmetry = torch.randint(1, 8, (n,), device=device) * torch.randint(0, 2, (n,), device=device)
    views = {
        name: replace(view, values=turned(view.values, symmetry.index_select(0, view.cell)))
        if view.values.dim() == 4
        else view
        for name, view in batch.views.items()
    }
    return replace(batch, views=views), symmetry == 0


def turned(values: Tensor, symmetry: Tensor) -> Tensor:
    """Images (n, c, y, x) under the symmetries of the square (n,) int64, each its own.

    Bit 0 flips left to right, bit 1 top to bottom, bit 2 transposes, in this order.
    """
    for bit, move in enumerate((lambda v: v.flip(-1), lambda v: v.flip(-2), lambda v: v.transpose(-1, -2))):
        chosen = (symmetry >> bit & 1).bool()[:, None, None, None]
        values = torch.where(chosen, move(values), values)
    return values
