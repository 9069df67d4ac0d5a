"""From the light of the cells to the counts of a camera.

Point spread: a Gaussian of ``0.21 wavelength / NA`` (Zhang, Zerubia and Olivo-Marin, Applied Optics 2007),
plus a wide haze of light from out of focus. Camera: Poisson photons, gain, Gaussian read noise, offset, 16
bit; where photons are many, the noise is that of the first three moments (Cornish and Fisher 1938).
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numba
import numpy as np
from numpy.typing import NDArray
from scipy import ndimage, special

WAVELENGTH_UM = {
    "DAPI": 0.461,
    "gammaH2AX": 0.519,
    "lamin": 0.603,
    "CD3": 0.668,
    "CD16": 0.519,
    "CD4": 0.603,
    "CD8": 0.668,
}
"""Emission wavelength of each stain's dye, µm."""

PHOTONS = {
    "DAPI": 260.0,
    "gammaH2AX": 130.0,
    "lamin": 150.0,
    "CD3": 140.0,
    "CD16": 120.0,
    "CD4": 120.0,
    "CD8": 150.0,
}
"""Photons a pixel gets from an amplitude of 1."""

BACKGROUND_PHOTONS = {
    "DAPI": 8.0,
    "gammaH2AX": 10.0,
    "lamin": 9.0,
    "CD3": 11.0,
    "CD16": 14.0,
    "CD4": 12.0,
    "CD8": 9.0,
}
"""Photons a pixel gets where no cell is."""

GAIN = 12.0
"""Counts a photon."""

OFFSET = 200.0
"""Counts of a dark pixel."""

READ_NOISE = 6.0
"""Standard deviation of a dark pixel, counts."""

_HAZE_UM = 2.5
_HAZE_SHARE = 0.22

_MANY_PHOTONS = 8.0


@dataclass(frozen=True)
class Exposure:
    """How one stain of one field was imaged.

    Attributes
    ----------
    photons
        A pixel gets from an amplitude of 1.
    background
        Photons where no cell is.
    gradient
        (y, x): relative change of the background from one border to the other.
    vignette
        Share of light lost in the corners.
    sigma_um
        Width of the point spread, µm.
    """

    photons: float
    background: float
    gradient: tuple[float, float]
    vignette: float
    sigma_um: float


def point_spread_sigma(stain: str, numerical_aperture: float) -> float:
    """Width of the point spread of a stain, µm."""
    return 0.21 * WAVELENGTH_UM[stain] / numerical_aperture


def expected_photons(
    light: NDArray[np.float32], exposure: Exposure, pixel_um: float, *, oversampling: int = 1
) -> NDArray[np.float32]:
    """Mean photon count of every camera pixel.

    Parameters
    ----------
    light
        float32, (Y, X) amplitudes, on pixels ``oversampling`` times finer than the camera's.
    exposure
        How it was imaged.
    pixel_um
        Side of a camera pixel, µm.

    Returns
    -------
    ndarray
        float32, (Y / oversampling, X / oversampling), photons.
    """
    sharp = np.empty_like(light)
    _smooth(light, _gaussian_weights(exposure.sigma_um * oversampling / pixel_um), sharp)
    if oversampling > 1:
        sharp = _binned(sharp, oversampling)
    # Haze is smooth, so it is made on pixels binned to about a fifth of its width. Three running means come
    # close to a Gaussian at a cost that does not grow with the width.
    step = max(1, int(_HAZE_UM / pixel_um / 5))
    haze = _binned(np.pad(sharp, [(0, -size % step) for size in sharp.shape], mode="edge"), step)
    for _ in range(3):
        haze = ndimage.uniform_filter(haze, 2 * round(_HAZE_UM / pixel_um / step) + 1, mode="reflect")
    _illuminate(
        sharp, haze, step, exposure.photons, exposure.background, *exposure.gradient, exposure.vignette
    )
    return sharp


def _gaussian_weights(sigma: float) -> NDArray[np.float32]:
    # From the centre outwards; integrated over each pixel, so that narrow ones keep their width.
    reach = math.ceil(3.5 * sigma + 0.5)
    edges = special.ndtr((np.arange(2 * reach + 2) - reach - 0.5) / sigma)
    weights = np.diff(edges)
    return (weights / weights.sum()).astype(np.float32)[reach:]


