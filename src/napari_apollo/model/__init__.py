"""Modalities, encoders, decoders, and the model that is saved and shared.

The names are imported when first used: the networks need torch alone, the model file pydantic and
safetensors besides.
"""

from __future__ import annotations

from napari_apollo.lazy import lazy_names

__getattr__, __dir__, __all__ = lazy_names(__name__, __file__)
