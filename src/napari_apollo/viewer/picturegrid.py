"""Pictures of cells in rows and columns with titles; to look at, and to click."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray
from qtpy.QtCore import QRect, QSize, Qt, Signal
from qtpy.QtGui import QColor, QImage, QKeyEvent, QMouseEvent, QPainter, QPaintEvent, QPen
from qtpy.QtWidgets import QSizePolicy, QWidget

from napari_apollo.viewer.crops import blend

_TITLE = 16
_GAP = 3
_MOST = 72


class PictureGrid(QWidget):
    """Pictures in rows and columns.

    Parameters
    ----------
    tooltip
        What they are.
    clickable
        Whether a picture can be chosen, by click or with arrows and Enter.
    """

    clicked = Signal(int)
    """Number of the column that was chosen."""

    def __init__(self, tooltip: str, *, clickable: bool = False) -> None:
        super().__init__()
        self.setToolTip(tooltip)
        self.setAccessibleName(tooltip)
        self.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Fixed)
        self._rows: tuple[str, ...] = ()
        self._columns: tuple[str, ...] = ()
        self._pictures: dict[tuple[int, int], NDArray[np.uint8]] = {}
        self._clickable = clickable
        self._current = 0
        self.ink = QColor("#a9b0b8")
        if clickable:
            self.setFocusPolicy(Qt.FocusPolicy.StrongFocus)
            self.setCursor(Qt.CursorShape.PointingHandCursor)
        self.setVisible(False)

    def show_pictures(
        self,
        rows: Sequence[str],
        columns: Sequence[str],
        pictures: Mapping[tuple[int, int], NDArray[np.uint8]],
    ) -> None:
        """Show other pictures.

        Parameters
        ----------
        rows, columns
            Their titles; a row or column without titles takes no room for them.
        pictures
            (y, x, 3) uint8 by row and column.
        """
        self._rows, self._columns = tuple(rows), tuple(columns)
        self._pictures = {place: np.ascontiguousarray(one) for place, one in pictures.items()}
        self._current = min(self._current, max(0, len(columns) - 1))
        self.setVisible(bool(pictures))
        self._fix()
        self.update()

    def sizeHint(self) -> QSize:
        """As wide as there is room."""
        return QSize(200, self._height())

    def resizeEvent(self, event: object) -> None:
        """Larger or smaller pictures."""
        self._fix()

    def paintEvent(self, event: QPaintEvent | None) -> None:
        """Draw titles and pictures."""
        painter = QPainter(self)
        painter.setRenderHint(QPainter.RenderHint.SmoothPixmapTransform, True)
        font = painter.font()
        font.setPixelSize(11)
        painter.setFont(font)
        painter.setPen(self.ink)
        side = self._side()
        for number, title in enumerate(self._columns):
            if title:
                place = QRect(self._left(number, side), 0, side, _TITLE)
                text = painter.fontMetrics().elidedText(title, Qt.TextElideMode.ElideRight, side)
                painter.drawText(place, Qt.AlignmentFlag.AlignCenter, text)
        for number, title in enumerate(self._rows):
            place = QRect(0, self._top(number, side), self._title_width() - _GAP, side)
            flags = int(Qt.AlignmentFlag.AlignVCenter) | int(Qt.TextFlag.TextWordWrap)
            painter.drawText(place, flags, title)
        for (line, number), picture in self._pictures.items():
            height, width = picture.shape[:2]
            image = QImage(picture.data, width, height, 3 * width, QImage.Format.Format_RGB888)
            painter.drawImage(QRect(self._left(number, side), self._top(line, side), side, side), image)
        if self._clickable and self.hasFocus() and self._columns:
            painter.setPen(QPen(QColor("#4560c4"), 2))
            top = self._top(0, side)
            painter.drawRect(QRect(self._left(self._current, side), top, side - 1, side - 1))
        painter.end()

    def mousePressEvent(self, event: QMouseEvent | None) -> None:
        """Choose the column under the mouse."""
        if event is None or not self._clickable:
            return
        side = self._side()
        for number in range(len(self._columns)):
            left = self._left(number, side)
            if left <= event.pos().x() < left + side:
                self._current = number
                self.clicked.emit(number)
                return

    def keyPressEvent(self, event: QKeyEvent | None) -> None:
        """Arrows move, Enter chooses."""
        if event is None or not self._clickable:
            return
        key = event.key()
        steps: dict[int, int] = {Qt.Key.Key_Left: -1, Qt.Key.Key_Right: 1}
        step = steps.get(key)
        if step is not None and self._columns:
            self._current = (self._current + step) % len(self._columns)
            self.update()
        elif key in (Qt.Key.Key_Return, Qt.Key.Key_Enter, Qt.Key.Key_Space):
            self.clicked.emit(self._current)
        else:
            super().keyPressEvent(event)

    def _title_width(self) -> int:
        return 84 if any(self._rows) else 0

    def _side(self) -> int:
        number = max(1, len(self._columns))
        room = self.width() - self._title_width() - _GAP * (number - 1)
        return max(8, min(_MOST, room // number))

    def _left(self, number: int, side: int) -> int:
        return self._title_width() + number * (side + _GAP)

    def _top(self, line: int, side: int) -> int:
        return (_TITLE if any(self._columns) else 0) + line * (side + _GAP)

    def _height(self) -> int:
        return self._top(max(1, len(self._rows)), self._side())

    def _fix(self) -> None:
        if self.height() != self._height():
            self.setFixedHeight(self._height())


def tinted(image: NDArray[np.float32], colour: str) -> NDArray[np.uint8]:
    """One stain (y, x) in [0, 1], in its colour, (y, x, 3)."""
    return blend(image[None, None], [colour])[0]
