"""Measuring a batch of cells: every family that is switched on, in physical units."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from napari_apollo.measure import (
    boundary,
    colocalisation,
    compat,
    condensation,
    foci,
    intensity,
    moments,
    protein,
    radial,
    shape,
    texture,
)
from napari_apollo.measure.gather import Cells
from napari_apollo.measure.reasons import Reason
from napari_apollo.measure.registry import Column, Context, Family, Values, Why

FAMILIES: dict[str, Family] = {
    family.name: family
    for family in (
        shape.FAMILY,
        boundary.FAMILY,
        intensity.FAMILY,
        condensation.FAMILY,
        texture.FAMILY,
        moments.FAMILY,
        radial.FAMILY,
        colocalisation.FAMILY,
        protein.FAMILY,
        foci.FAMILY,
        compat.FAMILY,
    )
}
"""Every family measured cell by cell, in the order of their columns. Neighbours need all cells at once."""


@dataclass(frozen=True)
class Measured:
    """Values of a batch.

    Attributes
    ----------
    values
        (cell, column) float64; lengths in micrometres where the pixel size is known.
    why
        (cell, column) uint8; a ``Reason`` for every NaN, else 0.
    """

    values: Values
    why: Why


def columns_of(context: Context) -> list[Column]:
    """Columns of a context, in order."""
    return [column for name in families_of(context) for column in FAMILIES[name].columns(context)]


def union_of(parts: Sequence[Sequence[Column]]) -> list[Column]:
    """Columns of several contexts, each once, families together."""
    seen: dict[str, Column] = {}
    for family in FAMILIES:
        for columns in parts:
            for column in columns:
                if column.family == family:
                    seen.setdefault(column.name, column)
    return list(seen.values())


def measure_cells(cells: Cells, context: Context, pixel_size_um: float | None) -> Measured:
    """Measure a batch of cells.

    Parameters
    ----------
    cells
        The cells.
    context
        Stains and settings.
    pixel_size_um
        Side of a pixel in micrometres, or None where it is not known: lengths stay in pixels.
    """
    parts = [FAMILIES[name].measure(cells, context) for name in families_of(context)]
    count = len(cells.height)
    values = np.concatenate([np.empty((count, 0)), *(part[0] for part in parts)], axis=1)
    why = np.concatenate([np.empty((count, 0), np.uint8), *(part[1] for part in parts)], axis=1)
    columns = columns_of(context)
    to_units(values, columns, pixel_size_um)
    for stain in context.stains:
        damaged = cells.damaged[:, context.channel(stain)]
        if damaged.any():
            own = np.array([stain in column.stains for column in columns], bool)
            values[np.ix_(damaged, own)] = np.nan
            why[np.ix_(damaged, own)] = Reason.NOT_FINITE
    unexplained = ~np.isfinite(values)
    # What could be measured after all needs no reason.
    why[~unexplained] = Reason.MEASURED
    values[unexplained] = np.nan
    why[unexplained & (why == 0)] = Reason.UNDEFINED
    return Measured(values, why)


def to_units(values: Values, columns: Sequence[Column], pixel_size_um: float | None) -> None:
    """Turn values (cell, column) from pixels into micrometres, in place, where the pixel size is known."""
    if pixel_size_um is None:
        return
    values *= np.array([pixel_size_um**column.feature.power for column in columns])


def families_of(context: Context) -> list[str]:
    """Families that a context measures, in the order of their columns."""
    space = context.config.name_space
    chosen: set[str] = set(context.config.families) if space != "compat" else set()
    if space != "default":
        chosen.add("compat")
    return [name for name in FAMILIES if name in chosen]
