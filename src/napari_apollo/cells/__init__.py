"""From labelled fields to a store of cells: segmentation, quality, cutting, the cell store.

The names below are imported when first used.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from napari_apollo.cells.config import CropConfig as CropConfig
    from napari_apollo.cells.normalisation import Normalisation as Normalisation
    from napari_apollo.cells.normalisation import NormalisationBuilder as NormalisationBuilder
    from napari_apollo.cells.operation import crop as crop
    from napari_apollo.cells.quality import count_reasons as count_reasons
    from napari_apollo.cells.segmentation import SegmentConfig as SegmentConfig
    from napari_apollo.cells.segmentation import segment as segment
    from napari_apollo.cells.store import CellStore as CellStore
    from napari_apollo.cells.writer import CellStoreWriter as CellStoreWriter

_HOMES = {
    "segment": "napari_apollo.cells.segmentation",
    "SegmentConfig": "napari_apollo.cells.segmentation",
    "crop": "napari_apollo.cells.operation",
    "CropConfig": "napari_apollo.cells.config",
    "CellStore": "napari_apollo.cells.store",
    "CellStoreWriter": "napari_apollo.cells.writer",
    "Normalisation": "napari_apollo.cells.normalisation",
    "NormalisationBuilder": "napari_apollo.cells.normalisation",
    "count_reasons": "napari_apollo.cells.quality",
}

__all__ = [
    "CellStore",
    "CellStoreWriter",
    "CropConfig",
    "Normalisation",
    "NormalisationBuilder",
    "SegmentConfig",
    "count_reasons",
    "crop",
    "segment",
]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return sorted(__all__)
