"""A scatter of a hundred thousand cells that is redrawn at once, with lasso, click and zoom."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyqtgraph as pg
from numpy.typing import NDArray
from qtpy.QtCore import QRectF, Qt, QTimer, Signal
from qtpy.QtGui import QColor, QKeyEvent

from napari_apollo.viewer.scatter import draw_points, inside_outline, nearest_point, view_of

_HEIGHT = 270
_REACH = 8.0  # pixels within which a click finds a point
_MANY = 20_000
_ZOOM = 0.8
_INK = {True: "#d1d2d4", False: "#3b3a39"}
_GROUND = {True: (38, 41, 48), False: (239, 235, 233)}


class _Box(pg.ViewBox):
    """Left drag draws a lasso, right drag moves, the wheel zooms."""

    drawn = Signal(object, bool)
    picked = Signal(object, bool)

    def __init__(self) -> None:
        super().__init__(enableMenu=False)
        self._outline: list[tuple[float, float]] = []
        self._line = pg.PlotCurveItem(pen=pg.mkPen("#ffd21a", width=2))
        self.addItem(self._line, ignoreBounds=True)

    def mouseDragEvent(self, ev: Any, axis: Any = None) -> None:
        if ev.button() != Qt.MouseButton.LeftButton:
            super().mouseDragEvent(_Panning(ev), axis)
            return
        ev.accept()
        if ev.isStart():
            start = self.mapToView(ev.buttonDownPos())
            self._outline = [(start.x(), start.y())]
        at = self.mapToView(ev.pos())
        self._outline.append((at.x(), at.y()))
        if not ev.isFinish():
            self._line.setData(*np.array([*self._outline, self._outline[0]]).T)
            return
        self._line.setData([], [])
        add = bool(ev.modifiers() & Qt.KeyboardModifier.ShiftModifier)
        self.drawn.emit(np.array(self._outline), add)

    def mouseClickEvent(self, ev: Any) -> None:
        if ev.button() == Qt.MouseButton.LeftButton:
            ev.accept()
            at = self.mapToView(ev.pos())
            add = bool(ev.modifiers() & Qt.KeyboardModifier.ShiftModifier)
            self.picked.emit((at.x(), at.y()), add)


class _Panning:
    """A drag with another button, as one that moves the view."""

    def __init__(self, event: Any) -> None:
        self._event = event

    def __getattr__(self, name: str) -> Any:
        return getattr(self._event, name)

    def button(self) -> Any:
        return Qt.MouseButton.LeftButton


class CloudPlot(pg.PlotWidget):
    """Cells as points.

    Drawing around points selects them, a click selects one, Shift adds. The wheel zooms once the plot was
    clicked, the right button moves, arrow keys move, plus and minus zoom, Home shows everything.
    """

    enclosed = Signal(object, bool)
    """Numbers of the points that a person drew around, and whether they are to be added."""

    picked = Signal(object, bool)
    """Number of the point that was clicked, or None, and whether it is to be added."""

    def __init__(self) -> None:
        box = _Box()
        super().__init__(viewBox=box)
        self._box = box
        self.setFixedHeight(_HEIGHT)
        self.hideButtons()
        self.setFocusPolicy(Qt.FocusPolicy.StrongFocus)
        self.setToolTip(
            "Cells. Draw around them to select, click one to see it, Shift adds. Wheel: zoom. Right button: "
            "move. Keys: arrows, + and -, Home."
        )
        self.setAccessibleName("Scatter of cells")
        self._image = pg.ImageItem(axisOrder="row-major")
        self.addItem(self._image, ignoreBounds=True)
        self.points: NDArray[np.float64] = np.zeros((0, 2))
        self._colours: NDArray[np.uint8] = np.zeros((0, 3), np.uint8)
        self._chosen: NDArray[np.int64] = np.zeros(0, np.int64)
        self._titles = ("", "")
        self._dark = True
        self._soon = QTimer(self)
        self._soon.setSingleShot(True)
        self._soon.setInterval(0)
        self._soon.timeout.connect(self.draw)
        box.sigRangeChanged.connect(lambda *_: self._soon.start())
        box.sigResized.connect(lambda *_: self._soon.start())
        box.drawn.connect(self._drawn)
        box.picked.connect(self._picked)
        self.colour(dark=True)

    def show_points(self, points: NDArray[np.float64], x: str, y: str) -> None:
        """Other points, with the names of their axes; all of them come into sight."""
        self.points = points
        if len(self._colours) != len(points):
            self._colours = np.full((len(points), 3), 128, np.uint8)
            self._chosen = np.zeros(0, np.int64)
        self._titles = (x, y)
        self.colour(dark=self._dark)
        self.fit()

    def show_colours(self, colours: NDArray[np.uint8]) -> None:
        """Other colours, (point, 3)."""
        self._colours = colours
        self._soon.start()

    def show_chosen(self, chosen: NDArray[np.int64]) -> None:
        """Other selected points."""
        self._chosen = chosen[chosen < len(self.points)]
        self._soon.start()

    def fit(self) -> None:
        """Bring all points into sight."""
        (x0, x1), (y0, y1) = view_of(self.points)
        self._box.setRange(xRange=(x0, x1), yRange=(y0, y1), padding=0)
        self._soon.start()

    def draw(self) -> None:
        """Draw the points that are in sight."""
        self._soon.stop()
        (x0, x1), (y0, y1) = self._box.viewRange()
        ratio = self.devicePixelRatioF()
        size = (int(self._box.width() * ratio), int(self._box.height() * ratio))
        radius = (1.4 if len(self.points) > _MANY else 2.3) * ratio
        picture = draw_points(
            self.points, self._colours, ((x0, x1), (y0, y1)), size,
            radius=radius, chosen=self._chosen, ground=_GROUND[self._dark],
        )  # fmt: skip
        if picture.size:
            self._image.setImage(picture[::-1], autoLevels=False, levels=None)
            self._image.setRect(QRectF(x0, y0, x1 - x0, y1 - y0))

    def colour(self, *, dark: bool) -> None:
        """Take the colours of a theme."""
        self._dark = dark
        self.setBackground(QColor(*_GROUND[dark]))
        ink = QColor(_INK[dark])
        for side, text in zip(("bottom", "left"), self._titles, strict=True):
            axis = self.getAxis(side)
            axis.setPen(ink)
            axis.setTextPen(ink)
            axis.enableAutoSIPrefix(False)
            axis.setLabel(text if len(text) <= 34 else f"{text[:33]}…", color=ink.name())
        self._soon.start()

    def wheelEvent(self, event: Any) -> None:
        """Zoom where the plot was clicked before, else let the page scroll."""
        if self.hasFocus():
            super().wheelEvent(event)
        else:
            event.ignore()

    def keyPressEvent(self, event: QKeyEvent | None) -> None:
        """Move and zoom by keys."""
        if event is None:
            return
        steps = {
            Qt.Key.Key_Left: (-0.1, 0.0), Qt.Key.Key_Right: (0.1, 0.0),
            Qt.Key.Key_Up: (0.0, 0.1), Qt.Key.Key_Down: (0.0, -0.1),
        }  # fmt: skip
        key = event.key()
        if key in steps:
            (x0, x1), (y0, y1) = self._box.viewRange()
            x, y = steps[key]
            self._box.translateBy(x=x * (x1 - x0), y=y * (y1 - y0))
        elif key in (Qt.Key.Key_Plus, Qt.Key.Key_Equal):
            self._box.scaleBy((_ZOOM, _ZOOM))
        elif key == Qt.Key.Key_Minus:
            self._box.scaleBy((1 / _ZOOM, 1 / _ZOOM))
        elif key == Qt.Key.Key_Home:
            self.fit()
        else:
            super().keyPressEvent(event)

    def _drawn(self, outline: NDArray[np.float64], add: bool) -> None:
        self.enclosed.emit(inside_outline(self.points, outline), add)

    def _picked(self, at: tuple[float, float], add: bool) -> None:
        self.setFocus()
        x, y = self._box.viewPixelSize()
        self.picked.emit(nearest_point(self.points, at, (_REACH * x, _REACH * y)), add)
