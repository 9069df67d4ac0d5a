"""Cells of a store as they lie in label layers: painted by a value, outlined when selected, found by a click.

Values are painted as an image whose pixels are looked up by label when they are looked at. A colour for
every label of a labels layer would take napari 10 s for 100,000 cells; a lookup takes a part of a second,
and the image has contrast limits, a colour map and a colour bar that people can change.

Nothing here needs a window.
"""

from __future__ import annotations

import uuid
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary

import dask.array as da
import numpy as np
from numpy.typing import NDArray

from napari_apollo.predict.placement import Placement
from napari_apollo.viewer.columns import Column, number_range
from napari_apollo.viewer.layers import About, Frame, about, find_layers, image_layer, labels_layer
from napari_apollo.viewer.open import TILE, same_image
from napari_apollo.viewer.scatter import inside_outline

if TYPE_CHECKING:
    from napari.layers import Layer

    from napari_apollo.cells import CellStore

FEATURE = "feature"
SELECTED = "selected cells"
LASSO = "lasso"
_OUR_LABELS = ("cells", "nuclei")
_OUTLINED = 2000  # more cells are filled, which takes a quarter of the time
_SAMPLE, _SAME = 24, 0.8  # nuclei that are looked at, and the part of them that must be where they were
_YELLOW = (1.0, 0.85, 0.1, 1.0)


@dataclass(frozen=True)
class CellLayer:
    """A labels layer whose labels are cells of a store.

    Attributes
    ----------
    layer
        The layer.
    image
        The image as it stands in the store's table.
    ids
        (cell,) label of each cell that lies in it.
    positions
        (cell,) its position in the store's table.
    centroids
        (cell, 2) where it lies, (y, x) in pixels of the layer.
    """

    layer: Any
    image: str
    ids: NDArray[np.int64]
    positions: NDArray[np.int64]
    centroids: NDArray[np.float64]

    def cell(self, label: int) -> int | None:
        """Position in the table of the cell with a label."""
        found = np.flatnonzero(self.ids == label)
        return int(self.positions[found[0]]) if len(found) else None

    def at(self, world: Any) -> int | None:
        """Position in the table of the cell at a place in the world."""
        level = self.layer.data[0] if self.layer.multiscale else self.layer.data
        y, x = (int(np.floor(place + 0.5)) for place in self.layer.world_to_data(world)[-2:])
        if not (0 <= y < level.shape[0] and 0 <= x < level.shape[1]):
            return None
        label = int(np.asarray(level[y, x]))
        return self.cell(label) if label else None

    def inside(self, outline: Any) -> NDArray[np.int64]:
        """Positions of the cells whose centroids lie within an outline in the world, (vertex, 2)."""
        corners = np.array([self.layer.world_to_data(vertex)[-2:] for vertex in np.asarray(outline)])
        return np.sort(self.positions[inside_outline(self.centroids, corners)])

    def among(self, chosen: NDArray[np.int64]) -> NDArray[np.bool_]:
        """Whether each cell of the layer is among some cells of the store, bool (cell,)."""
        last = max(int(self.positions.max(initial=-1)), int(chosen.max(initial=-1)))
        mask = np.zeros(last + 1, bool)
        mask[chosen] = True
        return mask[self.positions]

    def looked_up(self, by_cell: NDArray[Any], nothing: Any) -> list[da.Array]:
        """A value for each cell of the store, painted over the labels; ``nothing`` elsewhere.

        Returns
        -------
        list of dask.array.Array
            One for each level of the layer.
        """
        table = np.full(int(self.ids.max(initial=0)) + 1, nothing, by_cell.dtype)
        table[self.ids] = by_cell[self.positions]
        table[0] = nothing
        return self._mapped(lambda labels: _look_up(table, labels), by_cell.dtype)

    def only(self, chosen: NDArray[np.int64]) -> list[da.Array]:
        """The labels of some cells of the store alone, int32."""
        keep = np.zeros(int(self.ids.max(initial=0)) + 1, bool)
        keep[self.ids[self.among(chosen)]] = True
        return self._mapped(
            lambda labels: np.where(_look_up(keep, labels), labels, 0).astype(np.int32), np.dtype(np.int32)
        )

    def _mapped(self, call: Any, dtype: np.dtype[Any]) -> list[da.Array]:
        levels = self.layer.data if self.layer.multiscale else [self.layer.data]
        name = uuid.uuid4().hex  # napari keeps what it computed by name
        return [
            da.map_blocks(
                call, _lazy(level), dtype=dtype, meta=np.empty((0, 0), dtype), name=f"cells-{name}-{number}"
            )
            for number, level in enumerate(levels)
        ]


def cell_layers(viewer: Any, store: CellStore) -> list[CellLayer]:
    """Label layers of a viewer whose labels are cells of a store.

    They are those that ``open_study`` and ``add_predictions`` made, regions of cells first.
    """
    found: list[CellLayer] = []
    images = list(dict.fromkeys(store.obs["image"].astype(str)))
    for role in _OUR_LABELS:
        for layer in find_layers(viewer, role=role):
            shown = about(layer)
            image = next((name for name in images if shown and same_image(name, shown.image)), None)
            if image is None or any(one.image == image for one in found):
                continue
            place = Placement(store.obs, image, store.crop_size)
            ids = place.ids.astype(np.int64)
            if role == "nuclei" and not np.array_equal(
                ids, store.obs["label"].to_numpy(np.int64)[place.positions]
            ):
                continue  # two fields use one label for two cells
            if role == "nuclei" and not _still_there(layer, ids, place.centroid):
                continue
            found.append(CellLayer(layer, image, ids, place.positions, place.centroid))
    return found


