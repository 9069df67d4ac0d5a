"""Where the spots of a nucleus lie, to a fraction of a pixel, and which of them are two; compiled.

All of it rests on one image: the sums of the high-passed image with a high-passed Gaussian at every pixel
(``matched``). Sums of two such Gaussians over the plane have a closed form, so what one spot adds to the sums
at another's place is known without going back to the image.
"""

from __future__ import annotations

import numpy as np

from napari_apollo.measure.compiled import kernel

_ROUNDS = 2
"""Steps by which places are improved; further ones change them by less than a tenth of a pixel."""
_STEP = 0.5
"""Longest step in pixels."""
_REACH = 1.5
"""Pixels by which a spot may move away from its candidate."""
_LONG = 3.0
"""Standard deviations by which a spot must be longer than wide to be tried as two."""
_APART = 1.3
"""Widths of a spot below which two are not told apart: real spots are not quite round."""
_FURTHEST = 2.4
"""Widths of a spot beyond which two would have been two candidates."""
_MISFIT = 0.04
"""Share of a neighbour's height that its real form may add to the sums beside it."""


@kernel
def sums_at(matched, place, sigma):  # type: ignore[no-untyped-def]
    """Sums at places between pixels."""
    out = np.empty(len(place))
    for k in range(len(place)):
        out[k] = 2.0 * np.pi * sigma**2 * _surface(matched, place[k, 0], place[k, 1])[0]
    return out


@kernel
def products(place, sigma, wide):  # type: ignore[no-untyped-def]
    """Sums over the plane of the product of every two high-passed Gaussians.

    Parameters
    ----------
    place
        (k, 2) float64 positions (y, x) in pixels.
    sigma, wide
        Widths in pixels of a spot, and of a spot on which the high pass has worked.
    """
    count = len(place)
    out = np.empty((count, count))
    for i in range(count):
        for j in range(i, count):
            d2 = (place[i, 0] - place[j, 0]) ** 2 + (place[i, 1] - place[j, 1]) ** 2
            out[i, j] = out[j, i] = _product(d2, sigma, wide)[0]
        out[i, i] += 1e-6 * np.pi * sigma**2
    return out


@kernel
def refined(matched, region, place, heights, sigma, wide):  # type: ignore[no-untyped-def]
    """Places and heights after a few steps of every spot up the slope that the others leave.

    All spots move at once, so that their order does not matter. A spot stays within the nucleus and near
    where it was.
    """
    place = place.copy()
    first = place.copy()
    # Bend of a single spot's sums at its place, which says how far away the peak of a slope is.
    bend = -2.0 * _product(0.0, sigma, wide)[1]
    for _ in range(_ROUNDS):
        before = place.copy()
        for k in range(len(place)):
            if heights[k] <= 0.0:
                continue
            y, x = before[k, 0], before[k, 1]
            _, down, right, _, _, _ = _surface(matched, y, x)
            down, right = 2.0 * np.pi * sigma**2 * down, 2.0 * np.pi * sigma**2 * right
            for j in range(len(place)):
                if j != k:
                    dy, dx = y - before[j, 0], x - before[j, 1]
                    slope = 2.0 * heights[j] * _product(dy * dy + dx * dx, sigma, wide)[1]
                    down -= slope * dy
                    right -= slope * dx
            down, right = down / (bend * heights[k]), right / (bend * heights[k])
            shorter = min(1.0, _STEP / max(np.hypot(down, right), 1e-9))
            y, x = y + shorter * down, x + shorter * right
            near = np.hypot(y - first[k, 0], x - first[k, 1]) <= _REACH
            if near and _inside(region, y, x):
                place[k, 0], place[k, 1] = y, x
        heights = np.linalg.inv(products(place, sigma, wide)) @ sums_at(matched, place, sigma)
    return place, heights


