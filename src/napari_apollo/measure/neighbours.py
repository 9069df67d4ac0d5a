"""Neighbours and crowding, from where the nuclei lie in their image."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from napari_apollo.measure.compiled import kernel
from napari_apollo.measure.reasons import Reason
from napari_apollo.measure.registry import Column, Feature, Values, Why, blank

_ALONE = "fewer other cells in the image"
_NO_LABELS = "measured from crops, which do not show other cells' outlines"
_CENTRES = "distances are those of nucleus centroids"

FEATURES = (
    Feature(
        "nearest",
        f"distance to the nearest other cell; {_CENTRES}",
        1,
        source="Clark & Evans 1954",
        missing=f"{_ALONE} than 1",
    ),
    Feature("nearest5", "mean distance to the 5 nearest other cells", 1, missing=f"{_ALONE} than 5"),
    Feature(
        "within_radius",
        "other cells within the radius neighbours_radius_um",
        source="CellProfiler MeasureObjectNeighbors",
    ),
    Feature(
        "angle",
        "angle between the directions to the two nearest other cells, 0 to π",
        unit="rad",
        source="CellProfiler AngleBetweenNeighbors",
        missing=f"{_ALONE} than 2, or one in the same place",
    ),
    Feature(
        "nucleus_contact",
        "pixel sides of the nucleus outline that face another nucleus / all sides of the outline",
        source="after CellProfiler PercentTouching",
        missing=_NO_LABELS,
    ),
    Feature(
        "cell_contact",
        "pixel sides of the cell outline that face another cell / all sides of the outline",
        source="after CellProfiler PercentTouching",
        missing=_NO_LABELS,
    ),
)
COLUMNS = tuple(Column("neighbours", feature, "neighbour") for feature in FEATURES)
SUMMARY = "Distance, number and contact of other cells in the same image."
_NEAREST = 5
_CONTACTS = 4


def measure_positions(centres: NDArray[np.float64], radius: float) -> tuple[Values, Why]:
    """Neighbour features of the cells of one image; contacts stay missing.

    Parameters
    ----------
    centres
        (n, 2) float64, nucleus centroids (y, x) of all cells of the image.
    radius
        Where other cells are counted, in the unit of ``centres``.
    """
    count = len(centres)
    values, why = blank(count, len(FEATURES))
    why[:, _CONTACTS:] = Reason.NO_LABELS
    if count == 0:
        return values, why
    tree = cKDTree(centres)
    others = min(_NEAREST, count - 1)
    distance, order = tree.query(centres, k=others + 1)
    distance, order = distance.reshape(count, -1), order.reshape(count, -1)
    near, who = _without_self(distance, order)
    values[:, 2] = np.asarray(tree.query_ball_point(centres, radius, return_length=True)) - 1
    if others >= 1:
        values[:, 0] = near[:, 0]
    if others >= 2:
        arms = centres[who[:, :2]] - centres[:, None]
        across = arms[:, 0, 0] * arms[:, 1, 1] - arms[:, 0, 1] * arms[:, 1, 0]
        along = (arms[:, 0] * arms[:, 1]).sum(axis=1)
        apart = (near[:, 0] > 0) & (near[:, 1] > 0)
        values[apart, 3] = np.abs(np.arctan2(across, along))[apart]
    if others == _NEAREST:
        values[:, 1] = near.mean(axis=1)
    own = values[:, :_CONTACTS]
    why[:, :_CONTACTS][np.isnan(own)] = Reason.NO_NEIGHBOUR
    return values, why


def _without_self(
    distance: NDArray[np.float64], order: NDArray[np.intp]
) -> tuple[NDArray[np.float64], NDArray[np.intp]]:
    """Drop each cell from its own list, where it need not stand first if two lie in one place."""
    own = order == np.arange(len(order))[:, None]
    last = ~own.any(axis=1)
    own[last, -1] = True
    shape = (len(order), order.shape[1] - 1)
    return distance[~own].reshape(shape), order[~own].reshape(shape)


@kernel
def contacts(labels, regions, ids, boxes):  # type: ignore[no-untyped-def]
    """Share of each nucleus's and cell's outline that faces another one.

    Parameters
    ----------
    labels, regions
        (y, x) int32, nuclei and cells, with one pixel around every box where the field has it.
    ids
        (n,) int64 labels.
    boxes
        (n, 4) int64; top, left, bottom, right (exclusive).

    Returns
    -------
    (n, 2) float64
        Nucleus, cell; NaN where there is no outline.
    """
    height, width = labels.shape
    out = np.full((len(ids), 2), np.nan)
    for i in range(len(ids)):
        sides = np.zeros(2, np.int64)
        faced = np.zeros(2, np.int64)
        for y in range(boxes[i, 0], boxes[i, 2]):
            for x in range(boxes[i, 1], boxes[i, 3]):
                nucleus = labels[y, x] == ids[i]
                if not nucleus and regions[y, x] != ids[i]:
                    continue
                for dy, dx in ((-1, 0), (1, 0), (0, -1), (0, 1)):
                    ny, nx = y + dy, x + dx
                    inside = 0 <= ny < height and 0 <= nx < width
                    other = labels[ny, nx] if inside else 0
                    region = regions[ny, nx] if inside else 0
                    if nucleus and other != ids[i]:
                        sides[0] += 1
                        faced[0] += other > 0
                    if other != ids[i] and region != ids[i]:
                        sides[1] += 1
                        faced[1] += other > 0 or region > 0
        for k in range(2):
            if sides[k]:
                out[i, k] = faced[k] / sides[k]
    return out
