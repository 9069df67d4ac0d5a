"""Foci against simulated ones of known number and place."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import ndimage
from scipy.optimize import linear_sum_assignment

from napari_apollo.errors import PanelMismatch, UnknownStain
from napari_apollo.measure import MeasureConfig, find_foci, measure_field, store_foci

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


def test_crowding_warns_of_foci_that_cannot_be_told_apart():
    """Of foci at random places as many are lost as crowding says, or more; it is low where few are lost."""
    rng = np.random.default_rng(3)
    crowding, lost = [], []
    for count, radius in ((4, 30), (12, 30), (30, 30), (30, 20)):
        counts, shares = [], []
        for _ in range(8):
            image, mask, places = nucleus_with_foci(rng, count, 8, radius, apart=0.0)
            row = measure_field(image[None], mask.astype(int), None, ["gammaH2AX"], config=FOCI).iloc[0]
            counts.append(1 - row["nucleus_foci_count_gammaH2AX"] / len(places))
            shares.append(row["nucleus_foci_crowding_gammaH2AX"])
            known = row["nucleus_foci_count_gammaH2AX"] * np.pi * 2.6**2 / mask.sum()
            assert row["nucleus_foci_crowding_gammaH2AX"] == pytest.approx(known)
        crowding.append(np.mean(shares))
        lost.append(np.mean(counts))
    assert crowding[0] < 0.05
    assert abs(lost[0]) < 0.05
    assert all(loss >= 0.4 * share for share, loss in zip(crowding[1:], lost[1:], strict=True))
    assert np.all(np.diff(crowding) > 0)


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
    with pytest.raises(UnknownStain, match="53BP1"):
        store_foci(forms.write_store(tmp_path / "f.cells.zarr", field), "53BP1")


@pytest.mark.parametrize("value", [0, 7])
def test_a_nucleus_without_light_has_missing_foci_and_a_reason(forms, value):
    labels = forms.one_label(forms.wavy_disc((40, 40), (20, 20), 15))
    image = np.full((2, *labels.shape), value, np.uint16)
    table = measure_field(image, labels, None, ["DAPI", "gammaH2AX"], config=FOCI)
    assert table.isna().all(axis=None)
    assert table.attrs["missing"] == {
        "the intensity is the same in every pixel of the region": table.shape[1]
    }
