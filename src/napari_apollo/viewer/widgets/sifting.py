"""Who annotates, how far people agree, which cells are shown: parts of the annotation tool."""

from __future__ import annotations

from collections.abc import Sequence

from qtpy.QtCore import Signal
from qtpy.QtWidgets import QComboBox, QSizePolicy, QVBoxLayout, QWidget

from napari_apollo.viewer.annotating import AnnotationSession
from napari_apollo.viewer.choosing import NameBox
from napari_apollo.viewer.parts import Fold, column, note, row, small_button
from napari_apollo.viewer.sorting import SHOWN, TABLE_ORDER, Shown
from napari_apollo.viewer.tables_shown import fill_table, plain_table

_EVERY_STAIN = "All stains"


class AnnotatorBox(QComboBox):
    """The name of the person who annotates; one that is known, or a new one."""

    entered = Signal(str)
    """A person chose or typed a name."""

    def __init__(self) -> None:
        super().__init__()
        self.setEditable(True)
        self.setInsertPolicy(QComboBox.InsertPolicy.NoInsert)
        self.setAccessibleName("Annotator")
        self.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Fixed)
        self.activated.connect(lambda _: self.entered.emit(self.name))
        line = self.lineEdit()
        if line is not None:
            line.editingFinished.connect(lambda: self.entered.emit(self.name))
        self.say_where("")

    @property
    def name(self) -> str:
        """The name that is shown."""
        return str(self.currentText()).strip()

    def offer(self, names: Sequence[str], name: str) -> None:
        """Names to choose from, and the one that is shown."""
        self.clear()
        self.addItems(list(dict.fromkeys([*names, name])))
        self.setCurrentText(name)

    def say_where(self, folder: str) -> None:
        """Name the folder of the journals."""
        where = f", in {folder}" if folder else ""
        self.setToolTip(
            f"Who annotates. Everybody has a journal of their own, saved with every action{where}."
        )


class AgreementFold(Fold):
    """How far annotators agree; compared while it is open, as all journals are read for it."""

    def __init__(self) -> None:
        table = plain_table("Cells that two people both annotated, and how far they agree")
        words = note("Cohen's kappa: 1 is full agreement, 0 is chance.")
        super().__init__("Agreement of annotators", column(table, words))
        self.table = table
        self._session: AnnotationSession | None = None
        self.toggled.connect(lambda _: self.show_session(self._session))

    def show_session(self, session: AnnotationSession | None) -> None:
        """Compare the annotators of a store as things stand."""
        self._session = session
        if session is not None and self.header.isChecked():
            fill_table(self.table, session.agreement())


class Sifting(QWidget):
    """Which cells are shown, with which stains, in which order."""

    changed = Signal()
    """A person asked for other cells, or another order."""

    stains_changed = Signal()
    """A person asked for other stains."""

    def __init__(self) -> None:
        super().__init__()
        self.shown = QComboBox()
        self.shown.setToolTip("Which cells are shown")
        self.shown.setAccessibleName("Shown")
        for name, words in SHOWN.items():
            self.shown.addItem(words, name)
        self.shown.activated.connect(lambda _: self.changed.emit())
        self.stains = QComboBox()
        self.stains.setToolTip("Stains that the pictures show")
        self.stains.setAccessibleName("Stains")
        self.stains.activated.connect(lambda _: self.stains_changed.emit())
        self.order = NameBox("Order", "Order of the cells")
        self.order.chosen.connect(lambda _: self.changed.emit())
        self.rising = small_button("up", "Small values first", self.changed.emit, checkable=True)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.setSpacing(4)
        layout.addWidget(row(self.shown, self.stains))
        layout.addWidget(row(self.order, self.rising, stretch=0))

    @property
    def which(self) -> Shown:
        """Which cells are shown."""
        which: Shown = self.shown.currentData()
        return which

    @property
    def order_name(self) -> str:
        """In which order."""
        return self.order.name or TABLE_ORDER

    @property
    def stain_names(self) -> tuple[str, ...]:
        """The stain that is shown alone; empty for all."""
        stain = self.stains.currentText()
        return () if stain in ("", _EVERY_STAIN) else (stain,)

    def offer_stains(self, stains: Sequence[str]) -> None:
        """Stains of other cells."""
        self.stains.clear()
        if stains:
            self.stains.addItems([_EVERY_STAIN, *stains])
