"""Finding small bright spots in one nucleus, compiled.

A spot is a Gaussian on a background that is smooth over a few spot widths. Every local maximum of the
Laplacian of Gaussian is a candidate; the heights of all candidates are fitted together, so that neighbours do
not lend each other light, and the least significant one is dropped until all that remain are significant. In
between, places are improved, and spots that are longer than wide become two.
Noise is measured from the finest differences between pixels and raised where the residual shows
texture: dips below the background, which no spot makes, tell how high chance bumps are.

Sums over pixels are taken over the plane, where those of Gaussians have closed forms; the nucleus is
continued smoothly beyond its outline before, and far from it lies its mean.
"""

from __future__ import annotations

import numpy as np

from napari_apollo.measure.compiled import kernel
from napari_apollo.measure.filters import add_bumps, blur, gauss_taps, separable
from napari_apollo.measure.places import products, refined, split, sums_at

PAD = 6
"""Pixels around the nucleus over which it is continued."""
SMOOTH = 2.7
"""Width of the Gaussian over which the background is smooth, in widths of a spot."""
LEAST = 25
"""Pixels of a nucleus below which its noise cannot be known and no spots are looked for."""
MOST = 256
"""Candidates kept in one nucleus; several times the spots that can be told apart in one."""
_FINE = 1.3
"""Width of a spot in widths of the Gaussian whose Laplacian proposes candidates; at least a pixel."""
_PROPOSED = 1.5
"""Candidates stand out of the noise of that Laplacian by so many standard deviations."""

_EARLY = 0.7
"""Share of the significance that a candidate needs before its place is improved."""
_CALM = 360.0
"""Area, in squared widths of a spot, up to a spot in which the threshold of significance holds as it is."""


@kernel
def find_spots(image, region, gap, sigma, significance):  # type: ignore[no-untyped-def]
    """Spots in one nucleus.

    Parameters
    ----------
    image
        (y, x) float64, with ``PAD`` pixels around the nucleus, and to their right ``gap`` columns of zeros.
    region
        (y, x) float64, 1 in the nucleus, else 0.
    gap
        Columns, at least the reach of the widest filter: ``gap_of(sigma)``.
    sigma
        Width of a spot (standard deviation) in pixels.
    significance
        Height of a spot in standard deviations of what noise and texture give its fit, where it is the only
        one.

    Returns
    -------
    place, height, background
        (k, 2) positions (y, x); (k,) heights above the background; (y, x) background under the spots.
    """
    stride = image.shape[1]
    width = stride - gap
    inside = np.flatnonzero(region.ravel())
    no_place, none = np.empty((0, 2)), np.empty(0)
    if len(inside) < LEAST:
        return no_place, none, image
    mean = image.ravel()[inside].mean()
    whole = _continued(image, region, mean, width)
    flat, shape = whole.ravel(), whole.shape
    smooth = gauss_taps(SMOOTH * sigma)
    low = blur(whole, smooth, width)
    noise = _pixel_noise(flat, region.ravel(), inside, stride)
    if noise <= 0.0:
        return no_place, none, low + mean
    place = _candidates(_laplacian(whole, max(1.0, sigma / _FINE), width), inside, _PROPOSED * noise)
    if len(place) == 0:
        return no_place, none, low + mean
    # Sums of the high-passed image with a high-passed Gaussian at every pixel.
    near = blur(whole - low, gauss_taps(sigma), width)
    matched = near - blur(near, smooth, width)
    wide = np.sqrt(1.0 + SMOOTH**2) * sigma
    inverse = np.linalg.inv(products(place, sigma, wide))
    heights = inverse @ sums_at(matched, place, sigma)
    # What the candidates leave of the high-passed image, blurred by a spot.
    model = np.zeros(shape)
    add_bumps(place, 0.5 * heights, np.sqrt(2.0) * sigma, width, model)
    left = (near - model + blur(model, smooth, width)).ravel()[inside]
    level = max(noise, _texture(left, sigma, wide))
    middle = np.median(image.ravel()[inside])
    calm = _CALM * sigma**2 / len(inside)
    keep = _eliminate(inverse, heights, level, _EARLY * significance, calm, middle)
    place, heights = place[keep], heights[keep]
    if len(place):
        place, heights = refined(matched, region, place, heights, sigma, wide)
        more = split(matched, region, place, heights, sigma, wide, level, middle)
        if len(more) > len(place):
            heights = np.linalg.inv(products(more, sigma, wide)) @ sums_at(matched, more, sigma)
            place, heights = refined(matched, region, more, heights, sigma, wide)
        inverse = np.linalg.inv(products(place, sigma, wide))
        keep = _eliminate(inverse, heights, level, significance, calm, middle)
        place, heights = place[keep], heights[keep]
    model[:] = 0.0
    add_bumps(place, heights, sigma, width, model)
    return place, heights, low - blur(model, smooth, width) + mean


