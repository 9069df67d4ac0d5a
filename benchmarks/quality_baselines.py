"""Baselines of ``quality.py``: a conditional U-Net, paired cell inpainting, the nearest neighbour."""

from __future__ import annotations

import math
import time

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

_BATCH = 32


def train_network(
    network: nn.Module, dna: np.ndarray, stain: np.ndarray, image: np.ndarray, seconds: float, seed: int
) -> None:
    """Mean absolute error, Adam of 2e-3 along a cosine, cells turned and flipped, for a processor time."""
    torch.manual_seed(seed)
    source, target, which = torch.from_numpy(dna), torch.from_numpy(image), torch.from_numpy(stain)
    optimiser = torch.optim.Adam(network.parameters(), lr=2e-3)
    network.train()
    started, epochs = time.process_time(), 0
    while time.process_time() - started < seconds:
        for rows in torch.randperm(len(source)).split(_BATCH):
            done = (time.process_time() - started) / seconds
            if done >= 1:
                break
            for group in optimiser.param_groups:
                group["lr"] = 2e-3 * 0.5 * (1 + math.cos(math.pi * done))
            first, second = source[rows][:, None], target[rows][:, None]
            turns, flip = int(torch.randint(4, ())), bool(torch.randint(2, ()))
            first, second = (torch.rot90(part, turns, (2, 3)) for part in (first, second))
            if flip:
                first, second = first.flip(3), second.flip(3)
            loss = functional.l1_loss(network(first, which[rows]), second)
            optimiser.zero_grad(set_to_none=True)
            loss.backward()
            optimiser.step()
        epochs += 1
    print(f"{type(network).__name__}: {epochs} epochs, {time.process_time() - started:.0f} s")
    network.eval()


def _double(inputs: int, outputs: int) -> nn.Sequential:
    layers: list[nn.Module] = []
    for before in (inputs, outputs):
        layers += [
            nn.Conv2d(before, outputs, 3, padding=1, bias=False),
            nn.BatchNorm2d(outputs),
            nn.LeakyReLU(0.1),
        ]
    return nn.Sequential(*layers)


class _Predicts(nn.Module):
    @torch.no_grad()
    def predict(self, dna: np.ndarray, stain: int) -> np.ndarray:
        """Images (n, y, x) of a stain from DNA (n, y, x), in [0, 1]."""
        parts = [
            self(part[:, None], torch.full((len(part),), stain)) for part in torch.from_numpy(dna).split(128)
        ]
        values: np.ndarray = torch.cat(parts)[:, 0].clamp(0, 1).numpy()
        return values


class UNet(_Predicts):
    """Four scales of 16, 32, 64 and 64 channels; the stain comes in as constant channels."""

    def __init__(self, stains: int, widths: tuple[int, ...] = (16, 32, 64, 64)) -> None:
        super().__init__()
        self.stains = stains
        before = (1 + stains, *widths[:-1])
        self.down = nn.ModuleList(_double(i, o) for i, o in zip(before, widths, strict=True))
        pairs = list(zip(widths[:0:-1], widths[-2::-1], strict=True))
        self.up = nn.ModuleList(_double(deep + skip, skip) for deep, skip in pairs)
        self.last = nn.Conv2d(widths[0], 1, 1)

    def forward(self, dna: Tensor, stain: Tensor) -> Tensor:
        told = functional.one_hot(stain, self.stains).to(dna.dtype)[:, :, None, None]
        values = torch.cat([dna, told.expand(-1, -1, *dna.shape[2:])], 1)
        kept: list[Tensor] = []
        for block in self.down:
            values = block(functional.max_pool2d(values, 2) if kept else values)
            kept.append(values)
        for block, skip in zip(self.up, kept[-2::-1], strict=True):
            values = functional.interpolate(values, scale_factor=2, mode="bilinear", align_corners=False)
            values = block(torch.cat([values, skip], 1))
        return torch.sigmoid(self.last(values))


class Inpainting(_Predicts):
    """Paired cell inpainting (Lu et al., PLoS Comput Biol 2019), a quarter of its widths.

    The source is a training cell with the stain that is meant, drawn at random; its DNA and protein say
    how the stain looks. Outputs are used as they are, nothing is rescaled by image or row.
    """

    def __init__(self, dna: np.ndarray, stain: np.ndarray, image: np.ndarray) -> None:
        super().__init__()
        self.sources = torch.from_numpy(np.stack([dna, image], 1))
        self.of_stain = [torch.from_numpy(np.flatnonzero(stain == s)) for s in np.unique(stain)]
        self.generator = torch.Generator().manual_seed(0)
        self.source = nn.Sequential(
            *_layer(2, 24),
            nn.MaxPool2d(2),
            *_layer(24, 64),
            nn.MaxPool2d(2),
            *_layer(64, 96),
            *_layer(96, 96),
            *_layer(96, 64),
        )
        self.target = nn.Sequential(
            *_layer(1, 16), nn.MaxPool2d(2), *_layer(16, 32), nn.MaxPool2d(2), *_layer(32, 32)
        )
        up = nn.Upsample(scale_factor=2, mode="bilinear", align_corners=True)
        self.decoder = nn.Sequential(
            *_layer(96, 64),
            *_layer(64, 96),
            *_layer(96, 96),
            up,
            *_layer(96, 64),
            up,
            *_layer(64, 24),
            nn.Conv2d(24, 1, 1),
        )

    def forward(self, dna: Tensor, stain: Tensor) -> Tensor:
        rows = torch.stack([self._drawn(int(s)) for s in stain])
        return self.decoder(torch.cat([self.source(self.sources[rows]), self.target(dna)], 1))

    def _drawn(self, stain: int) -> Tensor:
        own = self.of_stain[stain]
        return own[torch.randint(len(own), (), generator=self.generator)]


def _layer(inputs: int, outputs: int) -> list[nn.Module]:
    return [nn.Conv2d(inputs, outputs, 3, padding=1), nn.ReLU(), nn.BatchNorm2d(outputs)]


def nearest_neighbour(dna: np.ndarray, image: np.ndarray, wanted: np.ndarray) -> np.ndarray:
    """Images of the training cells nearest by DNA, seen at a quarter of the resolution.

    Parameters
    ----------
    dna, image
        (n, y, x) of training cells with one stain.
    wanted
        (m, y, x) DNA of other cells.
    """

    def small(values: np.ndarray) -> Tensor:
        return functional.avg_pool2d(torch.from_numpy(values)[:, None], 4).flatten(1)

    nearest = torch.cdist(small(wanted), small(dna)).argmin(1).numpy()
    found: np.ndarray = image[nearest]
    return found
