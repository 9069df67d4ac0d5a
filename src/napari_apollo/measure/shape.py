"""Size and shape of nucleus and cell."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from napari_apollo.measure.compiled import kernel
from napari_apollo.measure.gather import Cells
from napari_apollo.measure.hull import callipers, hull_of, hull_vertices, pixels_inside
from napari_apollo.measure.reasons import Reason
from napari_apollo.measure.regions import CELL, NUCLEUS, padded, quantile
from napari_apollo.measure.registry import Column, Context, Family, Feature, Values, Why, blank

_SKIMAGE = "scikit-image regionprops"
_FORM = "fewer than 4 pixels, or all of them on one line"

FEATURES = (
    Feature("area", "number of pixels x pixel area", 2, source=_SKIMAGE, missing="no such region"),
    Feature("equivalent_diameter", "2 sqrt(area / π)", 1, source=_SKIMAGE, missing="no such region"),
    Feature(
        "at_edge",
        "1 where the region touches the edge of crop or field, so that it is seen in part only; else 0",
        missing="no such region",
    ),
    Feature(
        "perimeter",
        "Crofton formula, π/4 (Nx + Ny + (N\\ + N/)/√2), N the crossings out of the region in 4 directions",
        1,
        source="scikit-image perimeter_crofton",
        missing=_FORM,
    ),
    Feature(
        "shape_factor",
        "perimeter² / (4π area); 1 for a disc, larger for anything else",
        source="inverse of CellProfiler FormFactor",
        missing=_FORM,
    ),
    Feature("bbox_area", "area of the upright box", 2, source=_SKIMAGE, missing=_FORM),
    Feature("extent", "area / area of the upright box", source=_SKIMAGE, missing=_FORM),
    Feature(
        "min_box_area",
        "area of the smallest box at any angle around the hull",
        2,
        source="Freeman & Shapira 1975",
        missing=_FORM,
    ),
    Feature(
        "rectangularity",
        "area / area of the smallest box at any angle",
        source="Freeman & Shapira 1975",
        missing=_FORM,
    ),
    Feature(
        "convex_area",
        "pixels whose centre lies in the convex hull of the midpoints of all pixel sides",
        2,
        source=_SKIMAGE,
        missing=_FORM,
    ),
    Feature("convex_perimeter", "length of that hull", 1, missing=_FORM),
    Feature("solidity", "area / convex area", source=_SKIMAGE, missing=_FORM),
    Feature(
        "convexity",
        "convex perimeter / perimeter",
        source="Russ, The Image Processing Handbook",
        missing=_FORM,
    ),
    Feature(
        "min_calliper",
        "smallest distance of two parallel lines that hold the hull",
        1,
        "",
        "Feret's diameter",
        _FORM,
    ),
    Feature(
        "max_calliper",
        "largest distance of two points of the hull (Feret)",
        1,
        source=_SKIMAGE,
        missing=_FORM,
    ),
    Feature(
        "calliper_ratio",
        "smallest / largest calliper",
        source="chrometrics smallest_largest_calliper",
        missing=_FORM,
    ),
    Feature(
        "major_axis",
        "major axis of the ellipse with the same second moments, 4 sqrt(larger eigenvalue)",
        1,
        source=_SKIMAGE,
        missing=_FORM,
    ),
    Feature(
        "minor_axis",
        "minor axis of that ellipse, 4 sqrt(smaller eigenvalue)",
        1,
        source=_SKIMAGE,
        missing=_FORM,
    ),
    Feature("aspect_ratio", "minor / major axis", source="chrometrics a_r", missing=_FORM),
    Feature("eccentricity", "sqrt(1 - (minor / major)²)", source=_SKIMAGE, missing=_FORM),
    Feature(
        "orientation",
        "angle from the y axis to the major axis, counter-clockwise, (-π/2, π/2]",
        unit="rad",
        source=_SKIMAGE,
        missing=f"{_FORM}, or equal axes",
        turns=True,
    ),
    Feature(
        "radius_min",
        "smallest distance from centroid to boundary (pixel sides)",
        1,
        source="chrometrics radii, from pixel sides",
        missing=_FORM,
    ),
    Feature(
        "radius_q25",
        "25th percentile of that distance",
        1,
        source="chrometrics radii, from pixel sides",
        missing=_FORM,
    ),
    Feature(
        "radius_median",
        "median of that distance",
        1,
        source="chrometrics radii, from pixel sides",
        missing=_FORM,
    ),
    Feature(
        "radius_q75",
        "75th percentile of that distance",
        1,
        source="chrometrics radii, from pixel sides",
        missing=_FORM,
    ),
    Feature(
        "radius_max", "largest such distance", 1, source="chrometrics radii, from pixel sides", missing=_FORM
    ),
    Feature(
        "radius_mean", "mean of that distance", 1, source="chrometrics radii, from pixel sides", missing=_FORM
    ),
    Feature(
        "radius_sd",
        "standard deviation of that distance",
        1,
        source="chrometrics radii, from pixel sides",
        missing=_FORM,
    ),
    Feature(
        "euler_number",
        "pieces minus holes, 8-connected",
        source=_SKIMAGE,
        missing=_FORM,
    ),
)
_ALWAYS = 3
_REGIONS = {"nucleus": NUCLEUS, "cell": CELL}


def _columns(context: Context) -> Sequence[Column]:
    return [Column("shape", feature, region) for region in _REGIONS for feature in FEATURES]


def _measure(cells: Cells, context: Context) -> tuple[Values, Why]:
    values, why = blank(len(cells.height), len(_REGIONS) * len(FEATURES))
    for k, code in enumerate(_REGIONS.values()):
        part = slice(k * len(FEATURES), (k + 1) * len(FEATURES))
        _shapes(cells, code, values[:, part], why[:, part])
    return values, why


FAMILY = Family(
    "shape",
    "Size and form of nucleus and cell: area, hull, callipers, axes, radii.",
    _columns,
    _measure,
)

_NO_REGION = int(Reason.NO_REGION)
_TOO_SMALL = int(Reason.TOO_SMALL)
_DEGENERATE = int(Reason.DEGENERATE)
_ROUND = int(Reason.ROUND)


@kernel
def _shapes(cells, code, out, why):  # type: ignore[no-untyped-def]
    for i in range(len(cells.height)):
        start, stop = cells.start[i], cells.start[i + 1]
        region = padded(cells.mask[start:stop], cells.height[i], cells.width[i], code)
        area, cy, cx, vyy, vxx, vyx = spread(region)
        if area == 0:
            why[i] = _NO_REGION
            continue
        out[i, 0] = area
        out[i, 1] = 2.0 * np.sqrt(area / np.pi)
        out[i, 2] = cells.edge[i, 1 if code == NUCLEUS else 0]
        larger, smaller = eigenvalues(vyy, vxx, vyx)
        if area < 4 or smaller <= 1e-9:
            why[i, _ALWAYS:] = _TOO_SMALL if area < 4 else _DEGENERATE
            continue
        _form(region, area, cy, cx, out[i])
        major, minor = 4.0 * np.sqrt(larger), 4.0 * np.sqrt(smaller)
        out[i, 16], out[i, 17], out[i, 18] = major, minor, minor / major
        out[i, 19] = np.sqrt(max(0.0, 1.0 - smaller / larger))
        if larger - smaller > 1e-9 * larger:
            out[i, 20] = 0.5 * np.arctan2(2.0 * vyx, vyy - vxx)
        else:
            why[i, 20] = _ROUND


@kernel
def spread(region):  # type: ignore[no-untyped-def]
    """Area, centroid and second central moments per pixel of a padded region.

    Sums are those of whole numbers, so they do not depend on the order of the pixels.
    """
    area = sy = sx = syy = sxx = syx = 0
    for y in range(region.shape[0]):
        for x in range(region.shape[1]):
            if region[y, x]:
                area += 1
                sy += y
                sx += x
                syy += y * y
                sxx += x * x
                syx += y * x
    if area == 0:
        return 0, 0.0, 0.0, 0.0, 0.0, 0.0
    square = float(area) * area
    return (
        area,
        sy / area,
        sx / area,
        (area * syy - sy * sy) / square,
        (area * sxx - sx * sx) / square,
        (area * syx - sy * sx) / square,
    )


@kernel
def eigenvalues(vyy, vxx, vyx):  # type: ignore[no-untyped-def]
    """Larger and smaller eigenvalue of a symmetric 2 x 2 matrix."""
    middle = 0.5 * (vyy + vxx)
    reach = np.sqrt(0.25 * (vyy - vxx) ** 2 + vyx**2)
    return middle + reach, middle - reach


@kernel
def crossings(region):  # type: ignore[no-untyped-def]
    """Crofton perimeter and Euler number (8-connected) of a padded region."""
    straight = diagonal = ones = threes = twins = 0
    for y in range(region.shape[0] - 1):
        for x in range(region.shape[1] - 1):
            a, b = region[y, x], region[y, x + 1]
            c, d = region[y + 1, x], region[y + 1, x + 1]
            total = a + b + c + d
            if total == 0 or total == 4:
                continue
            straight += (a and not b) + (a and not c)
            diagonal += (a and not d) + (b and not c)
            ones += total == 1
            threes += total == 3
            twins += total == 2 and a == d
    return np.pi / 4.0 * (straight + diagonal / np.sqrt(2.0)), (ones - threes - 2 * twins) // 4


@kernel
def _form(region, area, cy, cx, out):  # type: ignore[no-untyped-def]
    perimeter, euler = crossings(region)
    left, right = hull_of(region)
    vertices = hull_vertices(left, right)
    narrow, wide, box, around = callipers(vertices)
    convex = pixels_inside(left, right)
    height = (left[-1, 0] - left[0, 0]) // 2
    width = (right[:, 1].max() - left[:, 1].min()) // 2
    out[3] = perimeter
    out[4] = perimeter**2 / (4.0 * np.pi * area)
    out[5] = height * width
    out[6] = area / (height * width)
    out[7], out[8] = box, area / box
    out[9], out[10] = convex, around
    out[11], out[12] = area / convex, around / perimeter
    out[13], out[14], out[15] = narrow, wide, narrow / wide
    radii = _radii(region, cy, cx)
    out[21], out[25] = radii[0], radii[-1]
    out[22], out[23], out[24] = quantile(radii, 0.25), quantile(radii, 0.5), quantile(radii, 0.75)
    mean = radii.mean()
    out[26], out[27] = mean, np.sqrt(((radii - mean) ** 2).mean())
    out[28] = euler


@kernel
def _radii(region, cy, cx):  # type: ignore[no-untyped-def]
    """Ascending distances from the centroid to the midpoints of the boundary's pixel sides."""
    out = np.empty(4 * region.size)
    count = 0
    for y in range(1, region.shape[0] - 1):
        for x in range(1, region.shape[1] - 1):
            if not region[y, x]:
                continue
            for dy, dx in ((-1, 0), (1, 0), (0, -1), (0, 1)):
                if not region[y + dy, x + dx]:
                    out[count] = np.hypot(y + 0.5 * dy - cy, x + 0.5 * dx - cx)
                    count += 1
    return np.sort(out[:count])
