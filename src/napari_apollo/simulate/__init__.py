"""Data with known truth: paired tables, and images of two-panel blood cells."""

from napari_apollo.simulate.tables import TABLE_SETS, TableDesign, TableSet, simulate_tables

__all__ = ["TABLE_SETS", "TableDesign", "TableSet", "simulate_tables"]
