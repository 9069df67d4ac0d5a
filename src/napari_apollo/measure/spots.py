"""Finding small bright spots in one nucleus, compiled.

A spot is a Gaussian on a background that is smooth over a few spot widths. Every local maximum of the
Laplacian of Gaussian is a candidate; the heights of all candidates are fitted together, so that neighbours do
not lend each other light, and the least significant one is dropped until all that remain are significant.
Noise is measured from the finest differences between pixels and raised where the residual shows
texture: dips below the background, which no spot makes, tell how high chance bumps are.

Sums over pixels are taken over the plane, where those of Gaussians have closed forms; the nucleus is
continued smoothly beyond its outline before.
"""

from __future__ import annotations

import numpy as np

from napari_apollo.measure.compiled import kernel
from napari_apollo.measure.ordering import ascending
from napari_apollo.measure.regions import quantile

PAD = 6
_FINE = 1.0
"""Width in pixels of the Gaussian whose Laplacian proposes candidates."""
_PROPOSED = 1.5
"""Candidates stand out of the noise of that Laplacian by so many standard deviations."""


@kernel
def gauss_taps(sigma):  # type: ignore[no-untyped-def]
    """Taps 0, 1, 2... of a Gaussian that sums to one over both sides, cut off at 3.5 sigma."""
    taps = np.exp(-0.5 * (np.arange(int(np.ceil(3.5 * sigma)) + 1) / sigma) ** 2)
    return taps / (2.0 * taps.sum() - taps[0])


@kernel
def blur(image, sigma):  # type: ignore[no-untyped-def]
    """Gaussian blur; the image is continued by its edge pixels."""
    return _along_x(_along_y(image, gauss_taps(sigma)), gauss_taps(sigma))


@kernel
def _along_y(image, taps):  # type: ignore[no-untyped-def]
    height, width = image.shape
    out = np.empty_like(image)
    for y in range(height):
        row = out[y]
        row[:] = taps[0] * image[y]
        for k in range(1, len(taps)):
            above, below = image[max(0, y - k)], image[min(height - 1, y + k)]
            weight = taps[k]
            for x in range(width):
                row[x] += weight * (above[x] + below[x])
    return out


@kernel
def _along_x(image, taps):  # type: ignore[no-untyped-def]
    height, width = image.shape
    reach = len(taps) - 1
    out = np.empty_like(image)
    line = np.empty(width + 2 * reach)
    for y in range(height):
        line[:reach] = image[y, 0]
        line[reach : reach + width] = image[y]
        line[reach + width :] = image[y, width - 1]
        row = out[y]
        for x in range(width):
            row[x] = taps[0] * line[reach + x]
        for k in range(1, len(taps)):
            weight = taps[k]
            for x in range(width):
                row[x] += weight * (line[reach + x - k] + line[reach + x + k])
    return out


@kernel
def continued(image, region):  # type: ignore[no-untyped-def]
    """Image whose pixels outside of the region are replaced by a blur of those inside."""
    weight = region.astype(np.float64)
    near, share = blur(image * weight, 2.0), blur(weight, 2.0)
    inside = 0.0
    count = 0
    for y in range(image.shape[0]):
        for x in range(image.shape[1]):
            if region[y, x]:
                inside += image[y, x]
                count += 1
    out = np.empty_like(image)
    for y in range(image.shape[0]):
        for x in range(image.shape[1]):
            if region[y, x]:
                out[y, x] = image[y, x]
            else:
                # Far outside the mean of the nucleus takes over.
                out[y, x] = (near[y, x] + 1e-3 * inside / count) / (share[y, x] + 1e-3)
    return out


@kernel
def pixel_noise(image, region):  # type: ignore[no-untyped-def]
    """Standard deviation of the noise of single pixels, after Immerkaer (1996), by a median; 0 if unknown."""
    height, width = image.shape
    found = np.empty(image.size)
    count = 0
    for y in range(1, height - 1):
        for x in range(1, width - 1):
            whole = True
            for ny in range(y - 1, y + 2):
                for nx in range(x - 1, x + 2):
                    whole = whole and region[ny, nx] != 0
            if whole:
                corners = (
                    image[y - 1, x - 1] + image[y - 1, x + 1] + image[y + 1, x - 1] + image[y + 1, x + 1]
                )
                sides = image[y - 1, x] + image[y + 1, x] + image[y, x - 1] + image[y, x + 1]
                found[count] = abs(corners - 2.0 * sides + 4.0 * image[y, x]) / 6.0
                count += 1
    if count < 9:
        return 0.0
    return np.median(found[:count]) / 0.6745


