"""Morphology, intensity, texture and foci of cells, exact and fast.

The names below are imported when first used.
"""

from __future__ import annotations

from napari_apollo.calling import make_callable
from napari_apollo.lazy import lazy_names

__getattr__, __dir__, __all__ = lazy_names(__name__, __file__)

make_callable(__name__)
