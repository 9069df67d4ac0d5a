"""From the survey of a study to what is cut: pixel size, crop size, cell region, and the order of cells."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_apollo.cells.config import CropConfig
from napari_apollo.cells.histogram import counted_exactly
from napari_apollo.cells.survey import FieldSurvey
from napari_apollo.cells.writer import PIXEL_TYPES
from napari_apollo.errors import ConfigError, DataError, StudyError

BLOCK = 512
"""Cells are stored block by block of this side (field pixels), in a block by centre: an order
that keeps neighbours together, and that depends neither on tiles nor on how nuclei are numbered."""

SIZES = (32, 64, 96, 128, 192, 256)

_SAME = 0.01
_SQUARE = 0.02
_TASK_BYTES = 24_000_000


@dataclass(frozen=True)
class Plan:
    """What holds for the whole study.

    Attributes
    ----------
    size
        Height and width of a crop in pixels.
    expand
        Cell region beyond the nucleus, in crop pixels.
    pixel_size_um
        Edge of a crop pixel, or None where it is not known.
    scales
        Field pixels per crop pixel, for each field.
    """

    size: int
    expand: float
    pixel_size_um: float | None
    scales: tuple[float, ...]


def make_plan(surveys: Sequence[FieldSurvey], config: CropConfig) -> Plan:
    """Plan of a study.

    Raises
    ------
    ConfigError
        When lengths are given in micrometres and no pixel size is known.
    StudyError
        When the pixel size is known of some fields only, or is not square.
    """
    pixel_size, scales = _pixel_sizes(surveys, config)
    if config.unit == "um" and pixel_size is None:
        raise ConfigError(
            "Lengths are given in micrometres, but the pixel size of the fields is not known; give them in "
            "pixels, or pixel_size_um in the manifest."
        )
    unit = pixel_size if config.unit == "um" and pixel_size is not None else 1.0
    area = np.concatenate([s.nuclei.area / f**2 for s, f in zip(surveys, scales, strict=True)])
    if config.expand is None:
        expand = round(0.25 * float(np.sqrt(4 * np.median(area) / np.pi)), 1)
    else:
        expand = config.expand / unit
    if config.size is None:
        extent = np.concatenate(
            [
                (survey.nuclei.box[:, 2:] - survey.nuclei.box[:, :2] + 1).max(axis=1) / scale
                for survey, scale in zip(surveys, scales, strict=True)
            ]
        )
        needed = float(np.quantile(extent, 0.99)) + 2 * expand
        size = next((size for size in SIZES if size >= needed), SIZES[-1])
    else:
        size = max(2, round(config.size / unit))
    return Plan(size, expand, pixel_size, scales)


def _pixel_sizes(
    surveys: Sequence[FieldSurvey], config: CropConfig
) -> tuple[float | None, tuple[float, ...]]:
    sizes = [survey.pixel_size_um for survey in surveys]
    stretched = [
        f"{survey.field.field}: {size[0]:g} x {size[1]:g} um"
        for survey, size in zip(surveys, sizes, strict=True)
        if size is not None and abs(size[0] / size[1] - 1) > _SQUARE
    ]
    if stretched:
        raise StudyError("Pixels must be square; resample these fields first:", stretched)
    unknown = [survey.field.field for survey, size in zip(surveys, sizes, strict=True) if size is None]
    known = [(size[0] * size[1]) ** 0.5 for size in sizes if size is not None]
    if not known:
        if config.pixel_size_um is not None:
            raise ConfigError(
                f"pixel_size_um = {config.pixel_size_um:g}: the pixel size of no field is known, so "
                "nothing can be brought to it; give pixel_size_um in the manifest."
            )
        return None, (1.0,) * len(surveys)
    if unknown:
        raise StudyError(
            "The pixel size is known of some fields only; give pixel_size_um in the manifest for:", unknown
        )
    common = config.pixel_size_um or _most_frequent(known)
    ratios = (common / size for size in known)
    return common, tuple(1.0 if abs(ratio - 1) < _SAME else ratio for ratio in ratios)


def _most_frequent(sizes: Sequence[float]) -> float:
    """The size that most fields have within a hundredth, the smallest of equals."""
    votes = Counter({size: sum(abs(other / size - 1) < _SAME for other in sizes) for size in sizes})
    return min(votes, key=lambda size: (-votes[size], size))


def pixel_types(surveys: Sequence[FieldSurvey]) -> dict[str, np.dtype[Any]]:
    """Pixel type of each panel: one that holds those of all its fields.

    Raises
    ------
    DataError
        When a field's pixels are of a type that is not stored, or of another kind than those of other fields.
    """
    kinds = {counted_exactly(survey.dtype): survey for survey in surveys}
    types: dict[str, np.dtype[Any]] = {}
    for survey in surveys:
        name = survey.field.panel.name
        types[name] = np.result_type(types.get(name, survey.dtype), survey.dtype)
        if types[name].name not in PIXEL_TYPES:
            raise DataError(
                f"{survey.field.image}: pixels of {survey.dtype} cannot be stored"
                + ("" if types[name] == survey.dtype else f" with those of other fields of panel {name}")
                + f"; one of {', '.join(PIXEL_TYPES)} can."
            )
    if len(kinds) > 1:
        told = " and ".join(f"{survey.field.image} holds {survey.dtype}" for survey in kinds.values())
        raise DataError(
            f"{told}: intensities of cameras (8 or 16 bit) and processed ones (32 bit, fractions) are on "
            "different scales; save all fields alike."
        )
    return types


def window(centre: NDArray[np.int64], size: int, scale: float) -> NDArray[np.int64]:
    """First and last row and column of the field, ``(n, 4)``, whose centres a crop covers."""
    first = int(np.ceil((-(size // 2) - 0.5) * scale))
    last = int(np.ceil((size - size // 2 - 0.5) * scale)) - 1
    return np.concatenate([centre + first, centre + last], axis=1)


def stored_order(centre: NDArray[np.int64], label: NDArray[np.int64]) -> NDArray[np.int64]:
    """Order in which the cells of a field are stored."""
    block = centre // BLOCK
    return np.lexsort((label, centre[:, 1], centre[:, 0], block[:, 1], block[:, 0]))


def chunks(centre: NDArray[np.int64], side: int, cell_bytes: int) -> Iterator[slice]:
    """Runs of cells, in stored order, that are cut by one task.

    Parameters
    ----------
    centre
        ``(n, 2)`` in stored order.
    side
        Field pixels that a run may span.
    cell_bytes
        Size of a crop; bounds the number of cells in a run.
    """
    most = max(1, _TASK_BYTES // cell_bytes)
    start = 0
    while start < len(centre):
        stop = start + 1
        low = high = int(centre[start, 1])
        band = int(centre[start, 0]) // BLOCK
        while stop < len(centre) and stop - start < most and int(centre[stop, 0]) // BLOCK == band:
            x = int(centre[stop, 1])
            if max(high, x) - min(low, x) >= max(side, BLOCK):
                break
            low, high = min(low, x), max(high, x)
            stop += 1
        yield slice(start, stop)
        start = stop


def check_cells(surveys: Sequence[FieldSurvey]) -> list[str]:
    """Fields without a nucleus.

    Raises
    ------
    DataError
        When no field has one.
    """
    empty = [survey.field.field for survey in surveys if not len(survey.nuclei.label)]
    if len(empty) == len(surveys):
        raise DataError(
            f"None of the {len(surveys)} fields has a nucleus in its label image; segment the study, or "
            "check that the label images are the right ones."
        )
    return [f"Field {name} has no nucleus." for name in empty]


def check_stains(surveys: Sequence[FieldSurvey], config: CropConfig) -> list[str]:
    """Stains that say nothing in a field.

    Raises
    ------
    DataError
        Naming fields, stains and values, unless such stains are only to be recorded.
    """
    problems = []
    for survey in surveys:
        for stain, counted in survey.intensities.items():
            low, high = counted.extremes()
            if low == high:
                problems.append(f"{stain} is {low:g} in every pixel of field {survey.field.field}.")
    if problems and config.constant_stains == "refuse":
        listed = "\n".join(f"  - {problem}" for problem in problems)
        raise DataError(
            "A stain that is constant over a field holds no information; give the right channel, leave "
            f"out the field, or set constant_stains to record:\n{listed}"
        )
    return problems
