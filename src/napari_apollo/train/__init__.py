"""Training: from a cell store to a model, in this process or in one of its own.

The names are imported when first used; the loop and the objectives need torch and NumPy alone.
"""

from __future__ import annotations

from importlib import import_module
from typing import Any

from napari_apollo.calling import make_callable

_HOMES = {
    "train": "operation",
    "TrainConfig": "config",
    "start_run": "run",
    "Run": "run",
    "RunStatus": "folder",
}

__all__ = list(_HOMES)


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)


def __dir__() -> list[str]:
    return sorted(__all__)


make_callable(__name__)
