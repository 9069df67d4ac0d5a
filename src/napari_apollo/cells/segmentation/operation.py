"""Segmentation of a study."""

from __future__ import annotations

import logging
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import numpy as np

from napari_apollo.cells.segmentation.assembly import FieldLabels
from napari_apollo.cells.segmentation.config import SegmentConfig
from napari_apollo.cells.segmentation.engines import get_engine
from napari_apollo.cells.segmentation.grid import Box
from napari_apollo.cells.segmentation.tasks import FieldJob, SurveyedField, TileJob, run_tile, survey_field
from napari_apollo.cells.segmentation.tiles import tile_boxes, tile_side
from napari_apollo.errors import DataError, FileError, LabelsError
from napari_apollo.progress import Progress, ShouldStop, Step, never, silent
from napari_apollo.storage import whole_folder
from napari_apollo.study import Study
from napari_apollo.tasks import available_cores, map_tasks

_log = logging.getLogger(__name__)


def segment(
    study: Study | Path | str,
    config: SegmentConfig | None = None,
    *,
    progress: Progress = silent,
    should_stop: ShouldStop = never,
) -> Study:
    """Find the nuclei of every field of a study.

    Parameters
    ----------
    study
        A study, or the path of its manifest.
    config
        Settings.
    progress, should_stop
        Told after each tile; asked between tiles.

    Returns
    -------
    Study
        The study with its label images, as written to ``study.csv`` in the output folder. Label images are
        int32, 0 is background, nuclei are 1 to N; tiled, deflated BigTIFF.

    Raises
    ------
    StudyError
        When something is wrong with the study.
    DataError
        When a nucleus channel is constant or not finite, or no field has any nucleus.
    LabelsError
        When labels are to be taken and are missing, of another shape, not integers, or have gaps.
    ConfigError
        When the diameter is in micrometres and a pixel size is not known, or the scheduler does not answer.
    FileError
        When the output is there already and may not be overwritten.
    StorageFull, Cancelled
        When the disk is full, or the user stops; what was on disk before is kept.
    """
    config = config or SegmentConfig()
    study = (study if isinstance(study, Study) else Study.from_csv(study)).require()
    folder = Path(config.output) / "labels"
    manifest = Path(config.output) / "study.csv"
    _keep_manifest(study, manifest, config)
    counts: dict[str, int] = {}
    with whole_folder(folder, overwrite=config.overwrite) as partial:
        surveyed = list(_surveyed(study, config, progress, should_stop))
        for field, labels in _segmented(surveyed, config, progress, should_stop):
            counts[field.job.field.field] = len(labels.nuclei)
            _check_numbers(field, labels)
            labels.write(partial / f"{field.job.field.field}.tif", field.pixel_size_um)
        if not any(counts.values()):
            raise DataError(
                f"No nucleus was found in any of the {len(study)} fields; give the diameter of a nucleus, or "
                "check that the stain is the one that shows nuclei."
            )
    labelled = study.with_labels({name: folder / f"{name}.tif" for name in counts})
    return labelled.to_csv(manifest)


def _keep_manifest(study: Study, manifest: Path, config: SegmentConfig) -> None:
    """Refuse to write over a manifest that somebody made."""
    if not manifest.exists():
        return
    if not config.overwrite:
        raise FileError(manifest, "exists already.", "Name another folder, or allow to overwrite it.")
    own = study.path is not None and study.path.exists() and study.path.samefile(manifest)
    labels = (Path(config.output) / "labels").absolute()
    # That of an earlier segmentation, of some fields perhaps, may be made anew.
    if own and not any(field.labels and field.labels.absolute().parent == labels for field in study):
        raise FileError(
            manifest, "is the study itself, and would be written over.", "Write the labels to another folder."
        )


def _surveyed(
    study: Study, config: SegmentConfig, progress: Progress, should_stop: ShouldStop
) -> Iterator[SurveyedField]:
    jobs = [FieldJob(field, config) for field in study]
    progress(Step("Looking at the fields", 0, len(jobs)))
    results = map_tasks(
        survey_field, jobs, scheduler=config.scheduler, workers=config.workers, should_stop=should_stop
    )
    for done, result in enumerate(results, start=1):
        detail = result.job.field.field
        if result.scale is not None:
            detail += f": nuclei of about {result.scale.diameter:.0f} px"
        progress(Step("Looking at the fields", done, len(jobs), detail))
        yield result


def _segmented(
    fields: list[SurveyedField], config: SegmentConfig, progress: Progress, should_stop: ShouldStop
) -> Iterator[tuple[SurveyedField, FieldLabels]]:
    """Every field with its tiles, when the last of them is done."""
    boxes: list[list[Box]] = [list(_tiles(field, config)) for field in fields]
    total = sum(map(len, boxes))
    # Few tiles on many cores: each may use several.
    threads = 1 if config.scheduler else max(1, (config.workers or available_cores()) // max(1, total))
    jobs = (TileJob(field, box, threads) for field, own in zip(fields, boxes, strict=True) for box in own)
    packed = map_tasks(
        run_tile, jobs, scheduler=config.scheduler, workers=config.workers, should_stop=should_stop
    )
    done = 0
    for field, own in zip(fields, boxes, strict=True):
        name = field.job.field.field
        with ExitStack() as stack:
            labels = FieldLabels(field.shape, stack.enter_context(tempfile.TemporaryFile()))
            for _ in own:
                labels.add(next(packed))
                done += 1
                progress(Step("Segmenting", done, total, name))
            count = len(labels.nuclei)
            if count == 0:
                _log.warning("%s: no nucleus was found.", field.job.where)
            progress(Step("Segmenting", done, total, f"{name}: {count or 'no'} nuclei"))
            yield field, labels


def _tiles(field: SurveyedField, config: SegmentConfig) -> Iterator[Box]:
    if field.scale is None:
        return tile_boxes(field.shape, config.tile)
    return tile_boxes(field.shape, tile_side(config.tile, field.scale, get_engine(config.engine)))


def _check_numbers(field: SurveyedField, labels: FieldLabels) -> None:
    """Refuse label images with missing numbers, unless they may be numbered anew."""
    numbers = labels.nuclei
    source = field.job.field.labels
    if field.scale is not None or source is None or field.job.config.relabel or len(numbers) == 0:
        return
    if numbers[-1] != len(numbers):
        missing = np.setdiff1d(np.arange(1, min(int(numbers[-1]), 10_000_000)), numbers)
        shown = ", ".join(map(str, missing[:5])) + (", ..." if len(missing) > 5 else "")
        raise LabelsError(
            source,
            f"has gaps: {len(numbers)} nuclei, numbered up to {numbers[-1]}; missing are {shown}.",
            "Number the nuclei 1 to N without gaps, or set relabel to have that done.",
        )
