"""Measuring a field: an image and its labels, read tile by tile."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from napari_apollo.errors import DataError
from napari_apollo.measure import neighbours
from napari_apollo.measure.config import MeasureConfig
from napari_apollo.measure.engine import Measured, columns_of, measure_cells, to_units
from napari_apollo.measure.gather import gather_field, label_boxes, nucleus_centres
from napari_apollo.measure.reasons import Reason, count_reasons
from napari_apollo.measure.registry import Context, Values, Why
from napari_apollo.measure.table import describe
from napari_apollo.panels import Role, canonical_stain, role_of
from napari_apollo.progress import Progress, ShouldStop, Step, never, silent
from napari_apollo.tasks import map_tasks

Box = tuple[int, int, int, int]


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
    Cancelled
        When ``should_stop`` says so.
    """
    config = config or MeasureConfig()
    field = _Field(image, labels, cells)
    context = make_context(stains, anchor, config)
    field.check(len(context.stains))
    size = square_pixel(pixel_size_um)
    ids, boxes, edge = _find_cells(field, config, should_stop)
    batches = list(_batches(boxes, config))
    run = partial(_measure_batch, field, context, size, ids, boxes, edge)
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
    if "neighbours" in config.families:
        around, why_around = neighbours_of(centres, contact, size, config)
        values, why = np.hstack([values, around]), np.hstack([why, why_around])
        columns = [*columns, *neighbours.COLUMNS]
    table = pd.DataFrame(
        values, index=pd.Index(ids, name="label"), columns=[column.name for column in columns]
    )
    table.attrs["var"] = describe(columns, size).to_dict("index")
    table.attrs["missing"] = count_reasons(why)
    return table


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


def make_context(stains: Sequence[str], anchor: str | None, config: MeasureConfig) -> Context:
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
    return Context(names, canonical_stain(anchor) if anchor else "", config)


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


@dataclass(frozen=True)
class _Field:
    image: Any
    labels: Any
    cells: Any | None

    def check(self, stains: int) -> None:
        shape = tuple(self.labels.shape)
        if len(shape) != 2:
            raise DataError(f"Labels have axes of {shape}; they need (y, x).")
        if tuple(self.image.shape) != (stains, *shape):
            raise DataError(
                f"The image has axes of {tuple(self.image.shape)}; {stains} stains and labels of {shape} "
                f"need {(stains, *shape)}."
            )
        if self.cells is not None and tuple(self.cells.shape) != shape:
            raise DataError(f"Cell regions have axes of {tuple(self.cells.shape)}, labels of {shape}.")
        for name, array in (("Labels", self.labels), ("Cell regions", self.cells)):
            if array is not None and np.dtype(array.dtype).kind not in "iub":
                raise DataError(f"{name} are {array.dtype}; labels are whole numbers.")
        if np.dtype(self.image.dtype).kind not in "iufb":
            raise DataError(f"The image is {self.image.dtype}; intensities are real numbers.")

    def read_labels(self, box: Box) -> tuple[NDArray[np.int32], NDArray[np.int32] | None]:
        """Nuclei and cells of a part of the field: top, left, bottom, right."""
        area = (slice(box[0], box[2]), slice(box[1], box[3]))
        nuclei = _int32(np.asarray(self.labels[area]))
        return nuclei, None if self.cells is None else _int32(np.asarray(self.cells[area]))

    def read_image(self, box: Box) -> NDArray[Any]:
        """Intensities of a part of the field."""
        part: NDArray[Any] = np.ascontiguousarray(self.image[:, box[0] : box[2], box[1] : box[3]])
        if part.dtype == bool:
            return part.astype(np.uint8)
        return part


def _int32(labels: NDArray[Any]) -> NDArray[np.int32]:
    if labels.dtype.itemsize >= 4 and labels.size and labels.max() > np.iinfo(np.int32).max:
        raise DataError(f"The label {labels.max()} is too large; labels go up to 2147483647.")
    return np.ascontiguousarray(labels, dtype=np.int32)


