"""Finding nuclei, and the cell around each.

Names are imported when first used, so that a session that only reads stores loads no image processing.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from napari_apollo.cells.segmentation.config import SegmentConfig as SegmentConfig
    from napari_apollo.cells.segmentation.engines import NucleusEngine as NucleusEngine
    from napari_apollo.cells.segmentation.engines import engine_names as engine_names
    from napari_apollo.cells.segmentation.engines import get_engine as get_engine
    from napari_apollo.cells.segmentation.expand import expand_nuclei as expand_nuclei
    from napari_apollo.cells.segmentation.image import segment_image as segment_image
    from napari_apollo.cells.segmentation.operation import segment as segment

_HOMES = {
    "NucleusEngine": "engines",
    "SegmentConfig": "config",
    "engine_names": "engines",
    "expand_nuclei": "expand",
    "get_engine": "engines",
    "segment": "operation",
    "segment_image": "image",
}

__all__ = [
    "NucleusEngine",
    "SegmentConfig",
    "engine_names",
    "expand_nuclei",
    "get_engine",
    "segment",
    "segment_image",
]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
