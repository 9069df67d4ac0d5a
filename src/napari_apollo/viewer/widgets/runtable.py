"""The runs beside a study, to choose one from."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from qtpy.QtCore import Qt, Signal
from qtpy.QtWidgets import QHeaderView, QTableWidget, QTableWidgetItem

from napari_apollo.viewer.training import RunEntry

_ROW = 24
_HEIGHT = 110


class RunTable(QTableWidget):
    """A line for each run: its name, how it stands, how well it predicts."""

    chosen = Signal(object)
    """Folder of the run that a person selected."""

    def __init__(self) -> None:
        super().__init__(0, 3)
        self.setHorizontalHeaderLabels(["Run", "State", "Predicted r"])
        self.setToolTip("Runs beside the study; select one to watch it or to use its model")
        self.setAccessibleName("Runs")
        scored = self.horizontalHeaderItem(2)
        if scored is not None:
            scored.setToolTip("Correlation of predicted and measured pixels of test cells, mean of stains")
        self.setSelectionBehavior(QTableWidget.SelectionBehavior.SelectRows)
        self.setSelectionMode(QTableWidget.SelectionMode.SingleSelection)
        self.setFixedHeight(_HEIGHT)
        header, rows = self.horizontalHeader(), self.verticalHeader()
        if header is not None:
            header.setSectionResizeMode(0, QHeaderView.ResizeMode.Stretch)
        if rows is not None:
            rows.setVisible(False)
            rows.setDefaultSectionSize(_ROW)
        self.itemSelectionChanged.connect(self._selected)

    def show_entries(self, entries: Sequence[RunEntry], current: Path | None) -> None:
        """Show other runs; the current one is selected, and nothing is told."""
        before = self.blockSignals(True)
        self.setRowCount(len(entries))
        for number, entry in enumerate(entries):
            score = "" if entry.score is None else f"{entry.score:.2f}"
            for place, text in enumerate((entry.name, entry.state, score)):
                item = QTableWidgetItem(text)
                item.setFlags(item.flags() & ~Qt.ItemFlag.ItemIsEditable)
                item.setToolTip(str(entry.folder))
                item.setData(Qt.ItemDataRole.UserRole, str(entry.folder))
                self.setItem(number, place, item)
            if entry.folder == current:
                self.selectRow(number)
        self.blockSignals(before)

    def _selected(self) -> None:
        items = self.selectedItems()
        if items:
            self.chosen.emit(Path(items[0].data(Qt.ItemDataRole.UserRole)))
