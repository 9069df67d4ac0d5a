"""Finding nuclei, and the cell around each.

Names are imported when first used, so that a session that only reads stores loads no image processing.
"""

from __future__ import annotations

from napari_apollo.lazy import lazy_names

__getattr__, __dir__, __all__ = lazy_names(__name__, __file__)
