"""What a cell's chromatin says about its proteins, across stain panels.

The names below are imported when first used, so that napari can list the plugin, and a script can
read a study, without loading torch.
"""

from __future__ import annotations

from importlib import import_module
from typing import Any

__version__ = "0.1.0"

_HOMES = {
    "Panel": "napari_apollo.panels",
    "Study": "napari_apollo.study",
    "CellStore": "napari_apollo.cells",
    "Apollo": "napari_apollo.model",
    "segment": "napari_apollo.cells",
    "SegmentConfig": "napari_apollo.cells",
    "crop": "napari_apollo.cells",
    "CropConfig": "napari_apollo.cells",
    "measure": "napari_apollo.measure",
    "MeasureConfig": "napari_apollo.measure",
    "train": "napari_apollo.train",
    "TrainConfig": "napari_apollo.train",
    "predict": "napari_apollo.predict",
    "PredictConfig": "napari_apollo.predict",
    "evaluate": "napari_apollo.predict",
    "EvaluateConfig": "napari_apollo.predict",
    "interpret": "napari_apollo.interpret",
    "InterpretConfig": "napari_apollo.interpret",
}

__all__ = ["__version__", *_HOMES]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return sorted(__all__)
