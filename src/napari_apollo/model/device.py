"""Which device computes."""

from __future__ import annotations

import torch

from napari_apollo.errors import ConfigError

_WORDS = {"cuda": "NVIDIA GPU", "mps": "Apple GPU", "cpu": "processor"}


def pick_device(name: str = "auto") -> torch.device:
    """Device for a name.

    Parameters
    ----------
    name
        ``"auto"`` takes an NVIDIA GPU where there is one, else Apple's, else the processor;
        ``"cuda"``, ``"cuda:1"``, ``"mps"`` and ``"cpu"`` insist.

    Raises
    ------
    ConfigError
        When the machine has no such device.
    """
    if name == "auto":
        if torch.cuda.is_available():
            return torch.device("cuda")
        return torch.device("mps" if torch.backends.mps.is_available() else "cpu")
    try:
        device = torch.device(name)
    except RuntimeError as error:
        raise ConfigError(f"device = {name!r}: no such device; auto, cuda, mps or cpu would do.") from error
    if device.type not in _WORDS:
        raise ConfigError(f"device = {name!r}: auto, cuda, mps or cpu would do.")
    absent = (device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count()) or (
        device.type == "mps" and not torch.backends.mps.is_available()
    )
    if absent:
        raise ConfigError(f"device = {name!r}: this machine has none; say auto or cpu.")
    return device


def describe_device(device: torch.device) -> str:
    """The device in words, for progress and reports."""
    if device.type == "cuda":
        return f"{_WORDS['cuda']} {torch.cuda.get_device_name(device)}"
    if device.type == "cpu":
        threads = torch.get_num_threads()
        return f"{_WORDS['cpu']}, {threads} thread{'' if threads == 1 else 's'}"
    return _WORDS[device.type]
