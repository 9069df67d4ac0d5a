"""Paths: to type, to choose in a dialog, or to drop."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from qtpy.QtCore import Qt, Signal
from qtpy.QtGui import QDragEnterEvent, QDropEvent
from qtpy.QtWidgets import QFileDialog, QHBoxLayout, QLabel, QLineEdit, QWidget

from napari_apollo.viewer.parts import small_button

PathMode = Literal["folder", "file", "save"]


class PathPicker(QWidget):
    """A path to type, choose in a dialog, or drop.

    Parameters
    ----------
    mode
        ``folder`` and ``file`` are there already, ``save`` is to be written.
    title
        Title of the dialog.
    pattern
        Which files the dialog shows, as Qt writes it: ``"Manifest (*.csv)"``.
    """

    changed = Signal()

    def __init__(self, mode: PathMode = "folder", title: str = "Choose", pattern: str = "") -> None:
        super().__init__()
        self._mode, self._title, self._pattern = mode, title, pattern
        self.line = QLineEdit()
        self.line.setClearButtonEnabled(True)
        self.browse = small_button("open", title, self._browse)
        layout = QHBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.setSpacing(2)
        layout.addWidget(self.line, 1)
        layout.addWidget(self.browse)
        self.setAcceptDrops(True)
        self.line.setAcceptDrops(False)  # the whole picker takes drops
        self.line.textChanged.connect(lambda _: self.changed.emit())
        self.setFocusProxy(self.line)

    @property
    def path(self) -> Path | None:
        """The path, or None while it is empty."""
        text = self.line.text().strip()
        return Path(text) if text else None

    @path.setter
    def path(self, value: Path | str | None) -> None:
        self.line.setText("" if value is None else str(value))
        self.line.setToolTip(self.line.text() or self.toolTip())

    def dragEnterEvent(self, event: QDragEnterEvent | None) -> None:
        """Take what has a path."""
        if event is not None and dropped_paths(event):
            event.acceptProposedAction()

    def dropEvent(self, event: QDropEvent | None) -> None:
        """Take the first path."""
        if event is not None and (paths := dropped_paths(event)):
            self.path = paths[0]

    def _browse(self) -> None:
        start = str(self.path or "")
        if self._mode == "folder":
            chosen = QFileDialog.getExistingDirectory(self, self._title, start)
        elif self._mode == "file":
            chosen = QFileDialog.getOpenFileName(self, self._title, start, self._pattern)[0]
        else:
            chosen = QFileDialog.getSaveFileName(self, self._title, start, self._pattern)[0]
        if chosen:
            self.path = chosen


class DropArea(QLabel):
    """A place to drop files and folders on, or to click."""

    dropped = Signal(list)

    def __init__(self, text: str, tooltip: str) -> None:
        super().__init__(text)
        self.setProperty("apolloDrop", True)
        self.setWordWrap(True)
        self.setAlignment(Qt.AlignmentFlag.AlignCenter)
        self.setToolTip(tooltip)
        self.setAcceptDrops(True)

    def dragEnterEvent(self, event: QDragEnterEvent | None) -> None:
        """Take what has a path."""
        if event is not None and dropped_paths(event):
            event.acceptProposedAction()

    def dropEvent(self, event: QDropEvent | None) -> None:
        """Tell the paths."""
        if event is not None:
            event.acceptProposedAction()
            self.dropped.emit(dropped_paths(event))


def dropped_paths(event: QDragEnterEvent | QDropEvent) -> list[Path]:
    """Paths of files and folders that are dragged."""
    data = event.mimeData()
    if data is None or not data.hasUrls():
        return []
    return [Path(url.toLocalFile()) for url in data.urls() if url.isLocalFile()]
