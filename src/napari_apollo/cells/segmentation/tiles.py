"""One tile of a field: read with a margin, seen by an engine, decoded, painted."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from napari_apollo.cells.segmentation.decode import decode, paint
from napari_apollo.cells.segmentation.engines import NucleusEngine
from napari_apollo.cells.segmentation.grid import Box, Grid, Read
from napari_apollo.cells.segmentation.scale import FieldScale, checked


@dataclass(frozen=True)
class Tile:
    """Nuclei in one tile.

    Attributes
    ----------
    labels
        int32 (y, x): 0 is background, ``n`` the nucleus ``nuclei[n - 1]``.
    nuclei
        int64, rising: where on the work grid, counted in raster order, each nucleus that shows in this tile
        has its seed. The same nucleus has the same number in every tile.
    """

    labels: npt.NDArray[np.int32]
    nuclei: npt.NDArray[np.int64]


def tile_boxes(shape: tuple[int, int], size: int) -> Iterator[Box]:
    """Tiles of a field in raster order."""
    for y in range(0, shape[0], size):
        for x in range(0, shape[1], size):
            yield Box(y, min(shape[0], y + size), x, min(shape[1], x + size))


def segment_tile(
    read: Read, shape: tuple[int, int], box: Box, scale: FieldScale, engine: NucleusEngine, where: str
) -> Tile:
    """Find the nuclei of a tile.

    Parameters
    ----------
    read
        Reads a region of the nucleus channel, as acquired.
    shape
        Rows and columns of the field.
    box
        The tile.
    scale
        Brightness and size of the field's nuclei.
    engine
        Sees nuclei.
    where
        What to call the field in an error.

    Raises
    ------
    DataError
        When a value is not finite.
    """
    if scale.empty:
        return Tile(np.zeros(box.shape, np.int32), np.zeros(0, np.int64))
    grid = Grid(shape, engine.diameter / scale.diameter)

    def read_work(region: Box) -> npt.NDArray[np.float32]:
        return scale.normalised(grid.resampled(lambda y, x: checked(read(y, x), where), region))

    inner = grid.to_work(box)
    work = inner.grown(engine.decoding.margin, grid.work_shape)
    maps = engine.maps(read_work, grid.work_shape, work)
    labels, seeds = decode(maps, engine.decoding)
    painted = paint(
        labels, maps.foreground, (work.y0, work.x0), grid.work_shape, grid.zoom, (box.y0, box.x0), box.shape
    )
    present = np.flatnonzero(np.bincount(painted.ravel(), minlength=len(seeds) + 1)[1:])
    lookup = np.zeros(len(seeds) + 1, np.int32)
    lookup[present + 1] = np.arange(1, len(present) + 1)
    rows = seeds[present, 0].astype(np.int64) + work.y0
    columns = seeds[present, 1].astype(np.int64) + work.x0
    return Tile(lookup[painted], rows * grid.work_shape[1] + columns)
