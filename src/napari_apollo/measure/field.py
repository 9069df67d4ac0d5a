"""Measuring a field: an image and its labels, read tile by tile."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from napari_apollo.errors import DataError
from napari_apollo.measure import neighbours
from napari_apollo.measure.compiled import say_if_compiling
from napari_apollo.measure.config import MeasureConfig
from napari_apollo.measure.engine import Measured, columns_of, families_of, measure_cells, to_units
from napari_apollo.measure.foci import require_foci_stains
from napari_apollo.measure.gather import nucleus_centres
from napari_apollo.measure.parts import FieldParts
from napari_apollo.measure.reasons import Reason, count_reasons
from napari_apollo.measure.registry import Column, Context, Values, Why, white_of
from napari_apollo.measure.table import describe
from napari_apollo.panels import Role, canonical_stain, role_of
from napari_apollo.progress import Progress, ShouldStop, Step, never, silent
from napari_apollo.tasks import map_tasks


def measure_field(
    image: Any,
    labels: Any,
    cells: Any | None,
    stains: Sequence[str],
    pixel_size_um: float | tuple[float, float] | None = None,
    config: MeasureConfig | None = None,
    *,
    anchor: str | None = None,
    progress: Progress = silent,
    should_stop: ShouldStop = never,
) -> pd.DataFrame:
    """Measure every labelled cell of a field.

    The result does not depend on tiles, threads, the numbers of the labels, other cells (but for the
    family ``neighbours``) or the order of the channels.

    Parameters
    ----------
    image
        (stain, y, x), any real number type, intensities as acquired; an array or anything that is
        sliced like one (dask, zarr, memory map). Only the tile at hand is read.
    labels
        (y, x) whole numbers; nuclei, 0 is background. An array or sliced like one.
    cells
        (y, x) whole cells under the numbers of their nuclei, or None where only nuclei are known.
    stains
        Stain of every channel.
    pixel_size_um
        Side of a pixel in micrometres; lengths are in pixels where it is not given.
    config
        Settings; the defaults where not given.
    anchor
        The DNA stain; the first stain that can be one where not given.
    progress, should_stop
        Told the cells done; asked between batches.

    Returns
    -------
    pandas.DataFrame
        One float64 column a feature, one row a nucleus, indexed by ``label`` in ascending order.
        ``attrs["var"]`` says of every column its ``family``, ``region``, ``stain``, ``unit`` and
        ``description``; ``attrs["missing"]`` counts missing values by reason.

    Raises
    ------
    DataError
        When shapes, types or stains do not fit.
    UnknownStain
        When ``config.foci_stains`` names a stain that the image does not have.
    Cancelled
        When ``should_stop`` says so.
    """
    if config is not None:
        require_foci_stains(config, map(canonical_stain, stains), "the image")
    field = measure_cells_of_field(
        image, labels, cells, stains, pixel_size_um, config or MeasureConfig(), anchor, progress, should_stop
    )
    names = [column.name for column in field.columns]
    table = pd.DataFrame(field.values, index=pd.Index(field.ids, name="label"), columns=names)
    table.attrs["var"] = describe(field.columns, field.pixel_size_um).to_dict("index")
    table.attrs["missing"] = count_reasons(field.why)
    return table


@dataclass(frozen=True)
class MeasuredField:
    """Every cell of a field with its features.

    Attributes
    ----------
    ids
        (n,) int64 labels, ascending.
    centres
        (n, 2) float64 centroids of the nuclei (y, x), pixels.
    columns
        What is measured.
    values, why
        (n, column); features, and a ``Reason`` for every NaN.
    pixel_size_um
        Side of a pixel; None where lengths are in pixels.
    """

    ids: NDArray[np.int64]
    centres: NDArray[np.float64]
    columns: list[Column]
    values: Values
    why: Why
    pixel_size_um: float | None


def measure_cells_of_field(
    image: Any, labels: Any, cells: Any | None, stains: Sequence[str],
    pixel_size_um: float | tuple[float, float] | None, config: MeasureConfig, anchor: str | None,
    progress: Progress, should_stop: ShouldStop,
) -> MeasuredField:  # fmt: skip
    """What ``measure_field`` makes its table from; arguments and errors are the same."""
    context = make_context(stains, anchor, config, white_of(image.dtype, config))
    size = square_pixel(pixel_size_um)
    say_if_compiling(families_of(context), progress)
    parts = FieldParts(image, labels, cells, len(context.stains), config, should_stop)
    ids, batches = parts.ids, parts.batches
    run = partial(_measure_batch, parts, context, size)
    columns = columns_of(context)
    values = np.full((len(ids), len(columns)), np.nan)
    why = np.zeros(values.shape, np.uint8)
    centres, contact = np.full((len(ids), 2), np.nan), np.full((len(ids), 2), np.nan)
    done = 0
    results = map_tasks(run, batches, workers=config.workers, should_stop=should_stop)
    for batch, part in zip(batches, results, strict=True):
        values[batch], why[batch] = part.measured.values, part.measured.why
        centres[batch], contact[batch] = part.centres, part.contact
        done += len(batch)
        progress(Step("Measuring", done, len(ids)))
    if config.with_neighbours:
        around, why_around = neighbours_of(centres, contact, size, config)
        values, why = np.hstack([values, around]), np.hstack([why, why_around])
        columns = [*columns, *neighbours.COLUMNS]
    return MeasuredField(ids, centres, columns, values, why, size)


def neighbours_of(
    centres: NDArray[np.float64],
    contact: NDArray[np.float64] | None,
    pixel_size_um: float | None,
    config: MeasureConfig,
) -> tuple[Values, Why]:
    """Neighbour features of the cells of one image, in physical units where the pixel size is known."""
    radius = config.neighbours_radius_um / (pixel_size_um or 1.0)
    values, why = neighbours.measure_positions(centres, radius)
    if contact is not None:
        values[:, -2:] = contact
        why[:, -2:] = np.where(np.isnan(contact), Reason.NO_REGION, Reason.MEASURED)
    to_units(values, neighbours.COLUMNS, pixel_size_um)
    return values, why


def make_context(
    stains: Sequence[str], anchor: str | None, config: MeasureConfig, white: float = 255.0
) -> Context:
    """Context of a list of channels.

    Raises
    ------
    DataError
        When a stain stands twice, or the anchor is not among the stains.
    """
    names = tuple(canonical_stain(stain) for stain in stains)
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise DataError(f"The stains {', '.join(twice)} stand more than once in {', '.join(names)}.")
    if anchor is None:
        anchor = next((name for name in names if role_of(name) is Role.ANCHOR), "")
    elif canonical_stain(anchor) not in names:
        raise DataError(f"The anchor {anchor} is not among the stains {', '.join(names)}.")
    return Context(names, canonical_stain(anchor) if anchor else "", config, white)


def square_pixel(size: float | tuple[float, float] | None) -> float | None:
    """Side of a square pixel in micrometres.

    Raises
    ------
    DataError
        When it is not a positive number, or pixels are not square to within a thousandth.
    """
    if size is None:
        return None
    sides = np.atleast_1d(np.asarray(size, float))
    if not (np.all(np.isfinite(sides)) and np.all(sides > 0)):
        raise DataError(f"A pixel size of {size} µm cannot be; give a positive number.")
    if sides.max() > 1.001 * sides.min():
        raise DataError(f"Pixels of {size} µm are not square; resample the field to square pixels first.")
    return float(sides.mean())


@dataclass(frozen=True)
class _Part:
    """What is measured of one batch of cells: features, nucleus centroids, contacts with other cells."""

    measured: Measured
    centres: NDArray[np.float64]
    contact: NDArray[np.float64]


def _measure_batch(
    parts: FieldParts, context: Context, pixel_size_um: float | None, batch: NDArray[np.intp]
) -> _Part:
    gathered, around, (top, left) = parts.gather(batch, context.margin)
    return _Part(
        measure_cells(gathered, context, pixel_size_um),
        nucleus_centres(gathered, top, left),
        neighbours.contacts(around.nuclei, around.cells, parts.ids[batch], around.boxes),
    )
