"""Grey-level co-occurrence texture of pairs of pixels that both lie in the region."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from napari_apollo.measure.compiled import kernel
from napari_apollo.measure.gather import Cells
from napari_apollo.measure.reasons import Reason
from napari_apollo.measure.regions import in_region
from napari_apollo.measure.registry import Column, Context, Family, Feature, Values, Why, blank

_SOURCE = "Haralick, Shanmugam & Dinstein 1973; properties as scikit-image graycoprops"
_PROPERTIES = {
    "contrast": "Σ P (i - j)²",
    "dissimilarity": "Σ P |i - j|",
    "homogeneity": "Σ P / (1 + (i - j)²)",
    "asm": "Σ P² (angular second moment)",
    "energy": "sqrt(Σ P²)",
    "correlation": "Σ P (i - μ)(j - μ) / σ²",
    "entropy": "-Σ P log2 P",
}
_MISSING = "no such region, constant intensity, or no two pixels of the region at this distance"


def _features(context: Context) -> list[Feature]:
    levels = context.config.texture_levels
    return [
        Feature(
            f"texture_{name}_{distance}px",
            f"{formula}, averaged over 0, 45, 90 and 135°; P is the symmetric co-occurrence of grey "
            f"levels i, j of pixels {distance} px apart, both in the region; {levels} equal levels from the "
            "region's minimum to its maximum",
            unit="bit" if name == "entropy" else "",
            source=_SOURCE,
            missing=_MISSING,
        )
        for distance in context.config.texture_distances_px
        for name, formula in _PROPERTIES.items()
    ]


def _columns(context: Context) -> Sequence[Column]:
    return [
        Column("texture", feature, region, (stain,))
        for region in context.config.texture_regions
        for stain in context.sorted_stains
        for feature in _features(context)
    ]


def _measure(cells: Cells, context: Context) -> tuple[Values, Why]:
    distances = np.array(context.config.texture_distances_px, np.int64)
    size = len(_PROPERTIES) * len(distances)
    regions = context.config.texture_regions
    values, why = blank(len(cells.height), len(regions) * len(context.stains) * size)
    at = 0
    for region in regions:
        for stain in context.sorted_stains:
            part = slice(at, at + size)
            _textures(
                cells,
                REGION_CODES[region],
                context.channel(stain),
                distances,
                context.config.texture_levels,
                values[:, part],
                why[:, part],
            )
            at += size
    return values, why


FAMILY = Family(
    "texture",
    "Texture of each stain by co-occurrence of grey levels, inside the mask only.",
    _columns,
    _measure,
)

REGION_CODES = {"cell": 0, "cytoplasm": 1, "nucleus": 2}
_NO_REGION = int(Reason.NO_REGION)
_CONSTANT = int(Reason.CONSTANT)
_NO_PAIRS = int(Reason.NO_PAIRS)
_COUNT = len(_PROPERTIES)


@kernel
def _textures(cells, code, channel, distances, levels, out, why):  # type: ignore[no-untyped-def]
    # A column more than there are levels takes the pairs that leave the region.
    pairs = np.zeros((levels, levels + 1), np.int32)
    work = np.empty((2, levels), np.int32)
    log = _entropy_terms(cells.height, cells.width)
    rim = distances.max()
    for i in range(len(cells.height)):
        start, stop = cells.start[i], cells.start[i + 1]
        height, width = cells.height[i], cells.width[i]
        mask, pixels = cells.mask[start:stop], cells.pixels[channel, start:stop]
        low, high, count = np.inf, -np.inf, 0
        for at in range(len(mask)):
            if in_region(mask[at], code):
                low, high = min(low, pixels[at]), max(high, pixels[at])
                count += 1
        if low > high:
            why[i] = _NO_REGION
            continue
        if low == high:
            why[i] = _CONSTANT
            continue
        # A rim on the right and below is enough: what leaves a row on the left ends in the rim above.
        stride = width + rim
        grey = np.full((height + rim) * stride, levels, np.uint16)
        place, own = np.empty(count, np.uint32), np.empty(count, np.uint16)
        scale = levels / (high - low)
        count = 0
        for y in range(height):
            for x in range(width):
                at = y * width + x
                if in_region(mask[at], code):
                    level = min(levels - 1, int((pixels[at] - low) * scale))
                    grey[y * stride + x] = level
                    place[count], own[count] = y * stride + x, level
                    count += 1
        for k in range(len(distances)):
            _at_distance(
                grey,
                place,
                own,
                stride,
                distances[k],
                pairs,
                log,
                work,
                out[i, k * _COUNT : (k + 1) * _COUNT],
                why[i, k * _COUNT : (k + 1) * _COUNT],
            )


@kernel
def _entropy_terms(height, width):  # type: ignore[no-untyped-def]
    """The number c log2 c for every count that a cell of these boxes can have."""
    out = np.zeros(2 * max(1, (height * width).max()) + 1)
    for count in range(2, len(out)):
        out[count] = count * np.log2(count)
    return out


@kernel
def _at_distance(  # type: ignore[no-untyped-def]
    grey, place, own, stride, distance, pairs, log, work, out, why
):
    slant = int(np.round(distance / np.sqrt(2.0)))
    sums = np.zeros(_COUNT)
    angles = correlated = 0
    for dy, dx in ((0, distance), (distance, 0), (slant, slant), (slant, -slant)):
        total = _count_pairs(grey[dy * stride + dx :], place, own, pairs)
        if total:
            angles += 1
            correlated += _add_properties(pairs, 2 * total, log, work, sums)
        pairs[:] = 0
    if angles == 0:
        why[:] = _NO_PAIRS
        return
    for k in range(_COUNT):
        out[k] = sums[k] / angles
    if correlated:
        out[5] = sums[5] / correlated
    else:
        out[5] = np.nan
        why[5] = _CONSTANT


@kernel
def _count_pairs(there, place, own, pairs):  # type: ignore[no-untyped-def]
    """Fill the upper triangle with pairs of grey levels (smaller, larger); returns their number."""
    levels, stride = pairs.shape
    flat = pairs.reshape(-1)
    # Unsigned, so that nothing asks whether an index counts from the end.
    step = np.uint32(stride)
    for k in range(len(place)):
        a, b = own[k], there[place[k]]
        flat[np.uint32(min(a, b)) * step + np.uint32(max(a, b))] += np.int32(1)
    outside = 0
    for level in range(levels):
        outside += pairs[level, levels]
    return len(place) - outside


@kernel
def _add_properties(pairs, total, log, work, sums):  # type: ignore[no-untyped-def]
    """Add the properties of symmetric pairs; whether the correlation is defined."""
    levels = len(pairs)
    # Pairs by the difference of their levels, and pixels by their level.
    apart, margin = work[0], work[1]
    work[:] = 0
    asm = np.int64(0)
    entropy = 0.0
    for i in range(levels):
        row, above = pairs[i, i:levels], margin[i:]
        within, own = np.int32(0), np.int64(0)
        for d in range(len(row)):
            count = row[d]
            apart[d] += count
            above[d] += count
            within += count
            own += np.int64(count) * count
        margin[i] += within
        # Off the diagonal a pair stands twice, on it once with double count.
        once = np.int64(row[0])
        asm += 2 * own + 2 * once * once
        terms = 0.0
        for d in range(len(row)):
            terms += log[np.uint32(row[d])]
        entropy += 2.0 * (terms - log[once]) + log[2 * once]
    contrast = dissimilarity = first = squares = np.int64(0)
    homogeneity = 0.0
    for d in range(levels):
        pixels, many = np.int64(margin[d]), np.int64(apart[d])
        contrast += many * d * d
        dissimilarity += many * d
        homogeneity += many / (1.0 + d * d)
        first += pixels * d
        squares += pixels * d * d
    sums[0] += 2 * contrast / total
    sums[1] += 2 * dissimilarity / total
    sums[2] += 2.0 * homogeneity / total
    sums[3] += asm / (float(total) * total)
    sums[4] += np.sqrt(float(asm)) / total
    sums[6] += np.log2(float(total)) - entropy / total
    # Sums over the symmetric matrix: of i (first), of i² (squares), of i j.
    variance = squares * total - first * first
    if variance == 0:
        return 0
    sums[5] += ((squares - contrast) * total - first * first) / variance
    return 1
