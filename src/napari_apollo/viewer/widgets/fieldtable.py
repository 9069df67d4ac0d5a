"""The fields of a study as a table in which they are described."""

from __future__ import annotations

from collections.abc import Sequence

from qtpy.QtCore import Qt, Signal
from qtpy.QtWidgets import QAbstractItemView, QComboBox, QHeaderView, QTableWidget, QTableWidgetItem, QWidget

from napari_apollo.viewer.drafting import SPLITS, DraftRow

_COLUMNS = ("Field", "Panel", "Donor", "Condition", "Split", "Labels")
_EDITABLE = {0: "name", 2: "donor", 3: "condition"}
_PANEL, _SPLIT, _LABELS = 1, 4, 5
_ROW, _ROWS_SEEN = 24, 7  # pixels, and rows that are in sight without scrolling


class FieldTable(QTableWidget):
    """One row a field of view."""

    changed = Signal(int, str, str)
    """A person changed a value: number of the row, name of the value as a ``DraftRow`` has it, the value."""

    chosen = Signal()
    """Another field is selected."""

    def __init__(self) -> None:
        super().__init__(0, len(_COLUMNS))
        self._filling = False
        self.setHorizontalHeaderLabels(list(_COLUMNS))
        self.setSelectionBehavior(QAbstractItemView.SelectionBehavior.SelectRows)
        self.setToolTip("One row a field of view; double-click a cell to change it")
        self.setAccessibleName("Fields")
        self.setWordWrap(False)
        header, rows = self.horizontalHeader(), self.verticalHeader()
        if header is not None:
            header.setSectionResizeMode(QHeaderView.ResizeMode.Interactive)
            header.setDefaultSectionSize(78)
            header.setMinimumSectionSize(44)
        if rows is not None:
            rows.setVisible(False)
            rows.setDefaultSectionSize(_ROW)
        self.itemChanged.connect(self._edited)
        self.itemSelectionChanged.connect(lambda: None if self._filling else self.chosen.emit())

    @property
    def selected(self) -> list[int]:
        """Numbers of the selected rows."""
        return sorted({index.row() for index in self.selectedIndexes()})

    def show_rows(self, rows: Sequence[DraftRow]) -> None:
        """Show other fields; what was selected stays, else the first is."""
        selected = self.selected
        self._filling = True
        self.setRowCount(len(rows))
        for number, one in enumerate(rows):
            warning = "⚠ " if one.problem else ""
            labels = "yes" if one.labels else "no"
            texts = (one.name, warning + one.panel_name, one.donor, one.condition, "", labels)
            for place, text in enumerate(texts):
                if place == _SPLIT:
                    self.setCellWidget(number, place, self._split_box(number, one.split))
                    continue
                item = QTableWidgetItem(text)
                if place not in _EDITABLE:
                    item.setFlags(item.flags() & ~Qt.ItemFlag.ItemIsEditable)
                where = str(one.labels or "no labels yet") if place == _LABELS else str(one.image)
                item.setToolTip(one.problem or where)
                self.setItem(number, place, item)
        self._filling = False
        self.setFixedHeight(48 + _ROW * min(max(len(rows), 2), _ROWS_SEEN))
        if rows and not selected:
            self.selectRow(0)

    def _split_box(self, number: int, split: str) -> QWidget:
        box = QComboBox()
        box.addItems(["auto", *SPLITS[1:]])
        box.setCurrentIndex(SPLITS.index(split))
        box.setToolTip("Part of the data that this field belongs to; auto leaves the choice to training")
        box.currentIndexChanged.connect(lambda chosen: self.changed.emit(number, "split", SPLITS[chosen]))
        return box

    def _edited(self, item: QTableWidgetItem) -> None:
        name = _EDITABLE.get(item.column())
        if not self._filling and name is not None:
            self.changed.emit(item.row(), name, item.text().strip())
