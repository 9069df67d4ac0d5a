"""The exploring tool: a scatter of cells, one cell with its like, latent directions and their meaning."""

from __future__ import annotations

from functools import partial
from typing import Any, ClassVar

import numpy as np
from qtpy.QtGui import QColor
from qtpy.QtWidgets import QComboBox, QLabel, QSizePolicy

from napari_apollo.cells import CellStore
from napari_apollo.viewer.adopting import adopt
from napari_apollo.viewer.cellmaps import show_column
from napari_apollo.viewer.choosing import NameBox, labelled
from napari_apollo.viewer.cloud import CloudPlot
from napari_apollo.viewer.columns import CellColumns, colours_of
from napari_apollo.viewer.crops import CropPainter
from napari_apollo.viewer.exploring import TWO_COLUMNS, Explorer, has_umap, umap_beside
from napari_apollo.viewer.linking import NO_CELLS, NO_IMAGE, link_selection
from napari_apollo.viewer.parts import note, row, say, small_button
from napari_apollo.viewer.tool import Tool
from napari_apollo.viewer.widgets.cellview import CellPanel
from napari_apollo.viewer.widgets.direction import DirectionPanel
from napari_apollo.viewer.widgets.meaning import MeaningPanel
from napari_apollo.viewer.widgets.results import ResultsFold

_LEGEND = 12


