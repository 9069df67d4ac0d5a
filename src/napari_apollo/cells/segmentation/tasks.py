"""What runs as tasks: measuring a field, and the tiles of it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from napari_apollo.cells.segmentation.assembly import PackedTile, pack
from napari_apollo.cells.segmentation.config import SegmentConfig
from napari_apollo.cells.segmentation.engines import get_engine
from napari_apollo.cells.segmentation.grid import Box, Read
from napari_apollo.cells.segmentation.scale import FieldScale, survey
from napari_apollo.cells.segmentation.tiles import Tile, segment_tile
from napari_apollo.cells.segmentation.work import WorkField
from napari_apollo.errors import LabelsError
from napari_apollo.study import FieldImage, StudyField, open_field, open_labels


@dataclass(frozen=True)
class FieldJob:
    """A field to be segmented: picklable, opens its files where it runs."""

    field: StudyField
    config: SegmentConfig

    @property
    def where(self) -> str:
        """What to call the field in an error."""
        return f"field {self.field.field!r} ({self.field.image})"


@dataclass(frozen=True)
class SurveyedField:
    """A field that was opened and measured; ``scale`` is None where labels are taken as they are."""

    job: FieldJob
    shape: tuple[int, int]
    pixel_size_um: tuple[float, float] | None
    scale: FieldScale | None


@dataclass(frozen=True)
class TileJob:
    """A tile to be segmented, on so many threads."""

    surveyed: SurveyedField
    box: Box
    threads: int


def survey_field(job: FieldJob) -> SurveyedField:
    """Open a field and take the numbers that hold for the whole of it.

    Raises
    ------
    ConfigError
        When the diameter is in micrometres and the pixel size is not known.
    DataError
        When the nucleus channel is constant or not finite.
    LabelsError
        When labels are to be taken and there are none, or they do not fit.
    """
    image = _open(job)
    shape = image.shape
    pixel = image.pixel_size_um
    if job.config.engine == "labels":
        _labels_of(job, shape)
        return SurveyedField(job, shape, pixel, None)
    read = _reader(image)
    engine = get_engine(job.config.engine)
    diameter = job.config.diameter_px(pixel, job.where)
    return SurveyedField(job, shape, pixel, survey(read, shape, job.where, engine, diameter, pixel))


def run_tile(tile: TileJob) -> PackedTile:
    """Segment a tile."""
    surveyed, job = tile.surveyed, tile.surveyed.job
    if surveyed.scale is None:
        labels = _labels_of(job, surveyed.shape).read(y=tile.box.slices[0], x=tile.box.slices[1])
        present, local = np.unique(np.append(labels.ravel(), 0), return_inverse=True)
        numbers = local.ravel()[:-1].reshape(labels.shape).astype(np.int32)
        return pack(tile.box, Tile(numbers, present[1:].astype(np.int64)))
    read = _reader(_open(job))
    engine = get_engine(job.config.engine, tile.threads)
    work = WorkField(read, surveyed.shape, surveyed.scale, engine.diameter, job.where)
    return pack(tile.box, segment_tile(work, tile.box, engine))


def _open(job: FieldJob) -> FieldImage:
    stain = job.config.stain or job.field.panel.anchor
    return open_field(job.field, stains=job.field.select([stain]))


def _reader(image: FieldImage) -> Read:
    def read(y: slice, x: slice) -> npt.NDArray[np.generic]:
        return np.asarray(image.read(y=y, x=x)[0])

    return read


def _labels_of(job: FieldJob, shape: tuple[int, int]):  # type: ignore[no-untyped-def]
    if job.field.labels is None:
        raise LabelsError(
            job.field.image,
            f"field {job.field.field!r} has no label image.",
            "Name one in the labels column of the manifest, or choose another engine.",
        )
    return open_labels(job.field.labels, shape)