@numba.njit(cache=True, nogil=True)
def _smooth(image, weights, out):  # type: ignore[no-untyped-def]
    # Separable symmetric filter, mirrored at the border.
    height, width = image.shape
    reach = len(weights) - 1
    row = np.empty(width, dtype=np.float32)
    for i in range(height):
        row[:] = weights[0] * image[i]
        for k in range(1, reach + 1):
            row += weights[k] * (image[_mirrored(i - k, height)] + image[_mirrored(i + k, height)])
        out[i] = weights[0] * row
        for k in range(1, reach + 1):
            out[i, k : width - k] += weights[k] * (row[: width - 2 * k] + row[2 * k :])
            for j in range(k):
                out[i, j] += weights[k] * (row[_mirrored(j - k, width)] + row[_mirrored(j + k, width)])
                end = width - 1 - j
                out[i, end] += weights[k] * (row[_mirrored(end - k, width)] + row[_mirrored(end + k, width)])


@numba.njit(cache=True, nogil=True, inline="always")
def _mirrored(place, size):  # type: ignore[no-untyped-def]
    if place < 0:
        return -place - 1
    return 2 * size - 1 - place if place >= size else place


def _binned(image: NDArray[np.float32], factor: int) -> NDArray[np.float32]:
    # Means of squares of `factor` pixels; strided sums are several times faster than a mean over two axes.
    height, width = (size // factor for size in image.shape)
    sums = np.zeros((height, width), dtype=np.float32)
    for i in range(factor):
        for j in range(factor):
            sums += image[i::factor, j::factor]
    sums /= np.float32(factor**2)
    return sums


@numba.njit(cache=True, nogil=True)
def _illuminate(  # type: ignore[no-untyped-def]
    sharp, haze, step, photons, background, gradient_y, gradient_x, vignette
):
    # From amplitudes to photons, in place: haze (on pixels `step` times coarser), background, vignette.
    height, width = sharp.shape
    for i in range(height):
        y = 2 * i / (height - 1) - 1
        place = min(max((i + 0.5) / step - 0.5, 0.0), haze.shape[0] - 1.0)
        i0 = min(int(place), max(0, haze.shape[0] - 2))
        i1, part_y = min(i0 + 1, haze.shape[0] - 1), place - i0
        for j in range(width):
            x = 2 * j / (width - 1) - 1
            place = min(max((j + 0.5) / step - 0.5, 0.0), haze.shape[1] - 1.0)
            j0 = min(int(place), max(0, haze.shape[1] - 2))
            j1, part_x = min(j0 + 1, haze.shape[1] - 1), place - j0
            upper = haze[i0, j0] * (1 - part_x) + haze[i0, j1] * part_x
            lower = haze[i1, j0] * (1 - part_x) + haze[i1, j1] * part_x
            wide = upper * (1 - part_y) + lower * part_y
            light = photons * ((1 - _HAZE_SHARE) * sharp[i, j] + _HAZE_SHARE * wide)
            light += background * (1 + (gradient_y * y + gradient_x * x) / 2)
            sharp[i, j] = light * (1 - vignette * (y * y + x * x) / 2)


def camera_counts(photons: NDArray[np.float32], rng: np.random.Generator | None) -> NDArray[np.uint16]:
    """Counts of a 16-bit camera.

    Parameters
    ----------
    photons
        Mean photons, float32, (Y, X).
    rng
        Draws photons and read noise; None gives the expected counts, rounded.

    Returns
    -------
    ndarray
        uint16, (Y, X), camera counts.
    """
    if rng is None:
        return np.clip(np.rint(GAIN * photons + OFFSET), 0, 65535).astype(np.uint16)
    counts: NDArray[np.uint16] = _expose(photons, rng.standard_normal(photons.shape, dtype=np.float32))
    return counts


@numba.njit(cache=True, nogil=True)
def _expose(photons, deviates):  # type: ignore[no-untyped-def]
    # One standard normal deviate a pixel carries photon and read noise together.
    counts = np.empty(photons.shape, dtype=np.uint16)
    for i in range(photons.shape[0]):
        for j in range(photons.shape[1]):
            mean, z = photons[i, j], deviates[i, j]
            if mean < _MANY_PHOTONS:
                # Inversion of the Poisson law; where the level falls within its step is uniform, and is the
                # read noise.
                level = 0.5 * (1 + math.erf(z / math.sqrt(2.0)))
                caught = 0.0
                probability = math.exp(-mean)
                below = 0.0
                while level > below + probability and caught < 10 * _MANY_PHOTONS:
                    below += probability
                    caught += 1
                    probability *= mean / caught
                within = min(1.0, (level - below) / probability)
                value = GAIN * caught + math.sqrt(12.0) * READ_NOISE * (within - 0.5)
            else:
                # Mean, variance and skewness of the sum of both noises.
                variance = GAIN * GAIN * mean + READ_NOISE * READ_NOISE
                third = GAIN**3 * mean / variance
                value = GAIN * mean + math.sqrt(variance) * z + third * (z * z - 1) / 6
            counts[i, j] = np.uint16(min(65535.0, max(0.0, round(value + OFFSET))))
    return counts
