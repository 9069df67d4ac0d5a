"""Charts of results: values with their intervals, shares, matrices; no window and no global state."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

COLOURS = {
    "shared": "#4c78a8",
    "chromatin": "#9d7660",
    "protein": "#e45756",
    "unexplained": "#e6e6e6",
}
"""Colour of each part of the representation, the same in every chart."""

_SERIES = ("#4c78a8", "#e45756", "#72b7b2", "#f58518", "#54a24b", "#b279a2", "#9d7660")


def intervals_figure(
    table: pd.DataFrame, *, rows: str, series: str, value: str, low: str, high: str, label: str
) -> Figure:
    """Draw values with their intervals, rows below one another, a colour for each series.

    Parameters
    ----------
    table
        One row a value.
    rows, series
        Columns that say where a value stands and which colour it has.
    value, low, high
        Columns of the value and the ends of its interval; no line where these are NaN.
    label
        What the horizontal axis shows.
    """
    names, kinds = list(dict.fromkeys(table[rows])), list(dict.fromkeys(table[series]))
    lines = 1 if len(table) == len(names) else len(kinds)  # side by side only where rows have several
    height = 0.16 * len(names) * lines + 0.1 * len(names) + 0.9
    figure = Figure(figsize=(7.5, height), facecolor="white")
    axes = figure.add_subplot(1, 1, 1)
    step = 0.7 / max(lines, 1)
    for at, kind in enumerate(kinds):
        own = table[table[series] == kind]
        y = np.array([names.index(name) for name in own[rows]]) + (at % lines - (lines - 1) / 2) * step
        colour = COLOURS.get(str(kind), _SERIES[at % len(_SERIES)])
        axes.hlines(y, own[low].astype(float), own[high].astype(float), color=colour, linewidth=1.5)
        axes.plot(own[value].astype(float), y, "o", color=colour, markersize=4, label=str(kind))
    axes.set_yticks(range(len(names)), [str(name) for name in names], fontsize=8)
    axes.set_ylim(len(names) - 0.5, -0.5)
    axes.set_xlabel(label, fontsize=9)
    axes.axvline(0, color="#999999", linewidth=0.6)
    if len(kinds) > 1:
        axes.legend(frameon=False, fontsize=8, loc="lower right", bbox_to_anchor=(1, 1), ncols=4)
    _bare(axes)
    return figure


def stacked_figure(shares: pd.DataFrame, *, label: str, colours: Mapping[str, str] = COLOURS) -> Figure:
    """Draw shares that add up to 1 or less as stacked bars, one for each row.

    Parameters
    ----------
    shares
        One row a bar, its index the names; one column a part, in the order in which they are stacked.
    label
        What the horizontal axis shows.
    colours
        Part to colour.
    """
    figure = Figure(figsize=(7.5, 0.2 * len(shares) + 0.9), facecolor="white")
    axes = figure.add_subplot(1, 1, 1)
    left = np.zeros(len(shares))
    for at, name in enumerate(shares.columns):
        values = shares[name].fillna(0).to_numpy(float)
        colour = colours.get(str(name), _SERIES[at % len(_SERIES)])
        axes.barh(np.arange(len(shares)), values, left=left, height=0.75, color=colour, label=str(name))
        left += values
    axes.set_yticks(range(len(shares)), [str(name) for name in shares.index], fontsize=7)
    axes.set_ylim(len(shares) - 0.4, -0.6)
    axes.set_xlim(0, 1)
    axes.set_xlabel(label, fontsize=9)
    axes.legend(frameon=False, fontsize=8, loc="lower right", bbox_to_anchor=(1, 1), ncols=4)
    _bare(axes)
    return figure


def matrix_figure(
    values: pd.DataFrame,
    *,
    label: str,
    marked: pd.DataFrame | None = None,
    limits: tuple[float, float] = (-1, 1),
    numbers: bool = False,
) -> Figure:
    """Draw a table as colours, blue below the middle of the limits and red above.

    Parameters
    ----------
    values
        Its index and columns are the names.
    label
        What the colours show.
    marked
        Whether each cell of the table bears a dot.
    limits
        Values at the ends of the colours; from 0 on, white to blue.
    numbers
        Write the values into the cells.
    """
    rows, columns = values.shape
    figure = Figure(figsize=(0.28 * columns + 3.4, 0.19 * rows + 1.6), facecolor="white")
    axes = figure.add_subplot(1, 1, 1)
    colours = "Blues" if limits[0] == 0 else "RdBu_r"
    array = values.to_numpy(float)
    shown = axes.imshow(array, cmap=colours, vmin=limits[0], vmax=limits[1], aspect="auto")
    axes.set_yticks(range(rows), [str(name) for name in values.index], fontsize=7)
    axes.set_xticks(range(columns), [str(name) for name in values.columns], fontsize=7, rotation=90)
    if marked is not None:
        y, x = np.nonzero(marked.to_numpy(bool))
        axes.plot(x, y, ".", color="black", markersize=3)
    if numbers:
        for (y, x), number in np.ndenumerate(array):
            dark = abs(number) > 0.6 * max(abs(limits[0]), abs(limits[1]))
            axes.text(x, y, f"{number:.2f}", ha="center", va="center", fontsize=7, color="wk"[not dark])
    figure.colorbar(shown, ax=axes, fraction=0.05, pad=0.02).set_label(label, fontsize=8)
    return figure


def strips_figure(strips: Sequence[tuple[str, np.ndarray]], titles: Sequence[str]) -> Figure:
    """Draw rows of images.

    Parameters
    ----------
    strips
        Name and (image, y, x) in [0, 1] of each row.
    titles
        Of the columns.
    """
    columns = len(titles)
    figure = Figure(figsize=(0.95 * columns + 1.6, 0.95 * len(strips) + 0.3), facecolor="white")
    for line, (name, images) in enumerate(strips):
        top = float(max(np.percentile(images, 99.8), 1e-6))
        for column in range(columns):
            axes = figure.add_subplot(len(strips), columns, line * columns + column + 1)
            axes.imshow(images[column], cmap="gray", vmin=0, vmax=top, interpolation="nearest")
            axes.set_xticks([])
            axes.set_yticks([])
            if line == 0:
                axes.set_title(titles[column], fontsize=8)
            if column == 0:
                axes.set_ylabel(name, fontsize=7, rotation=0, ha="right", va="center")
    figure.subplots_adjust(wspace=0.04, hspace=0.04)
    return figure


def _bare(axes: object) -> None:
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)  # type: ignore[attr-defined]
