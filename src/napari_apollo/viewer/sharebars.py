"""Bars that show which part of the latents carries each feature."""

from __future__ import annotations

import pandas as pd
from qtpy.QtCore import QEvent, QRectF, QSize, Qt
from qtpy.QtGui import QColor, QHelpEvent, QPainter, QPaintEvent
from qtpy.QtWidgets import QSizePolicy, QToolTip, QWidget

from napari_apollo.viewer.meaning import PARTS
from napari_apollo.viewer.plots import COLOURS

_ROW = 17
_LEGEND = 20
_NAMES = 0.48  # of the width, for the names of the features
_WORDS = {"shared": "shared", "chromatin": "chromatin's own", "protein": "protein's own"}


class ShareBars(QWidget):
    """A bar for each feature: what shared latents explain of it, and what the specific ones add.

    Hidden while there is nothing to show.
    """

    def __init__(self) -> None:
        super().__init__()
        self._table = pd.DataFrame()
        self.ink = QColor("#a9b0b8")
        self.setSizePolicy(QSizePolicy.Policy.Ignored, QSizePolicy.Policy.Fixed)
        self.setToolTip("Part of each feature's variation, for donors held out, that the latents explain")
        self.setAccessibleName("Shares of features")
        self.show_shares(None)

    def show_shares(self, table: pd.DataFrame | None) -> None:
        """Show other features.

        Parameters
        ----------
        table
            ``feature`` and a column for each of ``meaning.PARTS``, between 0 and 1; nothing where None.
        """
        self._table = pd.DataFrame() if table is None else table.reset_index(drop=True)
        self.setVisible(len(self._table) > 0)
        self.setAccessibleDescription("; ".join(self.in_words(row) for row in range(len(self._table))))
        self.setFixedHeight(self.sizeHint().height())
        self.update()

    def in_words(self, row: int) -> str:
        """A bar in words."""
        values = self._table.iloc[row]
        return f"{values['feature']}: " + ", ".join(f"{_WORDS[part]} {values[part]:.0%}" for part in PARTS)

    def sizeHint(self) -> QSize:
        """A line for each feature, and one for the legend."""
        return QSize(200, _LEGEND + _ROW * len(self._table))

    def event(self, event: QEvent | None) -> bool:
        """Say the figures of the bar under the mouse."""
        if event is not None and event.type() == QEvent.Type.ToolTip and isinstance(event, QHelpEvent):
            row = (event.pos().y() - _LEGEND) // _ROW
            if 0 <= row < len(self._table):
                QToolTip.showText(event.globalPos(), self.in_words(row), self)
                return True
        return super().event(event)

    def paintEvent(self, event: QPaintEvent | None) -> None:
        """Draw the legend and the bars."""
        painter = QPainter(self)
        painter.setPen(self.ink)
        metrics = painter.fontMetrics()
        left = 0.0
        for part, colour in zip(PARTS, COLOURS, strict=False):
            painter.fillRect(QRectF(left, 5, 9, 9), QColor(colour))
            painter.drawText(
                QRectF(left + 13, 0, self.width(), _LEGEND), Qt.AlignmentFlag.AlignVCenter, _WORDS[part]
            )
            left += 13 + metrics.horizontalAdvance(_WORDS[part]) + 10
        start = self.width() * _NAMES
        room = self.width() - start - 1
        for row, values in self._table.iterrows():
            top = _LEGEND + _ROW * int(str(row))
            name = metrics.elidedText(str(values["feature"]), Qt.TextElideMode.ElideMiddle, int(start) - 6)
            painter.drawText(QRectF(0, top, start - 6, _ROW), Qt.AlignmentFlag.AlignVCenter, name)
            at = start
            for part, colour in zip(PARTS, COLOURS, strict=False):
                width = room * min(float(values[part]), 1 - (at - start) / room)
                painter.fillRect(QRectF(at, top + 3, max(0.0, width), _ROW - 6), QColor(colour))
                at += max(0.0, width)
            painter.drawRect(QRectF(start, top + 3, room, _ROW - 6))
        painter.end()
