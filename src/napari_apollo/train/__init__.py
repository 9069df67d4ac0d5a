"""Training: from a cell store to a model, in this process or in one of its own.

The names are imported when first used; the loop and the objectives need torch and NumPy alone.
"""

from __future__ import annotations

from napari_apollo.calling import make_callable
from napari_apollo.lazy import lazy_names

__getattr__, __dir__, __all__ = lazy_names(__name__, __file__)

make_callable(__name__)
