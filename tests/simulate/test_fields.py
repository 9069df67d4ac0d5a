"""What is planted in a field can be found in its images."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from scipy import ndimage, stats
from skimage.feature import peak_local_max
from skimage.measure import label, regionprops_table

from napari_apollo.errors import ConfigError
from napari_apollo.simulate import PANELS, STAINS, SceneConfig, SimulatedField, make_donor, simulate_field


def whole(field: SimulatedField) -> pd.DataFrame:
    return field.truth[~field.truth["at_border"]]


def stain(field: SimulatedField, name: str) -> np.ndarray:
    return field.image[STAINS.index(name)].astype(float)


def per_cell(field: SimulatedField, values: np.ndarray, labels: np.ndarray) -> np.ndarray:
    return ndimage.mean(values, labels, whole(field).index)


def test_types_shapes_and_labels(clean_fields: list[SimulatedField]) -> None:
    for field in clean_fields:
        assert field.image.shape == (7, 512, 512)
        assert field.image.dtype == np.uint16
        assert field.nuclei.dtype == field.cells.dtype == np.int32
        assert field.nuclei.max() <= len(field.truth)
        inside = field.nuclei > 0
        np.testing.assert_array_equal(field.cells[inside], field.nuclei[inside])
        assert (field.cells > 0).sum() > inside.sum()
        np.testing.assert_array_equal(field.measured(), field.image[[0, 1, 2, 3]])


def test_nuclear_areas_and_centroids_are_those_planted(clean_fields: list[SimulatedField]) -> None:
    for field in clean_fields:
        table = whole(field)
        found = pd.DataFrame(
            regionprops_table(field.nuclei, properties=("label", "area", "centroid"))
        ).set_index("label")
        found = found.loc[table.index]
        np.testing.assert_allclose(found["area"] * 0.15**2, table["nucleus_area_um2"], rtol=0.015)
        np.testing.assert_array_equal(found["area"], table["nucleus_pixels"])
        np.testing.assert_allclose(found[["centroid-0", "centroid-1"]], table[["y", "x"]], atol=0.15)


def test_every_nucleus_is_in_one_piece_and_touches_no_other(clean_fields: list[SimulatedField]) -> None:
    for field in clean_fields:
        assert label(field.nuclei > 0, connectivity=2).max() == len(np.unique(field.nuclei)) - 1


def test_elongation_is_that_planted(clean_fields: list[SimulatedField]) -> None:
    for field in clean_fields:
        table = whole(field)
        table = table[table["indentation"] < 0.03]
        found = pd.DataFrame(
            regionprops_table(field.nuclei, properties=("label", "axis_major_length", "axis_minor_length"))
        ).set_index("label")
        found = (found["axis_major_length"] / found["axis_minor_length"]).loc[table.index]
        assert np.median(np.abs(found - table["elongation"])) < 0.05


def test_foci_are_counted_in_a_noise_free_image(clean_fields: list[SimulatedField]) -> None:
    planted, found = [], []
    for field in clean_fields:
        image = stain(field, "gammaH2AX")
        sharp = image - ndimage.gaussian_filter(image, 4)
        places = peak_local_max(
            sharp, min_distance=2, threshold_abs=120, labels=(field.nuclei > 0).astype(int)
        )
        counts = np.bincount(field.nuclei[tuple(places.T)], minlength=len(field.truth) + 1)
        planted.append(whole(field)["foci_count"].to_numpy())
        found.append(counts[whole(field).index])
        assert len(field.foci) == field.truth["foci_count"].sum()
    planted, found = np.concatenate(planted), np.concatenate(found)
    assert planted.sum() > 300
    assert np.abs(planted - found).sum() < 0.03 * planted.sum()


def test_foci_lie_inside_their_nuclei_apart_from_each_other(clean_fields: list[SimulatedField]) -> None:
    for field in clean_fields:
        foci = field.foci[field.foci["label"].isin(whole(field).index)]
        at = np.rint(foci[["y", "x"]]).astype(int).to_numpy()
        np.testing.assert_array_equal(field.nuclei[tuple(at.T)], foci["label"])
        for _, own in foci.groupby("label"):
            distance = np.hypot(
                *(own[["y", "x"]].to_numpy()[:, None] - own[["y", "x"]].to_numpy()).transpose(2, 0, 1)
            )
            np.fill_diagonal(distance, np.inf)
            assert distance.min() * 0.15 >= 0.8 - 1e-9


def test_condensed_share_is_seen_in_dapi(clean_fields: list[SimulatedField]) -> None:
    shares, seen = [], []
    for field in clean_fields:
        image = stain(field, "DAPI")
        for row in whole(field).itertuples():
            inside = ndimage.binary_erosion(field.nuclei == row.Index, iterations=4)
            shares.append(row.heterochromatin)
            # Blocked contrast: how the upper and lower tenth compare tells open from condensed chromatin.
            low, middle, high = np.quantile(image[inside], (0.1, 0.5, 0.9))
            seen.append((middle - low) / (high - low))
    assert stats.spearmanr(shares, seen).statistic > 0.5


def test_hidden_stains_show_the_levels_of_the_truth(clean_fields: list[SimulatedField]) -> None:
    for name in ("CD3", "CD16", "CD4", "CD8"):
        level, seen = [], []
        for field in clean_fields:
            rim = field.cells * (ndimage.grey_erosion(field.cells, 5) != field.cells)
            # Light of neighbours spills over, so a cell counts its lower quartile.
            level.append(whole(field)[f"{name}_level"])
            seen.append(
                ndimage.labeled_comprehension(
                    stain(field, name), rim, whole(field).index, lambda v: np.quantile(v, 0.25), float, 0.0
                )
            )
        assert stats.pearsonr(np.concatenate(level), np.concatenate(seen)).statistic > 0.9, name


def test_lamin_is_a_rim_and_follows_its_level(clean_fields: list[SimulatedField]) -> None:
    for field in clean_fields:
        core = field.nuclei * ndimage.binary_erosion(field.nuclei > 0, iterations=6)
        rim = field.nuclei * (ndimage.binary_erosion(field.nuclei > 0, iterations=1) != (field.nuclei > 0))
        at_rim = per_cell(field, stain(field, "lamin"), rim)
        assert (at_rim > 1.5 * per_cell(field, stain(field, "lamin"), core)).all()
        assert stats.pearsonr(at_rim, whole(field)["lamin_level"]).statistic > 0.97


def test_dna_is_brighter_where_there_is_more_of_it(clean_fields: list[SimulatedField]) -> None:
    for field in clean_fields:
        table = whole(field)
        mean = per_cell(field, stain(field, "DAPI"), field.nuclei) - 200
        assert (
            stats.pearsonr(mean * np.sqrt(table["nucleus_area_um2"]), table["dna_content"]).statistic > 0.97
        )


def test_foci_say_nothing_about_dapi() -> None:
    config = SceneConfig(noise=False, batch_effect=0, condition_effect=0, cells_per_field=90)
    donor = make_donor(config, "A", "control")
    tables = []
    for index in range(5):
        field = simulate_field(config, donor, index=index)
        tables.append(whole(field).assign(dapi=per_cell(field, stain(field, "DAPI"), field.nuclei)))
    table = pd.concat(tables)
    assert abs(stats.spearmanr(table["foci_count"], table["dapi"]).statistic) < 0.15


def test_noise_is_that_of_the_camera_around_the_noise_free_field(
    noisy_pair: tuple[SimulatedField, SimulatedField],
) -> None:
    noisy, clean = noisy_pair
    pd.testing.assert_frame_equal(noisy.truth, clean.truth)
    np.testing.assert_array_equal(noisy.nuclei, clean.nuclei)
    expected = clean.image.astype(float)
    spread = np.sqrt(12.0 * (expected - 200) + 6.0**2)
    score = (noisy.image - expected) / spread
    assert score.mean() == pytest.approx(0, abs=0.01)
    assert score.std() == pytest.approx(1, abs=0.02)


def test_brightness_changes_light_and_nothing_else() -> None:
    config = SceneConfig(field_size=128, cells_per_field=6, noise=False)
    bright = config.model_copy(update={"brightness": 3.0})
    one, three = (simulate_field(own, make_donor(own, "A", "control")) for own in (config, bright))
    pd.testing.assert_frame_equal(one.truth, three.truth)
    np.testing.assert_allclose(three.image - 200.0, 3 * (one.image - 200.0), atol=2)


def test_coarse_pixels_show_the_same_light_as_fine_ones() -> None:
    fine = SceneConfig(field_size=256, pixel_size_um=0.2, cells_per_field=12, noise=False, batch_effect=0)
    coarse = SceneConfig(field_size=128, pixel_size_um=0.4, cells_per_field=12, noise=False, batch_effect=0)
    first, second = (simulate_field(own, make_donor(own, "A", "control")) for own in (fine, coarse))
    pd.testing.assert_series_equal(first.truth["nucleus_area_um2"], second.truth["nucleus_area_um2"])
    binned = first.image.astype(float).reshape(7, 128, 2, 128, 2).mean(axis=(2, 4))
    for own, other in zip(binned, second.image.astype(float), strict=True):
        np.testing.assert_allclose(own, other, atol=0.03 * (own.max() - 200))


def test_the_same_seed_gives_the_same_field_in_any_company() -> None:
    config = SceneConfig(field_size=128, cells_per_field=8, seed=2)
    donor = make_donor(config, "A", "control")
    first = simulate_field(config, donor, PANELS[1], 1)
    simulate_field(config, make_donor(config, "B", "glioma"))
    again = simulate_field(config, make_donor(config, "A", "control"), PANELS[1], 1)
    assert first.image.tobytes() == again.image.tobytes()
    assert first.nuclei.tobytes() == again.nuclei.tobytes()
    pd.testing.assert_frame_equal(first.truth, again.truth)
    for other in (
        simulate_field(config, donor, PANELS[1], 0),
        simulate_field(config, donor, PANELS[0], 1),
        simulate_field(config.model_copy(update={"seed": 3}), donor, PANELS[1], 1),
    ):
        assert first.image.tobytes() != other.image.tobytes()


def test_a_crowded_field_holds_as_many_as_find_room() -> None:
    config = SceneConfig(field_size=128, cells_per_field=300)
    field = simulate_field(config, make_donor(config, "A", "control"))
    assert 5 < len(field.truth) < 60
    assert list(field.truth.index) == list(range(1, len(field.truth) + 1))


def test_settings_out_of_bounds_are_named() -> None:
    with pytest.raises(ConfigError, match="pixel_size_um = 3"):
        SceneConfig(pixel_size_um=3)
