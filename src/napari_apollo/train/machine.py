"""How a network is laid out on the machine that trains it: device, memory layout, numbers, compiling."""

from __future__ import annotations

from importlib.util import find_spec

import torch

from napari_apollo.errors import ConfigError
from napari_apollo.model.network import Network
from napari_apollo.model.precision import Precision, pick_precision, set_precision
from napari_apollo.train.team import Team, synchronise_norms

_PER_CHANNEL = 16
"""Hidden values of a table network that stand for one channel of an image network: from 512 on 16 bits
gain."""


def place_network(
    network: Network,
    device: torch.device,
    *,
    precision: Precision = "auto",
    compiled: bool = False,
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
        Let torch fuse the layers of encoders and decoders into kernels of their own. On a processor that was
        measured to gain next to nothing.
    team
        The processes that train together; several share the statistics of their norms, and do not compile.

    Raises
    ------
    ConfigError
        When compiling is asked for where it cannot be done.
    """
    # Channels last is the layout that convolutions are fastest in, on processors and GPUs.
    network = network.to(device).to(memory_format=torch.channels_last)
    set_precision(network, pick_precision(device, precision, _width(network)))
    if team is not None and not team.alone:
        synchronise_norms(network)
        return network
    if compiled:
        if device.type == "cuda" and find_spec("triton") is None:
            raise ConfigError("compiled = True needs Triton on an NVIDIA GPU, which is not installed.")
        for part in [*network.encoders.values(), *network.decoding_modules()]:
            part.compile(dynamic=False)
    return network


def _width(network: Network) -> int:
    """Channels of the first block; of tables, what takes as long as so many."""
    architecture = network.architecture
    return max(architecture.widths[0] if architecture.widths else 0, architecture.hidden // _PER_CHANNEL)
