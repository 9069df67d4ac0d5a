"""Predictions of a model, how good they are, and the canvas that puts them back into the image.

Names are imported when first used: looking at predictions needs no torch.
"""

from __future__ import annotations

from importlib import import_module
from typing import Any

from napari_apollo.calling import make_callable

_HOMES = {
    "Canvas": "canvas",
    "ChannelRole": "roles",
    "EvaluateConfig": "evaluation",
    "Evaluation": "evaluation",
    "OverlayConfig": "omezarr",
    "PredictConfig": "prediction",
    "PredictionStore": "store",
    "channel_name": "roles",
    "evaluate": "evaluation",
    "overlay": "omezarr",
    "predict": "prediction",
}

__all__ = list(_HOMES)


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)


def __dir__() -> list[str]:
    return sorted(__all__)


make_callable(__name__)
