"""Overlays on disk: measured, rebuilt and predicted channels of an image as OME-Zarr 0.5.

One image a folder: ``c, y, x`` in several resolutions, each channel with the name, colour and range
that the viewer shows, the physical size of pixels, and the cells as a label image. Written tile by
tile, so that memory does not grow with the image.

Specification: https://ngff.openmicroscopy.org/0.5/
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

import dask
import dask.array as da
import numpy as np
import zarr
from pydantic import Field
from zarr.codecs import BloscCodec

from napari_apollo.cells.store import CellStore
from napari_apollo.config import OperationConfig
from napari_apollo.errors import DataError, FileError, ImageError
from napari_apollo.panels import same_stain
from napari_apollo.predict.canvas import Canvas
from napari_apollo.predict.colours import stain_colours
from napari_apollo.predict.omemetadata import Channel, describe
from napari_apollo.predict.pyramid import halve_block, level_shapes
from napari_apollo.predict.roles import ChannelRole, channel_name
from napari_apollo.predict.store import PredictionStore
from napari_apollo.progress import Progress, ShouldStop, Step, never, silent, stop_if_asked
from napari_apollo.storage import absolute, whole_folder
from napari_apollo.study import FieldImage, Study, open_field
from napari_apollo.study.fields import default_name, unique_names
from napari_apollo.study.images import open_source

if TYPE_CHECKING:
    from napari_apollo.study import StudyField

_CHUNK = 512


class OverlayConfig(OperationConfig):
    """Settings of an overlay."""

    output: Path = Path("overlays")
    """Folder that gets one IMAGE.ome.zarr for every image; folders that tell images of one name apart are
    part of the name."""

    images: tuple[str, ...] = ()
    """Images, or names of fields, to write; all where none is named."""

    stains: tuple[str, ...] = ()
    """Stains to write; all where none is named."""

    roles: tuple[ChannelRole, ...] = (
        ChannelRole.MEASURED,
        ChannelRole.RECONSTRUCTED,
        ChannelRole.PREDICTED,
    )
    """What to write of each stain: measured, reconstructed, reconstructed_shared, predicted."""

    labels: bool = True
    """Write the regions of the cells as a label image."""

    overwrite: bool = False
    """Replace overlays that exist; the old ones stay until the new ones are complete."""

    tile: int = Field(default=2048, ge=_CHUNK, le=16384, multiple_of=_CHUNK)
    """Side in pixels of what is computed and written at a time; memory grows with its square."""


def overlay(
    store: CellStore | Path | str,
    predictions: PredictionStore | Path | str,
    config: OverlayConfig | None = None,
    *,
    study: Study | Path | str | None = None,
    progress: Progress = silent,
    should_stop: ShouldStop = never,
) -> list[Path]:
    """Write measured, rebuilt and predicted stains of images as OME-Zarr.

    Parameters
    ----------
    store
        The cells.
    predictions
        What was predicted for them.
    config
        Settings.
    study
        The study that the cells come from. With it, a stain that all cells of an image were given is
        written as the whole image; without it, and for stains that only some cells were given, the
        measured crops are put back, so that what is not of a cell is 0.

    Returns
    -------
    list of pathlib.Path
        One OME-Zarr for each image.

    Raises
    ------
    DataError
        When an image is unknown, or neither study nor file tells its size.
    FileError
        When an overlay exists and ``overwrite`` is not set.
    StorageFull, Cancelled
        When the disk is full, or on request; nothing half-written is left behind.
    """
    config = config or OverlayConfig()
    store = store if isinstance(store, CellStore) else CellStore.open(store)
    if not isinstance(predictions, PredictionStore):
        predictions = PredictionStore.open(predictions)
    if isinstance(study, (str, Path)):
        study = Study.from_csv(study)
    predictions.require_fits(store.obs, store.path, store.crop_size)
    written = []
    names = _names(store)
    for image in _images(store, config.images):
        source = _Source(store, predictions, study, image)
        target = config.output / f"{names[image]}.ome.zarr"
        if target.exists() and any(path.exists() and path.samefile(target) for path in source.files):
            raise FileError(target, "is the image itself.", "Write overlays to another folder.")
        with whole_folder(target, overwrite=config.overwrite, mark="zarr.json") as folder:
            _write_image(folder, source, config, progress, should_stop)
        written.append(target)
    return written


class _Source:
    """An image with everything that there is of it."""

    def __init__(
        self, store: CellStore, predictions: PredictionStore, study: Study | None, image: str
    ) -> None:
        self.predictions = predictions
        self.image = image
        self.fields = _fields_of(image, store, study)
        self.files = {Path(image), *(field.image for field in self.fields)}
        self.opened: tuple[FieldImage, ...] = tuple(open_field(field) for field in self.fields)
        if self.opened:
            self.shape = self.opened[0].shape
        else:
            try:
                layout = open_source(Path(image)).layout
            except ImageError as error:
                raise DataError(
                    f"{error} Its size is not known without it; give the study as well."
                ) from error
            self.shape = (layout.length("Y"), layout.length("X"))
        self.canvas = Canvas(store, predictions, image=image, shape=self.shape)
        scale = float(self.canvas.placement.scale[0])
        size = store.pixel_size_um
        own = self.opened[0].pixel_size_um if self.opened else None
        self.pixel_size_um = own or (None if size is None else (size / scale, size / scale))

    def channels(self, stains: Sequence[str], roles: Sequence[ChannelRole]) -> list[Channel]:
        """Channels asked for, role by role."""
        colours = stain_colours((*self.canvas.stains(), *self.predictions.card.vocabulary))
        channels = []
        for role in ChannelRole:
            for stain in self.canvas.stains(role) if role in roles else ():
                if stains and not any(same_stain(stain, wanted) for wanted in stains):
                    continue
                data = self._measured(stain) if role is ChannelRole.MEASURED else None
                if data is None:
                    data = self.canvas.layer(stain, role, levels=False)[0]
                window = self.predictions.card.limits.get(stain, (0.0, 1.0))
                label = channel_name(stain, role, self.predictions.anchor)
                channels.append(Channel(stain, role, label, colours[stain].lstrip("#"), window, data))
        if not channels:
            raise DataError(f"{self.image} has none of the stains {', '.join(stains)} in these roles.")
        return channels

    def _measured(self, stain: str) -> da.Array | None:
        """The whole image of a stain where every field has it."""
        if not self.opened or not all(stain in field.panel for field in self.fields):
            return None
        image = self.opened[0]
        return image.lazy()[image.field.panel.index(stain)]


def _fields_of(image: str, store: CellStore, study: Study | None) -> tuple[StudyField, ...]:
    """Fields of the study that an image of the store is, also where the study was moved meanwhile.

    Raises
    ------
    DataError
        When a study is given and has none.
    """
    if study is None:
        return ()
    obs = store.obs
    own = set(obs["field"][obs["image"].astype(str) == image].astype(str))
    fields = tuple(field for field in study if absolute(field.image) == absolute(image)) or tuple(
        field for field in study if field.field in own and field.image.name == Path(image).name
    )
    if not fields:
        raise DataError(
            f"{study.path or 'The study'} has no field of the image {image} (in {store.path}: "
            f"{', '.join(sorted(own))}); give the study that the cells were cut from."
        )
    return fields


def _names(store: CellStore) -> dict[str, str]:
    """Name of each image's overlay: that of its file, with folders where several files share it."""
    first = store.obs.drop_duplicates("image")
    images = [str(image) for image in first["image"]]
    panels = [str(panel) for panel in first["panel"]]
    return dict(zip(images, unique_names([Path(image) for image in images], panels), strict=True))


