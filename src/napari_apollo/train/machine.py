"""How a network is laid out on the machine that trains it: device, memory layout, numbers, compiling."""

from __future__ import annotations

from importlib.util import find_spec
from typing import Literal

import torch

from napari_apollo.errors import ConfigError
from napari_apollo.model.network import Network
from napari_apollo.model.precision import Precision, pick_precision, set_precision
from napari_apollo.train.team import Team, synchronise_norms

Compile = Literal["auto", "yes", "no"]


def place_network(
    network: Network,
    device: torch.device,
    *,
    precision: Precision = "auto",
    compiled: Compile = "auto",
    team: Team | None = None,
) -> Network:
    """Make a network ready for training on a device; names and values of its parameters stay.

    Parameters
    ----------
    network
        What is trained.
    device
        Where.
    precision
        What the layers compute with; see ``model.precision``.
    compiled
        Let torch fuse the layers of encoders and decoders into kernels of their own. ``auto`` does so on
        NVIDIA GPUs, where Triton is at hand; on processors it was measured to gain next to nothing.
    team
        The processes that train together; several share the statistics of their norms, and do not compile.

    Raises
    ------
    ConfigError
        When compiling is asked for where it cannot be done.
    """
    # Channels last is the layout that convolutions are fastest in, on processors and GPUs.
    network = network.to(device).to(memory_format=torch.channels_last)
    widths = network.architecture.widths
    set_precision(network, pick_precision(device, precision, widths[0] if widths else 0))
    if team is not None and not team.alone:
        synchronise_norms(network)
        return network
    triton = device.type == "cuda" and find_spec("triton") is not None
    if compiled == "yes" and device.type == "cuda" and not triton:
        raise ConfigError("compile = 'yes': that needs Triton, which is not installed; say auto or no.")
    if compiled == "yes" or (compiled == "auto" and triton):
        for part in [*network.encoders.values(), *network.decoding_modules()]:
            part.compile(dynamic=False)
    return network


def in_words(network: Network, device: torch.device) -> str:
    """What the network computes with, for progress; empty where there is nothing to say."""
    narrow = any(getattr(part, "precision", torch.float32) is torch.bfloat16 for part in network.modules())
    return "layers in bfloat16" if narrow else ""