@kernel
def _laplacian(image):  # type: ignore[no-untyped-def]
    """Negative Laplacian of Gaussian in units that make white noise of deviation 1 come out as 1."""
    reach = int(np.ceil(4.0 * _FINE))
    u = np.arange(reach + 1) / _FINE
    bell = np.exp(-0.5 * u * u)
    bell /= 2.0 * bell.sum() - bell[0]
    bend = (1.0 - u * u) * bell
    # Both one-dimensional sums of the second derivative vanish, so a constant leaves no trace.
    bend -= bell * (2.0 * bend.sum() - bend[0])
    out = _along_x(_along_y(image, bend), bell) + _along_x(_along_y(image, bell), bend)
    bell2 = 2.0 * (bell**2).sum() - bell[0] ** 2
    bend2 = 2.0 * (bend**2).sum() - bend[0] ** 2
    both = 2.0 * (bell * bend).sum() - bell[0] * bend[0]
    return out / np.sqrt(2.0 * bell2 * bend2 + 2.0 * both**2)


@kernel
def _candidates(score, region, least, most):  # type: ignore[no-untyped-def]
    """Local maxima (y, x) of a score in the region, to a fraction of a pixel; the ``most`` highest."""
    height, width = score.shape
    place = np.empty((score.size, 2))
    value = np.empty(score.size)
    count = 0
    for y in range(1, height - 1):
        for x in range(1, width - 1):
            s = score[y, x]
            if not region[y, x] or s < least:
                continue
            top = True
            for ny in range(y - 1, y + 2):
                for nx in range(x - 1, x + 2):
                    if score[ny, nx] > s or (score[ny, nx] == s and (ny, nx) < (y, x)):
                        top = False
            if not top:
                continue
            bend_y = score[y - 1, x] - 2.0 * s + score[y + 1, x]
            bend_x = score[y, x - 1] - 2.0 * s + score[y, x + 1]
            dy = 0.5 * (score[y - 1, x] - score[y + 1, x]) / bend_y if bend_y < 0 else 0.0
            dx = 0.5 * (score[y, x - 1] - score[y, x + 1]) / bend_x if bend_x < 0 else 0.0
            # Less than half a pixel, so that rounding gives the peak's own pixel.
            place[count, 0] = y + min(max(dy, -0.49), 0.49)
            place[count, 1] = x + min(max(dx, -0.49), 0.49)
            value[count] = s
            count += 1
    best = np.argsort(-value[:count], kind="mergesort")[:most]
    return place[best]


@kernel
def _between(image, y, x):  # type: ignore[no-untyped-def]
    """Value between pixels, bilinear."""
    top = min(max(int(np.floor(y)), 0), image.shape[0] - 2)
    left = min(max(int(np.floor(x)), 0), image.shape[1] - 2)
    v, u = y - top, x - left
    upper = (1.0 - u) * image[top, left] + u * image[top, left + 1]
    lower = (1.0 - u) * image[top + 1, left] + u * image[top + 1, left + 1]
    return (1.0 - v) * upper + v * lower


@kernel
def add_spots(place, heights, sigma, out):  # type: ignore[no-untyped-def]
    """Add Gaussians of these heights to an image."""
    reach = int(np.ceil(3.5 * sigma))
    for k in range(len(place)):
        cy, cx = int(np.round(place[k, 0])), int(np.round(place[k, 1]))
        for y in range(max(0, cy - reach), min(out.shape[0], cy + reach + 1)):
            for x in range(max(0, cx - reach), min(out.shape[1], cx + reach + 1)):
                d2 = (y - place[k, 0]) ** 2 + (x - place[k, 1]) ** 2
                out[y, x] += heights[k] * np.exp(-0.5 * d2 / sigma**2)


