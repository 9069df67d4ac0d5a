"""The measuring tool: choose features, run, paint the cells by one, look at its histogram, export."""

from __future__ import annotations

from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from napari_apollo.cells import CellStore
from napari_apollo.measure import MeasureConfig
from napari_apollo.viewer import training
from napari_apollo.viewer.adopting import adopt
from napari_apollo.viewer.cellmaps import hide_columns, show_column
from napari_apollo.viewer.child import in_child
from napari_apollo.viewer.choosing import NameBox, ask_where
from napari_apollo.viewer.columns import CellColumns
from napari_apollo.viewer.forms import ConfigForm
from napari_apollo.viewer.histograms import HistogramPlot, summary
from napari_apollo.viewer.linking import NO_CELLS, NO_IMAGE, link_selection
from napari_apollo.viewer.parts import button, heading, note, row, say, small_button
from napari_apollo.viewer.preferences import preferences
from napari_apollo.viewer.tool import Tool

_HIDDEN = {"families", "scheduler"}
_FIRST = "nucleus_area_px"


class MeasureTool(Tool):
    """Measure cells, paint them by a feature, and export the table."""

    job_keys: ClassVar[tuple[str, ...]] = ("measure", "export")

    def build(self) -> None:
        """Add the parts."""
        self._columns: CellColumns | None = None
        self.link = link_selection(self.viewer)
        self.cells = note()
        more = [name for name in MeasureConfig.model_fields if name not in _HIDDEN]
        self.form = ConfigForm(MeasureConfig, ["families"], more)
        self.form.rebase({"families": MeasureConfig().families, "workers": preferences().workers})
        self.start = button(
            "Measure", "Measure all cells of the store, beside the window", self.measure,
            main=True, name="measure",
        )  # fmt: skip
        self.known = note()
        self.feature = NameBox("Feature", "What the cells are painted by")
        self.feature.chosen.connect(lambda _: self.show_feature())
        self.previous = small_button("up", "Previous feature", lambda: self._step(-1))
        self.next = small_button("down", "Next feature", lambda: self._step(1))
        self.paint = button(
            "Paint the cells", "Paint the cells of the image by this", self.paint_cells, name="eye"
        )
        self.clear = button("Clear", "Remove the painting", self.clear_cells, name="delete")
        self.histogram = HistogramPlot()
        self.words = note()
        self.csv = button(
            "Export CSV", "The whole table, for spreadsheets", lambda: self._ask(".csv"), name="save"
        )
        self.h5ad = button(
            "Export h5ad", "The whole table, for scanpy", lambda: self._ask(".h5ad"), name="save"
        )
        self.add(
            heading("What to measure"),
            self.cells,
            self.form,
            self.start,
            self.known,
            heading("Look at"),
            row(self.feature, self.previous, self.next, stretch=0),
            self.histogram,
            self.words,
            row(self.paint, self.clear),
            heading("Export"),
            row(self.csv, self.h5ad),
        )
        self.follow(self.session.store_changed, self._store_changed)
        self.follow(self.session.selection_changed, self._selection_changed)
        self.follow(self.viewer.layers.events.inserted, self._layers_changed)
        adopt(self.session, self.viewer.layers)
        self._store_changed(self.session.store)

    # --- what people do -----------------------------------------------------------------------

    def measure(self) -> None:
        """Measure all cells of the store with the settings of the form."""
        store = self.session.store
        settings = self.attempt("Measuring", lambda: self.form.config().model_dump(mode="json"))
        if settings is None or store is None:
            return
        self.start.setEnabled(False)
        call = in_child("napari_apollo.viewer.work:measure_store", store=str(store.path), settings=settings)

        def share(path: str) -> bool:
            return self.session.renew("store", CellStore.open(path), store)

        job = self.run("Measuring cells", call, key="measure", then=self._measured, share=share)
        self.follow(job.ended, self._able)
        self._able()

    def show_feature(self, name: str = "") -> None:
        """Show the histogram of a column, and paint the cells by it where they are painted."""
        if name:
            self.feature.name = name
        columns = self._columns
        if columns is None or not self.feature.name:
            return
        column = columns.column(self.feature.name)
        self.histogram.show_column(column, self.session.selection)
        say(self.words, summary(column, self.session.selection))
        if self.clear.isEnabled():
            self.paint_cells()

    def paint_cells(self) -> None:
        """Paint the cells of the image by the column."""
        columns = self._columns
        if columns is None or not self.feature.name:
            return
        if not self.link.cells:
            self.say(NO_IMAGE, "problem")
            return
        self.say("")
        for cells in self.link.cells:
            show_column(self.viewer, cells, columns.column(self.feature.name))
        self.clear.setEnabled(True)

    def clear_cells(self) -> None:
        """Remove the painting."""
        hide_columns(self.viewer)
        self.clear.setEnabled(False)

    def export(self, path: Path | str) -> None:
        """Write the table as ``.csv`` or ``.h5ad``."""
        store = self.session.store
        if store is None:
            return
        path = Path(path)

        def call(progress: Any, should_stop: Any) -> Path:
            store.export_table(path)
            return path

        self.run(f"Writing {path.name}", call, key="export", then=self._exported)

    # --- how it is shown ------------------------------------------------------------------------

    def themed(self, dark: bool) -> None:
        """Colour the plot."""
        self.histogram.colour(dark=dark)

    def _ask(self, suffix: str) -> None:
        store = self.session.store
        if store is None:
            return
        stem = store.path.name.removesuffix(".zarr").removesuffix(".cells")
        start = store.path.with_name(f"{stem}{suffix}")
        if chosen := ask_where(self, "Export the table", start, suffix):
            self.export(chosen)

    def _exported(self, path: Path) -> None:
        self.say(f"Written: {path}", "good")

    def _measured(self, path: str) -> None:
        store = self.session.store
        self.say(f"Measured {store.n_cells} cells: {store.table.n_vars} features each.", "good")

    def _store_changed(self, store: CellStore | None) -> None:
        self._columns = None if store is None else CellColumns(store)
        names = self._columns.names if self._columns is not None else ()
        self.feature.offer(names, _FIRST if _FIRST in names else next(iter(names), ""))
        if store is None:
            say(
                self.cells,
                NO_CELLS,
            )
            say(self.known, "")
        else:
            say(self.cells, training.store_in_words(store))
            number = store.table.n_vars
            say(self.known, f"The cells have {number} features." if number else "Nothing is measured yet.")
        self._able()
        self.show_feature()

    def _selection_changed(self, selection: np.ndarray) -> None:
        if self._columns is not None and self.feature.name and self.isVisible():
            column = self._columns.column(self.feature.name)
            self.histogram.show_column(column, selection)
            say(self.words, summary(column, selection))

    def showEvent(self, event: object) -> None:
        """Show what was selected meanwhile."""
        super().showEvent(event)
        self._selection_changed(self.session.selection)

    def _step(self, by: int) -> None:
        count = self.feature.count()
        if count:
            self.feature.setCurrentIndex((self.feature.currentIndex() + by) % count)
            self.show_feature()

    def _able(self, *_: object) -> None:
        ready = self.session.store is not None
        busy = any(True for _ in self.session.jobs.of("measure"))
        self.start.setEnabled(ready and not busy)
        for each in (self.paint, self.csv, self.h5ad, self.feature, self.previous, self.next):
            each.setEnabled(ready)
        self.clear.setEnabled(ready and self.clear.isEnabled() and self._painted)

    @property
    def _painted(self) -> bool:
        from napari_apollo.viewer.cellmaps import FEATURE
        from napari_apollo.viewer.layers import find_layers

        return bool(find_layers(self.viewer, role=FEATURE))

    def _layers_changed(self, event: object = None) -> None:
        adopt(self.session, self.viewer.layers)
