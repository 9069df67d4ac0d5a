"""Morphology, intensity, texture and foci of cells, exact and fast."""

from typing import Any

from napari_apollo.measure.config import MeasureConfig
from napari_apollo.measure.field import measure_field

__all__ = ["MeasureConfig", "measure", "measure_field"]


def __getattr__(name: str) -> Any:
    # Fields can be measured without loading what a cell store needs.
    if name != "measure":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from napari_apollo.measure.store import measure

    return measure