@kernel
def find_spots(image, region, sigma, smooth, significance, most):  # type: ignore[no-untyped-def]
    """Spots in one nucleus.

    Parameters
    ----------
    image
        (y, x) float64, with ``PAD`` pixels around the nucleus.
    region
        (y, x) uint8, the nucleus.
    sigma
        Width of a spot (standard deviation) in pixels.
    smooth
        Width of the Gaussian over which the background is smooth, in pixels.
    significance
        Height of a spot in standard deviations of what noise and texture give its fit.
    most
        Largest number of candidates.

    Returns
    -------
    place, height, background
        (k, 2) positions (y, x); (k,) heights above the background; (y, x) background under the spots.
    """
    whole = continued(image, region)
    noise = pixel_noise(image, region)
    no_place, none = np.empty((0, 2)), np.empty(0)
    if noise <= 0.0:
        return no_place, none, whole
    place = _candidates(_laplacian(whole), region, _PROPOSED * noise, most)
    fine = whole - blur(whole, smooth)
    # Sums of the high-passed image with a high-passed Gaussian at every pixel.
    wide = np.sqrt(sigma**2 + smooth**2)
    share = sigma**2 / wide**2
    near, far = blur(fine, sigma), blur(fine, wide)
    matched = 2.0 * np.pi * sigma**2 * (near - far)
    if len(place) == 0:
        return no_place, none, whole - fine
    inverse = np.linalg.inv(_products(place, sigma, wide, share))
    sums = np.empty(len(place))
    for k in range(len(place)):
        sums[k] = _between(matched, place[k, 0], place[k, 1])
    heights = inverse @ sums
    level = max(noise, _texture(fine, region, place, heights, sigma, smooth, wide))
    middle = _median_inside(image, region)
    keep = _eliminate(inverse, heights, level, significance, middle)
    place, heights = place[keep], heights[keep]
    model = np.zeros_like(whole)
    add_spots(place, heights, sigma, model)
    return place, heights, blur(whole - model, smooth)


@kernel
def _products(place, sigma, wide, share):  # type: ignore[no-untyped-def]
    """Sums over the plane of the product of every two high-passed Gaussians."""
    count = len(place)
    out = np.empty((count, count))
    both = sigma**2 + wide**2
    a = np.pi * sigma**2
    b = 2.0 * np.pi * sigma**2 * wide**2 / both * share
    c = np.pi * wide**2 * share**2
    for i in range(count):
        for j in range(i, count):
            d2 = (place[i, 0] - place[j, 0]) ** 2 + (place[i, 1] - place[j, 1]) ** 2
            value = (
                a * np.exp(-0.25 * d2 / sigma**2)
                - 2.0 * b * np.exp(-0.5 * d2 / both)
                + c * np.exp(-0.25 * d2 / wide**2)
            )
            out[i, j] = out[j, i] = value
        out[i, i] += 1e-6 * a
    return out


@kernel
def _texture(fine, region, place, heights, sigma, smooth, wide):  # type: ignore[no-untyped-def]
    """Pixel noise that would make dips as deep as those left when all candidates are taken away.

    The factor 0.8 is set on simulated nuclei: dense foci leave dips too.
    """
    model = np.zeros_like(fine)
    add_spots(place, heights, sigma, model)
    left = blur(fine - model + blur(model, smooth), sigma)
    values = np.empty(left.size)
    count = 0
    for y in range(left.shape[0]):
        for x in range(left.shape[1]):
            if region[y, x]:
                values[count] = left[y, x]
                count += 1
    ordered = ascending(values[:count])
    low = quantile(ordered, 0.05) - quantile(ordered, 0.5)
    # Deviation that white noise of 1 keeps after the high pass and the blur by a spot.
    kept = (
        1.0 / (4.0 * np.pi * sigma**2) - 1.0 / (np.pi * (sigma**2 + wide**2)) + 1.0 / (4.0 * np.pi * wide**2)
    )
    return -low / 1.645 / np.sqrt(kept) * 0.8


@kernel
def _eliminate(inverse, heights, level, significance, middle):  # type: ignore[no-untyped-def]
    """Drop the least significant height, refit, until all are significant; which are left.

    The inverse of the normal matrix without one row and column follows from the whole one, so each
    refit takes time with the square of the number of candidates only. Light itself is noisy: the
    deviation grows with the square root of the brightness over the nucleus's median.
    """
    count = len(heights)
    alive = np.ones(count, np.bool_)
    while True:
        worst, drop = significance, -1
        for k in range(count):
            if alive[k]:
                bright = 1.0
                if middle > 0.0 and heights[k] > 0.0:
                    bright = np.sqrt(1.0 + 0.5 * heights[k] / middle)
                score = heights[k] / (level * np.sqrt(inverse[k, k]) * bright)
                if score < worst:
                    worst, drop = score, k
        if drop < 0:
            return np.flatnonzero(alive)
        alive[drop] = False
        own = inverse[drop, drop]
        ratio = heights[drop] / own
        for i in range(count):
            if alive[i]:
                heights[i] -= inverse[i, drop] * ratio
                factor = inverse[i, drop] / own
                for j in range(count):
                    if alive[j]:
                        inverse[i, j] -= factor * inverse[drop, j]


@kernel
def _median_inside(image, region):  # type: ignore[no-untyped-def]
    values = np.empty(image.size)
    count = 0
    for y in range(image.shape[0]):
        for x in range(image.shape[1]):
            if region[y, x]:
                values[count] = image[y, x]
                count += 1
    return quantile(ascending(values[:count]), 0.5)
