"""Keys that a tool takes from the canvas while it is in sight."""

from __future__ import annotations

from collections.abc import Callable

from qtpy.QtCore import QEvent, QObject, Qt, QTimer
from qtpy.QtGui import QKeyEvent
from qtpy.QtOpenGLWidgets import QOpenGLWidget
from qtpy.QtWidgets import QWidget

from napari_apollo.viewer.parts import main_window

_PLAIN = (Qt.KeyboardModifier.NoModifier, Qt.KeyboardModifier.KeypadModifier)


class CanvasKeys(QObject):
    """Hands a tool the keys that are pressed over the canvas, for as long as the tool can be seen.

    Parameters
    ----------
    tool
        Its window's canvas is listened to.
    take
        Given the text of a key pressed without modifiers; whether it was used. What is not used is napari's.
    """

    def __init__(self, tool: QWidget, take: Callable[[str], bool]) -> None:
        super().__init__(tool)
        self._take = take
        self._canvases: list[QOpenGLWidget] = []
        self._soon = QTimer(self)
        self._soon.setSingleShot(True)
        self._soon.setInterval(0)
        self._soon.timeout.connect(self._listen)

    def begin(self) -> None:
        """Listen to the canvas; the tool came into sight, and has its place in the window soon."""
        self._soon.start()

    def _listen(self) -> None:
        self.end()
        owner = self.parent()
        if isinstance(owner, QWidget):
            self._canvases = main_window(owner).findChildren(QOpenGLWidget)
            for canvas in self._canvases:
                canvas.installEventFilter(self)

    def end(self) -> None:
        """Leave all keys to napari; the tool is out of sight."""
        self._soon.stop()
        for canvas in self._canvases:
            canvas.removeEventFilter(self)
        self._canvases = []

    def eventFilter(self, watched: QObject | None, event: QEvent | None) -> bool:
        """Take a key that the tool uses, and keep napari from acting on it as well."""
        if isinstance(event, QKeyEvent) and event.type() == QEvent.Type.KeyPress:
            text = event.text()
            if text and event.modifiers() in _PLAIN and not event.isAutoRepeat() and self._take(text):
                event.accept()
                return True
        return False