@kernel
def split(matched, region, place, heights, sigma, wide, level, middle):  # type: ignore[no-untyped-def]
    """Places in which spots that are clearly longer than wide are two.

    Two spots of height h/2 at distance r on either side of a place leave the same light there as one of
    height h, but for a quadrupole of h r² / 4 (G_yy - G_xx) along their axis. Its sums are those of the
    second derivatives of ``matched``; a spot that is merely wider has none.

    Parameters
    ----------
    level, middle
        Standard deviation of the noise of a pixel; median brightness of the nucleus, with which the noise
        of a spot's own light is reckoned.
    """
    scale = 2.0 * np.pi * sigma**2
    out = np.empty((2 * len(place), 2))
    count = 0
    fourth = _product(0.0, sigma, wide)[2]
    for k in range(len(place)):
        y, x = place[k, 0], place[k, 1]
        out[count] = place[k]
        count += 1
        # Beside the outline, beyond which nothing is known, every spot seems long.
        if heights[k] <= 0.0 or not _amid(region, y, x, 2.0 * sigma):
            continue
        _, _, _, bend_y, bend_x, twist = _surface(matched, y, x)
        straight, oblique, misfit = scale * (bend_y - bend_x), 2.0 * scale * twist, 0.0
        for j in range(len(place)):
            if j != k:
                dy, dx = y - place[j, 0], x - place[j, 1]
                d2 = dy * dy + dx * dx
                bend = 4.0 * heights[j] * _product(d2, sigma, wide)[2]
                straight -= bend * (dy * dy - dx * dx)
                oblique -= 2.0 * bend * dy * dx
                misfit += _MISFIT * heights[j] * np.exp(-0.25 * d2 / sigma**2) * d2 / sigma**2
        bright = np.sqrt(1.0 + 0.5 * heights[k] / middle) if middle > 0.0 else 1.0
        noise = (level * bright + misfit) * np.sqrt(np.pi) / sigma
        strength = np.hypot(straight, oblique)
        r = np.sqrt(strength / (4.0 * heights[k] * fourth))
        if strength < _LONG * noise or 2.0 * r < _APART * sigma:
            continue
        r = min(r, 0.5 * _FURTHEST * sigma)
        turn = 0.5 * np.arctan2(oblique, straight)
        dy, dx = r * np.cos(turn), r * np.sin(turn)
        if _inside(region, y + dy, x + dx) and _inside(region, y - dy, x - dx):
            out[count - 1, 0], out[count - 1, 1] = y + dy, x + dx
            out[count, 0], out[count, 1] = y - dy, x - dx
            count += 1
    return out[:count].copy()


@kernel
def _inside(region, y, x):  # type: ignore[no-untyped-def]
    """Whether a place lies in the nucleus."""
    i, j = int(np.round(y)), int(np.round(x))
    return 0 <= i < region.shape[0] and 0 <= j < region.shape[1] and region[i, j] != 0.0


@kernel
def _amid(region, y, x, distance):  # type: ignore[no-untyped-def]
    """Whether places at this distance all around lie in the nucleus."""
    across = distance * np.sqrt(0.5)
    for dy, dx in ((distance, 0.0), (0.0, distance), (across, across), (across, -across)):
        if not (_inside(region, y + dy, x + dx) and _inside(region, y - dy, x - dx)):
            return False
    return True


@kernel
def _product(d2, sigma, wide):  # type: ignore[no-untyped-def]
    """Sum of the product of two high-passed Gaussians at a squared distance; its derivatives by that."""
    both = sigma**2 + wide**2
    share = sigma**2 / wide**2
    value = slope = bend = 0.0
    # Further away a term is less than exp(-16) of its height.
    if d2 < 64.0 * wide**2:
        for weight, rate in (
            (np.pi * sigma**2, 0.25 / sigma**2),
            (-4.0 * np.pi * sigma**2 * wide**2 / both * share, 0.5 / both),
            (np.pi * wide**2 * share**2, 0.25 / wide**2),
        ):
            if rate * d2 < 16.0:
                part = weight * np.exp(-rate * d2)
                value += part
                slope -= rate * part
                bend += rate * rate * part
    return value, slope, bend


@kernel
def _surface(image, y, x):  # type: ignore[no-untyped-def]
    """Value, slopes (y, x) and bends (yy, xx, yx) of the parabolic surface through the nine pixels around."""
    i = min(max(int(np.round(y)), 1), image.shape[0] - 2)
    j = min(max(int(np.round(x)), 1), image.shape[1] - 2)
    v, u = y - i, x - j
    own = image[i, j]
    slope_y = 0.5 * (image[i + 1, j] - image[i - 1, j])
    slope_x = 0.5 * (image[i, j + 1] - image[i, j - 1])
    bend_y = image[i + 1, j] - 2.0 * own + image[i - 1, j]
    bend_x = image[i, j + 1] - 2.0 * own + image[i, j - 1]
    twist = 0.25 * (image[i + 1, j + 1] - image[i + 1, j - 1] - image[i - 1, j + 1] + image[i - 1, j - 1])
    value = own + slope_y * v + slope_x * u + 0.5 * (bend_y * v * v + bend_x * u * u) + twist * v * u
    return value, slope_y + bend_y * v + twist * u, slope_x + bend_x * u + twist * v, bend_y, bend_x, twist
