"""The microscope and the camera."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import ndimage, stats

from napari_apollo.simulate import optics
from napari_apollo.simulate.textures import TILE, TILE_SIGMA, gaussian_tile

EVEN = optics.Exposure(photons=100, background=0, gradient=(0, 0), vignette=0, sigma_um=0.2)


@pytest.mark.parametrize("mean", [0.4, 3.0, 7.9, 8.1, 30.0, 400.0])
def test_noise_has_the_moments_of_photons_and_read_noise(mean: float) -> None:
    counts = optics.camera_counts(np.full((700, 700), mean, np.float32), np.random.default_rng(1))
    photons = (counts.astype(float).ravel() - optics.OFFSET) / optics.GAIN
    variance = mean + (optics.READ_NOISE / optics.GAIN) ** 2
    assert photons.mean() == pytest.approx(mean, abs=5 * np.sqrt(variance / photons.size))
    assert photons.var() == pytest.approx(variance, rel=0.02)
    assert stats.skew(photons) == pytest.approx(mean / variance**1.5, abs=0.06)


def test_camera_saturates_and_without_noise_gives_expected_counts() -> None:
    photons = np.array([[0.0, 10.0, 1e6]], np.float32)
    expected = [optics.OFFSET, 10 * optics.GAIN + optics.OFFSET, 65535]
    np.testing.assert_array_equal(optics.camera_counts(photons, None)[0], expected)
    assert optics.camera_counts(photons, np.random.default_rng(0))[0, 2] == 65535


@pytest.mark.parametrize("oversampling", [1, 3])
def test_light_is_spread_and_not_lost(oversampling: int) -> None:
    light = np.zeros((240, 240), np.float32)
    light[120 : 120 + oversampling, 120 : 120 + oversampling] = 1
    photons = optics.expected_photons(light, EVEN, 0.2 * oversampling, oversampling=oversampling)
    assert photons.shape == (240 // oversampling,) * 2
    assert photons.sum() == pytest.approx(100, rel=1e-3)
    y, x = np.indices(photons.shape)
    near = photons - photons[5, 5]
    core = np.hypot(y - 120 // oversampling, x - 120 // oversampling) < 1.0 / (0.2 * oversampling)
    assert near[core].sum() > 0.7 * photons.sum()


def test_point_spread_is_the_gaussian_it_claims() -> None:
    light = np.zeros((101, 101), np.float32)
    light[50, 50] = 1
    exposure = optics.Exposure(
        photons=1 / (1 - optics._HAZE_SHARE), background=0, gradient=(0, 0), vignette=0, sigma_um=0.3
    )
    sharp = optics.expected_photons(light, exposure, 0.1)
    sharp = sharp - optics._HAZE_SHARE / (1 - optics._HAZE_SHARE) * ndimage.gaussian_filter(light, 25)
    np.testing.assert_allclose(sharp, ndimage.gaussian_filter(light, 3), atol=5e-4)


def test_borders_mirror() -> None:
    flat = np.full((40, 50), 2.0, np.float32)
    np.testing.assert_allclose(optics.expected_photons(flat, EVEN, 0.2), 200, rtol=1e-5)


def test_background_gradient_and_vignette() -> None:
    exposure = optics.Exposure(photons=1, background=10, gradient=(0.4, 0), vignette=0.2, sigma_um=0.2)
    photons = optics.expected_photons(np.zeros((51, 51), np.float32), exposure, 0.2)
    assert photons[25, 25] == pytest.approx(10)
    assert photons[50, 25] == pytest.approx(10 * 1.2 * 0.9, rel=1e-4)
    assert photons[0, 0] == pytest.approx(10 * 0.8 * 0.8, rel=1e-4)


def test_longer_waves_and_lower_apertures_blur_more() -> None:
    assert optics.point_spread_sigma("DAPI", 1.3) == pytest.approx(0.21 * 0.461 / 1.3)
    assert optics.point_spread_sigma("CD3", 0.8) > optics.point_spread_sigma("DAPI", 0.8)


def test_tile_is_a_periodic_gaussian_field_of_the_stated_correlation() -> None:
    tile = gaussian_tile()
    assert tile.mean() == pytest.approx(0, abs=1e-4)
    assert tile.std() == pytest.approx(1, abs=1e-4)
    for shift in (2, 5, 9):
        for axis in (0, 1):
            rolled = (tile * np.roll(tile, shift, axis)).mean()
            assert rolled == pytest.approx(np.exp(-(shift**2) / (4 * TILE_SIGMA**2)), abs=0.03)
    assert abs(stats.skew(tile.ravel()[:: TILE // 8])) < 0.2
