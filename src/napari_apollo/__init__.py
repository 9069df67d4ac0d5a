"""What a cell's chromatin says about its proteins, across stain panels.

The names below are imported when first used, so that napari can list the plugin, and a script can
read a study, without loading torch.
"""

from __future__ import annotations

from napari_apollo.lazy import lazy_names

__version__ = "0.1.0"

__getattr__, __dir__, _names = lazy_names(__name__, __file__)

__all__ = ["__version__", *_names]
