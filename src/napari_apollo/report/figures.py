"""The pictures of a report, drawn from arrays; no window and no global state."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from numpy.typing import NDArray
from skimage.segmentation import find_boundaries

from napari_apollo.panels import Role, role_of

Image = NDArray[np.floating] | NDArray[np.integer]
Window = tuple[slice, slice]

ANCHOR_SHARE = 0.45
"""Brightness of the DNA stain in a colour picture: it is everywhere and would hide the proteins."""

ENLARGED = 4
"""Drawn pixels for each pixel of an enlarged part, so that outlines are thinner than nuclei."""


def middle(shape: tuple[int, int], side: int) -> Window:
    """Rows and columns of the square of a given side in the middle of an image."""
    return tuple(slice(max(0, n // 2 - side // 2), max(0, n // 2 - side // 2) + side) for n in shape)  # type: ignore[return-value]


def composite(
    images: Mapping[str, Image], colours: Mapping[str, str], *, top: float = 99.7
) -> NDArray[np.float32]:
    """Colour picture of several stains, light added up.

    Parameters
    ----------
    images
        Stain name to image (y, x) in intensity units; all of one shape.
    colours
        Stain name to a colour that matplotlib knows.
    top
        Percentile of each image that is shown at full brightness; its 1st percentile is black.

    Returns
    -------
    ndarray of shape (y, x, 3), float32
        RGB in [0, 1].
    """
    shape = next(iter(images.values())).shape
    picture = np.zeros((*shape, 3), np.float32)
    for stain, image in images.items():
        share = ANCHOR_SHARE if role_of(stain) is Role.ANCHOR and len(images) > 1 else 1.0
        picture += (
            share * stretched(image, top=top)[..., None] * np.asarray(to_rgb(colours[stain]), np.float32)
        )
    return np.clip(picture, 0, 1)


def stretched(
    image: Image, *, limits: tuple[float, float] | None = None, top: float = 99.7
) -> NDArray[np.float32]:
    """Image (y, x) scaled to [0, 1] between two intensities.

    Parameters
    ----------
    image
        Intensities; NaN is drawn black.
    limits
        Intensities drawn black and white; the 1st and the ``top`` percentile where not given.
    """
    values = np.nan_to_num(np.asarray(image, np.float32))
    low, high = limits or (float(np.percentile(values, 1)), float(np.percentile(values, top)))
    reach = float(max(high - low, float(np.finfo(np.float32).tiny)))
    return np.clip((values - low) / reach, 0, 1)


def field_figure(
    images: Mapping[str, Image],
    colours: Mapping[str, str],
    labels: NDArray[np.integer],
    *,
    window: Window,
    anchor: str,
    pixel_size_um: float | None = None,
) -> Figure:
    """Draw a field's stains, and a part of it enlarged with the outlines of its nuclei.

    Parameters
    ----------
    images
        Stain name to image (y, x).
    colours
        Stain name to colour.
    labels
        Label image (y, x), 0 is background.
    window
        Rows and columns of the part that is enlarged.
    anchor
        Stain that is drawn, in grey, below the outlines.
    pixel_size_um
        Side of a pixel in micrometres, for the scale bar; without it no bar is drawn.
    """
    picture = composite(images, colours)
    outlined = np.repeat(stretched(images[anchor])[window][..., None], 3, axis=-1)
    outlined = outlined.repeat(ENLARGED, axis=0).repeat(ENLARGED, axis=1)
    edges = find_boundaries(labels[window].repeat(ENLARGED, axis=0).repeat(ENLARGED, axis=1), mode="inner")
    outlined[edges] = to_rgb("#ff9d2e")
    figure = _figure(12, 4.3)
    count = len(np.unique(labels)) - int((labels == 0).any())
    shown = {"whole field": picture, "enlarged": picture[window], f"{count} nuclei in the field": outlined}
    for position, (title, part) in enumerate(shown.items()):
        axes = figure.add_subplot(1, 3, position + 1)
        axes.imshow(part, interpolation="nearest")
        axes.set_title(title, fontsize=10, loc="left")
        axes.set_axis_off()
        if pixel_size_um and position < 2:
            _scale_bar(axes, part.shape, pixel_size_um)
    for position, stain in enumerate(images):
        figure.text(
            0.13 + 0.07 * position, 0.05, stain, color=_readable(colours[stain]), fontsize=10, weight="bold"
        )
    return figure


def comparison_figure(
    columns: Mapping[str, Image],
    *,
    shared_limits: bool = True,
    error: str | None = "error",
    unit: str = "intensity",
) -> Figure:
    """Draw images of one stain beside one another with one brightness, and the error beside them.

    Parameters
    ----------
    columns
        Title to image (y, x), all in the stain's own intensity units; the first is the measured one.
    shared_limits
        Draw all of them between the limits of the first.
    error
        Title of the column that shows the last image minus the first; None leaves it out.
    unit
        Name of the units beside the error's colour bar.
    """
    titles, images = list(columns), [np.asarray(image, np.float32) for image in columns.values()]
    limits = (float(np.percentile(images[0], 1)), float(np.percentile(images[0], 99.7)))
    count = len(images) + (error is not None)
    figure = _figure(3.6 * count, 3.6 * images[0].shape[0] / images[0].shape[1] + 0.5)
    for position, (title, image) in enumerate(zip(titles, images, strict=True)):
        axes = figure.add_subplot(1, count, position + 1)
        axes.imshow(stretched(image, limits=limits if shared_limits else None), cmap="gray", vmin=0, vmax=1)
        axes.set_title(title, fontsize=10, loc="left")
        axes.set_axis_off()
    if error is not None:
        difference = images[-1] - images[0]
        reach = float(np.percentile(np.abs(difference), 99)) or 1.0
        axes = figure.add_subplot(1, count, count)
        shown = axes.imshow(difference, cmap="RdBu_r", vmin=-reach, vmax=reach)
        axes.set_title(error, fontsize=10, loc="left")
        axes.set_axis_off()
        figure.colorbar(shown, ax=axes, fraction=0.046, pad=0.03, label=unit)
    return figure


def contact_sheet(rows: Sequence[Mapping[str, Image]], *, names: Sequence[str] = ()) -> Figure:
    """Draw cells in rows and their images in columns.

    Parameters
    ----------
    rows
        One mapping a cell, column title to crop (y, x) scaled to [0, 1]; a cell may lack columns.
    names
        What each row is called; empty for no names.
    """
    titles = list(dict.fromkeys(title for row in rows for title in row))
    figure = _figure(1.15 * len(titles) + 1.2, 1.15 * len(rows) + 0.4)
    for line, row in enumerate(rows):
        for column, title in enumerate(titles):
            axes = figure.add_subplot(len(rows), len(titles), line * len(titles) + column + 1)
            axes.set_xticks([])
            axes.set_yticks([])
            for spine in axes.spines.values():
                spine.set_visible(False)
            if title in row:
                axes.imshow(row[title], cmap="gray", vmin=0, vmax=1, interpolation="nearest")
            if line == 0:
                axes.set_title(title, fontsize=8)
            if column == 0 and line < len(names):
                axes.set_ylabel(names[line], fontsize=7, rotation=0, ha="right", va="center")
    figure.subplots_adjust(wspace=0.04, hspace=0.04)
    return figure


def curves_figure(curves: Mapping[str, pd.DataFrame]) -> Figure:
    """Draw curves, one panel for each table.

    Parameters
    ----------
    curves
        Title of a panel to a table: its index is the horizontal axis, every column a curve. Columns
        without a number are left out.
    """
    figure = _figure(4.4 * max(1, len(curves)), 3.4)
    for position, (title, table) in enumerate(curves.items()):
        axes = figure.add_subplot(1, len(curves), position + 1)
        for name in table.columns[table.notna().any()]:
            drawn = table[name].dropna()
            axes.plot(drawn.index, drawn, label=str(name), linewidth=1.4)
        axes.set_title(title, fontsize=10, loc="left")
        axes.set_xlabel(str(table.index.name))
        axes.legend(frameon=False, fontsize=7)
        for side in ("top", "right"):
            axes.spines[side].set_visible(False)
    figure.tight_layout()
    return figure


def counts_figure(counts: Mapping[str, int], *, total: int) -> Figure:
    """Draw counts of cells as bars with their numbers and their share of all cells."""
    figure = _figure(6.5, 0.38 * max(1, len(counts)) + 0.5)
    axes = figure.add_subplot(1, 1, 1)
    names = list(counts)[::-1]
    bars = axes.barh(names, [counts[name] for name in names], color="#4c78a8", height=0.65)
    axes.bar_label(
        bars, [f"{counts[n]}  ({counts[n] / max(total, 1):.1%})" for n in names], padding=4, fontsize=8
    )
    axes.set_xticks([])
    axes.margins(x=0.25)
    for side in ("top", "right", "bottom"):
        axes.spines[side].set_visible(False)
    return figure


def _figure(width: float, height: float) -> Figure:
    return Figure(figsize=(width, height), facecolor="white")


def _readable(colour: str) -> tuple[float, float, float]:
    """A light colour darkened until it can be read on white."""
    red, green, blue = to_rgb(colour)
    return red * 0.75, green * 0.75, blue * 0.75


def _scale_bar(axes: object, shape: tuple[int, ...], pixel_size_um: float) -> None:
    goal = shape[1] * pixel_size_um / 5
    length = max((step for step in (1, 2, 5, 10, 20, 50, 100, 200, 500, 1000) if step <= goal), default=1)
    y, x = shape[0] * 0.96, shape[1] * 0.04
    axes.plot([x, x + length / pixel_size_um], [y, y], color="white", linewidth=3)  # type: ignore[attr-defined]
    axes.text(x, y - shape[0] * 0.02, f"{length} µm", color="white", fontsize=8, va="bottom")  # type: ignore[attr-defined]
