"""Morphology, intensity, texture and foci of cells, exact and fast.

The names below are imported when first used.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from napari_apollo.calling import make_callable

if TYPE_CHECKING:
    from napari_apollo.measure.config import MeasureConfig as MeasureConfig
    from napari_apollo.measure.field import measure_field as measure_field
    from napari_apollo.measure.points import find_foci as find_foci
    from napari_apollo.measure.points import store_foci as store_foci
    from napari_apollo.measure.reduction import ReduceConfig as ReduceConfig
    from napari_apollo.measure.reduction import reduce_features as reduce_features
    from napari_apollo.measure.store import measure as measure
    from napari_apollo.measure.study import measure_study as measure_study
    from napari_apollo.measure.volume import measure_stack as measure_stack

_HOMES = {
    "measure": "napari_apollo.measure.store",
    "MeasureConfig": "napari_apollo.measure.config",
    "measure_field": "napari_apollo.measure.field",
    "find_foci": "napari_apollo.measure.points",
    "measure_study": "napari_apollo.measure.study",
    "measure_stack": "napari_apollo.measure.volume",
    "ReduceConfig": "napari_apollo.measure.reduction",
    "reduce_features": "napari_apollo.measure.reduction",
    "store_foci": "napari_apollo.measure.points",
}

__all__ = [
    "MeasureConfig",
    "ReduceConfig",
    "find_foci",
    "measure",
    "measure_field",
    "measure_stack",
    "measure_study",
    "reduce_features",
    "store_foci",
]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return sorted(__all__)


make_callable(__name__)
