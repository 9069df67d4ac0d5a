"""Settings of measuring."""

from __future__ import annotations

from typing import Annotated, Literal, get_args

from pydantic import Field

from napari_apollo.config import OperationConfig

FamilyName = Literal[
    "shape",
    "boundary",
    "intensity",
    "condensation",
    "texture",
    "moments",
    "radial",
    "colocalisation",
    "neighbours",
    "protein",
    "foci",
]
RegionName = Literal["nucleus", "cytoplasm", "cell"]

ALL_FAMILIES: tuple[FamilyName, ...] = get_args(FamilyName)


class MeasureConfig(OperationConfig):
    """Settings of measuring."""

    families: tuple[FamilyName, ...] = ALL_FAMILIES
    """Families of features to measure; leave one out to switch it off."""

    name_space: Literal["default", "compat", "both"] = "default"
    """Features of this package, those published as chrometrics (nmco) under their names, or both."""

    compat_lags_px: tuple[Annotated[int, Field(ge=1, le=256)], ...] = Field((1, 5, 20, 25), min_length=1)
    """Distances, in pixels, of the published texture features."""

    compat_white: float | None = Field(None, gt=0, allow_inf_nan=False)
    """Intensity that counts as grey level 255 for published features; the pixel type's largest if absent."""

    condensation_alpha: float = Field(1.0, ge=-3, le=10)
    """Chromatin counts as dense from this many standard deviations above the mean of the nucleus."""

    texture_distances_px: tuple[Annotated[int, Field(ge=1, le=256)], ...] = Field((1, 3, 5), min_length=1)
    """Distances, in pixels, of the pairs of pixels whose grey levels are compared."""

    texture_levels: int = Field(32, ge=2, le=256)
    """Grey levels into which each region's own range of intensities is divided for texture."""

    texture_regions: tuple[RegionName, ...] = Field(("nucleus",), min_length=1)
    """Regions whose texture is measured."""

    protein_grow_px: int = Field(2, ge=0, le=64)
    """Pixels by which the nucleus is grown, within the cell, for the ten statistics of each protein."""

    neighbours_radius_um: float = Field(20.0, gt=0, le=1e6)
    """Radius, in micrometres, within which other cells are counted; pixels where no pixel size is known."""

    foci_stains: tuple[str, ...] | None = None
    """Stains whose foci are counted; gammaH2AX, 53BP1 and other known foci markers where not given."""

    foci_sigma_px: float = Field(1.3, ge=0.7, le=10)
    """Width of a focus in pixels: standard deviation of a Gaussian, full width at half height / 2.355."""

    foci_significance: float = Field(4.1, ge=1, le=50)
    """Standard deviations by which a focus must stand out; higher finds fewer and surer ones."""

    expand_px: float | None = Field(None, ge=0, le=1000)
    """Pixels by which the cell region goes beyond the nucleus where fields are measured; a quarter of the
    field's median nuclear diameter where not given. A cell store brings its own cell regions."""

    batch: int = Field(512, ge=1, le=100_000)
    """Cells measured at a time by one worker; memory grows with it."""

    largest_cell_px: int = Field(4096, ge=16, le=65_536)
    """Longest side, in pixels, that the box around a cell of a field may have; a label that reaches further
    is refused, as one scattered over the field would be read whole."""

    tile_px: int = Field(2048, ge=64, le=65_536)
    """Side, in pixels, of the tiles in which a field is read; it does not change any value."""

    workers: int | None = Field(None, ge=1, le=1024)
    """Threads on this machine; every core where not given."""

    scheduler: str | None = None
    """Address of a Dask scheduler to run on, for example tcp://host:8786."""

    def measures(self, family: FamilyName) -> bool:
        """Whether a family is measured."""
        return self.name_space != "compat" and family in self.families

    @property
    def with_neighbours(self) -> bool:
        """Whether neighbours are measured."""
        return self.measures("neighbours")
