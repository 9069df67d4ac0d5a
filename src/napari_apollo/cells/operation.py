"""The operation that makes a cell store from a labelled study."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from napari_apollo import __version__
from napari_apollo.cells.checksums import DESCRIPTION
from napari_apollo.cells.config import CropConfig
from napari_apollo.cells.cropping import Cut, crop_cells, peak_bytes, plan_jobs
from napari_apollo.cells.normalisation import NormalisationBuilder
from napari_apollo.cells.plan import Plan, check_cells, check_stains, make_plan, pixel_types
from napari_apollo.cells.quality import QualityLimits, count_reasons, find_limits, flag
from napari_apollo.cells.shape import COLUMNS
from napari_apollo.cells.store import CellStore
from napari_apollo.cells.survey import FieldSurvey, TileJob, survey_tile, tiles_of
from napari_apollo.cells.writer import HELD_OUT, CellStoreWriter
from napari_apollo.errors import StudyError
from napari_apollo.progress import Progress, ShouldStop, Step, never, silent
from napari_apollo.storage import absolute, require_replaceable
from napari_apollo.study import Study, open_field
from napari_apollo.tasks import available_cores, map_tasks

__all__ = ["CropConfig", "crop"]


def crop(
    study: Study | Path | str,
    config: CropConfig | None = None,
    *,
    progress: Progress = silent,
    should_stop: ShouldStop = never,
) -> CellStore:
    """Cut every cell of a labelled study, check its quality, and store it.

    Fields are read in tiles, twice: once to find nuclei and intensities, once to cut. Tasks read and cut,
    here or on a Dask cluster; this process alone writes. Cells stand in the store field by field, in an order
    that does not depend on tiles, workers or the numbering of labels. The first call compiles the loops,
    which takes some seconds.

    Parameters
    ----------
    study
        A study whose fields have label images, or the path of its manifest.
    config
        Settings.
    progress, should_stop
        Told after each task; asked between tasks.

    Returns
    -------
    CellStore
        The store at ``config.output``. Its provenance has the settings, the fields, the quality limits,
        counts by reason, and problems that were met (fields without cells, constant stains).

    Raises
    ------
    StudyError
        When something is wrong with the study: missing files, fields without labels, pixel sizes of some
        only.
    ImageError, LabelsError
        When a file is damaged, a pixel is not finite, or labels are not labels.
    DataError
        When no field has a nucleus, or a stain is constant.
    ConfigError
        When lengths are in micrometres and no pixel size is known, or the scheduler does not answer.
    FileError
        When the store is there already and may not be replaced.
    StorageFull, Cancelled
        When the disk is full, or the user stops; what was on disk before is kept.
    """
    config = config or CropConfig()
    study = study if isinstance(study, Study) else Study.from_csv(study)
    _check_start(study, config)
    surveys = _survey(study, config, progress, should_stop)
    problems = [*check_cells(surveys), *check_stains(surveys, config)]
    plan = make_plan(surveys, config)
    with CellStoreWriter(
        config.output,
        study.panels,
        crop_size=plan.size,
        dtype=pixel_types(surveys),
        pixel_size_um=plan.pixel_size_um,
        provenance=_provenance(study, config, surveys, plan, problems),
        overwrite=config.overwrite,
    ) as writer:
        _prepare_normalisation(writer, surveys, config)
        _cut(writer, surveys, plan, config, progress, should_stop)
        progress(Step("Checking and finishing the store"))
        _judge(writer, plan, config)
    return CellStore.open(config.output)


def _check_start(study: Study, config: CropConfig) -> None:
    """Everything that can be refused before any work."""
    require_replaceable(config.output, overwrite=config.overwrite, mark=DESCRIPTION)
    unlabelled = [field.field for field in study if field.labels is None]
    if unlabelled:
        raise StudyError("Segment the study first; these fields have no label image:", unlabelled)
    study.require()


def _survey(
    study: Study, config: CropConfig, progress: Progress, should_stop: ShouldStop
) -> list[FieldSurvey]:
    surveys, jobs, counts = [], [], []
    for field in study:
        image = open_field(field)
        surveys.append(FieldSurvey(field, image.shape, image.dtype, image.pixel_size_um))
        boxes = tiles_of(image.shape, config.tile)
        counts.append(len(boxes))
        jobs += [TileJob(field, box) for box in boxes]
    pixel_types(surveys)  # refused here, before any pixel is read, where it cannot be stored
    tiles = map_tasks(
        survey_tile, jobs, scheduler=config.scheduler, workers=config.workers, should_stop=should_stop
    )
    progress(Step("Looking at the fields", 0, len(jobs)))
    done = 0
    for survey, count in zip(surveys, counts, strict=True):
        survey.merge(tiles, count)
        done += count
        found = f"{survey.field.field}: {len(survey.nuclei.label)} nuclei"
        progress(Step("Looking at the fields", done, len(jobs), found))
    return surveys


def _prepare_normalisation(
    writer: CellStoreWriter, surveys: Sequence[FieldSurvey], config: CropConfig
) -> None:
    builder = NormalisationBuilder(
        config.normalise_by, config.normalise, (config.low_percentile, config.high_percentile)
    )
    writer.builder = builder
    if config.normalise != "minmax":
        return
    for survey in surveys:
        held_out = survey.field.split in HELD_OUT
        for stain, counted in survey.intensities.items():
            builder.add_limits(_group(survey, config), stain, *counted.extremes(), held_out=held_out)
    writer.normalisation, problems = builder.build()
    writer.provenance["problems"] += problems


def _cut(
    writer: CellStoreWriter,
    surveys: Sequence[FieldSurvey],
    plan: Plan,
    config: CropConfig,
    progress: Progress,
    should_stop: ShouldStop,
) -> None:
    jobs = plan_jobs(surveys, plan, config.neighbours, config.tile)
    total = sum(len(job.label) for job in jobs)
    memory = peak_bytes(jobs, surveys, config.workers or available_cores()) / 1e6
    progress(Step("Cutting", 0, total, f"crops of {plan.size} px, at most {memory:.0f} MB of memory"))
    last = {_group(surveys[job.survey], config): position for position, job in enumerate(jobs)}
    done = 0
    results = map_tasks(
        crop_cells, jobs, scheduler=config.scheduler, workers=config.workers, should_stop=should_stop
    )
    for position, result in enumerate(results):
        survey = surveys[result.job.survey]
        writer.append(survey.field.panel.name, result.images, result.masks, _obs(result, survey, plan))
        if last[_group(survey, config)] == position and writer.builder is not None:
            writer.builder.finish(_group(survey, config))
        done += len(result.job.label)
        progress(Step("Cutting", done, total, survey.field.field))


def _group(survey: FieldSurvey, config: CropConfig) -> str:
    field = survey.field
    return {"panel": field.panel.name, "donor": field.donor, "field": field.field}[config.normalise_by]


def _obs(result: Cut, survey: FieldSurvey, plan: Plan) -> pd.DataFrame:
    """Rows of the table for cells that were cut."""
    job, field = result.job, survey.field
    measured = pd.DataFrame(result.measured, columns=list(COLUMNS))
    area = survey.nuclei.area[job.order]
    centroid = survey.nuclei.centroid[job.order]
    background = survey.background.percentile(50) if survey.background.total else 0.0
    dna = measured["dna"] - background * measured["pixels"]
    obs = pd.DataFrame(
        {
            "field": field.field,
            "image": str(absolute(field.image)),
            "donor": field.donor,
            "condition": field.condition,
            "label": job.label,
            "y": centroid[:, 0],
            "x": centroid[:, 1],
            "centre_y": job.centre[:, 0],
            "centre_x": job.centre[:, 1],
            "scale": job.scale,
            "split": field.split or "",
            "nucleus_area_px": area,
        }
    )
    obs["nucleus_area"] = area / job.scale**2
    if plan.pixel_size_um is not None:
        obs["nucleus_area_um2"] = obs["nucleus_area"] * plan.pixel_size_um**2
    obs["nucleus_solidity"] = measured["solidity"]
    # DNA in counts per crop pixel, so that fields of different pixel sizes compare.
    obs["nucleus_dna"] = dna / job.scale**2
    obs["nucleus_focus"] = np.where(
        dna > 0, measured["detail"] * measured["pixels"] / dna.where(dna > 0, 1), 0
    )
    obs["nucleus_saturation"] = measured["saturation"]
    obs["border"] = measured["border"] > 0
    obs["cut"] = measured["pixels"].to_numpy() < area
    return obs


def _judge(writer: CellStoreWriter, plan: Plan, config: CropConfig) -> None:
    """Flag cells by limits that the whole study gives."""
    obs = writer.obs
    limits = _limits(obs, plan, config)
    obs["qc"], obs["qc_reason"] = flag(obs, limits, config.checks)
    # The solidity of the checks is not the feature of that name, which measuring adds to the same table.
    kept = obs.drop(columns=["border", "cut", "nucleus_area"])
    writer.replace_obs(kept.rename(columns={"nucleus_solidity": "qc_solidity"}))
    writer.provenance["quality"] = {
        "limits": limits.model_dump(mode="json"),
        "counts": count_reasons(obs),
    }


def _limits(obs: pd.DataFrame, plan: Plan, config: CropConfig) -> QualityLimits:
    square = plan.pixel_size_um**2 if config.unit == "um" and plan.pixel_size_um is not None else 1.0
    area = [None if value is None else value / square for value in (config.area_min, config.area_max)]
    return find_limits(
        obs,
        deviations=config.deviations,
        area=(area[0], area[1]),
        solidity=config.solidity_min,
        focus=config.focus_min,
        saturation=config.saturation_max,
    )


def _provenance(
    study: Study,
    config: CropConfig,
    surveys: Sequence[FieldSurvey],
    plan: Plan,
    problems: Sequence[str],
) -> dict[str, Any]:
    # Where and with how many workers it ran does not change the result and is left out: the same cells are
    # then the same bytes.
    settings = config.model_dump(mode="json", exclude={"output", "overwrite", "tile", "workers", "scheduler"})
    return {
        "operation": "crop",
        "version": __version__,
        "manifest": str(study.path) if study.path else None,
        "settings": settings,
        "expand_px": plan.expand,
        "fields": [
            {
                "field": survey.field.field,
                "panel": survey.field.panel.name,
                "image": str(absolute(survey.field.image)),
                "labels": str(survey.field.labels),
                "shape": list(survey.shape),
                "dtype": survey.dtype.name,
                "pixel_size_um": survey.pixel_size_um,
                "scale": scale,
                "nuclei": len(survey.nuclei.label),
            }
            for survey, scale in zip(surveys, plan.scales, strict=True)
        ],
        "problems": list(problems),
    }
