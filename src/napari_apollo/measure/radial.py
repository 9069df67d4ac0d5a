"""Where in a region the intensity lies: by depth below the outline, and off centre."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from napari_apollo.measure.compiled import kernel
from napari_apollo.measure.distance import depth_of
from napari_apollo.measure.gather import Cells
from napari_apollo.measure.reasons import Reason
from napari_apollo.measure.regions import CELL, NUCLEUS, padded
from napari_apollo.measure.registry import Column, Context, Family, Feature, Values, Why, blank

RINGS = 5
_NONE = "no such region"
_DARK = "no such region, or intensities that sum to zero or less"
_DEPTH = (
    "distance of a pixel to the nearest pixel outside of the region, less half a pixel, over the largest such"
)

_FORM = (
    Feature(
        "inscribed_radius",
        "largest distance of a pixel of the region to the nearest pixel outside, less half a pixel",
        1,
        source="exact Euclidean distance transform",
        missing=_NONE,
    ),
    Feature(
        "depth_mean",
        "mean distance to the outside, less half a pixel",
        1,
        source="exact Euclidean distance transform",
        missing=_NONE,
    ),
)
_LIGHT = (
    *(
        Feature(
            f"ring{k + 1}",
            f"mean intensity at relative depth {k / RINGS:g} to {(k + 1) / RINGS:g} / mean of the region; "
            f"relative depth is the {_DEPTH}; 1 is outermost",
            source="as CellProfiler MeanFrac, by depth below the outline",
            missing=f"{_DARK}, or no pixel at this depth",
        )
        for k in range(RINGS)
    ),
    Feature(
        "intensity_depth",
        "mean depth weighted by intensity / mean depth; above 1 the stain lies inside, below 1 at the rim",
        missing=_DARK,
    ),
    Feature(
        "mass_displacement",
        "distance of the centre weighted by intensity from the centroid",
        1,
        source="CellProfiler MassDisplacement",
        missing=_DARK,
    ),
)
_REGIONS = {"nucleus": NUCLEUS, "cell": CELL}


def _columns(context: Context) -> Sequence[Column]:
    columns = []
    for region in _REGIONS:
        columns += [Column("radial", feature, region) for feature in _FORM]
        columns += [
            Column("radial", feature, region, (stain,))
            for stain in context.sorted_stains
            for feature in _LIGHT
        ]
    return columns


def _measure(cells: Cells, context: Context) -> tuple[Values, Why]:
    channels = np.array([context.channel(stain) for stain in context.sorted_stains], np.int64)
    size = len(_FORM) + len(channels) * len(_LIGHT)
    values, why = blank(len(cells.height), len(_REGIONS) * size)
    for k, code in enumerate(_REGIONS.values()):
        part = slice(k * size, (k + 1) * size)
        _distributions(cells, code, channels, values[:, part], why[:, part])
    return values, why


FAMILY = Family(
    "radial",
    "How each stain is distributed from the outline inwards, and how far off centre it lies.",
    _columns,
    _measure,
)

_NO_REGION = int(Reason.NO_REGION)
_TOO_SMALL = int(Reason.TOO_SMALL)
_NO_SIGNAL = int(Reason.NO_SIGNAL)
_PER_REGION, _PER_STAIN = len(_FORM), len(_LIGHT)


@kernel
def _distributions(cells, code, channels, out, why):  # type: ignore[no-untyped-def]
    for i in range(len(cells.height)):
        start, stop = cells.start[i], cells.start[i + 1]
        height, width = cells.height[i], cells.width[i]
        region = padded(cells.mask[start:stop], height, width, code)
        squared = depth_of(region)
        count = 0
        sy = sx = 0
        for y in range(height):
            for x in range(width):
                if region[y + 1, x + 1]:
                    count += 1
                    sy += y
                    sx += x
        if count == 0:
            why[i] = _NO_REGION
            continue
        depth = np.empty(count)
        place = np.empty((count, 3), np.int64)
        at = 0
        for y in range(height):
            for x in range(width):
                if region[y + 1, x + 1]:
                    depth[at] = np.sqrt(squared[y + 1, x + 1]) - 0.5
                    place[at, 0], place[at, 1], place[at, 2] = y * width + x, y, x
                    at += 1
        deepest, mean = depth.max(), depth.sum() / count
        out[i, 0], out[i, 1] = deepest, mean
        ring = np.empty(count, np.int64)
        for at in range(count):
            ring[at] = min(RINGS - 1, int(RINGS * depth[at] / deepest))
        for k in range(len(channels)):
            first = _PER_REGION + k * _PER_STAIN
            pixels = cells.pixels[channels[k], start:stop]
            _one_stain(
                pixels,
                place,
                depth / mean,
                ring,
                sy / count,
                sx / count,
                out[i, first : first + _PER_STAIN],
                why[i, first : first + _PER_STAIN],
            )


@kernel
def _one_stain(pixels, place, depth, ring, cy, cx, out, why):  # type: ignore[no-untyped-def]
    sums = np.zeros(RINGS)
    counts = np.zeros(RINGS, np.int64)
    total = deep = wy = wx = 0.0
    for at in range(len(place)):
        value = pixels[place[at, 0]]
        total += value
        deep += value * depth[at]
        wy += value * (place[at, 1] - cy)
        wx += value * (place[at, 2] - cx)
        sums[ring[at]] += value
        counts[ring[at]] += 1
    if total <= 0.0:
        why[:] = _NO_SIGNAL
        return
    mean = total / len(place)
    for k in range(RINGS):
        if counts[k]:
            out[k] = sums[k] / counts[k] / mean
        else:
            why[k] = _TOO_SMALL
    out[RINGS] = deep / total
    out[RINGS + 1] = np.sqrt(wy * wy + wx * wx) / total
