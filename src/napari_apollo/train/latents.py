"""Free latent vectors, one row for each cell, and the Adam that moves them.

The rows are on the device. A step touches the rows of its batch and no others, so its cost does not
grow with the number of cells; ``dense`` is the reference's way, in which momentum goes on moving rows
that have no gradient. Where every row is visited in every step the two are the same.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from napari_apollo.train.team import processes

BETAS = (0.9, 0.999)
EPSILON = 1e-8


class LatentTable:
    """Rows of one block of latents, with the moments of their optimiser.

    Parameters
    ----------
    rows, length
        How many vectors, and how long they are.
    rate
        Learning rate.
    device
        Where they live.
    dense
        Move all rows at every step, as Adam on an embedding does.
    spread
        Standard deviation of the start values, which come from torch's random numbers.
    """

    def __init__(
        self,
        rows: int,
        length: int,
        *,
        rate: float,
        device: torch.device,
        dense: bool = False,
        spread: float = 1.0,
    ) -> None:
        # Drawn on the processor, so that all devices start from the same values.
        self.values = torch.randn(rows, length).mul_(spread).to(device)
        self.rate = rate
        self.dense = dense
        self._mean = torch.zeros_like(self.values)
        self._square = torch.zeros_like(self.values)
        self._steps = torch.zeros(rows, 1, device=device)
        # Each of several processes has the mean loss of its own cells, not that of all.
        self._part = 1 / processes()

    def gather(self, rows: Tensor) -> Tensor:
        """Vectors of rows (n,) int64, as a leaf that collects a gradient."""
        return self.values.index_select(0, rows).requires_grad_(True)

    @torch.no_grad()
    def update(self, rows: Tensor, gradient: Tensor, *, scale: float = 1.0) -> None:
        """One step of Adam (Kingma and Ba 2015, algorithm 1).

        Parameters
        ----------
        rows
            (n,) int64, each row once.
        gradient
            (n, length).
        scale
            Factor on the learning rate.
        """
        if self._part != 1:
            gradient = gradient * self._part
        if self.dense:
            self._mean.mul_(BETAS[0]).index_add_(0, rows, gradient, alpha=1 - BETAS[0])
            self._square.mul_(BETAS[1]).index_add_(0, rows, gradient.square(), alpha=1 - BETAS[1])
            self._steps += 1
            self.values -= self._step(self._mean, self._square, self._steps, scale)
            return
        mean = self._mean.index_select(0, rows).lerp_(gradient, 1 - BETAS[0])
        square = self._square.index_select(0, rows).mul_(BETAS[1])
        square.addcmul_(gradient, gradient, value=1 - BETAS[1])
        steps = self._steps.index_select(0, rows) + 1
        self._mean.index_copy_(0, rows, mean)
        self._square.index_copy_(0, rows, square)
        self._steps.index_copy_(0, rows, steps)
        self.values.index_copy_(
            0, rows, self.values.index_select(0, rows) - self._step(mean, square, steps, scale)
        )

    def _step(self, mean: Tensor, square: Tensor, steps: Tensor, scale: float) -> Tensor:
        mean_bias = 1 - BETAS[0] ** steps
        square_bias = (1 - BETAS[1] ** steps).sqrt()
        return scale * self.rate * (mean / mean_bias) / (square.sqrt() / square_bias + EPSILON)

    def tensors(self) -> dict[str, Tensor]:
        """Everything needed to go on: values, moments, steps of each row."""
        return {"values": self.values, "mean": self._mean, "square": self._square, "steps": self._steps}

    def load(self, tensors: Mapping[str, Tensor]) -> None:
        """Go on from what ``tensors`` gave."""
        for name, own in self.tensors().items():
            own.copy_(tensors[name])
