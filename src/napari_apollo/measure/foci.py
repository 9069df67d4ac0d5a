"""Foci (gammaH2AX, 53BP1 and the like) in the nucleus: their number, size, light and place."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np

from napari_apollo.errors import UnknownStain
from napari_apollo.measure.compiled import kernel
from napari_apollo.measure.config import MeasureConfig
from napari_apollo.measure.distance import depth_of
from napari_apollo.measure.gather import Cells, nucleus_box
from napari_apollo.measure.reasons import Reason
from napari_apollo.measure.regions import NUCLEUS, padded, values_of
from napari_apollo.measure.registry import INTENSITY, Column, Context, Family, Feature, Values, Why, blank
from napari_apollo.measure.spots import LEAST, PAD, find_spots, gap_of
from napari_apollo.panels import canonical_stain

FOCI_STAINS = ("gammaH2AX", "53BP1", "RAD51", "BRCA1", "MDC1", "PML", "RPA", "RIF1", "pATM", "pDNAPKcs")
"""Stains whose foci are counted unless ``foci_stains`` names others."""

_NONE = "no nucleus, or one too small to know its noise"
_NO_FOCI = f"{_NONE}, or no foci"
_AREA = "a focus's area: connected pixels around its peak at half its height above the background or more"

FEATURES = (
    Feature(
        "foci_count",
        "spots that stand out of noise and texture: Gaussians fitted together on a smooth background, height "
        "at least foci_significance standard deviations of its fit",
        missing=_NONE,
    ),
    Feature("foci_area", f"sum of the areas of all foci; {_AREA}", 2, missing=_NONE),
    Feature("foci_area_fraction", "that sum / area of the nucleus", missing=_NONE),
    Feature("foci_area_mean", "mean area of a focus", 2, missing=_NO_FOCI),
    Feature("foci_area_sd", "standard deviation of the areas", 2, missing=_NO_FOCI),
    Feature(
        "foci_intensity_fraction",
        "light above the background in the areas of foci / sum of the stain in the nucleus",
        missing=f"{_NONE}, or no stain",
    ),
    Feature("foci_intensity_mean", "mean light of a focus above the background", 0, INTENSITY, "", _NO_FOCI),
    Feature("foci_height_mean", "mean height of a focus above the background", 0, INTENSITY, "", _NO_FOCI),
    Feature("foci_height_max", "largest such height", 0, INTENSITY, "", _NO_FOCI),
    Feature(
        "foci_contrast",
        "mean of height / background at the peak",
        missing=f"{_NO_FOCI}, or a background of zero or less",
    ),
    Feature(
        "foci_depth",
        "mean relative depth of the peaks: 0 at the nucleus's outline, 1 at its innermost pixel",
        missing=_NO_FOCI,
    ),
    Feature(
        "foci_spacing", "mean distance of a focus to its nearest neighbour", 1, "", "", "fewer than 2 foci"
    ),
    Feature(
        "foci_in_dense_chromatin",
        "share of foci whose peak lies where the DNA stain is at or above mean + alpha sd of the nucleus",
        missing=f"{_NO_FOCI}, no DNA stain, or a constant one",
    ),
    Feature(
        "foci_crowding",
        "foci_count x π (2 sigma)² / area of the nucleus, sigma being foci_sigma_px: the share of "
        "the nucleus in which a further focus would melt into a known one. Of foci at random places about "
        "half that share is hidden: above 0.1 the count is too low by some 5 % or more",
        source="Sparrow's limit, 2 sigma for Gaussians",
        missing=_NONE,
    ),
    Feature(
        "foci_count_corrected",
        "N with foci_count = N exp(-N π (2 sigma)² / (2 area)): so many foci at random places would be "
        "counted as foci_count, where those closer than 2 sigma count as one",
        source="Armitage 1949, Biometrika 36:257",
        missing=f"{_NONE}, or foci so crowded that any larger number would be counted as fewer",
    ),
)


def foci_stains(context: Context) -> list[str]:
    """Stains whose foci are counted."""
    wanted = context.config.foci_stains
    names = {canonical_stain(stain) for stain in (FOCI_STAINS if wanted is None else wanted)}
    return [stain for stain in context.sorted_stains if stain in names]


def require_foci_stains(config: MeasureConfig, stains: Iterable[str], where: str) -> None:
    """Refuse foci of stains that nothing holds.

    Raises
    ------
    UnknownStain
        When ``foci_stains`` names a stain that is not among these.
    """
    known = sorted(set(stains))
    for stain in (config.foci_stains or ()) if config.measures("foci") else ():
        if canonical_stain(stain) not in known:
            raise UnknownStain(stain, known, where)


def _columns(context: Context) -> Sequence[Column]:
    return [
        Column("foci", feature, "nucleus", (stain,)) for stain in foci_stains(context) for feature in FEATURES
    ]


def _measure(cells: Cells, context: Context) -> tuple[Values, Why]:
    config, size = context.config, len(FEATURES)
    stains = foci_stains(context)
    values, why = blank(len(cells.height), len(stains) * size)
    dna = context.channel(context.anchor) if context.anchor else -1
    for k, stain in enumerate(stains):
        part = slice(k * size, (k + 1) * size)
        _foci(
            cells,
            context.channel(stain),
            dna,
            config.condensation_alpha,
            config.foci_sigma_px,
            config.foci_significance,
            values[:, part],
            why[:, part],
        )
    return values, why


FAMILY = Family(
    "foci",
    "Foci in the nucleus, such as those of gammaH2AX and 53BP1. [How well they are found](foci.md).",
    _columns,
    _measure,
)

_NO_REGION = int(Reason.NO_REGION)
_TOO_SMALL = int(Reason.TOO_SMALL)
_CONSTANT = int(Reason.CONSTANT)
_NO_SIGNAL = int(Reason.NO_SIGNAL)
_NONE_FOUND = int(Reason.NONE_FOUND)
_NO_STAIN = int(Reason.NO_STAIN)
_CROWDED = int(Reason.CROWDED)
_NOT_FINITE = int(Reason.NOT_FINITE)


@kernel
def spots_of_cell(cells, i, channel, sigma, significance):  # type: ignore[no-untyped-def]
    """Spots of one cell, from its nucleus alone.

    Returns
    -------
    place, heights, background, image, region
        As ``find_spots`` has them: (y, x) with ``PAD`` pixels around the nucleus.
    top, left
        Where that image begins in the cell's box, ``PAD`` pixels or less before it.
    """
    start = cells.start[i]
    top, left, bottom, right = nucleus_box(cells, i)
    gap = gap_of(sigma)
    image = np.zeros((bottom - top + 2 * PAD, right - left + 2 * PAD + gap))
    region = np.zeros(image.shape)
    for y in range(top, bottom):
        for x in range(left, right):
            at = start + y * cells.width[i] + x
            if cells.mask[at] == NUCLEUS:
                image[y - top + PAD, x - left + PAD] = cells.pixels[channel, at]
                region[y - top + PAD, x - left + PAD] = 1.0
    place, heights, background = find_spots(image, region, gap, sigma, significance)
    return place, heights, background, image, region, top - PAD, left - PAD


@kernel
def _foci(cells, channel, dna, alpha, sigma, significance, out, why):  # type: ignore[no-untyped-def]
    for i in range(len(cells.height)):
        start, stop = cells.start[i], cells.start[i + 1]
        values = values_of(cells.mask[start:stop], cells.pixels[channel, start:stop], NUCLEUS)
        if len(values) < LEAST:
            why[i] = _NO_REGION if len(values) == 0 else _TOO_SMALL
            continue
        if values.min() == values.max():
            why[i] = _CONSTANT
            continue
        place, heights, background, image, region, top, left = spots_of_cell(
            cells, i, channel, sigma, significance
        )
        areas, light = focus_areas(place, heights, background, image, region, sigma)
        _sums(areas, light, len(values), values.sum(), out[i], why[i])
        own = np.pi * (2.0 * sigma) ** 2 / len(values)
        out[i, 13] = len(place) * own
        out[i, 14] = _corrected(len(place), 0.5 * own)
        if np.isnan(out[i, 14]):
            why[i, 14] = _CROWDED
        if len(place) == 0:
            why[i, 3:5] = _NONE_FOUND
            why[i, 6:13] = _NONE_FOUND
            continue
        out[i, 7], out[i, 8] = heights.mean(), heights.max()
        depth = depth_of(padded(cells.mask[start:stop], cells.height[i], cells.width[i], NUCLEUS))
        deepest = np.sqrt(depth.max()) - 0.5
        contrast = deep = 0.0
        for k in range(len(place)):
            y, x = int(np.round(place[k, 0])), int(np.round(place[k, 1]))
            under = background[y, x]
            contrast += heights[k] / under if under > 0.0 else np.nan
            deep += (np.sqrt(depth[y + top + 1, x + left + 1]) - 0.5) / deepest
        out[i, 9] = contrast / len(place)
        if np.isnan(contrast):
            why[i, 9] = _NO_SIGNAL
        out[i, 10] = deep / len(place)
        if len(place) > 1:
            out[i, 11] = _spacing(place)
        else:
            why[i, 11] = _NONE_FOUND
        why[i, 12] = _NO_STAIN
        if dna >= 0:
            _in_dense(cells, i, dna, alpha, place, top, left, out[i], why[i])


@kernel
def _corrected(count, hidden):  # type: ignore[no-untyped-def]
    """The N below 1 / hidden with count = N exp(-hidden N), by Newton's method; NaN where there is none."""
    if count == 0:
        return 0.0
    if count * hidden * np.e >= 1.0:
        return np.nan
    found = float(count)
    for _ in range(60):
        # Of a concave function, from below: every step stays below the solution.
        step = (np.log(count / found) + hidden * found) / (1.0 / found - hidden)
        found += step
        if abs(step) < 1e-12 * found:
            break
    return found


