"""Small tables to read: counts, agreement, features tied to a direction."""

from __future__ import annotations

import pandas as pd
from qtpy.QtCore import Qt
from qtpy.QtWidgets import QHeaderView, QTableWidget, QTableWidgetItem

_ROW = 22
_ROWS = 8


def plain_table(tooltip: str) -> QTableWidget:
    """A table to read, empty at first."""
    table = QTableWidget()
    table.setToolTip(tooltip)
    table.setAccessibleName(tooltip)
    table.setEditTriggers(QTableWidget.EditTrigger.NoEditTriggers)
    table.setSelectionBehavior(QTableWidget.SelectionBehavior.SelectRows)
    table.setTabKeyNavigation(False)
    rows = table.verticalHeader()
    if rows is not None:
        rows.setVisible(False)
        rows.setDefaultSectionSize(_ROW)
    return table


def fill_table(table: QTableWidget, frame: pd.DataFrame, rows: int = _ROWS) -> None:
    """Show a frame; its first column takes the room that is left.

    Parameters
    ----------
    table
        Made by ``plain_table``.
    frame
        Numbers between -1 and 1 are shown with three decimals, others with three digits, NaN as a dash.
    rows
        Rows in sight; the others are scrolled to.
    """
    table.setColumnCount(frame.shape[1])
    table.setHorizontalHeaderLabels([str(name) for name in frame.columns])
    table.setRowCount(len(frame))
    for line, values in enumerate(frame.itertuples(index=False)):
        for place, value in enumerate(values):
            item = QTableWidgetItem(_text(value))
            item.setToolTip(_text(value))
            if not isinstance(value, str):
                item.setTextAlignment(Qt.AlignmentFlag.AlignRight | Qt.AlignmentFlag.AlignVCenter)
            table.setItem(line, place, item)
    header = table.horizontalHeader()
    top = 0
    if header is not None:
        for place in range(frame.shape[1]):
            mode = QHeaderView.ResizeMode.ResizeToContents if place else QHeaderView.ResizeMode.Stretch
            header.setSectionResizeMode(place, mode)
        top = header.sizeHint().height()
    table.setFixedHeight(top + 6 + _ROW * min(max(1, len(frame)), rows))


def _text(value: object) -> str:
    if isinstance(value, float):
        if value != value:
            return "–"
        return f"{value:.3f}" if 1e-3 <= abs(value) < 1 else f"{value:.3g}"  # a column of them lines up
    return str(value)