def _still_there(layer: Layer, ids: NDArray[np.int64], centroids: NDArray[np.float64]) -> bool:
    """Whether the labels of a layer are those that the cells were cut by, and not found anew since.

    A few are looked at, in the order of their numbers; a nucleus need not lie under its own centroid.
    """
    layer = getattr(layer, "__wrapped__", layer)  # tools see layers through proxies that do not last
    known = _looked_at.get(layer)
    asked = (len(ids), int(ids.sum()))
    if known is not None and known[0] == asked and known[1] is layer.data:
        return known[2]
    order = np.argsort(ids)[np.unique(np.linspace(0, len(ids) - 1, _SAMPLE).astype(int))]
    full = layer.data[0] if layer.multiscale else layer.data
    last = np.array(full.shape) - 1
    places = np.clip(np.floor(centroids[order] + 0.5).astype(int), 0, last)
    there = np.array([int(np.asarray(full[y, x])) for y, x in places])
    same = bool((there == ids[order]).mean() >= _SAME)
    _looked_at[layer] = (asked, layer.data, same)
    return same


_looked_at: WeakKeyDictionary[Any, tuple[tuple[int, int], Any, bool]] = WeakKeyDictionary()


def show_column(viewer: Any, cells: CellLayer, column: Column, colormap: str = "viridis") -> Layer:
    """Paint the cells of a layer by a column; the layer of an earlier column is used again.

    Parameters
    ----------
    viewer
        A napari viewer, with or without a window.
    cells
        The cells.
    column
        Values by cell of the store.
    colormap
        Name of napari's colour map.

    Returns
    -------
    napari.layers.Image
        Named like the column; NaN, that is transparent, where no cell is.
    """
    values = column.values.astype(np.float32)
    colours: Any = colormap
    low, high = number_range(column.values)
    if column.kind == "groups":
        values = np.where(values < 0, np.float32(np.nan), values)
        low, high = -0.5, len(column.groups) - 0.5
        colours = _palette(column)
    levels = cells.looked_up(values, np.float32(np.nan))
    before = find_layers(viewer, role=FEATURE, image=cells.image)
    if before:
        layer = before[0]
        _set_levels(layer, levels)
        layer.contrast_limits_range = (low, high)
        layer.contrast_limits = (low, high)
        layer.colormap = colours
        layer.name = column.name
        layer.visible = True
        return layer
    kept = set(viewer.layers.selection)
    spec = image_layer(
        levels,
        About(FEATURE, cells.image, source=str(cells.layer.unique_id)),
        Frame.of(cells.layer),
        contrast_limits=(low, high),
        name=column.name,
    )
    look = {"colormap": colours, "blending": "translucent", "opacity": 0.75}
    layer = replace(spec, kwargs={**spec.kwargs, **look}).add(viewer)
    viewer.layers.move(viewer.layers.index(layer), viewer.layers.index(cells.layer))
    viewer.layers.selection = kept or {layer}
    return layer


def hide_columns(viewer: Any) -> None:
    """Remove what ``show_column`` painted."""
    for layer in find_layers(viewer, role=FEATURE):
        viewer.layers.remove(layer)


def show_selected(viewer: Any, cells: CellLayer, chosen: NDArray[np.int64]) -> Layer | None:
    """Outline some cells of a layer, or fill them where they are many; an earlier selection's layer is used.

    Returns
    -------
    napari.layers.Labels or None
        The outlines; None while nothing was ever selected.
    """
    before = find_layers(viewer, role=SELECTED, image=cells.image)
    chosen = np.asarray(chosen, np.int64)
    here = cells.positions[cells.among(chosen)]
    contour, opacity = (2, 1.0) if len(here) <= _OUTLINED else (0, 0.6)
    if before:
        layer = before[0]
        if len(here):
            if layer.contour != contour:
                layer.contour, layer.opacity = contour, opacity
            _set_levels(layer, cells.only(here))
        if layer.visible != bool(len(here)):
            layer.visible = bool(len(here))
        return layer
    if not len(here):
        return None
    kept = set(viewer.layers.selection)
    spec = labels_layer(
        cells.only(here),
        About(SELECTED, cells.image, source=str(cells.layer.unique_id)),
        Frame.of(cells.layer),
        contour=contour,
        colour=_YELLOW,
        opacity=opacity,
    )
    layer = spec.add(viewer)
    layer.editable = False
    viewer.layers.selection = kept
    return layer


def _palette(column: Column) -> Any:
    from napari.utils.colormaps import Colormap

    steps = np.linspace(0, 1, len(column.groups) + 1)
    return Colormap(list(column.palette), name="apollo groups", controls=steps, interpolation="zero")


def _set_levels(layer: Any, levels: list[da.Array]) -> None:
    layer.data = levels if layer.multiscale else levels[0]


def _lazy(level: Any) -> da.Array:
    return level if isinstance(level, da.Array) else da.from_array(np.asarray(level), chunks=TILE, name=False)


def _look_up(table: NDArray[Any], labels: NDArray[Any]) -> NDArray[Any]:
    """Values by label; labels that the table does not know, as those drawn by hand, have that of 0."""
    looked: NDArray[Any] = table[np.where((labels > 0) & (labels < len(table)), labels, 0)]
    return looked
