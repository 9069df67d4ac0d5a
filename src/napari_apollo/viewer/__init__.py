"""Everything that touches napari: layers, tables, readers, sample data.

Names are imported when first used, so that listing the plugin loads nothing.
"""

from __future__ import annotations

from napari_apollo.lazy import lazy_names

__getattr__, __dir__, __all__ = lazy_names(__name__, __file__)
