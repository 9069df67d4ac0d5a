"""Crops put back into their image: lazy, in tiles, at several resolutions.

The inverse of cutting. With ``f`` field pixels per crop pixel, field pixel ``p`` is crop pixel
``S // 2 + (p - centre) / f`` (see "Geometry of a crop" in the architecture page). A pixel belongs to
a cell where the cell's mask says so; where the regions of two cells overlap, a nucleus wins over
cytoplasm and then the cell with the nearer centroid wins. Pixels of no cell are 0, which additive
blending leaves transparent.
"""

from __future__ import annotations

import threading
import uuid
from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

import dask.array as da
import numpy as np

from napari_apollo.errors import UnknownStain
from napari_apollo.panels import same_stain
from napari_apollo.predict.pasting import find_owners, paste
from napari_apollo.predict.placement import CropSource, Placement
from napari_apollo.predict.pyramid import halve, level_shapes, paint_cells
from napari_apollo.predict.roles import ChannelRole

if TYPE_CHECKING:
    from napari_apollo.predict.store import PredictionStore

TILE = 512
_TILES_KEPT = 64  # owner maps, 1 MB each
_FROM_MEANS = 8  # from this reduction on a cell is a few pixels: its mean is painted, no crop is read

Region = tuple[int, int, int, int]


@dataclass(frozen=True)
class Ownership:
    """Which cell each pixel of a tile belongs to.

    Attributes
    ----------
    cells
        (k,) indices into the placement of the cells that own a pixel.
    owner
        (y, x) int32 index into ``cells``, -1 where no cell is.
    """

    cells: np.ndarray
    owner: np.ndarray


