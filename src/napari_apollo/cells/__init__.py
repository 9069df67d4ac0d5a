"""From labelled fields to a store of cells: segmentation, quality, cutting, the cell store.

The names below are imported when first used.
"""

from __future__ import annotations

from importlib import import_module
from typing import Any

_HOMES = {
    "segment": "napari_apollo.cells.segmentation",
    "SegmentConfig": "napari_apollo.cells.segmentation",
    "crop": "napari_apollo.cells.crop",
    "CropConfig": "napari_apollo.cells.crop",
    "CellStore": "napari_apollo.cells.store",
    "CellStoreWriter": "napari_apollo.cells.writer",
    "Normalisation": "napari_apollo.cells.normalisation",
    "NormalisationBuilder": "napari_apollo.cells.normalisation",
}

__all__ = [
    "CellStore",
    "CellStoreWriter",
    "CropConfig",
    "Normalisation",
    "NormalisationBuilder",
    "SegmentConfig",
    "crop",
    "segment",
]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return sorted(__all__)
