"""Modalities, encoders, decoders, and the model that is saved and shared.

The names are imported when first used: the networks need torch alone, the model file pydantic and
safetensors besides.
"""

from __future__ import annotations

from importlib import import_module
from typing import Any

_HOMES = {
    "Modality": "modality",
    "Architecture": "modality",
    "Network": "network",
    "Code": "network",
    "Apollo": "apollo",
    "Latents": "apollo",
    "ModelCard": "card",
    "HeldOut": "card",
    "read_card": "files",
    "pick_device": "device",
}

__all__ = list(_HOMES)


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)


def __dir__() -> list[str]:
    return sorted(__all__)
