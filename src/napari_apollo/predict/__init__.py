"""Predictions of a model, how good they are, and the canvas that puts them back into the image.

Names are imported when first used: looking at predictions needs no torch.
"""

from __future__ import annotations

from napari_apollo.calling import make_callable
from napari_apollo.lazy import lazy_names

__getattr__, __dir__, __all__ = lazy_names(__name__, __file__)

make_callable(__name__)
