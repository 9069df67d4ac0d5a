"""The classes of an annotator: key, colour, name, cells."""

from __future__ import annotations

from collections.abc import Callable

from qtpy.QtCore import Qt, Signal
from qtpy.QtGui import QColor, QIcon, QPixmap
from qtpy.QtWidgets import (
    QColorDialog,
    QHeaderView,
    QInputDialog,
    QTableWidget,
    QTableWidgetItem,
    QVBoxLayout,
    QWidget,
)

from napari_apollo.viewer.annotating import AnnotationSession
from napari_apollo.viewer.parts import small_button

_ROWS = 5
_ROW = 24
_HOW = "Add a class with +, then press its number."


class ClassTable(QWidget):
    """A line for each class; click one, or press its number, to give it to the selected cells."""

    asked = Signal(str)
    """A person clicked a class."""

    def __init__(self, act: Callable[[str, Callable[[], object]], object]) -> None:
        super().__init__()
        self._act = act
        self._session: AnnotationSession | None = None
        self.table = QTableWidget(0, 3)
        self.table.setHorizontalHeaderLabels(["Key", "Class", "Cells"])
        self.table.setToolTip("Click a class, or press its number, to give it to the selected cells")
        self.table.setAccessibleName("Classes")
        self.table.setSelectionBehavior(QTableWidget.SelectionBehavior.SelectRows)
        self.table.setSelectionMode(QTableWidget.SelectionMode.SingleSelection)
        self.table.setEditTriggers(QTableWidget.EditTrigger.NoEditTriggers)
        self.table.setTabKeyNavigation(False)
        header, rows = self.table.horizontalHeader(), self.table.verticalHeader()
        if header is not None:
            header.setSectionResizeMode(0, QHeaderView.ResizeMode.ResizeToContents)
            header.setSectionResizeMode(1, QHeaderView.ResizeMode.Stretch)
            header.setSectionResizeMode(2, QHeaderView.ResizeMode.ResizeToContents)
        if rows is not None:
            rows.setVisible(False)
            rows.setDefaultSectionSize(_ROW)
        self.table.cellClicked.connect(lambda line, _: self._ask(line))
        self.table.itemActivated.connect(lambda item: self._ask(item.row()))
        self.plus = small_button("plus", "Add a class", self._add)
        self.rename = small_button("pen", "Give the class another name", self._rename)
        self.colour = small_button("colour", "Give the class another colour", self._colour)
        self.remove = small_button("minus", "Remove the class; its cells have none then", self._remove)
        self.buttons = (self.plus, self.rename, self.colour, self.remove)
        """To be placed by the owner."""
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.addWidget(self.table)

    def show_session(self, session: AnnotationSession | None) -> None:
        """Show the classes as they stand."""
        self._session = session
        chosen = self.table.currentRow()
        annotations = None if session is None else session.annotations
        classes = {} if annotations is None else annotations.classes
        counts = dict.fromkeys(classes, 0)
        for name in annotations.labels.values() if annotations is not None else ():
            counts[name] += 1
        self.table.clearSpans()
        self.table.setRowCount(len(classes))
        if session is not None and not classes:
            self._say_how()
        for number, (name, colour) in enumerate(classes.items()):
            texts = (str(number + 1) if number < 9 else "", name, str(counts[name]))
            for place, text in enumerate(texts):
                item = QTableWidgetItem(text)
                item.setToolTip(f"{name}: {counts[name]} cells")
                if place == 1:
                    item.setIcon(_swatch(colour))
                else:
                    item.setTextAlignment(Qt.AlignmentFlag.AlignRight | Qt.AlignmentFlag.AlignVCenter)
                self.table.setItem(number, place, item)
        if 0 <= chosen < len(classes):
            self.table.setCurrentCell(chosen, 1)
        header = self.table.horizontalHeader()
        top = header.sizeHint().height() if header is not None else _ROW
        self.table.setFixedHeight(top + 4 + _ROW * min(max(2, len(classes)), _ROWS))
        for each in (self.rename, self.colour, self.remove):
            each.setEnabled(bool(classes))
        self.plus.setEnabled(session is not None)

    @property
    def current(self) -> str:
        """The chosen class; empty where none is."""
        return self._name(self.table.currentRow())

    def _say_how(self) -> None:
        """How classes come about, where there is none yet."""
        self.table.setRowCount(1)
        self.table.setSpan(0, 0, 1, 3)
        item = QTableWidgetItem(_HOW)
        item.setFlags(Qt.ItemFlag.NoItemFlags)
        self.table.setItem(0, 0, item)

    def _ask(self, line: int) -> None:
        if name := self._name(line):
            self.asked.emit(name)

    def _name(self, line: int) -> str:
        item = self.table.item(line, 1)
        return "" if item is None else item.text()

    def _add(self) -> None:
        session = self._session
        name, given = QInputDialog.getText(self, "Add a class", "Name of the class:")
        if given and session is not None:
            self._act("Adding a class", lambda: session.annotations.add_class(name))

    def _rename(self) -> None:
        session, name = self._session, self.current
        if session is None or not name:
            return
        to, given = QInputDialog.getText(self, "Rename a class", "Name of the class:", text=name)
        if given:
            self._act("Renaming a class", lambda: session.annotations.rename_class(name, to))

    def _colour(self) -> None:
        session, name = self._session, self.current
        if session is None or not name:
            return
        colour = QColorDialog.getColor(QColor(session.annotations.classes[name]), self, f"Colour of {name}")
        if colour.isValid():
            self._act("Colouring a class", lambda: session.annotations.add_class(name, colour.name()))

    def _remove(self) -> None:
        session, name = self._session, self.current
        if session is not None and name:
            self._act("Removing a class", lambda: session.annotations.remove_class(name))


def _swatch(colour: str) -> QIcon:
    picture = QPixmap(16, 16)
    picture.fill(QColor(colour))
    return QIcon(picture)
