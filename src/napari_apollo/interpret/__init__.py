"""What a representation holds: meaning of latents, phenotypes, probes, scores against known truth.

Names are imported when first used: settings and tables need no torch.
"""

from __future__ import annotations

from napari_apollo.calling import make_callable
from napari_apollo.lazy import lazy_names

__getattr__, __dir__, __all__ = lazy_names(__name__, __file__)

make_callable(__name__)
