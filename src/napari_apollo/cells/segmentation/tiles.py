"""One tile of a field: read with a margin, seen by an engine, decoded, painted."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from napari_apollo.cells.segmentation.decode import decode, paint
from napari_apollo.cells.segmentation.engines import NucleusEngine
from napari_apollo.cells.segmentation.grid import Box
from napari_apollo.cells.segmentation.scale import FieldScale
from napari_apollo.cells.segmentation.work import WorkField

_WORK_TILE = 1536
_SMALLEST_TILE = 64


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


def tile_side(most: int, scale: FieldScale, engine: NucleusEngine) -> int:
    """Side of a tile in image pixels: at most ``most``, and less where the work grid is finer than the image.

    Memory goes with the work grid, so small nuclei, which are enlarged, are worked on in smaller tiles.
    """
    return max(_SMALLEST_TILE, min(most, int(_WORK_TILE * scale.diameter / engine.diameter)))


def tile_boxes(shape: tuple[int, int], size: int) -> Iterator[Box]:
    """Tiles of a field in raster order."""
    for y in range(0, shape[0], size):
        for x in range(0, shape[1], size):
            yield Box(y, min(shape[0], y + size), x, min(shape[1], x + size))


def segment_tile(work: WorkField, box: Box, engine: NucleusEngine) -> Tile:
    """Find the nuclei of a tile.

    Parameters
    ----------
    work
        The field, at the scale of the engine.
    box
        The tile, in pixels of the image.
    engine
        Sees nuclei.

    Raises
    ------
    DataError
        When a value is not finite.
    """
    if work.empty:
        return Tile(np.zeros(box.shape, np.int32), np.zeros(0, np.int64))
    grid = work.grid
    region = grid.to_work(box).grown(engine.decoding.margin, work.shape)
    maps = engine.maps(work, region)
    labels, seeds = decode(maps, engine.decoding)
    painted = paint(
        labels, maps.foreground, (region.y0, region.x0), work.shape, grid.zoom, (box.y0, box.x0), box.shape
    )
    present = np.flatnonzero(np.bincount(painted.ravel(), minlength=len(seeds) + 1)[1:])
    lookup = np.zeros(len(seeds) + 1, np.int32)
    lookup[present + 1] = np.arange(1, len(present) + 1)
    rows = seeds[present, 0].astype(np.int64) + region.y0
    columns = seeds[present, 1].astype(np.int64) + region.x0
    return Tile(lookup[painted], rows * work.shape[1] + columns)