class ExploreTool(Tool):
    """See where cells lie by what they share and by what is their own, and look at them."""

    job_keys: ClassVar[tuple[str, ...]] = ("map", "tied", "interpret")

    def build(self) -> None:
        """Add the parts."""
        self.explorer: Explorer | None = None
        self._painter: CropPainter | None = None
        self.link = link_selection(self.viewer)
        self.missing = note(NO_CELLS)
        self.no_latents = note("The cells have no latents yet: predict in the tool Overlay.")
        self._build_map()
        self.cell_panel = CellPanel()
        self.cell_panel.asked.connect(self._neighbour_asked)
        self.cell_panel.failed.connect(self.failed)
        self.direction = DirectionPanel(self)
        self.meaning = MeaningPanel(self, self.direction)
        self.results = ResultsFold(self.session)
        self.add(
            self.missing,
            row(self._map_label, self.map_box, stretch=1),
            row(self._x_label, self.x, self._y_label, self.y),
            row(self._colour_label, self.colour, stretch=1),
            self.cloud,
            self.legend,
            self.tools,
            self.no_latents,
            self.cell_panel,
            self.direction,
            self.meaning,
            self.results,
        )
        self.follow(self.session.store_changed, self._store_changed)
        self.follow(self.session.predictions_changed, self._predictions_changed)
        self.follow(self.session.selection_changed, self._selection_changed)
        self.follow(self.viewer.layers.events.inserted, self._layers_changed)
        adopt(self.session, self.viewer.layers)
        self._store_changed(self.session.store)

    def _build_map(self) -> None:
        self.map_box = QComboBox()
        missing = "" if has_umap() else " With the package umap-learn there are UMAPs, too."
        self.map_box.setToolTip(f"What places the cells: latents, or two columns.{missing}")
        self.map_box.setAccessibleName("Map")
        self.map_box.setSizeAdjustPolicy(QComboBox.SizeAdjustPolicy.AdjustToMinimumContentsLengthWithIcon)
        self.map_box.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Fixed)
        self.map_box.activated.connect(lambda _: self.show_map())
        self.x = NameBox("Horizontal axis", "What runs from left to right")
        self.y = NameBox("Vertical axis", "What runs upwards")
        for box in (self.x, self.y):
            box.chosen.connect(lambda _: self._show_points())
        self.colour = NameBox("Colour", "What the cells are coloured by")
        self.colour.chosen.connect(lambda _: self.recolour())
        self._map_label, self._x_label, self._y_label, self._colour_label = (
            labelled(text, box)
            for text, box in (("Map", self.map_box), ("x", self.x), ("y", self.y), ("Colour", self.colour))
        )
        self.cloud = CloudPlot()
        self.cloud.enclosed.connect(self._enclosed)
        self.cloud.picked.connect(self._picked)
        self.legend = note()
        self.lasso = small_button(
            "lasso", "Select cells on the image by drawing around them", self._lasso, checkable=True
        )
        self.invert = small_button("invert", "Select the other cells instead", self.invert_selection)
        self.clear = small_button("delete", "Select nothing", self.select_nothing)
        self.paint = small_button("eye", "Paint the cells of the image by this colour", self.paint_cells)
        self.fit = small_button("refresh", "Bring all cells into sight", self.cloud.fit)
        self.count = QLabel()
        self.count.setProperty("apolloTone", "hint")
        self.tools = row(self.lasso, self.invert, self.clear, self.paint, self.fit, None, self.count)

    # --- what people do -----------------------------------------------------------------------

    def show_map(self, title: str = "") -> None:
        """Show a map of the cells; what takes long is computed beside the window."""
        explorer = self.explorer
        if explorer is None:
            return
        if title:
            self.map_box.setCurrentIndex(max(0, self.map_box.findText(title)))
        title = self.map_box.currentText()
        if explorer.is_ready(title):
            self._show_map(title)
            return

        def call(progress: Any, should_stop: Any) -> str:
            place = partial(umap_beside, progress=progress, should_stop=should_stop)
            return explorer.make(title, place=place, progress=progress, should_stop=should_stop)

        self.run("Placing the cells", call, key="map", then=self._show_map)

    def recolour(self, name: str = "") -> None:
        """Colour the cells by a column."""
        if name:
            self.colour.name = name
        if self.explorer is None or not self.colour.name:
            return
        colours, legend = colours_of(self.explorer.columns.column(self.colour.name))
        self.cloud.show_colours(colours)
        say(self.legend, _legend(legend, self.explorer.columns.column(self.colour.name).kind == "groups"))

    def invert_selection(self) -> None:
        """Select the other cells instead."""
        store = self.session.store
        if store is not None:
            self.session.selection = np.setdiff1d(np.arange(store.n_cells), self.session.selection)

    def select_nothing(self) -> None:
        """Select nothing."""
        self.session.selection = ()

    def paint_cells(self) -> None:
        """Paint the cells of the image by the colour of the scatter."""
        if self.explorer is None or not self.colour.name:
            return
        if not self.link.cells:
            self.say(NO_IMAGE, "problem")
        for cells in self.link.cells:
            show_column(self.viewer, cells, self.explorer.columns.column(self.colour.name))

    @property
    def cell(self) -> int | None:
        """Position of the cell that is looked at; None unless one alone is selected."""
        selection = self.session.selection
        return int(selection[0]) if len(selection) == 1 else None

    # --- how it is shown ------------------------------------------------------------------------

    def themed(self, dark: bool) -> None:
        """Colour what is drawn."""
        self.cloud.colour(dark=dark)
        ink = QColor("#a9b0b8" if dark else "#5a6068")
        self.cell_panel.colour(ink)
        for part in (self.direction.pictures, self.meaning.shares):
            part.ink = ink
            part.update()

    def _show_map(self, title: str) -> None:
        explorer = self.explorer
        names = (
            None
            if explorer is None
            else self.attempt("Placing the cells", lambda: explorer.axis_names(title))
        )
        if names is None or title != self.map_box.currentText():
            return
        self.x.offer(names, names[0])
        self.y.offer(names, names[min(1, len(names) - 1)])
        if self.x.name == self.y.name and len(names) > 1:
            self.y.name = names[1] if self.x.name != names[1] else names[0]
        self._show_points()
        self._look_at()

    def _show_points(self) -> None:
        explorer = self.explorer
        if explorer is None or not self.map_box.currentText():
            return
        placed = explorer.map(self.map_box.currentText(), self.x.name, self.y.name)
        self.cloud.show_points(placed.points, placed.x, placed.y)
        self.recolour()
        self.cloud.show_chosen(self.session.selection)

    def _store_changed(self, store: CellStore | None) -> None:
        self.explorer = None if store is None else Explorer(CellColumns(store))
        self._painter = None if store is None else CropPainter(store)
        self.missing.setVisible(store is None)
        columns = None if self.explorer is None else self.explorer.columns
        self.no_latents.setVisible(columns is not None and not columns.blocks)
        for each in (
            self.map_box,
            self.x,
            self.y,
            self.colour,
            self.lasso,
            self.invert,
            self.clear,
            self.paint,
        ):
            each.setEnabled(store is not None)
        kept = self.map_box.currentText()
        self.map_box.clear()
        if self.explorer is not None and columns is not None:
            self.map_box.addItems(list(self.explorer.maps))
            known = self.map_box.findText(kept if columns.blocks and kept != TWO_COLUMNS else "")
            self.map_box.setCurrentIndex(max(0, known))
            self.colour.offer(columns.names, "panel")
        self.direction.use(self.explorer)
        self.meaning.use(store)
        self.show_map()
        self._selection_changed(self.session.selection)

    def _predictions_changed(self, predictions: Any) -> None:
        self.direction.use(self.explorer)
        self._look_at()

    def _selection_changed(self, selection: np.ndarray) -> None:
        self.cloud.show_chosen(selection)
        self.count.setText(f"{len(selection)} selected" if len(selection) else "")
        self._look_at()
        self.direction.start_from(self.cell)

    def _look_at(self) -> None:
        """Show the cell that is selected, and its neighbours."""
        explorer, cell, painter = self.explorer, self.cell, self._painter
        if explorer is None or painter is None or cell is None:
            self.cell_panel.show_none(len(self.session.selection))
            return
        block = explorer.block_of(self.map_box.currentText()) if self.map_box.currentText() else ""
        self.cell_panel.look_at(explorer, painter, self.session.predictions, cell, block)

    def _neighbour_asked(self, cell: int) -> None:
        self.session.selection = [cell]

    def _enclosed(self, points: np.ndarray, add: bool) -> None:
        before = self.session.selection if add else np.zeros(0, np.int64)
        self.session.selection = np.concatenate([before, points])

    def _picked(self, point: int | None, add: bool) -> None:
        if point is not None:
            before = self.session.selection if add else np.zeros(0, np.int64)
            self.session.selection = np.append(before, point)

    def _lasso(self) -> None:
        if self.link.lasso(self.lasso.isChecked()) is None and self.lasso.isChecked():
            self.lasso.setChecked(False)
            self.say(NO_IMAGE, "problem")

    def _layers_changed(self, event: object = None) -> None:
        adopt(self.session, self.viewer.layers)


def _legend(legend: list[tuple[str, str]], groups: bool) -> str:
    shown = [f'<span style="color:{colour}">■</span>&nbsp;{_safe(text)}' for text, colour in legend[:_LEGEND]]
    if len(legend) > _LEGEND:
        shown.append(f"and {len(legend) - _LEGEND} more")
    return "&nbsp; ".join(shown) if groups else " to ".join(shown)


def _safe(text: str) -> str:
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(" ", "&nbsp;")