def _tiles(shape: tuple[int, int], side: int) -> Iterator[Box]:
    for top in range(0, shape[0], side):
        for left in range(0, shape[1], side):
            yield top, left, min(top + side, shape[0]), min(left + side, shape[1])


def _boxes_in_tile(field: _Field, tile: Box) -> list[tuple[NDArray[np.int64], NDArray[np.int64]]]:
    nuclei, cells = field.read_labels(tile)
    found = [label_boxes(nuclei)]
    if cells is not None:
        found.append(label_boxes(cells))
    shift = np.array([tile[0], tile[1], tile[0], tile[1]])
    return [(ids, boxes + shift) for ids, boxes in found]


def _find_cells(
    field: _Field, config: MeasureConfig, should_stop: ShouldStop
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.uint8]]:
    """Labels, boxes around nucleus and cell, and whether these touch the edge of the field."""
    shape = (int(field.labels.shape[0]), int(field.labels.shape[1]))
    nuclei: dict[int, NDArray[np.int64]] = {}
    whole: dict[int, NDArray[np.int64]] = {}
    run = partial(_boxes_in_tile, field)
    tiles = list(_tiles(shape, config.tile_px))
    for found in map_tasks(run, tiles, workers=config.workers, should_stop=should_stop):
        for known, (ids, boxes) in zip((nuclei, whole), found, strict=False):
            for label, box in zip(ids.tolist(), boxes, strict=True):
                known[label] = _around(known[label], box) if label in known else box
    ids = np.array(sorted(nuclei), np.int64)
    of_nucleus = np.array([nuclei[label] for label in ids], np.int64).reshape(-1, 4)
    of_cell = np.array(
        [_around(nuclei[label], whole.get(label, nuclei[label])) for label in ids], np.int64
    ).reshape(-1, 4)
    edge = np.stack([_touches(of_cell, shape), _touches(of_nucleus, shape)], axis=1)
    return ids, of_cell, edge


def _around(first: NDArray[np.int64], second: NDArray[np.int64]) -> NDArray[np.int64]:
    return np.concatenate([np.minimum(first[:2], second[:2]), np.maximum(first[2:], second[2:])])


def _touches(boxes: NDArray[np.int64], shape: tuple[int, int]) -> NDArray[np.uint8]:
    outside = (boxes[:, :2] <= 0).any(axis=1) | (boxes[:, 2:] >= np.array(shape)).any(axis=1)
    flags: NDArray[np.uint8] = np.asarray(outside, np.uint8)
    return flags


def _batches(boxes: NDArray[np.int64], config: MeasureConfig) -> Iterator[NDArray[np.intp]]:
    """Cells that begin in the same tile, at most ``batch`` of them together."""
    tile = boxes[:, :2] // config.tile_px
    order = np.lexsort((tile[:, 1], tile[:, 0]))
    ends = np.flatnonzero(np.any(np.diff(tile[order], axis=0) != 0, axis=1)) + 1
    for group in np.split(order, ends):
        for at in range(0, len(group), config.batch):
            yield group[at : at + config.batch]


def _measure_batch(
    field: _Field,
    context: Context,
    pixel_size_um: float | None,
    ids: NDArray[np.int64],
    boxes: NDArray[np.int64],
    edge: NDArray[np.uint8],
    batch: NDArray[np.intp],
) -> _Part:
    own = boxes[batch]
    height, width = field.labels.shape
    margin = context.margin + 1
    top, left = np.maximum(own[:, :2].min(axis=0) - margin, 0)
    bottom, right = np.minimum(own[:, 2:].max(axis=0) + margin, (height, width))
    part: Box = (int(top), int(left), int(bottom), int(right))
    nuclei, cells = field.read_labels(part)
    local = own - np.array([top, left, top, left])
    image = field.read_image(part)
    gathered = gather_field(image, nuclei, cells, ids[batch], local, edge[batch], context.margin)
    return _Part(
        measure_cells(gathered, context, pixel_size_um),
        nucleus_centres(gathered, part[0], part[1]),
        neighbours.contacts(nuclei, nuclei if cells is None else cells, ids[batch], local),
    )
