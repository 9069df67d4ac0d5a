"""The annotation tool: a gallery of cells, classes by number keys, suggestions, counts, other people."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import ClassVar

import numpy as np
from qtpy.QtCore import Qt
from qtpy.QtGui import QColor, QKeySequence
from qtpy.QtWidgets import QShortcut

from napari_apollo.annotate import annotation_folder, annotators_of
from napari_apollo.cells import CellStore
from napari_apollo.viewer.adopting import adopt
from napari_apollo.viewer.annotating import AnnotationSession, default_annotator
from napari_apollo.viewer.canvaskeys import CanvasKeys
from napari_apollo.viewer.cellmaps import show_column
from napari_apollo.viewer.choosing import labelled
from napari_apollo.viewer.crops import CropPainter
from napari_apollo.viewer.gallery import GalleryView, Marks
from napari_apollo.viewer.linking import CALM_MODES, NO_CELLS, NO_IMAGE, link_selection
from napari_apollo.viewer.parts import Fold, note, row, say, small_button
from napari_apollo.viewer.sorting import TABLE_ORDER, UNCERTAIN, orders
from napari_apollo.viewer.tables_shown import fill_table, plain_table
from napari_apollo.viewer.tool import Tool
from napari_apollo.viewer.widgets.classes import ClassTable
from napari_apollo.viewer.widgets.keeping import Keeping
from napari_apollo.viewer.widgets.sifting import AgreementFold, AnnotatorBox, Sifting
from napari_apollo.viewer.widgets.suggesting import Suggesting


class AnnotateTool(Tool):
    """Give cells classes."""

    job_keys: ClassVar[tuple[str, ...]] = ("suggest", "write annotations")

    def build(self) -> None:
        """Add the parts."""
        self.annotation: AnnotationSession | None = None
        self._choosing = False
        self._closers: list[Callable[[], None]] = []
        self.destroyed.connect(partial(_close_all, self._closers))
        self.link = link_selection(self.viewer)
        self.missing = note(NO_CELLS)
        self._build_people()
        self._build_gallery()
        self.suggesting = Suggesting(self)
        self.suggesting.found.connect(self._suggested)
        self.keeping = Keeping(self)
        self.keys = CanvasKeys(self, self._canvas_key)
        self.counts = plain_table("Annotated cells by class and donor")
        self.agreement = AgreementFold()
        self.add(
            self.missing,
            row(labelled("Annotator", self.annotator), self.annotator, stretch=1),
            self.classes,
            self.tools,
            self.sifting,
            self.gallery,
            self.caption,
            self.suggesting,
            Fold("Counts", self.counts),
            self.agreement,
            self.keeping,
        )
        for keys, call in (("Ctrl+Z", self.undo), ("Ctrl+Y", self.redo), ("Ctrl+Shift+Z", self.redo)):
            shortcut = QShortcut(QKeySequence(keys), self)
            shortcut.setContext(Qt.ShortcutContext.WidgetWithChildrenShortcut)
            shortcut.activated.connect(call)
        self.follow(self.session.store_changed, self._store_changed)
        self.follow(self.session.selection_changed, self._selection_changed)
        self.follow(self.viewer.layers.events.inserted, self._layers_changed)
        adopt(self.session, self.viewer.layers)
        self._store_changed(self.session.store)

    def _build_people(self) -> None:
        self.annotator = AnnotatorBox()
        self.annotator.entered.connect(self._annotator_entered)
        self.classes = ClassTable(self.attempt)
        self.classes.asked.connect(self.label)
        self.undo_button = small_button("undo", "Undo (Ctrl+Z)", self.undo)
        self.redo_button = small_button("redo", "Redo (Ctrl+Y)", self.redo)
        self.exclude_button = small_button(
            "exclude", "Exclude the selected cells, or take them in again (X)", self.exclude
        )
        self.none_button = small_button(
            "delete", "Take the class of the selected cells away (0)", lambda: self.label("")
        )
        self.lasso = small_button(
            "lasso", "Select cells on the image by drawing around them", self._lasso, checkable=True
        )
        self.paint = small_button("eye", "Paint the cells of the image by class", self.paint_classes)
        self.tools = row(
            *self.classes.buttons,
            None,
            self.undo_button,
            self.redo_button,
            self.none_button,
            self.exclude_button,
            self.lasso,
            self.paint,
        )

    def _build_gallery(self) -> None:
        self.sifting = Sifting()
        self.sifting.changed.connect(self.refresh)
        self.sifting.stains_changed.connect(self._paint_anew)
        self.shown, self.order = self.sifting.shown, self.sifting.order
        self.gallery = GalleryView()
        self.gallery.setMinimumHeight(300)
        self.gallery.chosen.connect(self._gallery_chosen)
        self.gallery.key_named.connect(self._key)
        self.gallery.exclude_asked.connect(self._key_exclude)
        self.caption = note()

    # --- what people do -----------------------------------------------------------------------

    def annotate_as(self, name: str) -> None:
        """Annotate as another person, or as the same one anew."""
        self._close()
        store = self.session.store
        if store is None or not name.strip():
            self._show()
            return
        self.annotation = self.attempt("Opening the annotations", lambda: AnnotationSession(store, name))
        if self.annotation is not None:
            self._closers.append(self.annotation.close)
            self._closers.append(self.annotation.annotations.listen(self._annotated))
            self.annotator.offer(annotators_of(store), self.annotation.annotations.annotator)
        self._hand_on()
        self._offer_orders()
        self._show()
        self.refresh()
        if self.annotation is not None and (left := len(self.annotation.annotations.strays)):
            self.say(
                f"{left} annotated cells were segmented anew since; what was said of them is left aside."
            )

    def label(self, name: str) -> None:
        """Give the selected cells a class; an empty name takes theirs away."""
        annotation, cells = self.annotation, self.session.selection
        if annotation is None:
            return
        if not len(cells):
            self.say("Select cells first: in the gallery, in the image, or in Explore.", "problem")
            return
        self.attempt("Annotating", lambda: annotation.label(cells, name))

    def exclude(self) -> None:
        """Exclude the selected cells, or take them in again."""
        annotation, cells = self.annotation, self.session.selection
        if annotation is not None and len(cells):
            self.attempt("Excluding", lambda: annotation.exclude(cells))

    def undo(self) -> None:
        """Take the last action back."""
        if self.annotation is not None:
            self.attempt("Undoing", self.annotation.annotations.undo)

    def redo(self) -> None:
        """Do again what was taken back."""
        if self.annotation is not None:
            self.attempt("Redoing", self.annotation.annotations.redo)

    def paint_classes(self) -> None:
        """Paint the cells of the image by class."""
        if self.annotation is None or not self.annotation.annotations.classes:
            return
        if not self.link.cells:
            self.say(NO_IMAGE, "problem")
        for cells in self.link.cells:
            show_column(self.viewer, cells, self.annotation.column)

    def refresh(self) -> None:
        """Choose and order the cells anew."""
        annotation = self.annotation
        if annotation is None:
            self.gallery.cells.show_cells(np.zeros(0, np.int64))
            say(self.caption, "")
            return
        order, rising = self.sifting.order_name, self.sifting.rising
        cells = annotation.shown(
            self.sifting.which, order, rising=rising.isChecked(), selection=self.session.selection
        )
        rising.setEnabled(order in annotation.columns.numbers)
        self.gallery.cells.show_cells(cells)
        self.gallery.choose(self.session.selection, scroll=False)
        self._describe()

    # --- how it is shown ------------------------------------------------------------------------

    def themed(self, dark: bool) -> None:
        """Colour the gallery."""
        self.gallery.delegate.chosen = QColor("#ffffff" if dark else "#1f4fd8")
        self.gallery.delegate.empty = QColor("#5a6068" if dark else "#b8bec6")

    def _show(self) -> None:
        """Show what stands."""
        annotation = self.annotation
        self.classes.show_session(annotation)
        self.suggesting.show_state()
        ready = annotation is not None
        self.missing.setVisible(self.session.store is None)
        for each in (
            self.none_button, self.exclude_button, self.lasso, self.paint, self.keeping, self.sifting,
        ):  # fmt: skip
            each.setEnabled(ready)
        self.annotator.setEnabled(self.session.store is not None)
        if annotation is None:
            self.undo_button.setEnabled(False)
            self.redo_button.setEnabled(False)
            return
        self.undo_button.setEnabled(annotation.annotations.can_undo)
        self.redo_button.setEnabled(annotation.annotations.can_redo)
        self.gallery.mark(
            Marks(
                list(annotation.annotations.classes.values()),
                annotation.codes, annotation.suggested, annotation.excluded,
            )
        )  # fmt: skip
        fill_table(self.counts, annotation.counts().reset_index())
        self.attempt("Comparing annotators", lambda: self.agreement.show_session(annotation))

    def _describe(self) -> None:
        shown, chosen = len(self.gallery.cells.cells), len(self.session.selection)
        say(self.caption, f"{shown} cells shown" + (f", {chosen} selected" if chosen else ""))

    def _annotated(self) -> None:
        self._show()
        self.suggesting.annotated()

    def _suggested(self) -> None:
        self._offer_orders()
        self._show()
        if self.order.name == UNCERTAIN and not self.suggesting.automatic.isChecked():
            self.refresh()

    def _offer_orders(self) -> None:
        own = self.annotation
        self.order.offer([TABLE_ORDER] if own is None else orders(own.columns, own.suggestions), TABLE_ORDER)

    def _advance(self) -> None:
        """After one cell was named by key, the next one is chosen."""
        cells = self.session.selection
        position = self.gallery.cells.row_of(int(cells[0])) if len(cells) == 1 else None
        if position is not None:
            self.gallery.go_to(position + 1)

    def _key_exclude(self) -> None:
        self.exclude()
        self._advance()

    def _key(self, key: int) -> None:
        annotation = self.annotation
        if annotation is not None:
            name = self.attempt("Annotating", lambda: annotation.class_of_key(key))
            if name is not None:
                self.label(name)
                self._advance()

    def _canvas_key(self, text: str) -> bool:
        """Use a key that was pressed over the image: the number of a class, or 0 and X for selected cells."""
        active = self.viewer.layers.selection.active
        drawing = active is not None and str(getattr(active, "mode", "pan_zoom")) not in CALM_MODES
        if self.annotation is None or drawing:
            return False
        key = int(text) if text.isascii() and text.isdigit() else -1
        if 0 < key <= len(self.annotation.annotations.classes) or (key == 0 and len(self.session.selection)):
            self._key(key)
        elif text.lower() == "x" and len(self.session.selection):
            self._key_exclude()
        else:
            return False
        return True

    def showEvent(self, event: object) -> None:
        """Number keys work over the image, too."""
        super().showEvent(event)
        self.keys.begin()

    def hideEvent(self, event: object) -> None:
        """All keys over the image are napari's again."""
        self.keys.end()

    def _hand_on(self) -> None:
        for part in (self.suggesting, self.keeping):
            part.use(self.annotation)

    def _lasso(self) -> None:
        if self.link.lasso(self.lasso.isChecked()) is None and self.lasso.isChecked():
            self.lasso.setChecked(False)
            self.say(NO_IMAGE, "problem")

    def _gallery_chosen(self, cells: np.ndarray) -> None:
        self._choosing = True
        self.session.selection = cells
        self._choosing = False

    def _selection_changed(self, selection: np.ndarray) -> None:
        if self._choosing:
            pass
        elif self.sifting.which == "selected":
            self.refresh()
        else:
            self.gallery.choose(selection)
        self._describe()

    def _store_changed(self, store: CellStore | None) -> None:
        panels = () if store is None else store.panels.values()
        self.sifting.offer_stains(list(dict.fromkeys(stain for panel in panels for stain in panel.stains)))
        self._paint_anew()
        name = self.annotator.name or default_annotator()
        if store is not None:
            self.annotator.offer(annotators_of(store), name)
            self.annotator.say_where(annotation_folder(store).name)
        self.annotate_as(name)

    def _paint_anew(self) -> None:
        store = self.session.store
        if store is None:
            self.gallery.cells.use(None, np.zeros(0, object))
            return
        painter = CropPainter(store, self.sifting.stain_names)
        self.gallery.cells.use(painter, store.obs["cell_id"].to_numpy())
        self.gallery.resize_pictures(self.gallery.delegate.side)

    def _annotator_entered(self, name: str) -> None:
        known = "" if self.annotation is None else self.annotation.annotations.annotator
        if name and name != known:
            self.annotate_as(name)

    def _close(self) -> None:
        self.annotation = None
        self._hand_on()
        _close_all(self._closers)

    def _layers_changed(self, event: object = None) -> None:
        adopt(self.session, self.viewer.layers)


def _close_all(closers: list[Callable[[], None]], *_: object) -> None:
    while closers:
        closers.pop()()