@kernel
def _sums(areas, light, size, total, out, why):  # type: ignore[no-untyped-def]
    count = len(areas)
    out[0] = count
    out[1], out[2] = areas.sum(), areas.sum() / size
    if total > 0.0:
        out[5] = light.sum() / total
    else:
        why[5] = _NO_SIGNAL
    if count:
        out[3], out[4] = areas.mean(), areas.std()
        out[6] = light.mean()


@kernel
def focus_areas(place, heights, background, image, region, sigma):  # type: ignore[no-untyped-def]
    """Pixels and light above the background of every focus.

    A pixel belongs to the focus that is fitted highest there, if it is lit to half of that focus's
    height at least and connected to the focus's peak through such pixels. A peak always counts.
    """
    height, width = image.shape
    count = len(place)
    owner = np.full((height, width), -1, np.int32)
    strongest = np.zeros((height, width))
    reach = int(np.ceil(4.0 * sigma))
    across = np.empty(2 * reach + 1)
    for k in range(count):
        cy, cx = int(np.round(place[k, 0])), int(np.round(place[k, 1]))
        for x in range(cx - reach, cx + reach + 1):
            across[x - cx + reach] = np.exp(-0.5 * ((x - place[k, 1]) / sigma) ** 2)
        for y in range(max(0, cy - reach), min(height, cy + reach + 1)):
            along = heights[k] * np.exp(-0.5 * ((y - place[k, 0]) / sigma) ** 2)
            for x in range(max(0, cx - reach), min(width, cx + reach + 1)):
                lit = along * across[x - cx + reach]
                if region[y, x] != 0.0 and lit > strongest[y, x]:
                    strongest[y, x] = lit
                    owner[y, x] = k
    areas, light = np.zeros(count), np.zeros(count)
    waiting = np.empty((height * width, 2), np.int64)
    for k in range(count):
        cy, cx = int(np.round(place[k, 0])), int(np.round(place[k, 1]))
        waiting[0, 0], waiting[0, 1] = cy, cx
        owner[cy, cx] = -1
        left = 1
        while left:
            left -= 1
            y, x = waiting[left, 0], waiting[left, 1]
            areas[k] += 1.0
            light[k] += image[y, x] - background[y, x]
            for dy, dx in ((-1, 0), (1, 0), (0, -1), (0, 1)):
                ny, nx = y + dy, x + dx
                if owner[ny, nx] == k and image[ny, nx] - background[ny, nx] >= 0.5 * heights[k]:
                    owner[ny, nx] = -1
                    waiting[left, 0], waiting[left, 1] = ny, nx
                    left += 1
    return areas, light


