"""Plots in the colours of the theme: histograms with limits to drag, and curves."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pyqtgraph as pg
from numpy.typing import NDArray
from qtpy.QtCore import Qt, Signal
from qtpy.QtGui import QColor

COLOURS = ("#4e9bf5", "#e8903a", "#51b06a", "#c66bd6", "#d95757", "#8d8d8d")
_BINS = 60
_HEIGHT = 122
_AXIS, _TICKS = 42, 24  # tick labels with the label below them, and without
_BELOW = 6  # pyqtgraph lets the label of an axis stick out below it


class Plot(pg.PlotWidget):
    """A plot that takes the colours of the theme and leaves the wheel to the page around it."""

    def __init__(self, *, left: str = "", bottom: str = "", height: int = _HEIGHT) -> None:
        super().__init__()
        self._left, self._bottom = left, bottom
        self.getPlotItem().layout.setContentsMargins(1, 1, 1, _BELOW if bottom else 1)
        self.setFixedHeight(height)
        self.setMenuEnabled(False)
        self.hideButtons()
        self.setMouseEnabled(x=False, y=False)
        self.colour(dark=True)

    def colour(self, *, dark: bool) -> None:
        """Take the colours of a theme."""
        ink = QColor("#d1d2d4" if dark else "#3b3a39")
        self.setBackground(None)
        for side, text in (("left", self._left), ("bottom", self._bottom)):
            axis = self.getAxis(side)
            axis.setPen(ink)
            axis.setTextPen(ink)
            if text:
                axis.setLabel(text, color=ink.name())
            if side == "bottom":
                axis.setHeight(_AXIS if text else _TICKS)
            axis.enableAutoSIPrefix(False)  # after the label, which would switch it on

    def wheelEvent(self, event: Any) -> None:
        """Let the page scroll."""
        event.ignore()


class LimitsPlot(Plot):
    """A histogram with a lower limit, an upper limit, or both, to drag.

    Parameters
    ----------
    title
        What is counted.
    low, high
        Whether there is a lower and an upper limit.
    """

    changed = Signal()

    def __init__(self, title: str, *, low: bool, high: bool) -> None:
        super().__init__(bottom=title)
        self.hideAxis("left")
        self._bars = pg.BarGraphItem(x=[0], height=[0], width=1, brush=COLOURS[0], pen=None)
        self.addItem(self._bars)
        self.lines: dict[str, Any] = {}
        for name, wanted in (("low", low), ("high", high)):
            if wanted:
                line = pg.InfiniteLine(
                    angle=90, movable=True, pen=pg.mkPen(COLOURS[1], width=2),
                    hoverPen=pg.mkPen(COLOURS[1], width=4),
                )  # fmt: skip
                line.setCursor(Qt.CursorShape.SizeHorCursor)
                line.sigPositionChanged.connect(lambda _: self.changed.emit())
                self.lines[name] = line
                self.addItem(line)
        self.setToolTip(f"{title} of all cells. Drag the limits; cells beyond them are flagged.")

    def show_values(self, values: NDArray[np.float64]) -> None:
        """Count values."""
        finite = values[np.isfinite(values)]
        if not len(finite):
            return
        low, high = np.percentile(finite, (0.1, 99.9))  # what is further out is counted at the ends
        if high <= low:
            low, high = min(low, 0.0), max(high, 1.0)
        counts, edges = np.histogram(finite.clip(low, high), _BINS, (low, high))
        self._bars.setOpts(x=(edges[1:] + edges[:-1]) / 2, height=counts, width=np.diff(edges))
        span = float(edges[-1] - edges[0])
        self.setXRange(edges[0] - 0.02 * span, edges[-1] + 0.02 * span, padding=0)
        self.setYRange(0, max(1, counts.max()), padding=0.05)
        for name, line in self.lines.items():
            line.setBounds((edges[0] - 0.02 * span, edges[-1] + 0.02 * span))
            line.setValue(edges[0] if name == "low" else edges[-1])

    def limit(self, name: str) -> float:
        """Where the ``low`` or ``high`` limit stands."""
        return float(self.lines[name].value())

    def set_limit(self, name: str, value: float) -> None:
        """Move a limit."""
        self.lines[name].setValue(value)


class CurvesPlot(Plot):
    """Curves over epochs, with a legend."""

    def __init__(self, *, left: str, bottom: str = "Epoch") -> None:
        super().__init__(left=left, bottom=bottom, height=170)
        self.getViewBox().setDefaultPadding(0.2)  # room for the legend above the curves
        self._legend = self.addLegend(offset=(-6, 6), labelTextSize="8pt")
        self._curves: dict[str, Any] = {}
        self.setToolTip(f"{left} after every epoch")

    def show_curves(self, curves: Mapping[str, tuple[Sequence[float], Sequence[float]]]) -> None:
        """Show curves, (x, y) by name; those of the names that are gone go."""
        for name in [name for name in self._curves if name not in curves]:
            self.removeItem(self._curves.pop(name))
        for name, (x, y) in curves.items():
            if name not in self._curves:
                pen = pg.mkPen(COLOURS[len(self._curves) % len(COLOURS)], width=2)
                self._curves[name] = self.plot(name=name, pen=pen)
            self._curves[name].setData(np.asarray(x, float), np.asarray(y, float))

    def colour(self, *, dark: bool) -> None:
        """Take the colours of a theme, legend included."""
        super().colour(dark=dark)
        legend = getattr(self, "_legend", None)
        if legend is not None:
            ink = "#d1d2d4" if dark else "#3b3a39"
            legend.setLabelTextColor(ink)  # of labels to come
            for _, label in legend.items:
                label.setText(label.text, color=ink)
