"""Settings of cutting."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import Field, model_validator

from napari_apollo.cells.cutting import Neighbours
from napari_apollo.cells.normalisation import GroupBy, Method
from napari_apollo.cells.quality import REASONS, Reason
from napari_apollo.config import OperationConfig


class CropConfig(OperationConfig):
    """How cells are cut out of labelled fields, checked and stored."""

    output: Path = Path("study.cells.zarr")
    """Cell store to write."""
    size: float | None = Field(default=None, gt=0, le=4096)
    """Height and width of a crop; where not given, the smallest of 32, 64, 96, 128, 192 and 256 pixels that
    holds 99 of 100 nuclei with their cell region."""
    expand: float | None = Field(default=None, ge=0, le=1000)
    """Distance by which the cell region goes beyond the nucleus, never into a neighbour; a quarter of the
    median nuclear diameter where not given."""
    unit: Literal["px", "um"] = "px"
    """Unit of size and expand, and, squared, of the area limits: crop pixels, or micrometres (the fields'
    pixel size must then be known)."""
    pixel_size_um: float | None = Field(default=None, gt=0, le=1000, allow_inf_nan=False)
    """Pixel size that every field is brought to, in micrometres; the most frequent one of the fields where
    not given."""
    neighbours: Neighbours = "keep"
    """Pixels that are not the cell's: keep leaves all, blank zeroes other cells, isolate zeroes all but the
    cell."""
    normalise_by: GroupBy = "panel"
    """Cells that share normalisation constants: those of a panel, a donor or a field."""
    normalise: Method = "percentile"
    """Where the constants come from: percentiles of the pixels of cells, or the least and greatest pixel of
    whole fields (minmax)."""
    low_percentile: float = Field(default=1.0, ge=0, lt=50)
    """Percentile that becomes 0."""
    high_percentile: float = Field(default=99.8, gt=50, le=100)
    """Percentile that becomes 1."""
    constant_stains: Literal["refuse", "record"] = "refuse"
    """A stain with one and the same value in a whole field: refuse the study, or record the problem and go
    on."""
    checks: tuple[Reason, ...] = REASONS
    """Quality checks that flag a cell."""
    deviations: float = Field(default=3.0, ge=1, le=20)
    """Robust standard deviations from the study's median at which area, solidity and focus are flagged."""
    area_min: float | None = Field(default=None, ge=0)
    """Least area of a nucleus; estimated where not given."""
    area_max: float | None = Field(default=None, gt=0)
    """Greatest area of a nucleus; estimated where not given."""
    solidity_min: float | None = Field(default=None, ge=0, le=1)
    """Least solidity (area over that of the convex hull); estimated where not given."""
    focus_min: float | None = Field(default=None, ge=0)
    """Least focus (fine detail of the DNA stain over its mean); estimated where not given."""
    saturation_max: float = Field(default=0.05, ge=0, le=1)
    """Greatest fraction of a nucleus that may be saturated in any stain."""
    tile: int = Field(default=2048, ge=64, le=16384)
    """Side in field pixels of what is worked on at a time; bounds memory, never changes the result."""
    workers: int | None = Field(default=None, ge=1, le=1024)
    """Tiles worked on at the same time on this machine; one for every core where not given."""
    scheduler: str | None = None
    """Address of a Dask scheduler to work on instead of this machine, for example tcp://host:8786."""
    overwrite: bool = False
    """Replace a store that exists."""

    @model_validator(mode="after")
    def _rising(self) -> CropConfig:
        if self.area_min is not None and self.area_max is not None and self.area_min >= self.area_max:
            raise ValueError(f"area_min ({self.area_min:g}) must be less than area_max ({self.area_max:g})")
        return self
