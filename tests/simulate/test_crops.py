"""Ready-cut crops."""

from __future__ import annotations

import numpy as np
import pytest

from napari_apollo.errors import Cancelled, ConfigError
from napari_apollo.progress import Step
from napari_apollo.simulate import (
    PANELS,
    STAINS,
    SceneConfig,
    SimulatedCrops,
    make_donor,
    simulate_crops,
    simulate_field,
)
from napari_apollo.simulate.crops import cut_whole_crops


@pytest.fixture(scope="module")
def crops() -> SimulatedCrops:
    return simulate_crops(150, 32, donors=3, workers=2)


def test_sizes_and_balance(crops: SimulatedCrops) -> None:
    assert crops.images.shape == (150, 7, 32, 32)
    assert crops.masks.shape == (150, 32, 32)
    assert crops.pixel_size_um == pytest.approx(0.45)
    assert set(crops.truth.groupby(["donor", "panel"]).size()) == {25}
    assert crops.truth["condition"].nunique() == 3


def test_masks_show_the_own_nucleus_in_the_middle(crops: SimulatedCrops) -> None:
    areas = (crops.masks == 2).sum(axis=(1, 2)) * crops.pixel_size_um**2
    np.testing.assert_allclose(areas, crops.truth["nucleus_area_um2"], rtol=0.08)
    assert set(np.unique(crops.masks)) == {0, 1, 2}
    ys, xs = np.indices((32, 32))
    for mask in crops.masks == 2:
        assert np.abs(ys[mask].mean() - 16) < 0.7
        assert np.abs(xs[mask].mean() - 16) < 0.7


def test_stains_of_a_panel_come_in_its_order(crops: SimulatedCrops) -> None:
    rows, images = crops.of_panel(PANELS[1])
    assert images.shape == (75, 4, 32, 32)
    np.testing.assert_array_equal(images[:, 3], crops.images[rows, STAINS.index("CD8")])
    measured = crops.measured()
    assert measured.shape == (150, 7)
    assert measured[:, 0].all()
    assert measured.sum(axis=1).tolist() == [4] * 150
    assert measured[rows, STAINS.index("CD8")].all()
    assert not measured[rows, STAINS.index("CD3")].any()


def test_crops_are_cut_from_the_field_by_the_common_rule() -> None:
    config = SceneConfig(field_size=200, cells_per_field=25)
    field = simulate_field(config, make_donor(config, "A", "control"))
    images, masks, truth = cut_whole_crops(field, 33)
    assert 0 < len(truth) < len(field.truth)
    for image, mask, row in zip(images, masks, truth.itertuples(), strict=True):
        centre = np.floor(np.array([row.y, row.x]) + 0.5).astype(int)
        window = tuple(slice(c - 16, c + 17) for c in centre)
        np.testing.assert_array_equal(image, field.image[:, *window])
        np.testing.assert_array_equal(mask == 2, field.nuclei[window] == row.label)
        np.testing.assert_array_equal(mask > 0, field.cells[window] == row.label)


def test_the_same_whatever_the_number_of_threads(crops: SimulatedCrops) -> None:
    again = simulate_crops(150, 32, donors=3, workers=1)
    assert again.images.tobytes() == crops.images.tobytes()
    assert again.masks.tobytes() == crops.masks.tobytes()
    assert (
        simulate_crops(12, 32, donors=1, scene=SceneConfig(seed=1)).images.tobytes()
        != again.images[:12].tobytes()
    )


def test_progress_is_told_and_a_stop_obeyed() -> None:
    steps: list[Step] = []
    simulate_crops(20, 24, donors=2, progress=steps.append)
    assert [step.done for step in steps] == sorted(step.done for step in steps)
    assert (steps[-1].done, steps[-1].total) == (20, 20)
    with pytest.raises(Cancelled):
        simulate_crops(20, 24, should_stop=lambda: True)


@pytest.mark.parametrize(("cells", "size", "donors"), [(3, 32, 2), (100, 8, 2), (100, 300, 2), (100, 32, 0)])
def test_impossible_numbers_are_refused(cells: int, size: int, donors: int) -> None:
    with pytest.raises(ConfigError):
        simulate_crops(cells, size, donors=donors)
