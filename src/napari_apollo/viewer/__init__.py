"""Everything that touches napari: layers, tables, readers, sample data.

Names are imported when first used, so that listing the plugin loads nothing.
"""

from __future__ import annotations

from importlib import import_module
from typing import Any

_HOMES = {
    "add_foci": "foci",
    "add_predictions": "overlay",
    "attach_table": "tables",
    "dock": "docking",
    "find_layers": "layers",
    "open_study": "open",
    "session_of": "state",
    "show_demo": "show",
    "show_results": "show",
}

__all__ = list(_HOMES)


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)


def __dir__() -> list[str]:
    return sorted(__all__)
