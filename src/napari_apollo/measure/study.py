"""Measuring the labelled fields of a study straight from their files, without cutting cells."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import partial
from math import ceil, pi, sqrt
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from napari_apollo.cells.segmentation import expand_nuclei
from napari_apollo.cells.table import export
from napari_apollo.errors import DataError, FileError, ImageError, StudyError
from napari_apollo.measure import neighbours
from napari_apollo.measure.config import MeasureConfig
from napari_apollo.measure.engine import union_of
from napari_apollo.measure.field import MeasuredField, measure_cells_of_field, square_pixel
from napari_apollo.measure.foci import require_foci_stains
from napari_apollo.measure.reasons import Reason
from napari_apollo.measure.table import describe, record_of, with_columns
from napari_apollo.panels import UNUSED, Panel
from napari_apollo.progress import Progress, ShouldStop, Step, never, silent, stop_if_asked
from napari_apollo.study import FieldImage, Study, StudyField, open_field, open_labels
from napari_apollo.study.fields import stem
from napari_apollo.study.images import open_source
from napari_apollo.study.labels import LabelImage
from napari_apollo.tasks import map_tasks

if TYPE_CHECKING:
    import anndata

_UNKNOWN = "unknown"
_OBS = ("field", "image", "panel", "donor", "condition")


def measure_study(
    study: Study | Path | str,
    config: MeasureConfig | None = None,
    *,
    output: Path | None = None,
    progress: Progress = silent,
    should_stop: ShouldStop = never,
) -> anndata.AnnData:
    """Measure every labelled nucleus of every field of a study.

    Fields are read tile by tile, so memory grows with the number of nuclei and not with the fields. On a
    cluster (``config.scheduler``) every field is a task.

    Parameters
    ----------
    study
        A study whose fields have labels, or its manifest.
    config
        Settings; the defaults where not given.
    output
        Where to write the table too: ``.csv`` or ``.h5ad``.
    progress, should_stop
        Told the fields and cells done; asked between batches.

    Returns
    -------
    anndata.AnnData
        One row a nucleus, like the table of a cell store: obs with ``cell_id``, ``field``, ``image``,
        ``panel``, ``donor``, ``condition``, ``label``, ``y`` and ``x`` (pixels); features as float32 in
        ``X``; ``var`` and ``uns["measure"]`` as in ``measure``.

    Raises
    ------
    StudyError
        When fields have no labels, or of some fields alone the pixel size is known.
    UnknownStain
        When ``config.foci_stains`` names a stain that no field has.
    FileError
        When the table cannot be written as what ``output`` is called.
    Cancelled
        When ``should_stop`` says so; nothing is written.
    """
    import anndata

    config = config or MeasureConfig()
    study = study if isinstance(study, Study) else Study.from_csv(study)
    if output is not None and output.suffix.lower() not in (".csv", ".h5ad"):
        raise FileError(output, "is no name for a table.", "Use .csv or .h5ad.")
    if output is not None and study.path is not None and output.exists() and output.samefile(study.path):
        raise FileError(output, "is the manifest, and would be written over.", "Name another file.")
    sizes = _check(study)
    stains = (stain for field in study for stain in field.panel.stains)
    require_foci_stains(config, stains, str(study.path or "the study"))
    measured = list(_measured(study, config, progress, should_stop))
    columns = union_of([field.columns for field in measured])
    if config.with_neighbours:
        columns += neighbours.COLUMNS
    place = {column.name: at for at, column in enumerate(columns)}
    count = sum(len(field.ids) for field in measured)
    values = np.full((count, len(columns)), np.nan, np.float32)
    why = np.full(values.shape, int(Reason.NO_STAIN), np.uint8)
    obs, first = [], 0
    for field, found in zip(study, measured, strict=True):
        own = [place[column.name] for column in found.columns]
        rows = np.arange(first, first + len(found.ids))[:, None]
        values[rows, own], why[rows, own] = found.values, found.why
        obs.append(obs_of(field, found.ids, found.centres))
        first += len(found.ids)
    frame = pd.concat(obs, ignore_index=True)
    frame.index = pd.Index(frame["cell_id"].to_numpy(object))
    size = sizes[0] if len(set(sizes)) == 1 else np.nan
    known = sizes[0] is not None
    table = with_columns(
        anndata.AnnData(obs=frame),
        values,
        describe(columns, 1.0 if known else None),
        record_of(config, size, why),
    )
    if output is not None:
        export(table, output)
    return table


def study_of_image(
    image: Path, labels: Path, channels: Sequence[str] | None = None, pixel_size_um: float | None = None
) -> Study:
    """Study of a single image and its labels.

    Parameters
    ----------
    image, labels
        The files.
    channels
        Stain of every channel, ``"-"`` where not used; what the image says where not given.
    pixel_size_um
        Overrules what the image says.

    Raises
    ------
    ImageError
        When the image cannot be read, or neither names its channels nor has them named.
    PanelError
        When no stain is a DNA stain.
    """
    names = channels or open_source(image).layout.channel_names
    if not names:
        raise ImageError(image, "does not name its channels.", "Give their stains, for example DAPI,CD3,-.")
    field = StudyField(
        image=image,
        panel=Panel(name=stem(image), stains=tuple(name for name in names if name != UNUSED)),
        donor=_UNKNOWN,
        condition=_UNKNOWN,
        labels=labels,
        channels=tuple(names),
        pixel_size_um=pixel_size_um,
    )
    return Study([field])


def _check(study: Study) -> list[float | None]:
    """Pixel size of every field; whatever is wrong is told before any work."""
    problems, sizes = [], []
    for field in study:
        if field.labels is None:
            problems.append(f"{field.field}: has no label image; name it in the column 'labels', or segment.")
            continue
        image = open_field(field)
        open_labels(field.labels, image.shape)
        try:
            sizes.append(square_pixel(image.pixel_size_um))
        except DataError as error:
            problems.append(f"{field.field}: {error}")
    if not len(study):
        problems.append("it has no fields.")
    if not problems and None in sizes and set(sizes) != {None}:
        unknown = [field.field for field, size in zip(study, sizes, strict=True) if size is None]
        problems.append(
            f"the pixel size of {', '.join(unknown[:5])} is not known, and that of other fields is: lengths "
            "would be in different units; give it in the column 'pixel_size_um'."
        )
    if problems:
        raise StudyError(f"{study.path or 'The study'} cannot be measured:", problems)
    return sizes


def _measured(
    study: Study, config: MeasureConfig, progress: Progress, should_stop: ShouldStop
) -> Iterator[MeasuredField]:
    if config.scheduler is None:
        for field in study:
            stop_if_asked(should_stop)

            def tell(step: Step, name: str = field.field) -> None:
                progress(Step(step.stage, step.done, step.total, step.detail or name))

            yield _measure_one(config, tell, should_stop, field)
        return
    run = partial(_measure_one, config.model_copy(update={"workers": 1, "scheduler": None}), silent, never)
    results = map_tasks(run, list(study), scheduler=config.scheduler, should_stop=should_stop)
    for done, found in enumerate(results, 1):
        progress(Step("Measuring fields", done, len(study)))
        yield found


def _measure_one(
    config: MeasureConfig, progress: Progress, should_stop: ShouldStop, field: StudyField
) -> MeasuredField:
    image = open_field(field)
    assert field.labels is not None
    nuclei = _Nuclei(open_labels(field.labels, image.shape))
    distance = _ring(nuclei, config) if config.expand_px is None else config.expand_px
    try:
        return measure_cells_of_field(
            _Pixels(image), nuclei, _Expanded(nuclei, distance), image.stains, image.pixel_size_um, config,
            field.panel.anchor, progress, should_stop,
        )  # fmt: skip
    except DataError as error:
        raise DataError(f"{field.labels}: {error}") from error


def obs_of(field: StudyField, labels: NDArray[np.int64], centres: NDArray[np.float64]) -> pd.DataFrame:
    """Columns about the cells of a field.

    Parameters
    ----------
    field
        The field.
    labels
        (n,) labels of the cells.
    centres
        (n, 2) centroids of the nuclei (y, x), pixels.
    """
    facts = (field.field, str(field.image), field.panel.name, field.donor, field.condition)
    frame = pd.DataFrame(dict(zip(_OBS, facts, strict=True)), index=range(len(labels)))
    frame.insert(0, "cell_id", [f"{field.field}:{label}" for label in labels])
    return frame.assign(label=labels, y=centres[:, 0], x=centres[:, 1])


Area = tuple[slice, slice]


class _Pixels:
    """A field's image, sliced like an array (stain, y, x)."""

    def __init__(self, image: FieldImage) -> None:
        self._image = image
        self.shape = (len(image.stains), *image.shape)
        self.dtype = image.dtype

    def __getitem__(self, area: tuple[slice, slice, slice]) -> NDArray[Any]:
        return self._image.read(None, area[1], area[2])


