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
    pairs = np.zeros((levels, levels), np.int64)
    log = _entropy_terms(cells.height, cells.width)
    for i in range(len(cells.height)):
        start, stop = cells.start[i], cells.start[i + 1]
        mask, pixels = cells.mask[start:stop], cells.pixels[channel, start:stop]
        low, high = np.inf, -np.inf
        for at in range(len(mask)):
            if in_region(mask[at], code):
                low, high = min(low, pixels[at]), max(high, pixels[at])
        if low > high:
            why[i] = _NO_REGION
            continue
        if low == high:
            why[i] = _CONSTANT
            continue
        grey = np.full((cells.height[i], cells.width[i]), -1, np.int16)
        flat = grey.reshape(-1)
        scale = levels / (high - low)
        for at in range(len(mask)):
            if in_region(mask[at], code):
                flat[at] = min(levels - 1, int((pixels[at] - low) * scale))
        for k in range(len(distances)):
            _at_distance(
                grey,
                distances[k],
                pairs,
                log,
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
def _at_distance(grey, distance, pairs, log, out, why):  # type: ignore[no-untyped-def]
    slant = int(np.round(distance / np.sqrt(2.0)))
    sums = np.zeros(_COUNT)
    angles = correlated = 0
    for dy, dx in ((0, distance), (distance, 0), (slant, slant), (slant, -slant)):
        total = _count_pairs(grey, dy, dx, pairs)
        if total == 0:
            continue
        angles += 1
        correlated += _add_properties(pairs, 2 * total, log, sums)
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
def _count_pairs(grey, dy, dx, pairs):  # type: ignore[no-untyped-def]
    """Fill the upper triangle with pairs of grey levels (smaller, larger); returns their number."""
    height, width = grey.shape
    total = 0
    for y in range(height - dy):
        for x in range(max(0, -dx), min(width, width - dx)):
            a, b = grey[y, x], grey[y + dy, x + dx]
            if a >= 0 and b >= 0:
                total += 1
                pairs[min(a, b), max(a, b)] += 1
    return total


@kernel
def _add_properties(pairs, total, log, sums):  # type: ignore[no-untyped-def]
    """Add the properties of symmetric pairs, and clear them; whether the correlation is defined."""
    levels = len(pairs)
    homogeneity = entropy = 0.0
    contrast = dissimilarity = asm = first = squares = products = 0
    for i in range(levels):
        for j in range(i, levels):
            count = pairs[i, j]
            if count == 0:
                continue
            pairs[i, j] = 0
            d = j - i
            # Off the diagonal a pair stands twice, on it once with double count.
            single = count if d else 2 * count
            copies = 2 if d else 1
            weight = copies * single
            contrast += weight * d * d
            dissimilarity += weight * d
            homogeneity += weight / (1.0 + d * d)
            asm += weight * single
            entropy += copies * log[single]
            first += count * (i + j)
            squares += count * (i * i + j * j)
            products += 2 * count * i * j
    sums[0] += contrast / total
    sums[1] += dissimilarity / total
    sums[2] += homogeneity / total
    sums[3] += asm / (float(total) * total)
    sums[4] += np.sqrt(float(asm)) / total
    sums[6] += np.log2(float(total)) - entropy / total
    # Sums over the symmetric matrix: of i (first), of i² (squares), of i j (products).
    variance = squares * total - first * first
    if variance == 0:
        return 0
    sums[5] += (products * total - first * first) / variance
    return 1
