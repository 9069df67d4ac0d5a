"""Numbers of 16 bits inside the image networks, where a machine computes faster with them.

Weights, their optimiser, latents and losses keep 32 bits; only the layers between compute with 16 (bfloat16,
which has the range of float32 and needs no scaling of losses). A model that is used, rather than trained,
computes with 32.
"""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from typing import Literal

import torch
from torch import nn

Precision = Literal["auto", "float32", "bfloat16"]

NARROW = 32
"""Channels of the first block from which on 16 bits nearly double the speed of a processor; narrower networks
gain less than half and keep 32."""


class Mixed(nn.Module):
    """A network that takes and gives float32, whatever it computes with inside.

    Attributes
    ----------
    precision
        ``torch.float32``, or ``torch.bfloat16``.
    """

    precision: torch.dtype = torch.float32

    def mixed(self, device: torch.device) -> AbstractContextManager[object]:
        """Where layers compute with ``precision``."""
        if self.precision is torch.float32:
            return nullcontext()
        return torch.autocast(device.type, self.precision)


def set_precision(network: nn.Module, precision: torch.dtype) -> None:
    """Let all mixed parts of a network compute with that type."""
    for module in network.modules():
        if isinstance(module, Mixed):
            module.precision = precision


def pick_precision(device: torch.device, wanted: Precision = "auto", width: int = 64) -> torch.dtype:
    """What to compute with.

    Parameters
    ----------
    device
        Where.
    wanted
        ``auto`` takes bfloat16 where the machine has instructions for it: GPUs of NVIDIA since Ampere, and
        processors with AVX512-BF16 or AMX, there for wide networks alone.
    width
        Channels of the first block.
    """
    if wanted != "auto":
        return torch.float32 if wanted == "float32" else torch.bfloat16
    if device.type == "cuda":
        fast = torch.cuda.get_device_capability(device) >= (8, 0)
    else:
        fast = device.type == "cpu" and width >= NARROW and processor_has_bfloat16()
    return torch.bfloat16 if fast else torch.float32


def processor_has_bfloat16() -> bool:
    """Whether the processor multiplies numbers of 16 bits at a higher rate than those of 32."""
    return any(
        check()
        for name in ("_is_avx512_bf16_supported", "_is_amx_tile_supported")
        if (check := getattr(torch.cpu, name, None)) is not None
    )