class Canvas:
    """One image as the cells of a store make it up.

    Parameters
    ----------
    store
        Cell store: geometry, masks and measured crops.
    predictions
        Predictions for the cells of that store; without them only ``measured`` can be shown.
    image
        The image as it stands in the store's table, or the name of one of its fields. Cells of all
        fields that name this image are merged.
    shape
        (Y, X) of the image in pixels.
    tile
        Side of a tile in pixels; a tile is what is computed at a time.
    """

    def __init__(
        self,
        store: CropSource,
        predictions: PredictionStore | None = None,
        *,
        image: str,
        shape: tuple[int, int],
        tile: int = TILE,
    ) -> None:
        self.store = store
        self.predictions = predictions
        self.shape = (int(shape[0]), int(shape[1]))
        self.tile = tile
        self.placement = Placement(store.obs, str(image), store.crop_size)
        self._owners: OrderedDict[Region, Ownership] = OrderedDict()
        self._lock = threading.Lock()

    # --- what can be shown -------------------------------------------------------------------

    def stains(self, role: ChannelRole | str = ChannelRole.MEASURED) -> tuple[str, ...]:
        """Stains that some cell of this image has in a role, in the order of the panels."""
        found: list[str] = []
        for panel in self.placement.panels:
            for stain in self._stains_of(panel, ChannelRole(role)):
                if not any(same_stain(stain, other) for other in found):
                    found.append(stain)
        return tuple(found)

    def layer(
        self,
        stain: str,
        role: ChannelRole | str = ChannelRole.MEASURED,
        *,
        levels: bool = True,
        only: np.ndarray | None = None,
    ) -> list[da.Array]:
        """A channel as lazy arrays, (Y, X) first and then halved again and again.

        Parameters
        ----------
        stain
            Stain to show.
        role
            ``measured``, ``reconstructed``, ``reconstructed_shared``, ``predicted`` or ``uncertainty``.
        levels
            False for the full resolution only.
        only
            (n,) bool, which cells of ``placement`` are shown; all where not given.

        Returns
        -------
        list of dask.array.Array
            In the stain's own units; 0 where no cell has this stain in this role.

        Raises
        ------
        UnknownStain
            When no cell of the image has the stain in that role.
        """
        role = ChannelRole(role)
        known = self.stains(role)
        if not any(same_stain(stain, other) for other in known):
            raise UnknownStain(stain, known or ("nothing",), f"the {role} channels of {self.placement.image}")
        dtype = self._dtype(stain, role)
        full = self._tiled(self.shape, dtype, lambda region: self._values(stain, role, region, dtype, only))
        if not levels:
            return [full]
        return self._levels(full, self._means(stain, role, only))

    def labels(self, *, levels: bool = True) -> list[da.Array]:
        """Regions of the cells as a label image, int32, values ``placement.ids``."""
        full = self._tiled(self.shape, np.dtype(np.int32), self._label_values)
        if not levels:
            return [full]
        return [full, *(full[:: 2**k, :: 2**k] for k in range(1, len(level_shapes(self.shape, self.tile))))]

    def per_cell(self, values: np.ndarray) -> list[da.Array]:
        """One value per cell painted over its region, for example an error.

        Parameters
        ----------
        values
            (n,) floats, one for each cell of ``placement`` in its order.

        Returns
        -------
        list of dask.array.Array
            (Y, X) float32 and its reductions; 0 where no cell is and where the value is not finite.
        """
        known = np.nan_to_num(np.asarray(values, np.float32), posinf=0.0, neginf=0.0)

        def paint(region: Region) -> np.ndarray:
            own = self.ownership(region)
            return np.where(own.owner >= 0, np.append(known[own.cells], np.float32(0))[own.owner], 0)

        full = self._tiled(self.shape, np.dtype(np.float32), paint)
        return self._levels(full, None)

    # --- pasting -----------------------------------------------------------------------------

    def ownership(self, region: Region) -> Ownership:
        """Which cell each pixel of rows ``y0:y1``, columns ``x0:x1`` belongs to."""
        with self._lock:
            if region in self._owners:
                self._owners.move_to_end(region)
                return self._owners[region]
        own = self._find_owners(region)
        with self._lock:
            self._owners[region] = own
            while len(self._owners) > _TILES_KEPT:
                self._owners.popitem(last=False)
        return own

    def _find_owners(self, region: Region) -> Ownership:
        place = self.placement
        near = place.near(*region)
        masks = self._gather(near, lambda panel, rows: self.store.read_masks(panel, rows))
        owner = find_owners(masks, place.centre[near], place.centroid[near], place.scale[near], region)
        used = np.zeros(len(near) + 1, bool)
        used[owner] = True  # -1, no cell, marks the last
        compact = np.append(np.cumsum(used[:-1]) - 1, -1).astype(np.int32)
        return Ownership(near[used[:-1]], compact[owner])

    def _values(
        self, stain: str, role: ChannelRole, region: Region, dtype: np.dtype[Any], only: np.ndarray | None
    ) -> np.ndarray:
        own = self.ownership(region)
        having = np.array([self._has(panel, stain, role) for panel in self.placement.panels])
        wanted = having[self.placement.panel[own.cells]]
        shown = np.flatnonzero(wanted if only is None else wanted & only[own.cells])
        crops = self._gather(own.cells[shown], lambda panel, rows: self._read(panel, rows, stain, role))
        crop_of = np.full(len(own.cells), -1)
        crop_of[shown] = np.arange(len(shown))
        centre, scale = self.placement.centre[own.cells], self.placement.scale[own.cells]
        return paste(crops, own.owner, crop_of, centre, scale, (region[0], region[2]), dtype)

    def _label_values(self, region: Region) -> np.ndarray:
        own = self.ownership(region)
        return np.append(self.placement.ids[own.cells], np.int32(0))[own.owner]

    # --- reading -----------------------------------------------------------------------------

    def _gather(self, cells: np.ndarray, read: Callable[[str, np.ndarray], np.ndarray]) -> np.ndarray:
        """Read something of every cell, panel by panel, and put it in the order of ``cells``."""
        out: np.ndarray | None = None
        codes = self.placement.panel[cells]
        for code in np.unique(codes):
            members = np.flatnonzero(codes == code)
            part = read(self.placement.panels[code], self.placement.row[cells[members]])
            if out is None:
                out = np.zeros((len(cells), *part.shape[1:]), part.dtype)
            if part.dtype != out.dtype:
                out = out.astype(np.result_type(out, part))
            out[members] = part
        size = self.store.crop_size
        return np.zeros((0, size, size), np.uint8) if out is None else out

    def _read(self, panel: str, rows: np.ndarray, stain: str, role: ChannelRole) -> np.ndarray:
        if role is ChannelRole.MEASURED:
            channel = self.store.panels[panel].index(stain)
            return self.store.read_images(panel, rows)[:, channel]
        assert self.predictions is not None
        return self.predictions.read(panel, role, stain, rows)

    def _stains_of(self, panel: str, role: ChannelRole) -> Sequence[str]:
        if role is ChannelRole.MEASURED:
            return self.store.panels[panel].stains
        return self.predictions.stains(panel, role) if self.predictions is not None else ()

    def _has(self, panel: str, stain: str, role: ChannelRole) -> bool:
        return any(same_stain(stain, other) for other in self._stains_of(panel, role))

    def _dtype(self, stain: str, role: ChannelRole) -> np.dtype[Any]:
        nothing = np.zeros(0, np.int64)
        kinds = [
            self._read(panel, nothing, stain, role).dtype
            for panel in self.placement.panels
            if self._has(panel, stain, role)
        ]
        return np.result_type(*kinds)

    def _means(
        self, stain: str, role: ChannelRole, only: np.ndarray | None = None
    ) -> tuple[np.ndarray, np.ndarray] | None:
        """Mean and area (field pixels) of every cell in a channel; None where nobody stored them."""
        if self.predictions is None:
            return None
        place = self.placement
        mean = np.zeros(len(place))
        area = np.zeros(len(place))
        for code, panel in enumerate(place.panels):
            members = np.flatnonzero(place.panel == code)
            area[members] = self.predictions.areas(panel, place.row[members]) * place.scale[members] ** 2
            if self._has(panel, stain, role):
                mean[members] = self.predictions.means(panel, role, stain, place.row[members])
        return (mean if only is None else np.where(only, mean, 0)), area

    # --- dask --------------------------------------------------------------------------------

    def _tiled(
        self, shape: tuple[int, int], dtype: np.dtype[Any], compute: Callable[[Region], np.ndarray]
    ) -> da.Array:
        def block(block_info: Any = None) -> np.ndarray:
            (y0, y1), (x0, x1) = block_info[None]["array-location"]
            return compute((int(y0), int(y1), int(x0), int(x1)))

        chunks = tuple(_chunks(length, self.tile) for length in shape)
        name = f"canvas-{uuid.uuid4().hex}"  # else dask would hash the whole store to find one
        return da.map_blocks(block, chunks=chunks, dtype=dtype, meta=np.empty((0, 0), dtype), name=name)

    def _levels(self, full: da.Array, means: tuple[np.ndarray, np.ndarray] | None) -> list[da.Array]:
        levels = [full]
        for k, shape in enumerate(level_shapes(self.shape, self.tile)[1:], start=1):
            if means is None or 2**k < _FROM_MEANS:
                levels.append(halve(levels[-1], self.tile))
            else:
                levels.append(self._tiled(shape, full.dtype, partial(self._paint, means, 2**k, full.dtype)))
        return levels

    def _paint(
        self, means: tuple[np.ndarray, np.ndarray], step: int, dtype: np.dtype[Any], region: Region
    ) -> np.ndarray:
        y0, y1, x0, x1 = (edge * step for edge in region)
        near = self.placement.near(y0, y1, x0, x1)
        mean, area = means
        return paint_cells(self.placement.centroid[near], mean[near], area[near], step, dtype, region)


def _chunks(length: int, tile: int) -> tuple[int, ...]:
    whole, rest = divmod(length, tile)
    return (tile,) * whole + ((rest,) if rest else ())