@kernel
def gap_of(sigma):  # type: ignore[no-untyped-def]
    """Columns of zeros that the filters need to the right of an image."""
    return max(len(gauss_taps(SMOOTH * sigma)), len(gauss_taps(2.0)))


@kernel
def _continued(image, region, mean, width):  # type: ignore[no-untyped-def]
    """Image less its mean, whose pixels outside of the region are replaced by a blur of those inside."""
    out = (image - mean) * region
    taps = gauss_taps(2.0)
    near, share = blur(out, taps, width), blur(region, taps, width)
    for y in range(out.shape[0]):
        for x in range(width):
            if region[y, x] == 0.0:
                # Far outside the mean of the nucleus, 0 here, takes over.
                out[y, x] = near[y, x] / (share[y, x] + 1e-3)
    return out


@kernel
def _pixel_noise(flat, region, inside, stride):  # type: ignore[no-untyped-def]
    """Standard deviation of the noise of single pixels, after Immerkaer (1996), by a median; 0 if unknown."""
    found = np.empty(len(inside))
    count = 0
    for at in inside:
        above, below = at - stride, at + stride
        around = (
            region[above - 1] + region[above] + region[above + 1] + region[at - 1]
            + region[at + 1] + region[below - 1] + region[below] + region[below + 1]
        )  # fmt: skip
        if around == 8.0:
            corners = flat[above - 1] + flat[above + 1] + flat[below - 1] + flat[below + 1]
            sides = flat[above] + flat[below] + flat[at - 1] + flat[at + 1]
            found[count] = abs(corners - 2.0 * sides + 4.0 * flat[at]) / 6.0
            count += 1
    if count < 9:
        return 0.0
    return np.median(found[:count]) / 0.6745


@kernel
def _laplacian(whole, fine, width):  # type: ignore[no-untyped-def]
    """Negative Laplacian of Gaussian in units that make white noise of deviation 1 come out as 1."""
    reach = int(np.ceil(4.0 * fine))
    u = np.arange(reach + 1) / fine
    bell = np.exp(-0.5 * u * u)
    bell /= 2.0 * bell.sum() - bell[0]
    bend = (1.0 - u * u) * bell
    # Both one-dimensional sums of the second derivative vanish, so a constant leaves no trace.
    bend -= bell * (2.0 * bend.sum() - bend[0])
    out = separable(whole, bend, bell, width) + separable(whole, bell, bend, width)
    bell2 = 2.0 * (bell**2).sum() - bell[0] ** 2
    bend2 = 2.0 * (bend**2).sum() - bend[0] ** 2
    both = 2.0 * (bell * bend).sum() - bell[0] * bend[0]
    return out / np.sqrt(2.0 * bell2 * bend2 + 2.0 * both**2)


