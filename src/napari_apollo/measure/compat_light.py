"""Intensity, condensation, co-occurrence and moments as published by chrometrics; compiled."""

from __future__ import annotations

import numpy as np

from napari_apollo.measure.compat_form import most_common
from napari_apollo.measure.compiled import kernel
from napari_apollo.measure.moments import hu_invariants
from napari_apollo.measure.ordering import central_moments
from napari_apollo.measure.regions import quantile


@kernel
def statistics(ordered, box, out):  # type: ignore[no-untyped-def]
    """The 11 intensity features of ascending values; the entropy counts the box's background as zeros."""
    mean, m2, m3, m4 = central_moments(ordered)
    out[0], out[4] = ordered[0], ordered[-1]
    out[1], out[2], out[3] = quantile(ordered, 0.25), quantile(ordered, 0.5), quantile(ordered, 0.75)
    out[5], out[6], out[7] = mean, most_common(ordered), np.sqrt(m2)
    if ordered[0] != ordered[-1]:
        out[8], out[9] = m4 / m2**2 - 3.0, m3 / m2**1.5
    whole = np.sort(np.concatenate((np.zeros(box - len(ordered)), ordered)))
    entropy = 0.0
    run = 0
    for k in range(len(whole)):
        run += 1
        if k + 1 == len(whole) or whole[k + 1] != whole[k]:
            share = run / len(whole)
            entropy -= share * np.log2(share)
            run = 0
    out[10] = entropy


@kernel
def condensation(ordered, alpha, out):  # type: ignore[no-untyped-def]
    """The 6 condensation features of ascending values."""
    high, low = quantile(ordered, 0.8), quantile(ordered, 0.2)
    mean = ordered.mean()
    threshold = mean + alpha * np.sqrt(((ordered - mean) ** 2).mean())
    dense, count = np.searchsorted(ordered, threshold), len(ordered)
    lit = count - np.searchsorted(ordered, 0.0, side="right")
    content, loose = ordered[dense:].sum(), ordered[:dense].sum()
    if low != 0.0:
        out[0] = high / low
    above = count - np.searchsorted(ordered, high)
    out[1] = above / np.searchsorted(ordered, low, side="right")
    if dense:
        out[2] = (count - dense) / dense
    if lit:
        out[3] = (count - dense) / lit
        out[5] = content / ordered[count - lit :].sum()
    if loose != 0.0:
        out[4] = content / loose


@kernel
def cooccurrence(grey, distance, pairs, out):  # type: ignore[no-untyped-def]
    """Six properties of the one-sided co-occurrence of the whole box, averaged over four angles.

    ``out`` takes contrast, dissimilarity, homogeneity, ASM, energy and correlation. An angle without
    pairs counts as zeros and a correlation of 1, as the library that it was published with does;
    False where no angle has any.
    """
    height, width = grey.shape
    slant = int(np.round(distance * np.sqrt(0.5)))
    found = False
    sums = np.zeros(6)
    for dy, dx in ((0, distance), (slant, slant), (distance, 0), (slant, -slant)):
        total = 0
        for y in range(height - dy):
            for x in range(max(0, -dx), min(width, width - dx)):
                pairs[grey[y, x], grey[y + dy, x + dx]] += 1
                total += 1
        if total == 0:
            sums[5] += 1.0
            continue
        found = True
        _add_properties(grey, dy, dx, pairs, total, sums)
    out[:] = sums / 4.0
    return found


@kernel
def _add_properties(grey, dy, dx, pairs, total, sums):  # type: ignore[no-untyped-def]
    height, width = grey.shape
    contrast = dissimilarity = squares = 0
    first = second = first2 = second2 = product = 0
    homogeneity = 0.0
    for y in range(height - dy):
        for x in range(max(0, -dx), min(width, width - dx)):
            i, j = np.int64(grey[y, x]), np.int64(grey[y + dy, x + dx])
            count = pairs[i, j]
            if count == 0:
                continue
            pairs[i, j] = 0
            d = i - j
            contrast += count * d * d
            dissimilarity += count * abs(d)
            homogeneity += count / (1.0 + d * d)
            squares += count * count
            first += count * i
            second += count * j
            first2 += count * i * i
            second2 += count * j * j
            product += count * i * j
    sums[0] += contrast / total
    sums[1] += dissimilarity / total
    sums[2] += homogeneity / total
    sums[3] += squares / (float(total) * total)
    sums[4] += np.sqrt(float(squares)) / total
    spread_i = first2 * total - first * first
    spread_j = second2 * total - second * second
    if spread_i == 0 or spread_j == 0:
        sums[5] += 1.0
    else:
        sums[5] += (product * total - first * second) / (np.sqrt(float(spread_i)) * np.sqrt(float(spread_j)))


@kernel
def moment_table(weights, out):  # type: ignore[no-untyped-def]
    """Raw, normalised and central moments to order 3 by 3, and Hu's, of weights (y, x) in their box.

    ``out`` takes 16 + 16 + 16 + 7 values; normalised moments below order 2 stay NaN. The normalisation
    divides by a power of the sum of weights, so weighted ones depend on gain.
    """
    raw = np.zeros((4, 4))
    for y in range(weights.shape[0]):
        line = np.zeros(4)
        for x in range(weights.shape[1]):
            w = weights[y, x]
            for q in range(4):
                line[q] += w
                w *= x
        for p in range(4):
            raw[p] += line * float(y) ** p
    total = raw[0, 0]
    out[:16] = raw.ravel()
    if total <= 0.0:
        return False
    cy, cx = raw[1, 0] / total, raw[0, 1] / total
    central = np.zeros((4, 4))
    for y in range(weights.shape[0]):
        line = np.zeros(4)
        for x in range(weights.shape[1]):
            w = weights[y, x]
            for q in range(4):
                line[q] += w
                w *= x - cx
        for p in range(4):
            central[p] += line * (y - cy) ** p
    normal = np.full((4, 4), np.nan)
    for p in range(4):
        for q in range(4):
            if p + q >= 2:
                normal[p, q] = central[p, q] / total ** (1.0 + 0.5 * (p + q))
    out[16:32], out[32:48] = normal.ravel(), central.ravel()
    eta = (normal[2, 0], normal[1, 1], normal[0, 2], normal[3, 0], normal[2, 1], normal[1, 2], normal[0, 3])
    hu_invariants(eta, out[48:])
    return True