def _images(store: CellStore, wanted: Sequence[str]) -> list[str]:
    obs = store.obs
    names = list(dict.fromkeys(obs["image"].astype(str)))
    of_field = dict(zip(obs["field"].astype(str), obs["image"].astype(str), strict=True))
    for name in wanted:
        if name not in names and name not in of_field:
            raise DataError(
                f"{store.path} has no image or field {name!r}; its images are {', '.join(names[:8])}."
            )
    return list(dict.fromkeys(name if name in names else of_field[name] for name in wanted)) or names


def _write_image(
    folder: Path, source: _Source, config: OverlayConfig, progress: Progress, should_stop: ShouldStop
) -> None:
    channels = source.channels(config.stains, config.roles)
    dtype = np.result_type(*(channel.data.dtype for channel in channels))
    shapes = level_shapes(source.shape, _CHUNK)
    root = zarr.create_group(folder, zarr_format=3)
    levels = _create_levels(root, shapes, (len(channels),), dtype)
    cells = source.canvas.labels(levels=False)[0]
    labels: list[zarr.Array] = []
    if config.labels:
        labels = _create_levels(root.create_group("labels/cells"), shapes, (), np.dtype(np.int32))
    tiles = list(_tiles(source.shape, config.tile))
    for done, (y, x) in enumerate(tiles):
        progress(Step("Writing the overlay", done, len(tiles), Path(source.image).name))
        for k, channel in enumerate(channels):
            stop_if_asked(should_stop)
            levels[0][k, y, x] = np.asarray(dask.compute(channel.data[y, x])[0], dtype)
        if labels:
            labels[0][y, x] = dask.compute(cells[y, x])[0]
    for finer, coarser in pairwise(levels):
        for y, x in _tiles(coarser.shape[1:], config.tile):
            stop_if_asked(should_stop)
            for k in range(len(channels)):
                coarser[k, y, x] = halve_block(np.asarray(finer[k, _double(y), _double(x)]))
    for finer, coarser in pairwise(labels):
        for y, x in _tiles(coarser.shape, config.tile):
            stop_if_asked(should_stop)
            coarser[y, x] = np.asarray(finer[_double(y), _double(x)])[::2, ::2]
    describe(
        root,
        default_name(Path(source.image)),
        channels,
        levels=len(shapes),
        pixel_size_um=source.pixel_size_um,
        labels=bool(labels),
        about={"model": source.predictions.card.model},
    )
    progress(Step("Writing the overlay", len(tiles), len(tiles), Path(source.image).name))


def _create_levels(
    group: zarr.Group, shapes: Sequence[tuple[int, int]], leading: tuple[int, ...], dtype: np.dtype[Any]
) -> list[zarr.Array]:
    levels = []
    for k, shape in enumerate(shapes):
        chunk = tuple(min(_CHUNK, side) for side in shape)
        # Whole chunks a shard: about 16 of them, so that few files are written.
        shard = tuple(side * min(4, -(-length // side)) for side, length in zip(chunk, shape, strict=True))
        levels.append(
            group.create_array(
                str(k),
                shape=(*leading, *shape),
                chunks=(*(1 for _ in leading), *chunk),
                shards=(*(1 for _ in leading), *shard),
                dtype=dtype,
                compressors=BloscCodec(cname="zstd", clevel=3, shuffle="bitshuffle"),
                dimension_names=("c", "y", "x")[-len(leading) - 2 :],
                fill_value=0,
            )
        )
    return levels


def _tiles(shape: Sequence[int], side: int) -> Iterator[tuple[slice, slice]]:
    for y in range(0, shape[0], side):
        for x in range(0, shape[1], side):
            yield slice(y, min(y + side, shape[0])), slice(x, min(x + side, shape[1]))


def _double(part: slice) -> slice:
    return slice(2 * part.start, 2 * part.stop)
