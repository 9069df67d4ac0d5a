"""Settings of segmentation."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Literal

from pydantic import Field

from napari_apollo.config import OperationConfig
from napari_apollo.errors import ConfigError


class SegmentConfig(OperationConfig):
    """How nuclei are found, and where the label images go."""

    output: Path = Path("segmentation")
    """Folder to write to: label images under labels/, and study.csv that names them."""
    engine: Literal["nuclei", "threshold", "labels"] = "nuclei"
    """How nuclei are found: nuclei (a small network trained on annotated nuclei), threshold (local contrast
    and shape) or labels (take the label images that the study names)."""
    stain: str | None = None
    """DNA stain that shows the nuclei; the anchor of each field's panel where not given."""
    diameter: float | None = Field(default=None, gt=0, le=1000)
    """Typical diameter of a nucleus; estimated for each field where not given."""
    diameter_unit: Literal["px", "um"] = "px"
    """Unit of the diameter: image pixels, or micrometres (the fields' pixel size must then be known)."""
    relabel: bool = False
    """Engine labels: number nuclei anew where numbers are missing, instead of refusing the label image."""
    tile: int = Field(default=2048, ge=64, le=8192)
    """Largest side of the square, in pixels, that is worked on at a time; bounds memory, never changes the
    result."""
    workers: int | None = Field(default=None, ge=1, le=1024)
    """Tiles worked on at the same time on this machine; one for every core where not given."""
    scheduler: str | None = None
    """Address of a Dask scheduler to work on instead of this machine, for example tcp://host:8786."""
    overwrite: bool = False
    """Replace label images that are in the output folder already."""

    def diameter_px(self, pixel_size_um: tuple[float, float] | None, where: str) -> float | None:
        """Diameter of a nucleus in pixels, where one is given.

        Parameters
        ----------
        pixel_size_um
            Height and width of a pixel in micrometres, where known.
        where
            What to call the field in an error.

        Raises
        ------
        ConfigError
            When it is given in micrometres and the pixel size is not known.
        """
        if self.diameter is None or self.diameter_unit == "px":
            return self.diameter
        if pixel_size_um is None:
            raise ConfigError(
                f"{where}: the diameter of a nucleus is given in micrometres, but the pixel size is not "
                "known. Give the diameter in pixels, or pixel_size_um in the manifest."
            )
        return self.diameter / math.sqrt(pixel_size_um[0] * pixel_size_um[1])
