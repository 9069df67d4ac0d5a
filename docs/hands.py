"""What scripts that take pictures do in napari's window: dock, click, drag, scroll, wait, take a picture."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from qtpy.QtCore import QEvent, QPoint, QPointF, Qt
from qtpy.QtGui import QMouseEvent
from qtpy.QtTest import QTest
from qtpy.QtWidgets import QApplication, QPushButton, QScrollArea

SCREEN = (1366, 740)
"""Pixels of a small screen, less the bar of the desktop."""


def copy_of_lymph_node(demo: Path, folder: Path) -> Path:
    """Copy of a demonstration's results, to be written to; its manifest names the image where that is."""
    from napari_apollo.study import Study

    sample = shutil.copytree(demo / "lymph_node", folder / "lymph_node")
    manifest = Path("two_panels", "study.csv")
    Study.from_csv(demo / "lymph_node" / manifest).to_csv(sample / manifest)
    return sample


class Hands:
    """One person at one window.

    Parameters
    ----------
    output
        Folder that gets the pictures.
    themes
        Themes that every picture is taken in.
    size
        Width and height of the window, in pixels of the screen.
    scale
        Scaling of the screen, as ``QT_SCALE_FACTOR`` says.
    """

    def __init__(
        self, output: Path, themes: Sequence[str], *, size: tuple[int, int] = SCREEN, scale: float = 1.0
    ) -> None:
        import napari

        from napari_apollo.viewer import session_of

        self.output, self.themes = output.absolute(), list(themes)
        self.output.mkdir(parents=True, exist_ok=True)
        self.viewer = napari.Viewer(show=True)
        self.viewer.window.resize(int(size[0] / scale), int(size[1] / scale))
        self.session = session_of(self.viewer)

    def dock(self, name: str) -> Any:
        """Open a tool, as the menu does."""
        from napari_apollo.viewer import dock

        tool = dock(self.viewer, name)[name]
        self.settle(0.6)
        return tool

    def close(self, tool: Any) -> None:
        """Close a tool's dock."""
        self.viewer.window.remove_dock_widget(tool)
        self.settle()

    def click(self, tool: Any, text: str) -> None:
        """Click a button by its text, where a person could."""
        found = next(each for each in tool.findChildren(QPushButton) if each.text() == text)
        tool.reveal(found)
        self.settle()
        if not found.isEnabled():
            raise RuntimeError(f"{text} cannot be clicked: {tool.status.text()}")
        QTest.mouseClick(found, Qt.MouseButton.LeftButton)
        self.settle()

    def fold(self, tool: Any, title: str) -> None:
        """Open or close a fold by key."""
        from napari_apollo.viewer.parts import Fold

        found = next(each for each in tool.findChildren(Fold) if each.header.text() == title)
        found.header.setFocus()
        QTest.keyClick(found.header, Qt.Key.Key_Space)
        self.settle()

    def drag(self, port: Any, places: Sequence[QPoint]) -> None:
        """Draw with the left button held down."""
        left, none = Qt.MouseButton.LeftButton, Qt.MouseButton.NoButton
        steps = [(QEvent.Type.MouseButtonPress, places[0], left, left)]
        steps += [(QEvent.Type.MouseMove, place, none, left) for place in places]
        steps += [(QEvent.Type.MouseButtonRelease, places[-1], left, none)]
        for kind, place, button, buttons in steps:
            screen = QPointF(port.mapToGlobal(place))
            event = QMouseEvent(kind, QPointF(place), screen, button, buttons, Qt.KeyboardModifier.NoModifier)
            QApplication.sendEvent(port, event)
            self.settle(0.05)

    def scroll(self, tool: Any, part: float) -> bool:
        """Scroll a tool, 0 to its top and 1 to its end; whether it is longer than the window."""
        bar = tool.findChild(QScrollArea).verticalScrollBar()
        bar.setValue(round(part * bar.maximum()))
        self.settle()
        return bool(bar.maximum() > 0)

    def picture(self, name: str) -> None:
        """Take a picture in every theme."""
        from imagecodecs import jpeg_encode

        for theme in self.themes:
            self.viewer.theme = theme
            self.settle(0.8)
            self.viewer.status, self.viewer.help = "Ready", ""
            self.settle(0.1)
            shot = self.viewer.screenshot(canvas_only=False, flash=False)
            path = self.output / f"{name}_{theme}.jpg"
            path.write_bytes(jpeg_encode(shot[..., :3].copy(), level=88))
            print(path.name, shot.shape)
        self.viewer.theme = self.themes[0]

    def wait(self, seconds: float = 300) -> None:
        """Until the work is done."""
        if not self.session.jobs.wait(seconds):
            raise RuntimeError("the work did not end in time")
        self.settle()

    def until(self, condition: Callable[[], bool], seconds: float = 300) -> None:
        """Until something has come about."""
        end = time.monotonic() + seconds
        while not condition():
            if time.monotonic() > end:
                raise RuntimeError("it did not come about in time")
            self.settle(0.2)

    def settle(self, seconds: float = 0.3) -> None:
        """Let the window draw."""
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            QApplication.processEvents()
            time.sleep(0.01)
