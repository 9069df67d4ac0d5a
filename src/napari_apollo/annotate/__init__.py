"""People's words about cells: classes, journals that outlive a crash, agreement, suggestions."""

from __future__ import annotations

from napari_apollo.annotate.agreement import agreement_table, cohen_kappa, consensus
from napari_apollo.annotate.annotations import CLASS_COLOURS, Annotations
from napari_apollo.annotate.files import (
    annotation_folder,
    annotators_of,
    open_annotations,
    read_annotations,
)
from napari_apollo.annotate.journal import Journal, read_journal
from napari_apollo.annotate.results import annotation_table, export_annotations, write_annotations
from napari_apollo.annotate.suggest import Suggestions, cell_features, suggest

__all__ = [
    "CLASS_COLOURS",
    "Annotations",
    "Journal",
    "Suggestions",
    "agreement_table",
    "annotation_folder",
    "annotation_table",
    "annotators_of",
    "cell_features",
    "cohen_kappa",
    "consensus",
    "export_annotations",
    "open_annotations",
    "read_annotations",
    "read_journal",
    "suggest",
    "write_annotations",
]
