"""Fields that several tests look at."""

from __future__ import annotations

import pytest

from napari_apollo.simulate import SceneConfig, SimulatedField, make_donor, simulate_field

CLEAN = SceneConfig(
    noise=False, batch_effect=0, cells_per_field=70, pixel_size_um=0.15, numerical_aperture=1.3, seed=3
)


@pytest.fixture(scope="session")
def clean_fields() -> list[SimulatedField]:
    """Sharp, even fields without noise, of a donor with many foci."""
    donor = make_donor(CLEAN, "sharp", "glioma")
    return [simulate_field(CLEAN, donor, index=index) for index in range(4)]


@pytest.fixture(scope="session")
def noisy_pair() -> tuple[SimulatedField, SimulatedField]:
    """One field with and without noise, all else as by default."""
    config = SceneConfig(field_size=256, cells_per_field=20, seed=11)
    without = config.model_copy(update={"noise": False})
    return tuple(simulate_field(own, make_donor(own, "P1", "control")) for own in (config, without))
