"""Studies: which images there are, whose cells they show, and how to read them."""

from __future__ import annotations

from napari_apollo.study.check import Examination
from napari_apollo.study.discover import DiscoverConfig, discover
from napari_apollo.study.fields import Split, StudyField
from napari_apollo.study.images import FieldImage, open_field
from napari_apollo.study.labels import LabelImage, open_labels
from napari_apollo.study.manifest import Manifest, read_manifest
from napari_apollo.study.study import Study
from napari_apollo.study.values import channel_problems, require_finite

__all__ = [
    "DiscoverConfig",
    "Examination",
    "FieldImage",
    "LabelImage",
    "Manifest",
    "Split",
    "Study",
    "StudyField",
    "channel_problems",
    "discover",
    "open_field",
    "open_labels",
    "read_manifest",
    "require_finite",
]
