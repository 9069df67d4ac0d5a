"""Real sample images that come with the package, as studies ready to work on.

Their sources and licences are in ``LICENSES.md`` beside them. Neither source states a pixel size, so
these studies have none and their sizes are in pixels.
"""

from __future__ import annotations

from napari_apollo.samples.bundled import (
    LYMPH_NODE_PANELS,
    LYMPH_NODE_STAINS,
    licences,
    lymph_node,
    sample_path,
    u2os_wells,
)
from napari_apollo.samples.panels import (
    Block,
    TwoPanels,
    divide_into_panels,
    panel_map,
    two_panel_study,
)

__all__ = [
    "LYMPH_NODE_PANELS",
    "LYMPH_NODE_STAINS",
    "Block",
    "TwoPanels",
    "divide_into_panels",
    "licences",
    "lymph_node",
    "panel_map",
    "sample_path",
    "two_panel_study",
    "u2os_wells",
]
