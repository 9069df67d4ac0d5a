"""The small network behind the engine ``nuclei``.

A U-Net (Ronneberger et al., MICCAI 2015) with additive skips. For every pixel it gives the logit of being
nucleus, the way to the centre of the nucleus (as in Neven et al., CVPR 2019, and Cheng et al., CVPR 2020),
and the size of the nucleus. Only code that runs the network imports this module, for it loads torch.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

DIAMETER = 20.0
"""Diameter in work pixels of the nuclei it is trained to see best."""

WIDTHS = (16, 32, 64, 96)
"""Channels at full, half, quarter and eighth resolution."""

STRIDE = 2 ** (len(WIDTHS) - 1)
"""Sides of its input are multiples of this."""


def compressed(values: Tensor) -> Tensor:
    """Input of the network from normalised intensities: near linear below 1, logarithmic above."""
    return torch.asinh(3 * values.clamp(-1, 50)) / 1.8184464592320668


_lock = threading.Lock()
_inside = 0
_threads_outside = 1


@contextmanager
def one_thread() -> Iterator[None]:
    """Let torch use one thread in this thread of the program, whatever others do; put back afterwards."""
    global _inside, _threads_outside
    with _lock:
        if _inside == 0:
            _threads_outside = torch.get_num_threads()
        _inside += 1
        torch.set_num_threads(1)
    try:
        yield
    finally:
        with _lock:
            _inside -= 1
            torch.set_num_threads(_threads_outside)


class _Block(nn.Module):
    """Two convolutions, each normalised, around a shortcut."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.first = nn.Conv2d(width, width, 3, padding=1, bias=False)
        self.first_norm = nn.BatchNorm2d(width)
        self.second = nn.Conv2d(width, width, 3, padding=1, bias=False)
        self.second_norm = nn.BatchNorm2d(width)

    def forward(self, x: Tensor) -> Tensor:
        """Keep the shape."""
        inner = torch.relu(self.first_norm(self.first(x)))
        return torch.relu(x + self.second_norm(self.second(inner)))

    def fuse(self) -> None:
        """Fold the normalisations, as they are after training, into the convolutions."""
        self.first = fuse_conv_bn_eval(self.first, self.first_norm)
        self.second = fuse_conv_bn_eval(self.second, self.second_norm)
        self.first_norm = self.second_norm = nn.Identity()  # type: ignore[assignment]


class NucleiNet(nn.Module):
    """What each pixel knows of its nucleus.

    Maps images (n, 1, y, x), compressed, to (n, 4, y, x): the logit of being nucleus; rows and columns to the
    centre, in units of ``DIAMETER``; the binary logarithm of the nucleus's diameter over ``DIAMETER``.
    """

    def __init__(self, widths: tuple[int, ...] = WIDTHS) -> None:
        super().__init__()
        self.stem = nn.Conv2d(1, widths[0], 3, padding=1)
        self.inner = nn.ModuleList(_Block(width) for width in widths)
        self.down = nn.ModuleList(nn.Conv2d(fine, coarse, 2, stride=2) for fine, coarse in pairwise(widths))
        self.up = nn.ModuleList(nn.Conv2d(coarse, fine, 1) for fine, coarse in pairwise(widths))
        self.outer = nn.ModuleList(_Block(width) for width in widths[:-1])
        self.head = nn.Conv2d(widths[0], 4, 1)

    def forward(self, x: Tensor) -> Tensor:
        """See ``NucleiNet``."""
        x = torch.relu(self.stem(x))
        skips = []
        for level, block in enumerate(self.inner):
            x = block(x)
            if level < len(self.down):
                skips.append(x)
                x = self.down[level](x)
        for level in reversed(range(len(self.up))):
            x = nn.functional.interpolate(self.up[level](x), scale_factor=2, mode="bilinear")
            x = self.outer[level](x + skips[level])
        return self.head(x)

    def fuse(self) -> None:
        """Fold the normalisations into the convolutions: the same values, sooner. For use, not training."""
        for block in (*self.inner, *self.outer):
            block.fuse()
