"""Data with known truth: paired tables, and images of two-panel blood cells."""

from napari_apollo.simulate.crops import CROP_EXTENT_UM, SimulatedCrops, simulate_crops
from napari_apollo.simulate.fields import SceneConfig, SimulatedField, make_donor, simulate_field
from napari_apollo.simulate.population import (
    CELL_FACTORS,
    CELL_TYPES,
    CONDITIONS,
    PANELS,
    STAINS,
    CellFactor,
    Donor,
)
from napari_apollo.simulate.study import SimulateConfig, sample_blood_cells, simulate
from napari_apollo.simulate.tables import TABLE_SETS, TableDesign, TableSet, simulate_tables

__all__ = [
    "CELL_FACTORS",
    "CELL_TYPES",
    "CONDITIONS",
    "CROP_EXTENT_UM",
    "PANELS",
    "STAINS",
    "TABLE_SETS",
    "CellFactor",
    "Donor",
    "SceneConfig",
    "SimulateConfig",
    "SimulatedCrops",
    "SimulatedField",
    "TableDesign",
    "TableSet",
    "make_donor",
    "sample_blood_cells",
    "simulate",
    "simulate_crops",
    "simulate_field",
    "simulate_tables",
]