@kernel
def _spacing(place):  # type: ignore[no-untyped-def]
    total = 0.0
    for i in range(len(place)):
        nearest = np.inf
        for j in range(len(place)):
            if i != j:
                d2 = (place[i, 0] - place[j, 0]) ** 2 + (place[i, 1] - place[j, 1]) ** 2
                nearest = min(nearest, d2)
        total += np.sqrt(nearest)
    return total / len(place)


@kernel
def _in_dense(cells, i, dna, alpha, place, top, left, out, why):  # type: ignore[no-untyped-def]
    start, stop = cells.start[i], cells.start[i + 1]
    if cells.damaged[i, dna]:
        why[12] = _NOT_FINITE
        return
    values = values_of(cells.mask[start:stop], cells.pixels[dna, start:stop], NUCLEUS)
    if values.min() == values.max():
        why[12] = _CONSTANT
        return
    mean = values.sum() / len(values)
    threshold = mean + alpha * np.sqrt(((values - mean) ** 2).sum() / len(values))
    dense = 0
    for k in range(len(place)):
        y, x = int(np.round(place[k, 0])) + top, int(np.round(place[k, 1])) + left
        dense += cells.pixels[dna, start + y * cells.width[i] + x] >= threshold
    out[12] = dense / len(place)
    why[12] = 0
