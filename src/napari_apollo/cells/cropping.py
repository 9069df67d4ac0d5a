"""Cutting as tasks: what one task is told, does and returns. Tasks read and cut; they never write."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_apollo.cells.cutting import Neighbours, cut, reach
from napari_apollo.cells.plan import Plan, chunks, stored_order, window
from napari_apollo.cells.quality import saturation_level
from napari_apollo.cells.segmentation.expand import expand_nuclei
from napari_apollo.cells.shape import detail_filter, measure_nuclei
from napari_apollo.cells.survey import FieldSurvey
from napari_apollo.errors import DataError
from napari_apollo.study import StudyField, open_field, open_labels


@dataclass(frozen=True)
class CropJob:
    """Cells of a field that are cut together; small and picklable.

    Attributes
    ----------
    survey
        Position of the field's survey in its study.
    order
        ``(n,)`` positions of the cells in that survey.
    label, centre
        ``(n,)`` labels and ``(n, 2)`` centres.
    size, scale, expand
        Crop size, field pixels per crop pixel, cell region in field pixels.
    saturated
        Intensity from which on each stain is saturated.
    """

    field: StudyField
    survey: int
    order: NDArray[np.int64]
    label: NDArray[np.int64]
    centre: NDArray[np.int64]
    size: int
    scale: float
    expand: float
    neighbours: Neighbours
    saturated: tuple[float, ...]


@dataclass(frozen=True)
class Cut:
    """Cells that were cut: ``(n, stain, y, x)`` images, ``(n, y, x)`` masks, and measures of their nuclei."""

    job: CropJob
    images: NDArray[Any]
    masks: NDArray[np.uint8]
    measured: NDArray[np.float64]


def plan_jobs(surveys: Sequence[FieldSurvey], plan: Plan, neighbours: Neighbours, tile: int) -> list[CropJob]:
    """Jobs of a study, field by field, cells in the order in which they are stored."""
    jobs = []
    for position, (survey, scale) in enumerate(zip(surveys, plan.scales, strict=True)):
        nuclei = survey.nuclei
        if not len(nuclei.label):
            continue
        order = stored_order(nuclei.centre, nuclei.label)
        label, centre = nuclei.label[order], nuclei.centre[order]
        stains = survey.field.panel.stains
        saturated = tuple(saturation_level(survey.intensities[stain]) for stain in stains)
        cell_bytes = len(stains) * plan.size**2 * survey.dtype.itemsize
        jobs += [
            CropJob(
                field=survey.field,
                survey=position,
                order=order[part],
                label=label[part],
                centre=centre[part],
                size=plan.size,
                scale=scale,
                expand=plan.expand * scale,
                neighbours=neighbours,
                saturated=saturated,
            )
            for part in chunks(centre, tile, cell_bytes)
        ]
    return jobs


def crop_cells(job: CropJob) -> Cut:
    """Cut the cells of one job. A task: reads its region only, and has no side effects.

    Raises
    ------
    ImageError, LabelsError
        When a file is damaged, or a pixel is not finite.
    """
    image = open_field(job.field)
    if job.field.labels is None:
        raise DataError(f"Field {job.field.field} has no label image; segment the study first.")
    kernel = detail_filter(job.scale)
    margin = reach(job.size, job.scale) + max(int(np.ceil(job.expand)) + 1, kernel.shape[0] // 2)
    low = np.maximum(0, job.centre.min(axis=0) - margin)
    high = np.minimum(image.shape, job.centre.max(axis=0) + margin + 1)
    y, x = slice(int(low[0]), int(high[0])), slice(int(low[1]), int(high[1]))
    nuclei = open_labels(job.field.labels, image.shape).read(y, x)
    cells = expand_nuclei(nuclei, job.expand)
    pixels = image.read(None, y, x)
    images, masks = cut(
        pixels,
        nuclei,
        cells,
        job.centre - low,
        job.label,
        job.size,
        job.neighbours,
        scale=job.scale,
        threads=1,
    )
    measured = measure_nuclei(
        pixels,
        job.field.panel.index(job.field.panel.anchor),
        nuclei,
        cells,
        job.label,
        window(job.centre - low, job.size, job.scale),
        (int(low[0]), int(low[1])),
        image.shape,
        np.array(job.saturated),
        kernel,
    )
    return Cut(job, images, masks, measured)


def peak_bytes(jobs: Sequence[CropJob], surveys: Sequence[FieldSurvey], workers: int) -> int:
    """Memory that cutting takes at most.

    What the tasks that run or wait together hold, and the shards being filled; the table and the libraries
    themselves come on top.
    """
    largest = 0
    for job in jobs:
        survey = surveys[job.survey]
        margin = reach(job.size, job.scale) + int(np.ceil(job.expand)) + 1
        span = np.minimum(survey.shape, np.ptp(job.centre, axis=0) + 2 * margin)
        pixel = len(job.saturated) * survey.dtype.itemsize
        # Region: pixels, nuclei, cells and the distances of the expansion; result: crops and masks.
        region = int(span.prod()) * (pixel + 4 + 4 + 12)
        largest = max(largest, region + len(job.label) * job.size**2 * (pixel + 1))
    return largest * 2 * workers + 4 * 32_000_000
