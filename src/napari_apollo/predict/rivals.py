"""Networks that predict a stain from chromatin without latents: a conditional U-Net, paired cell inpainting.

Baselines of an evaluation, trained on the cells that the model learnt from; written anew.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from napari_apollo.progress import ShouldStop, never, stop_if_asked

Images = NDArray[np.float32]

_BATCH = 32
_RATE = 2e-3


class Rival(nn.Module):
    """A network from chromatin and the number of a stain to an image of that stain."""

    def predict(self, chromatin: Images, stain: int) -> Images:
        """Images (n, y, x) of a stain from chromatin (n, y, x), in [0, 1]."""
        device = next(self.parameters()).device
        with torch.no_grad():
            parts = [
                self(part[:, None].to(device), torch.full((len(part),), stain, device=device)).cpu()
                for part in torch.from_numpy(np.ascontiguousarray(chromatin, np.float32)).split(128)
            ]
        values: Images = torch.cat(parts)[:, 0].clamp(0, 1).numpy()
        return values


class UNet(Rival):
    """Scales of 16, 32, 64 and 64 channels; the stain comes in as constant channels.

    Parameters
    ----------
    stains
        How many there are.
    widths
        Channels of each scale; sides of images must be divisible by 2 for each but the first.
    """

    def __init__(self, stains: int, widths: tuple[int, ...] = (16, 32, 64, 64)) -> None:
        super().__init__()
        self.stains = stains
        before = (1 + stains, *widths[:-1])
        self.down = nn.ModuleList(_double(i, o) for i, o in zip(before, widths, strict=True))
        pairs = list(zip(widths[:0:-1], widths[-2::-1], strict=True))
        self.up = nn.ModuleList(_double(deep + skip, skip) for deep, skip in pairs)
        self.last = nn.Conv2d(widths[0], 1, 1)

    def forward(self, chromatin: Tensor, stain: Tensor) -> Tensor:
        """Images (n, 1, y, x) in [0, 1] from chromatin (n, 1, y, x) and numbers of stains (n,)."""
        told = functional.one_hot(stain, self.stains).to(chromatin.dtype)[:, :, None, None]
        values = torch.cat([chromatin, told.expand(-1, -1, *chromatin.shape[2:])], 1)
        kept: list[Tensor] = []
        for block in self.down:
            values = block(functional.max_pool2d(values, 2) if kept else values)
            kept.append(values)
        for block, skip in zip(self.up, kept[-2::-1], strict=True):
            values = functional.interpolate(values, size=skip.shape[2:], mode="bilinear", align_corners=False)
            values = block(torch.cat([values, skip], 1))
        return torch.sigmoid(self.last(values))


class Inpainting(Rival):
    """Paired cell inpainting (Lu et al., PLoS Comput. Biol. 15, e1007348 (2019)), a quarter of its widths.

    The source is a training cell with the stain that is meant, drawn at random; its chromatin and protein
    say how the stain looks. Outputs are used as they are, nothing is rescaled by image or row.

    Parameters
    ----------
    chromatin, image
        (n, y, x) of training cells: chromatin, and the stain that each has.
    stain
        (n,) number of that stain.
    """

    def __init__(self, chromatin: Images, stain: NDArray[np.int64], image: Images) -> None:
        super().__init__()
        self.sources = torch.from_numpy(np.stack([chromatin, image], 1))
        self.of_stain = {int(s): torch.from_numpy(np.flatnonzero(stain == s)) for s in np.unique(stain)}
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
        self.decoder = nn.Sequential(
            *_layer(96, 64), *_layer(64, 96), *_layer(96, 96), *_layer(96, 64), *_layer(64, 24)
        )
        self.last = nn.Conv2d(24, 1, 1)

    def forward(self, chromatin: Tensor, stain: Tensor) -> Tensor:
        """Images (n, 1, y, x) from chromatin (n, 1, y, x) and numbers of stains (n,)."""
        rows = torch.stack([self._drawn(int(s)) for s in stain])
        sources = self.sources[rows].to(chromatin.device)
        values = torch.cat([self.source(sources), self.target(chromatin)], 1)
        sides = (chromatin.shape[-2] // 2, chromatin.shape[-1] // 2), chromatin.shape[-2:]
        for at, block in enumerate(self.decoder):
            if at in _ENLARGED:
                values = functional.interpolate(
                    values, size=sides[_ENLARGED.index(at)], mode="bilinear", align_corners=True
                )
            values = block(values)
        return self.last(values)

    def _drawn(self, stain: int) -> Tensor:
        own = self.of_stain[stain]
        return own[torch.randint(len(own), (), generator=self.generator)]


_ENLARGED = (9, 12)  # layers of the decoder before which the image is made twice as large


def _layer(inputs: int, outputs: int) -> list[nn.Module]:
    return [nn.Conv2d(inputs, outputs, 3, padding=1), nn.ReLU(), nn.BatchNorm2d(outputs)]


def _double(inputs: int, outputs: int) -> nn.Sequential:
    layers: list[nn.Module] = []
    for before in (inputs, outputs):
        layers += [
            nn.Conv2d(before, outputs, 3, padding=1, bias=False),
            nn.BatchNorm2d(outputs),
            nn.LeakyReLU(0.1),
        ]
    return nn.Sequential(*layers)


def fit_rival(
    network: Rival,
    chromatin: Images,
    stain: NDArray[np.int64],
    image: Images,
    *,
    done: Callable[[int], float],
    seed: int = 0,
    should_stop: ShouldStop = never,
) -> int:
    """Train by the mean absolute error: Adam of 2e-3 along a cosine, cells turned and flipped.

    Parameters
    ----------
    network
        Trained in place.
    chromatin, image
        (n, y, x) in [0, 1]: chromatin, and the stain to predict.
    stain
        (n,) number of that stain.
    done
        Part of the training that is over, from 0 to 1, by the number of batches; it ends at 1.
    seed
        Of order and turns.
    should_stop
        Asked between batches.

    Returns
    -------
    int
        Number of batches.
    """
    device = next(network.parameters()).device
    source, target, which = (torch.from_numpy(values) for values in (chromatin, image, stain))
    optimiser = torch.optim.Adam(network.parameters(), lr=_RATE)
    generator = torch.Generator().manual_seed(seed)
    network.train()
    batches = 0
    while True:
        for rows in torch.randperm(len(source), generator=generator).split(_BATCH):
            part = done(batches)
            if part >= 1:
                network.eval()
                return batches
            stop_if_asked(should_stop)
            if len(rows) < 2:  # nothing to normalise a batch by
                batches += 1
                continue
            for group in optimiser.param_groups:
                group["lr"] = _RATE * 0.5 * (1 + math.cos(math.pi * part))
            first, second = source[rows][:, None].to(device), target[rows][:, None].to(device)
            turns, flip = (int(torch.randint(most, (), generator=generator)) for most in (4, 2))
            first, second = (torch.rot90(own, turns, (2, 3)) for own in (first, second))
            if flip:
                first, second = first.flip(3), second.flip(3)
            loss = functional.l1_loss(network(first, which[rows].to(device)), second)
            optimiser.zero_grad(set_to_none=True)
            loss.backward()
            optimiser.step()
            batches += 1


def fraction_of_epochs(cells: int, epochs: int) -> Callable[[int], float]:
    """What ``fit_rival`` takes as ``done`` for a number of epochs over so many cells."""
    total = epochs * -(-cells // _BATCH)
    return lambda batches: batches / total
