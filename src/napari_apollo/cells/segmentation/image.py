"""Segmentation of one image in memory."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from napari_apollo.cells.segmentation.assembly import numbered, renumbered
from napari_apollo.cells.segmentation.config import SegmentConfig
from napari_apollo.cells.segmentation.engines import get_engine
from napari_apollo.cells.segmentation.scale import survey
from napari_apollo.cells.segmentation.tiles import segment_tile, tile_boxes, tile_side
from napari_apollo.cells.segmentation.work import WorkField
from napari_apollo.errors import ConfigError, DataError
from napari_apollo.progress import ShouldStop, never, stop_if_asked
from napari_apollo.tasks import available_cores


def segment_image(
    image: npt.ArrayLike,
    *,
    pixel_size_um: tuple[float, float] | float | None = None,
    config: SegmentConfig | None = None,
    should_stop: ShouldStop = never,
) -> npt.NDArray[np.int32]:
    """Find the nuclei of an image in memory.

    Parameters
    ----------
    image
        The DNA stain, (Y, X), any integer or float kind, in any intensity unit.
    pixel_size_um
        Size of a pixel in micrometres, one number or (y, x); where known.
    config
        Settings; ``output``, ``stain`` and ``scheduler`` have no meaning here.
    should_stop
        Asked between tiles.

    Returns
    -------
    ndarray
        Labels, int32 (Y, X): 0 is background, nuclei are 1 to N in the raster order of their seeds. An image
        in which no nucleus is seen has none.

    Raises
    ------
    DataError
        When the image has another number of axes, no pixels, only one value or values that are not finite.
    """
    config = config or SegmentConfig()
    values = np.asarray(image)
    if values.ndim != 2 or values.size == 0:
        raise DataError(f"An image (Y, X) with pixels is segmented, not one of shape {values.shape}.")
    if config.engine == "labels":
        raise ConfigError("The engine 'labels' takes label images of a study; an image has none.")
    shape = (int(values.shape[0]), int(values.shape[1]))
    pixel = (pixel_size_um, pixel_size_um) if isinstance(pixel_size_um, float | int) else pixel_size_um

    def read(y: slice, x: slice) -> npt.NDArray[np.generic]:
        return values[y, x]

    engine = get_engine(config.engine, config.workers or available_cores())
    scale = survey(read, shape, "image", engine, config.diameter_px(pixel, "image"), pixel)
    work = WorkField(read, shape, scale, engine.diameter, "image")
    tiles = []
    for box in tile_boxes(shape, tile_side(config.tile, scale, engine)):
        stop_if_asked(should_stop)
        tiles.append((box, segment_tile(work, box, engine)))
    nuclei = numbered([tile.nuclei for _, tile in tiles])
    labels = np.zeros(shape, np.int32)
    for box, tile in tiles:
        labels[box.slices] = renumbered(tile.labels, tile.nuclei, nuclei)
    return labels
