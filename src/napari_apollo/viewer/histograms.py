"""A column of the cells as a histogram, the selected cells in front of all."""

from __future__ import annotations

import numpy as np
import pyqtgraph as pg
from numpy.typing import NDArray

from napari_apollo.viewer.columns import Column
from napari_apollo.viewer.plots import COLOURS, Plot

_BINS = 60
_SHOWN_GROUPS = 12


class HistogramPlot(Plot):
    """Counts of all cells, and of the selected ones."""

    def __init__(self) -> None:
        super().__init__(height=130, left="Cells")
        self._all = pg.BarGraphItem(x=[0], height=[0], width=1, pen=None, brush=COLOURS[0])
        self._chosen = pg.BarGraphItem(x=[0], height=[0], width=1, pen=None, brush=COLOURS[1])
        self.addItem(self._all)
        self.addItem(self._chosen)
        self.setToolTip("How many cells have which value; selected cells in orange")

    def show_column(self, column: Column, chosen: NDArray[np.int64]) -> None:
        """Count a column.

        Parameters
        ----------
        column
            The values.
        chosen
            Positions of the selected cells.
        """
        x, counts, some, width = count_column(column, chosen)
        axis = self.getAxis("bottom")
        if column.kind == "groups":
            brushes = list(column.palette[: len(x)])
            self._all.setOpts(x=x, height=counts, width=width, brush=None, brushes=brushes)
            names = [name if len(name) <= 12 else f"{name[:11]}…" for name in column.groups]
            axis.setTicks([list(zip(x.tolist(), names, strict=False))] if len(x) <= 4 else [[]])
        else:
            self._all.setOpts(x=x, height=counts, width=width, brushes=None, brush=COLOURS[0])
            axis.setTicks(None)
        self._chosen.setOpts(x=x, height=some, width=width)
        if len(x):
            self.setXRange(x[0] - width, x[-1] + width, padding=0)
            self.setYRange(0, max(1, counts.max()), padding=0.05)


def count_column(
    column: Column, chosen: NDArray[np.int64]
) -> tuple[NDArray[np.float64], NDArray[np.int64], NDArray[np.int64], float]:
    """Middles of bins, cells in each, selected cells in each, and the width of a bin."""
    values = column.values
    if column.kind == "groups":
        number = min(len(column.groups), _SHOWN_GROUPS)
        edges = np.arange(number + 1) - 0.5
        width = 0.8
    else:
        known = values[np.isfinite(values)]
        if not len(known):
            nothing = np.zeros(0)
            return nothing, nothing.astype(np.int64), nothing.astype(np.int64), 1.0
        low, high = (float(value) for value in np.percentile(known, (0.1, 99.9)))
        if high <= low:
            low, high = low - 0.5, low + 0.5
        edges = np.linspace(low, high, _BINS + 1)
        values = np.clip(values, low, high)  # what is further out is counted at the ends
        width = float(edges[1] - edges[0])
    counts = np.histogram(values[np.isfinite(values)], edges)[0]
    some = values[np.asarray(chosen, np.int64)]
    picked = np.histogram(some[np.isfinite(some)], edges)[0]
    return (edges[1:] + edges[:-1]) / 2, counts, picked, width


def summary(column: Column, chosen: NDArray[np.int64]) -> str:
    """A column in words: median and spread, or the largest groups; of the selected cells, too."""
    words = _summary(column, np.arange(len(column.values)))
    return f"{words}\nSelected: {_summary(column, chosen)}" if len(chosen) else words


def _summary(column: Column, cells: NDArray[np.int64]) -> str:
    values = column.values[cells]
    if column.kind == "groups":
        counts = np.bincount(values[values >= 0].astype(np.int64), minlength=len(column.groups))
        order = np.argsort(-counts, kind="stable")[:4]
        parts = [f"{column.groups[k] or '(none)'} {counts[k]}" for k in order if counts[k]]
        return ", ".join(parts) or "no cells"
    known = values[np.isfinite(values)]
    if not len(known):
        return "no values"
    if len(values) == 1:
        return f"{known[0]:.4g}"
    low, middle, high = np.percentile(known, (5, 50, 95))
    return f"median {middle:.4g}, 5 to 95 %: {low:.4g} to {high:.4g}; {len(known)} of {len(values)} cells"
