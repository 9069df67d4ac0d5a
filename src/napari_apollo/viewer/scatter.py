"""Clouds of points as pixels, and which points lie where; fast for a hundred thousand of them.

Nothing here needs a window.
"""

from __future__ import annotations

import numpy as np
from matplotlib.path import Path as Outline
from numpy.typing import ArrayLike, NDArray

Floats = NDArray[np.float64]
View = tuple[tuple[float, float], tuple[float, float]]
"""Range of x and of y that is in sight."""

_DIMMED = 0.35


def draw_points(
    points: Floats,
    colours: NDArray[np.uint8],
    view: View,
    size: tuple[int, int],
    *,
    radius: float = 2.0,
    chosen: NDArray[np.int64] | None = None,
    ground: tuple[int, int, int] = (0, 0, 0),
) -> NDArray[np.uint8]:
    """Points as discs in a picture.

    Parameters
    ----------
    points
        (point, 2) x and y; points that are not finite are not drawn.
    colours
        (point, 3) uint8.
    view
        What is in sight; y rises upwards.
    size
        Width and height of the picture in pixels.
    radius
        Of a disc in pixels.
    chosen
        Points to stand out: they are drawn last and larger. Several make the others fade into the ground, one
        alone has a ring.
    ground
        Colour that others fade into.

    Returns
    -------
    ndarray of uint8 (height, width, 4)
        RGBA; transparent where there is no point.
    """
    width, height = size
    picture = np.zeros((height, width, 4), np.uint8)
    if not len(points) or not width or not height:
        return picture
    (x0, x1), (y0, y1) = view
    with np.errstate(invalid="ignore"):
        column = (points[:, 0] - x0) / (x1 - x0) * width
        row = (y1 - points[:, 1]) / (y1 - y0) * height
        inside = (column > -radius) & (column < width + radius) & (row > -radius) & (row < height + radius)
    chosen = np.zeros(0, np.int64) if chosen is None else chosen
    fade = len(chosen) > 1  # one alone has a ring: around it, colours are to be compared
    others = inside.copy()
    others[chosen] = False
    shown = colours[others]
    if fade:
        back = np.asarray(ground, np.float32)
        shown = (back + _DIMMED * (shown.astype(np.float32) - back)).astype(np.uint8)
    _discs(picture, row[others], column[others], shown, radius)
    top = chosen[inside[chosen]]
    if not fade:
        ring = np.full((len(top), 3), 255, np.uint8)
        _discs(picture, row[top], column[top], ring, radius + 4)
        _discs(picture, row[top], column[top], np.zeros_like(ring), radius + 2.5)
    _discs(picture, row[top], column[top], colours[top], radius + 1)
    return picture


def inside_outline(points: Floats, outline: ArrayLike) -> NDArray[np.int64]:
    """Numbers of the points inside a closed outline.

    Parameters
    ----------
    points
        (point, 2).
    outline
        (vertex, 2), in the same order of axes; fewer than three vertices enclose nothing.
    """
    outline = np.asarray(outline, np.float64)
    if len(outline) < 3:
        return np.zeros(0, np.int64)
    low, high = outline.min(axis=0), outline.max(axis=0)
    with np.errstate(invalid="ignore"):
        near = np.flatnonzero(((points >= low) & (points <= high)).all(axis=1))
    return near[Outline(outline).contains_points(points[near])].astype(np.int64)


def nearest_point(points: Floats, at: tuple[float, float], reach: tuple[float, float]) -> int | None:
    """Number of the point nearest to a place.

    Parameters
    ----------
    points
        (point, 2) x and y.
    at
        The place.
    reach
        Largest distance in x and in y; distances are compared in these units.
    """
    if not len(points):
        return None
    scaled = (points - np.asarray(at)) / np.asarray(reach)
    squared = np.where(np.isfinite(scaled).all(axis=1), np.square(scaled).sum(axis=1), np.inf)
    best = int(np.argmin(squared))
    return best if squared[best] <= 1 else None


def view_of(points: Floats, margin: float = 0.04) -> View:
    """A view with all points but the outermost thousandth on each side."""
    sides = []
    for values in points.T:
        known = values[np.isfinite(values)]
        low, high = np.percentile(known, (0.1, 99.9)) if len(known) else (0.0, 1.0)
        span = float(high - low) or 1.0
        sides.append((float(low) - margin * span, float(high) + margin * span))
    return sides[0], sides[1]


def _discs(
    picture: NDArray[np.uint8], row: Floats, column: Floats, colours: NDArray[np.uint8], radius: float
) -> None:
    height, width = picture.shape[:2]
    radius = np.floor(radius) + 0.3  # with more, the corners of a small disc would be filled: a square
    reach = int(np.ceil(radius))
    # a margin saves asking every point of every offset whether it is inside
    wide = np.zeros((height + 4 * reach + 2, width + 4 * reach + 2), np.uint32)
    packed = np.full(len(colours), 255, np.uint32)
    for channel in range(3):
        packed |= colours[:, channel].astype(np.uint32) << np.uint32(8 * (3 - channel))
    at = (np.floor(row).astype(np.int64) + 2 * reach) * wide.shape[1] + np.floor(column).astype(np.int64)
    at += 2 * reach
    flat = wide.reshape(-1)
    for dy in range(-reach, reach + 1):
        for dx in range(-reach, reach + 1):
            if dy * dy + dx * dx <= radius * radius:
                flat[at + dy * wide.shape[1] + dx] = packed
    shown = wide[2 * reach : 2 * reach + height, 2 * reach : 2 * reach + width]
    drawn = shown > 0
    for channel in range(4):
        picture[..., channel][drawn] = (shown[drawn] >> np.uint32(8 * (3 - channel))).astype(np.uint8)
