"""What a feature is: the single source of column names, units, the AnnData ``var`` and docs/features.md.

A family lists its features and measures all of them for a batch of cells in compiled
code. Column names are ``<region>_<feature>``, ``<region>_<feature>_<stain>`` or
``<region>_<feature>_<stain>_<stain>``; they never change with units, which ``var["unit"]`` carries.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import DTypeLike, NDArray

from napari_apollo.measure.config import MeasureConfig
from napari_apollo.measure.gather import Cells

INTENSITY = "intensity"
"""Unit of what was acquired: the numbers in the file."""
OWN = "this package"
"""Source of a definition that is taken from nowhere else."""


@dataclass(frozen=True)
class Feature:
    """Definition of a feature.

    Attributes
    ----------
    name
        Part of the column name after the region.
    formula
        How it is computed, in words or symbols.
    power
        Exponent of length in its unit: 1 a length, 2 an area, -1 a curvature.
    unit
        Unit where it has nothing to do with length, for example ``"intensity"``; else empty.
    source
        Where the definition comes from; empty where it is this package's own.
    missing
        What NaN means.
    turns
        Whether turning the image changes the value, as it should for angles and boxes.
    """

    name: str
    formula: str
    power: int = 0
    unit: str = ""
    source: str = ""
    missing: str = ""
    turns: bool = False

    @property
    def origin(self) -> str:
        """Where the definition comes from, this package included."""
        return self.source or OWN

    def unit_in(self, length: str) -> str:
        """Unit as text, with ``length`` (µm or px) for lengths; 1 where there is none."""
        if not self.power:
            return self.unit or "1"
        exponent = {1: "", 2: "²", 3: "³", -1: "⁻¹", -2: "⁻²"}[self.power]
        return f"{self.unit} {length}{exponent}".strip()


@dataclass(frozen=True)
class Column:
    """A feature of one region and of none, one or two stains: a column of the table."""

    family: str
    feature: Feature
    region: str = ""
    stains: tuple[str, ...] = ()
    label: str = ""

    @property
    def name(self) -> str:
        """Name of the column."""
        return self.label or "_".join(part for part in (self.region, self.feature.name, *self.stains) if part)


@dataclass(frozen=True)
class Context:
    """What a batch of cells is measured with.

    Attributes
    ----------
    stains
        Stain of every channel, in the order of the channels.
    anchor
        The DNA stain, empty where there is none.
    config
        The settings.
    white
        Intensity that counts as grey level 255 where features are defined on grey levels.
    """

    stains: tuple[str, ...]
    anchor: str
    config: MeasureConfig
    white: float = 255.0

    def channel(self, stain: str) -> int:
        """Channel of a stain."""
        return self.stains.index(stain)

    @property
    def margin(self) -> int:
        """Pixels around the cell that features look at."""
        return 0 if self.config.name_space == "default" else 2

    @property
    def sorted_stains(self) -> tuple[str, ...]:
        """Stains in the order of columns, which does not depend on the order of channels."""
        return tuple(sorted(self.stains, key=lambda stain: (stain != self.anchor, stain.casefold(), stain)))


def white_of(dtype: DTypeLike, config: MeasureConfig) -> float:
    """Intensity that counts as grey level 255: as configured, else the pixel type's largest, 1 for floats."""
    if config.compat_white is not None:
        return config.compat_white
    kind = np.dtype(dtype)
    return float(np.iinfo(kind).max) if kind.kind in "iu" else 1.0


Values = NDArray[np.float64]
Why = NDArray[np.uint8]


@dataclass(frozen=True)
class Family:
    """Features that are computed together.

    Attributes
    ----------
    name
        What it is switched on and off by.
    summary
        One sentence for the documentation.
    columns
        Columns for a context, in the order in which ``measure`` returns them.
    measure
        Values in pixels (cell, column) and reason codes for a batch of cells.
    """

    name: str
    summary: str
    columns: Callable[[Context], Sequence[Column]]
    measure: Callable[[Cells, Context], tuple[Values, Why]]


def blank(cells: int, columns: int) -> tuple[Values, Why]:
    """Room for values, all missing, and their reasons."""
    return np.full((cells, columns), np.nan), np.zeros((cells, columns), np.uint8)
