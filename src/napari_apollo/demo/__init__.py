"""The demonstration: bundled real images taken through the whole chain.

The names below are imported when first used.
"""

from __future__ import annotations

from importlib import import_module
from typing import Any

_HOMES = {
    "DemoConfig": "config",
    "DemoResults": "results",
    "SampleResults": "results",
    "demo": "chain",
}

__all__ = ["DemoConfig", "DemoResults", "SampleResults", "demo"]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)


def __dir__() -> list[str]:
    return sorted(__all__)