@kernel
def _candidates(score, inside, least):  # type: ignore[no-untyped-def]
    """Local maxima (y, x) of a score in the region, to a fraction of a pixel; the ``MOST`` highest."""
    stride = score.shape[1]
    flat = score.ravel()
    place = np.empty((len(inside), 2))
    value = np.empty(len(inside))
    count = 0
    for at in inside:
        s = flat[at]
        above, below = at - stride, at + stride
        # Of equals the first one counts.
        if (
            s < least
            or flat[above - 1] >= s or flat[above] >= s or flat[above + 1] >= s or flat[at - 1] >= s
            or flat[at + 1] > s or flat[below - 1] > s or flat[below] > s or flat[below + 1] > s
        ):  # fmt: skip
            continue
        bend_y = flat[above] - 2.0 * s + flat[below]
        bend_x = flat[at - 1] - 2.0 * s + flat[at + 1]
        dy = 0.5 * (flat[above] - flat[below]) / bend_y if bend_y < 0 else 0.0
        dx = 0.5 * (flat[at - 1] - flat[at + 1]) / bend_x if bend_x < 0 else 0.0
        # Less than half a pixel, so that rounding gives the peak's own pixel.
        place[count, 0] = at // stride + min(max(dy, -0.49), 0.49)
        place[count, 1] = at % stride + min(max(dx, -0.49), 0.49)
        value[count] = s
        count += 1
    if count <= MOST:
        return place[:count].copy()
    return place[np.argsort(-value[:count], kind="mergesort")[:MOST]]


@kernel
def _texture(left, sigma, wide):  # type: ignore[no-untyped-def]
    """Pixel noise that would make dips as deep as those left when all candidates are taken away.

    Both factors are set on simulated nuclei: dense foci leave dips too, and the few dips of a small
    nucleus seem deeper than they are.
    """
    count = len(left)
    trust = 0.88 / (1.0 + 130.0 * sigma**2 / count)
    low = np.partition(left, int(0.05 * (count - 1)))[int(0.05 * (count - 1))] - np.median(left)
    # Deviation that white noise of 1 keeps after the high pass and the blur by a spot.
    kept = (
        1.0 / (4.0 * np.pi * sigma**2) - 1.0 / (np.pi * (sigma**2 + wide**2)) + 1.0 / (4.0 * np.pi * wide**2)
    )
    return -low / 1.645 / np.sqrt(kept) * trust


@kernel
def _eliminate(inverse, heights, level, significance, calm, middle):  # type: ignore[no-untyped-def]
    """Drop the least significant height, refit, until all are significant; which are left.

    The inverse of the normal matrix without one row and column follows from the whole one, so each
    refit takes time with the square of the number of candidates only. Light itself is noisy: the
    deviation grows with the square root of the brightness over the nucleus's median.

    The more crowded the spots are, the lower each of them may be: chance bumps above z are as rare as
    exp(-z²/2) for an area, so the share of them among all spots is kept by a threshold of
    sqrt(significance² - 2 ln(spots in _CALM sigma²)).
    """
    count = len(heights)
    alive = np.ones(count, np.bool_)
    spots = count
    while spots:
        least = significance**2 - 2.0 * np.log(max(1.0, spots * calm))
        worst, drop = np.sqrt(max(1.0, least)), -1
        for k in range(count):
            if alive[k]:
                bright = 1.0
                if middle > 0.0 and heights[k] > 0.0:
                    bright = np.sqrt(1.0 + 0.5 * heights[k] / middle)
                score = heights[k] / (level * np.sqrt(inverse[k, k]) * bright)
                if score < worst:
                    worst, drop = score, k
        if drop < 0:
            break
        alive[drop] = False
        spots -= 1
        own = inverse[drop, drop]
        ratio = heights[drop] / own
        row = inverse[drop].copy()
        for i in range(count):
            if alive[i]:
                heights[i] -= row[i] * ratio
                other, factor = inverse[i], row[i] / own
                for j in range(count):
                    other[j] -= factor * row[j]
    return np.flatnonzero(alive)
