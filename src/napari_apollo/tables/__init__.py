"""Tables of cells: reading AnnData and MuData, checking, matching by name, preparing, and scoring latents."""

from napari_apollo.tables.matching import Matched, match_cells
from napari_apollo.tables.preparing import PREPARATIONS, Prepared, filter_tables, prepare
from napari_apollo.tables.reading import Table, open_tables

__all__ = [
    "PREPARATIONS",
    "Matched",
    "Prepared",
    "Table",
    "filter_tables",
    "match_cells",
    "open_tables",
    "prepare",
]
