"""Segmentation of some fields of a study: what is there for the others stays."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path

from napari_apollo.cells import SegmentConfig, segment
from napari_apollo.progress import Progress, ShouldStop, never, silent
from napari_apollo.study import Study

# Nobody else names a folder so: what people call "part" is theirs.
_PART = ".segmented-by-napari-apollo"


def segment_fields(
    study: Study | Path | str,
    config: SegmentConfig,
    fields: Sequence[str] = (),
    *,
    progress: Progress = silent,
    should_stop: ShouldStop = never,
) -> Study:
    """Find the nuclei of some fields; label images of other fields are left as they are.

    Parameters
    ----------
    study
        The study, or its manifest.
    config
        Settings; ``output`` is the folder that gets ``labels/`` and ``study.csv``.
    fields
        Names of the fields; all where none is given.

    Returns
    -------
    Study
        The whole study as written to ``study.csv``, with the labels that are there now.

    Raises
    ------
    StudyError
        When a name is no field of the study.
    ApolloError
        As ``segment`` raises; nothing is replaced then.
    """
    study = study if isinstance(study, Study) else Study.from_csv(study)
    chosen = study.select(fields) if fields else study
    if len(chosen) == len(study):
        return segment(study, config, progress=progress, should_stop=should_stop)
    output = Path(config.output)
    part = output / _PART
    if part.exists():
        shutil.rmtree(part)
    try:
        segment(
            chosen,
            config.model_copy(update={"output": part, "overwrite": False}),
            progress=progress,
            should_stop=should_stop,
        )
        (output / "labels").mkdir(parents=True, exist_ok=True)
        paths = {}
        for field in chosen:
            paths[field.field] = output / "labels" / f"{field.field}.tif"
            (part / "labels" / f"{field.field}.tif").replace(paths[field.field])
    finally:
        shutil.rmtree(part, ignore_errors=True)
    there = {field.field: output / "labels" / f"{field.field}.tif" for field in study}
    there = {name: path for name, path in there.items() if path.exists() or name in paths}
    return study.with_labels(there).to_csv(output / "study.csv")
