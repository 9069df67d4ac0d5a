"""Names of a package that are imported when first used.

Listing the plugin must not load torch, and reading a study must not load image processing. What a
package offers stands once, in the ``__init__.pyi`` beside its ``__init__.py``: type checkers and
editors read it there, and so does this module. (The library ``lazy_loader`` does the same, but the
rooms of networks and training have to run where torch and NumPy are all there is.)
"""

from __future__ import annotations

import ast
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import Any


def lazy_names(package: str, file: str) -> tuple[Callable[[str], Any], Callable[[], list[str]], list[str]]:
    """What a package offers, for its ``__getattr__``, ``__dir__`` and ``__all__``.

    Parameters
    ----------
    package, file
        ``__name__`` and ``__file__`` of the package; ``from MODULE import NAME as NAME`` in the stub
        beside it say where its names are.
    """
    homes = _homes(Path(file).with_suffix(".pyi"))

    def get(name: str) -> Any:
        if name not in homes:
            raise AttributeError(f"module {package!r} has no attribute {name!r}")
        return getattr(import_module(homes[name], package), name)

    names = sorted(homes)
    return get, lambda: list(names), list(names)


def _homes(stub: Path) -> dict[str, str]:
    """Module of every name in a package's stub; relative ones with their leading dots."""
    return {
        alias.name: "." * statement.level + (statement.module or "")
        for statement in ast.parse(stub.read_text("utf-8")).body
        if isinstance(statement, ast.ImportFrom)
        for alias in statement.names
    }
