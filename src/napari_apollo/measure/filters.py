"""Separable filters on small images, compiled.

An image has columns of zeros to its right, at least as many as a filter reaches: rows laid end to end then
do not run into each other, and a pass along either axis is one long sum of shifted copies, which the
processor's vector units do at full speed. Outside of the image there is zero.
"""

from __future__ import annotations

import numpy as np

from napari_apollo.measure.compiled import kernel


@kernel
def gauss_taps(sigma):  # type: ignore[no-untyped-def]
    """Taps 0, 1, 2... of a Gaussian that sums to one over both sides, cut off at 3.5 sigma."""
    taps = np.exp(-0.5 * (np.arange(int(np.ceil(3.5 * sigma)) + 1) / sigma) ** 2)
    return taps / (2.0 * taps.sum() - taps[0])


@kernel
def blur(image, taps, width):  # type: ignore[no-untyped-def]
    """Image filtered with the same taps along both axes."""
    return separable(image, taps, taps, width)


@kernel
def separable(image, along_y, along_x, width):  # type: ignore[no-untyped-def]
    """Image filtered with symmetric taps along y and x.

    Parameters
    ----------
    image
        (y, x) float64, contiguous; zeros right of ``width``.
    along_y, along_x
        Taps 0, 1, 2... of both filters.
    width
        Columns that hold the image.
    """
    height, stride = image.shape
    half, out = np.empty(image.size), np.empty(image.size)
    _pass(image.ravel(), along_y, stride, half)
    _pass(half, along_x, 1, out)
    out2 = out.reshape(height, stride)
    out2[:, width:] = 0.0
    return out2


@kernel
def _pass(source, taps, step, out):  # type: ignore[no-untyped-def]
    """Sum of copies of a line shifted by 0, 1, 2... steps both ways, weighted by the taps."""
    size = len(source)
    for at in range(size):
        out[at] = taps[0] * source[at]
    k = 1
    # Two taps at a time where all copies overlap: half as much is written.
    while k + 1 < len(taps) and 2 * (k + 1) * step < size:
        near, far = k * step, (k + 1) * step
        one, two = taps[k], taps[k + 1]
        inner = out[far : size - far]
        a, b = source[far - near :], source[far + near :]
        c, d = source, source[2 * far :]
        for at in range(len(inner)):
            inner[at] += one * (a[at] + b[at]) + two * (c[at] + d[at])
        _add(out[:far], one, source[near:])
        _add(out[:far], two, source[far:])
        _add(out[near:far], one, source)
        _add(out[size - far :], one, source[size - far - near :])
        _add(out[size - far :], two, source[size - 2 * far :])
        _add(out[size - far : size - near], one, source[size - far + near :])
        k += 2
    while k < len(taps) and k * step < size:
        _add(out[: size - k * step], taps[k], source[k * step :])
        _add(out[k * step :], taps[k], source)
        k += 1


@kernel
def _add(out, weight, source):  # type: ignore[no-untyped-def]
    for at in range(len(out)):
        out[at] += weight * source[at]


@kernel
def add_bumps(place, heights, sigma, width, out):  # type: ignore[no-untyped-def]
    """Add Gaussians of these heights at these places (y, x) to an image, cut off at 3.5 sigma."""
    reach = int(np.ceil(3.5 * sigma))
    side = 2 * reach + 1
    wy, wx = np.empty(side), np.empty(side)
    for k in range(len(place)):
        top, left = int(np.round(place[k, 0])) - reach, int(np.round(place[k, 1])) - reach
        for i in range(side):
            wy[i] = np.exp(-0.5 * ((top + i - place[k, 0]) / sigma) ** 2) * heights[k]
            wx[i] = np.exp(-0.5 * ((left + i - place[k, 1]) / sigma) ** 2)
        first, last = max(0, -left), min(side, width - left)
        part = wx[first:last]
        for i in range(max(0, -top), min(side, out.shape[0] - top)):
            row = out[top + i, left + first : left + last]
            for at in range(len(row)):
                row[at] += wy[i] * part[at]
