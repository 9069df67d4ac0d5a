"""From labelled fields to a store of cells: segmentation, quality, cutting, the cell store.

The names below are imported when first used.
"""

from __future__ import annotations

from napari_apollo.lazy import lazy_names

__getattr__, __dir__, __all__ = lazy_names(__name__, __file__)
