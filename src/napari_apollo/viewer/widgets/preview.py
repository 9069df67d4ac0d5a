"""The newest picture of held-out cells while a model learns."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from qtpy.QtCore import QSize, Qt
from qtpy.QtGui import QPixmap, QResizeEvent
from qtpy.QtWidgets import QGridLayout, QLabel, QSizePolicy, QWidget

_LEAST = 52  # pixels that a cell is shown at, at least


class Preview(QWidget):
    """Rows of cells: measured, rebuilt, predicted; each row with its name."""

    def __init__(self) -> None:
        super().__init__()
        self._picture = QPixmap()
        self._stamp: tuple[Path, float] | None = None
        self._rows: list[tuple[QLabel, QLabel]] = []
        self._grid = QGridLayout(self)
        self._grid.setContentsMargins(0, 0, 0, 0)
        self._grid.setVerticalSpacing(1)
        self._grid.setColumnStretch(0, 1)
        self.empty = QLabel("Pictures come with the first epochs.")
        self.empty.setProperty("apolloTone", "hint")
        self._grid.addWidget(self.empty, 0, 0)
        self.setToolTip("Held-out cells, measured beside what the model makes of them; one column a cell")

    def show_file(self, path: Path | None, rows: Sequence[str]) -> None:
        """Show a contact sheet whose rows have names; nothing happens where it is shown already."""
        stamp = None if path is None else (path, path.stat().st_mtime)
        if stamp is None or stamp == self._stamp or path is None:
            return
        picture = QPixmap(str(path))
        if picture.isNull():
            return  # it is being written
        self._stamp, self._picture = stamp, picture
        self.empty.hide()
        while len(self._rows) < len(rows):
            name, strip = QLabel(), QLabel()
            name.setProperty("apolloTone", "hint")
            strip.setSizePolicy(QSizePolicy.Policy.Ignored, QSizePolicy.Policy.Fixed)
            self._grid.addWidget(name, 2 * len(self._rows) + 1, 0)
            self._grid.addWidget(strip, 2 * len(self._rows) + 2, 0)
            self._rows.append((name, strip))
        for (name, strip), text in zip(self._rows, rows, strict=False):
            name.setText(text)
            strip.setToolTip(f"{text}: one column a cell")
        self._scale()

    def resizeEvent(self, event: QResizeEvent | None) -> None:
        """Fit the pictures to the width."""
        self._scale()

    def sizeHint(self) -> QSize:
        """As wide as there is room."""
        return QSize(200, super().sizeHint().height())

    def _scale(self) -> None:
        if self._picture.isNull() or not self._rows:
            return
        height = self._picture.height() // len(self._rows)
        there = max(1, self._picture.width() // height)  # a cell is as wide as it is high
        shown = min(there, max(1, self.width() // _LEAST))
        for number, (_, strip) in enumerate(self._rows):
            part = self._picture.copy(0, number * height, shown * height, height)
            scaled = part.scaledToWidth(max(60, self.width()), Qt.TransformationMode.SmoothTransformation)
            strip.setPixmap(scaled)
            strip.setFixedHeight(scaled.height())
