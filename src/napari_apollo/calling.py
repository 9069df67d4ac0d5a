"""Rooms that bear the name of their main function.

``napari_apollo.predict`` is a package, and the function that everybody wants from it. Python puts a package
into its parent under its name as soon as anything in it is imported, over whatever stood there, so
the package itself is made callable: ``napari_apollo.predict(...)`` works whatever was imported before.
"""

from __future__ import annotations

import sys
from types import ModuleType
from typing import Any


class _Callable(ModuleType):
    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return getattr(self, self.__name__.rpartition(".")[2])(*args, **kwargs)


def make_callable(package: str) -> None:
    """Let a call of a package be a call of its function of the same name."""
    sys.modules[package].__class__ = _Callable