class _Nuclei:
    """A label image, sliced like an array (y, x)."""

    dtype = np.dtype(np.int32)

    def __init__(self, labels: LabelImage) -> None:
        self._labels = labels
        self.shape = labels.shape

    def __getitem__(self, area: Area) -> NDArray[np.int32]:
        return self._labels.read(*area)


class _Expanded:
    """Cell regions around nuclei, made where they are looked at."""

    dtype = np.dtype(np.int32)

    def __init__(self, nuclei: _Nuclei, distance: float) -> None:
        self._nuclei, self._distance = nuclei, distance
        self.shape = nuclei.shape

    def __getitem__(self, area: Area) -> NDArray[np.int32]:
        wide, inner = [], []
        for part, length in zip(area, self.shape, strict=True):
            begin = max(0, part.start - ceil(self._distance))
            wide.append(slice(begin, min(length, part.stop + ceil(self._distance))))
            inner.append(slice(part.start - begin, part.stop - begin))
        return expand_nuclei(self._nuclei[wide[0], wide[1]], self._distance)[inner[0], inner[1]]


def _ring(nuclei: _Nuclei, config: MeasureConfig) -> float:
    """A quarter of the median diameter of the nuclei, as in ``crop``."""
    areas: dict[int, int] = {}
    for top in range(0, nuclei.shape[0], config.tile_px):
        for left in range(0, nuclei.shape[1], config.tile_px):
            part = nuclei[top : top + config.tile_px, left : left + config.tile_px]
            for label, count in zip(*np.unique(part[part > 0], return_counts=True), strict=True):
                areas[int(label)] = areas.get(int(label), 0) + int(count)
    return 0.25 * 2 * sqrt(float(np.median(list(areas.values()))) / pi) if areas else 0.0
