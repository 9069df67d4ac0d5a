"""Foci against simulated ones of known number and place."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import ndimage
from scipy.optimize import linear_sum_assignment

from napari_apollo.errors import PanelMismatch, UnknownStain
from napari_apollo.measure import MeasureConfig, find_foci, measure, measure_field, store_foci

NOISE = 20.0
FOCI = MeasureConfig(families=("foci",), workers=1)


def nucleus_with_foci(rng, count, snr, radius=30, sigma=1.3, texture=0.0, apart=3.0):
    """Nucleus on a gradient, foci at least ``snr`` times the noise high and ``apart`` widths apart."""
    side = int(2.6 * radius) + 12
    y, x = np.mgrid[:side, :side] - side / 2
    edge = radius * (1 + 0.08 * np.cos(2 * np.arctan2(y, x) + rng.uniform(0, 6)))
    mask = np.hypot(y, x) < edge
    image = 400 * (0.25 + mask * (0.75 + 0.2 * x / radius))
    rough = ndimage.gaussian_filter(rng.normal(size=mask.shape), 4)
    image += mask * texture * NOISE * rough / rough.std()
    inner = np.argwhere(ndimage.binary_erosion(mask, iterations=2))
    places: list = []
    for _ in range(100_000):
        if len(places) == count:
            break
        place = inner[rng.integers(len(inner))] + rng.uniform(-0.5, 0.5, 2)
        if all(np.hypot(*(place - other)) >= apart * sigma for other in places):
            places.append(place)
    rows, columns = np.mgrid[:side, :side]
    for place in places:
        width = sigma * np.exp(0.1 * rng.normal())
        height = snr * NOISE * rng.uniform(1, 1.5)
        image += height * np.exp(-((rows - place[0]) ** 2 + (columns - place[1]) ** 2) / 2 / width**2)
    image += rng.normal(size=mask.shape) * NOISE * np.sqrt(np.maximum(image, 1) / 400)
    return np.rint(np.clip(image, 0, 65535)).astype(np.uint16), mask, np.array(places).reshape(-1, 2)


def matches(found, true, tolerance=2.5):
    if not len(found) or not len(true):
        return 0
    apart = np.hypot(*(found[:, None] - true[None]).transpose(2, 0, 1))
    rows, columns = linear_sum_assignment(np.where(apart <= tolerance, apart, 1e3))
    return int((apart[rows, columns] <= tolerance).sum())


def foci_in(image, mask, config=FOCI):
    table = find_foci(np.stack([image, image]), mask.astype(np.int32), ["DAPI", "gammaH2AX"], "gH2AX", config)
    return table[["y", "x"]].to_numpy()


@pytest.mark.parametrize(("snr", "texture"), [(3, 0), (5, 0), (10, 0), (6, 1), (10, 2)])
@pytest.mark.parametrize("count", [3, 12, 30])
def test_finds_simulated_foci(snr, texture, count):
    rng = np.random.default_rng(7)
    right = found = true = 0
    for _ in range(6):
        image, mask, places = nucleus_with_foci(rng, count, snr, texture=texture)
        foci = foci_in(image, mask)
        right, found, true = right + matches(foci, places), found + len(foci), true + len(places)
    assert 2 * right / (found + true) >= 0.9
    assert abs(found - true) <= max(1, 0.05 * true)


@pytest.mark.parametrize(("snr", "texture"), [(3, 0), (6, 1)])
@pytest.mark.parametrize(("radius", "count"), [(15, 12), (20, 30), (25, 30)])
def test_counts_crowded_foci_that_can_be_told_apart(snr, texture, radius, count):
    rng = np.random.default_rng(11)
    right = found = true = 0
    for _ in range(12):
        image, mask, places = nucleus_with_foci(rng, count, snr, radius, texture=texture)
        foci = foci_in(image, mask)
        right, found, true = right + matches(foci, places), found + len(foci), true + len(places)
    assert 2 * right / (found + true) >= 0.95
    assert abs(found - true) <= 0.05 * true


@pytest.mark.parametrize(("count", "radius"), [(4, 30), (12, 30), (30, 30), (30, 20)])
def test_crowding_tells_how_many_foci_at_random_places_are_hidden(count, radius):
    rng = np.random.default_rng(3)
    found, estimated, crowding, true = [], [], [], 0
    for _ in range(160 // count + 12):
        image, mask, places = nucleus_with_foci(rng, count, 5, radius, apart=0.0)
        row = measure_field(image[None], mask.astype(int), None, ["gammaH2AX"], config=FOCI).iloc[0]
        n, corrected = row["nucleus_foci_count_gammaH2AX"], row["nucleus_foci_count_corrected_gammaH2AX"]
        own = np.pi * 2.6**2 / mask.sum()
        assert row["nucleus_foci_crowding_gammaH2AX"] == pytest.approx(n * own)
        assert n == pytest.approx(corrected * np.exp(-0.5 * own * corrected))
        found, estimated, crowding = [*found, n], [*estimated, corrected], [*crowding, n * own]
        true += len(places)
    lost = 1 - np.sum(found) / true
    assert abs(lost - 0.5 * np.mean(crowding)) < 0.08
    assert abs(np.sum(estimated) / true - 1) < 0.05


def test_too_crowded_to_be_corrected_is_missing_with_a_reason():
    """Foci on a grid, as close as can be told apart: at random places so many would never be seen."""
    y, x = np.mgrid[:60, :60].astype(float)
    image = 200 + np.random.default_rng(0).normal(size=y.shape)
    for row, column in np.ndindex(10, 10):
        image += 300 * np.exp(-((y - 10 - 4 * row) ** 2 + (x - 10 - 4 * column) ** 2) / 2 / 1.3**2)
    labels = np.pad(np.ones((44, 44), int), 8)
    table = measure_field(image[None], labels, None, ["gammaH2AX"], config=FOCI)
    assert table["nucleus_foci_count_gammaH2AX"].item() == 100
    assert np.isnan(table["nucleus_foci_count_corrected_gammaH2AX"].item())
    assert table.attrs["missing"]["foci lie so close together that their true number cannot be told"] == 1


def two_spots(gap, angle, snr, rng, width=1.3):
    y, x = np.mgrid[:61, :61] - 30.0
    mask = np.hypot(y, x) < 24
    image = 300.0 + rng.normal(scale=10, size=y.shape)
    places = 0.5 * gap * np.array([[np.sin(angle), np.cos(angle)], [-np.sin(angle), -np.cos(angle)]])
    for place in places:
        image += 10 * snr * np.exp(-((y - place[0]) ** 2 + (x - place[1]) ** 2) / 2 / width**2)
    return image, mask, places + 30


@pytest.mark.parametrize("angle", np.linspace(0, np.pi, 5, endpoint=False))
def test_two_foci_with_one_maximum_are_told_apart_where_the_noise_allows(angle):
    """At 1.8 sigma the sum of two Gaussians has a single maximum."""
    rng = np.random.default_rng(4)
    image, mask, places = two_spots(1.8 * 1.3, angle, 12, rng)
    found = foci_in(np.rint(image).astype(np.uint16), mask)
    assert matches(found, places, 0.7) == len(found) == 2


@pytest.mark.parametrize("width", [1.1, 1.3, 1.6])
def test_a_round_focus_stays_one_however_bright_and_wide(width):
    rng = np.random.default_rng(5)
    others = 0
    for _ in range(10):
        y, x = rng.uniform(20, 40, 2)
        rows, columns = np.mgrid[:61, :61]
        image = 300 + rng.normal(scale=10, size=rows.shape)
        image += 400 * np.exp(-((rows - y) ** 2 + (columns - x) ** 2) / 2 / width**2)
        mask = np.hypot(rows - 30, columns - 30) < 24
        found = foci_in(np.rint(image).astype(np.uint16), mask)
        near = found[np.hypot(*(found - [y, x]).T) < 6]
        np.testing.assert_allclose(near, [[y, x]], atol=0.15)
        others += len(found) - 1
    assert others <= 1


@pytest.mark.parametrize("sigma", [0.7, 3.0, 10.0])
def test_any_width_of_foci_is_looked_for(sigma):
    rng = np.random.default_rng(6)
    rows, columns = np.mgrid[:121, :121]
    image = 300 + rng.normal(scale=10, size=rows.shape)
    for place in ((60, 35), (60, 85)):
        image += 200 * np.exp(-((rows - place[0]) ** 2 + (columns - place[1]) ** 2) / 2 / sigma**2)
    mask = np.hypot(rows - 60, columns - 60) < 55
    config = MeasureConfig(families=("foci",), foci_sigma_px=sigma, workers=1)
    found = foci_in(np.rint(image).astype(np.uint16), mask, config)
    assert matches(found, np.array([[60, 35], [60, 85]])) == 2
    assert len(found) <= 3


@pytest.mark.parametrize("texture", [0, 1])
def test_finds_next_to_nothing_where_there_is_nothing(texture):
    rng = np.random.default_rng(3)
    found = [len(foci_in(*nucleus_with_foci(rng, 0, 3, texture=texture)[:2])) for _ in range(12)]
    assert np.mean(found) <= 0.5


def test_what_surrounds_the_nucleus_changes_nothing():
    image, mask, _ = nucleus_with_foci(np.random.default_rng(1), 8, 6)
    other = np.where(mask, image, 50_000).astype(np.uint16)
    np.testing.assert_array_equal(foci_in(image, mask), foci_in(other, mask))


def test_features_say_what_the_foci_are():
    sigma, height, under = 1.5, 900.0, 200.0
    y, x = np.mgrid[:81, :81]
    mask = np.hypot(y - 40, x - 40) < 32
    places = np.array([[40, 40], [40, 56], [24, 40]])
    image = under + sum(height * np.exp(-((y - p[0]) ** 2 + (x - p[1]) ** 2) / 2 / sigma**2) for p in places)
    image = image + np.random.default_rng(0).normal(scale=2, size=image.shape)
    dna = np.where(x > 48, 900, 100) + (y % 2)
    config = MeasureConfig(families=("foci",), foci_sigma_px=sigma, workers=1)
    row = measure_field(
        np.stack([dna, image]), mask.astype(int), None, ["DAPI", "gammaH2AX"], 0.1, config
    ).iloc[0]
    area = 2 * np.pi * sigma**2 * np.log(2)
    assert row["nucleus_foci_count_gammaH2AX"] == 3
    assert row["nucleus_foci_area_mean_gammaH2AX"] == pytest.approx(area * 0.01, rel=0.15)
    assert row["nucleus_foci_height_mean_gammaH2AX"] == pytest.approx(height, rel=0.05)
    assert row["nucleus_foci_contrast_gammaH2AX"] == pytest.approx(height / under, rel=0.1)
    # Half of a Gaussian's light lies above half of its height.
    assert row["nucleus_foci_intensity_mean_gammaH2AX"] == pytest.approx(np.pi * sigma**2 * height, rel=0.15)
    assert row["nucleus_foci_spacing_gammaH2AX"] == pytest.approx((16 + 16 + 16) / 3 * 0.1, rel=0.02)
    assert row["nucleus_foci_in_dense_chromatin_gammaH2AX"] == pytest.approx(1 / 3)
    assert row["nucleus_foci_depth_gammaH2AX"] == pytest.approx((1 + 0.5 + 0.5) / 3, abs=0.03)


def test_count_of_the_points_is_the_feature(field):
    points = find_foci(field.image, field.labels, field.stains, "gammaH2AX", FOCI)
    table = measure_field(field.image, field.labels, field.cells, field.stains, config=FOCI)
    counted = points.groupby("cell").size().reindex(table.index, fill_value=0)
    np.testing.assert_array_equal(counted, table["nucleus_foci_count_gammaH2AX"])
    at = np.rint(points[["y", "x"]].to_numpy()).astype(int)
    np.testing.assert_array_equal(field.labels[at[:, 0], at[:, 1]], points["cell"])


def test_points_of_a_store_lie_where_those_of_the_field_do(tmp_path, field, forms):
    store = forms.write_store(tmp_path / "f.cells.zarr", field)
    wanted = find_foci(field.image, field.labels, field.stains, "gammaH2AX", FOCI)
    found = store_foci(store, "gammaH2AX", config=FOCI)
    found["cell"] = store.obs["label"].to_numpy()[found["cell"]]
    found = found.sort_values(["cell", "y", "x"], ignore_index=True)
    np.testing.assert_allclose(found[["cell", "y", "x"]], wanted[["cell", "y", "x"]], atol=1e-6)


def test_stains_that_are_not_there_are_named(tmp_path, field, forms):
    with pytest.raises(PanelMismatch, match="53BP1"):
        find_foci(field.image, field.labels, field.stains, "53BP1")
    store = forms.write_store(tmp_path / "f.cells.zarr", field)
    with pytest.raises(UnknownStain, match="53BP1"):
        store_foci(store, "53BP1")
    asked = MeasureConfig(families=("foci",), foci_stains=("gH2AX", "53BP1"), workers=1)
    with pytest.raises(UnknownStain, match="53BP1"):
        measure(store, asked)
    with pytest.raises(UnknownStain, match="53BP1"):
        measure_field(field.image, field.labels, None, field.stains, config=asked)
    unused = asked.model_copy(update={"families": ("shape",)})
    assert len(measure_field(field.image, field.labels, None, field.stains, config=unused))


@pytest.mark.parametrize("value", [0, 7])
def test_a_nucleus_without_light_has_missing_foci_and_a_reason(forms, value):
    labels = forms.one_label(forms.wavy_disc((40, 40), (20, 20), 15))
    image = np.full((2, *labels.shape), value, np.uint16)
    table = measure_field(image, labels, None, ["DAPI", "gammaH2AX"], config=FOCI)
    assert table.isna().all(axis=None)
    assert table.attrs["missing"] == {
        "the intensity is the same in every pixel of the region": table.shape[1]
    }
