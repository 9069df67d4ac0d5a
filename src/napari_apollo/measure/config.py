"""Settings of measuring."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import Field

from napari_apollo.config import OperationConfig

FamilyName = Literal["shape", "intensity"]


class MeasureConfig(OperationConfig):
    """Settings of measuring."""

    families: tuple[FamilyName, ...] = ("shape", "intensity")
    """Families of features to measure; leave one out to switch it off."""

    batch: int = Field(512, ge=1, le=100_000)
    """Cells measured at a time by one worker; memory grows with it."""

    tile_px: int = Field(2048, ge=64, le=65_536)
    """Side, in pixels, of the tiles in which a field is read; it does not change any value."""

    workers: int | None = Field(None, ge=1, le=1024)
    """Threads on this machine; every core where not given."""

    scheduler: str | None = None
    """Address of a Dask scheduler to run on, for example tcp://host:8786."""
