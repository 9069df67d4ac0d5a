"""Statistics, condensation, texture, depth, pairs and proteins against plain NumPy and other libraries."""

from __future__ import annotations

from itertools import combinations

import numpy as np
import pytest
from scipy import ndimage, stats
from skimage.feature import graycomatrix, graycoprops
from skimage.filters import threshold_otsu

from napari_apollo.measure import MeasureConfig, measure_field


@pytest.fixture(scope="module")
def found(field, quick):
    return measure_field(field.image, field.labels, field.cells, field.stains, config=quick)


def entropy_of(values, bins=64):
    place = (values - values.min()) * (bins / np.ptp(values))
    return stats.entropy(np.bincount(np.minimum(place.astype(int), bins - 1)), base=2)


STATISTICS = {
    "mean": np.mean,
    "sum": np.sum,
    "sd": np.std,
    "cv": lambda v: np.std(v) / np.mean(v),
    "min": np.min,
    "q05": lambda v: np.percentile(v, 5),
    "q25": lambda v: np.percentile(v, 25),
    "median": np.median,
    "q75": lambda v: np.percentile(v, 75),
    "q95": lambda v: np.percentile(v, 95),
    "max": np.max,
    "mad": lambda v: stats.median_abs_deviation(v),
    "skewness": stats.skew,
    "kurtosis": stats.kurtosis,
    "entropy": entropy_of,
}


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.float32])
def test_statistics_equal_numpy_and_scipy(forms, field, dtype):
    image = field.image.astype(float)
    image = image / 16 if dtype == np.uint8 else image
    image = (image + 0.37 * (dtype == np.float32)).astype(dtype)
    config = MeasureConfig(families=("intensity",), workers=1)
    table = measure_field(image, field.labels, field.cells, field.stains, config=config)
    cast = forms.Field(image, field.labels, field.cells)
    for stain in field.stains:
        for region in ("nucleus", "cytoplasm", "cell"):
            for name, function in STATISTICS.items():
                wanted = [function(cast.values(stain, region, label)) for label in table.index]
                np.testing.assert_allclose(
                    table[f"{region}_{name}_{stain}"], wanted, rtol=1e-9, atol=1e-9, err_msg=name
                )


@pytest.mark.parametrize("count", [1, 2, 3, 4, 7, 8])
def test_median_deviation_of_few_values(forms, count):
    rng = np.random.default_rng(count)
    for _ in range(20):
        row = rng.integers(0, 30, count).astype(np.uint16)
        image = np.pad(row[None], 2)
        table = measure_field(
            image[None], (np.pad(np.ones_like(row)[None], 2)).astype(int), None, ["DAPI"],
            config=MeasureConfig(families=("intensity",), workers=1),
        )  # fmt: skip
        assert table["nucleus_mad_DAPI"].item() == stats.median_abs_deviation(row)


def test_condensation_equals_its_definition(field, found):
    for label in found.index:
        v = field.values("DAPI", "nucleus", label)
        dense = v >= v.mean() + v.std()
        row = found.loc[label]
        assert row["nucleus_hc_area_fraction_DAPI"] == pytest.approx(dense.mean())
        assert row["nucleus_hc_ec_area_ratio_DAPI"] == pytest.approx(dense.sum() / (~dense).sum())
        assert row["nucleus_hc_content_fraction_DAPI"] == pytest.approx(v[dense].sum() / v.sum())
        assert row["nucleus_hc_ec_content_ratio_DAPI"] == pytest.approx(v[dense].sum() / v[~dense].sum())
        assert row["nucleus_i80_i20_DAPI"] == pytest.approx(np.percentile(v, 80) / np.percentile(v, 20))
        nucleus = field.nucleus(label)
        pieces, count = ndimage.label(
            nucleus & (field.image[0] >= v.mean() + v.std()), structure=np.ones((3, 3))
        )
        assert row["nucleus_hc_pieces_DAPI"] == count
        assert row["nucleus_hc_largest_fraction_DAPI"] == pytest.approx(
            np.bincount(pieces.ravel())[1:].max() / nucleus.sum()
        )
        gy, gx = np.gradient(field.image[0].astype(float))
        inner = ndimage.binary_erosion(nucleus)
        assert row["nucleus_edge_density_DAPI"] == pytest.approx(np.hypot(gy, gx)[inner].mean() / v.mean())


def test_texture_equals_scikit_image_without_background(field, found):
    levels = 32
    angles = [0, np.pi / 4, np.pi / 2, 3 * np.pi / 4]
    for label in found.index[:8]:
        nucleus = field.nucleus(label)
        for channel, stain in enumerate(field.stains):
            v = field.image[channel].astype(float)
            low, high = v[nucleus].min(), v[nucleus].max()
            grey = np.minimum(levels - 1, ((v - low) * (levels / (high - low))).astype(int))
            grey = np.where(nucleus, grey + 1, 0).astype(np.uint8)
            pairs = graycomatrix(grey, [1, 3, 5], angles, levels + 1, symmetric=True)[1:, 1:].astype(float)
            pairs /= pairs.sum((0, 1))
            for name in ("contrast", "dissimilarity", "homogeneity", "ASM", "energy", "correlation"):
                wanted = graycoprops(pairs, name).mean(axis=1)
                got = [found.at[label, f"nucleus_texture_{name.lower()}_{d}px_{stain}"] for d in (1, 3, 5)]
                np.testing.assert_allclose(got, wanted, rtol=1e-9)
            wanted = [stats.entropy(pairs[:, :, d].reshape(-1, 4), base=2).mean() for d in range(3)]
            got = [found.at[label, f"nucleus_texture_entropy_{d}px_{stain}"] for d in (1, 3, 5)]
            np.testing.assert_allclose(got, wanted, rtol=1e-9)


def test_texture_of_stripes_is_known():
    """Columns of two alternating values: neighbours along x differ, along y they are equal."""
    labels = np.pad(np.ones((16, 16), int), 3)
    image = np.where(np.arange(22) % 2, 100, 300).astype(np.uint16) * np.ones((22, 1), np.uint16)
    config = MeasureConfig(families=("texture",), texture_distances_px=(1, 2), texture_levels=2, workers=1)
    row = measure_field(image[None], labels, None, ["DAPI"], config=config).iloc[0]
    # 0°, 45° and 135° change column by one, 90° does not.
    assert row["nucleus_texture_contrast_1px_DAPI"] == pytest.approx(3 / 4)
    assert row["nucleus_texture_correlation_1px_DAPI"] == pytest.approx((-1 - 1 - 1 + 1) / 4, abs=0.01)
    assert row["nucleus_texture_homogeneity_1px_DAPI"] == pytest.approx((3 * 0.5 + 1) / 4)


def test_radial_distribution_equals_scipy(field, found):
    for region in ("nucleus", "cell"):
        for label in found.index[:10]:
            mask = field.region(region, label)
            depth = ndimage.distance_transform_edt(mask)[mask] - 0.5
            row = found.loc[label]
            assert row[f"{region}_inscribed_radius"] == pytest.approx(depth.max())
            assert row[f"{region}_depth_mean"] == pytest.approx(depth.mean())
            ring = np.minimum(4, (5 * depth / depth.max()).astype(int))
            cy, cx = ndimage.center_of_mass(mask)
            for channel, stain in enumerate(field.stains):
                v = field.values(stain, region, label)
                for k in range(5):
                    wanted = v[ring == k].mean() / v.mean() if (ring == k).any() else np.nan
                    got = row[f"{region}_ring{k + 1}_{stain}"]
                    assert got == pytest.approx(wanted, rel=1e-9, nan_ok=True)
                assert row[f"{region}_intensity_depth_{stain}"] == pytest.approx(
                    (v * depth).sum() / v.sum() / depth.mean()
                )
                wy, wx = ndimage.center_of_mass(field.image[channel].astype(float) * mask)
                assert row[f"{region}_mass_displacement_{stain}"] == pytest.approx(np.hypot(wy - cy, wx - cx))


def test_pairs_of_stains_equal_their_definitions(field, found):
    for region in ("nucleus", "cell"):
        for first, second in combinations(("DAPI", "CD3", "gammaH2AX"), 2):
            for label in found.index[:10]:
                a, b = (field.values(stain, region, label) for stain in (first, second))
                row = found.loc[label]
                pair = f"{first}_{second}"
                assert row[f"{region}_pearson_{pair}"] == pytest.approx(stats.pearsonr(a, b).statistic)
                assert row[f"{region}_overlap_{pair}"] == pytest.approx(
                    (a * b).sum() / np.sqrt((a * a).sum() * (b * b).sum())
                )


def test_manders_of_planted_overlap():
    """Stain B covers the left half, stain A a quarter of its intensity there."""
    labels = np.pad(np.ones((20, 20), int), 2)
    a, b = np.full((24, 24), 10.0), np.full((24, 24), 5.0)
    b[:, :12] = 50
    a[2:7, 2:12], a[7:22, 12:22] = 60, 60
    row = measure_field(
        np.stack([np.ones_like(a), a, b]), labels, None, ["DAPI", "CD3", "CD4"],
        config=MeasureConfig(families=("colocalisation",), workers=1),
    ).iloc[0]  # fmt: skip
    inside = (slice(2, 22), slice(2, 22))
    left = np.zeros((24, 24), bool)
    left[:, :12] = True
    assert row["nucleus_manders_CD3_CD4"] == pytest.approx(a[inside][left[inside]].sum() / a[inside].sum())
    on = a == 60
    assert row["nucleus_manders_CD4_CD3"] == pytest.approx(b[inside][on[inside]].sum() / b[inside].sum())
    assert row["nucleus_jaccard_CD3_CD4"] == pytest.approx(
        (on & left)[inside].sum() / (on | left)[inside].sum()
    )
    assert np.isnan(row["nucleus_pearson_DAPI_CD3"])


def test_threshold_splits_as_otsu_does(field):
    from napari_apollo.measure.colocalisation import otsu

    for label in range(1, 10):
        v = field.values("CD3", "nucleus", label)
        mine, theirs = otsu(v), threshold_otsu(v, nbins=256)
        between = v[(v > min(mine, theirs)) & (v < max(mine, theirs))]
        assert len(np.unique(between)) <= 1


def test_proteins_are_measured_around_the_nucleus(field, found):
    label = 5
    nucleus, cell = field.nucleus(label), field.region("cell", label)
    grown = ndimage.binary_dilation(nucleus, iterations=2, mask=cell | nucleus)
    for channel, stain in ((1, "CD3"), (2, "gammaH2AX")):
        v = field.image[channel][grown].astype(float)
        wanted = {
            "relative": v.sum() / nucleus.sum(),
            "min": v.min(),
            "max": v.max(),
            "mean": v.mean(),
            "sd": v.std(),
            "q25": np.percentile(v, 25),
            "median": np.median(v),
            "q75": np.percentile(v, 75),
            "skewness": stats.skew(v),
            "kurtosis": stats.kurtosis(v),
        }
        for name, value in wanted.items():
            assert found.at[label, f"perinucleus_{name}_{stain}"] == pytest.approx(value), name


def test_neighbours_equal_brute_force(field, quick):
    table = measure_field(field.image, field.labels, field.cells, field.stains, 0.5, quick)
    centres = np.array(
        ndimage.center_of_mass(field.labels > 0, field.labels, table.index.to_numpy())
    ) * 0.5  # fmt: skip
    apart = np.hypot(*(centres[:, None] - centres[None]).transpose(2, 0, 1))
    near = np.sort(apart, axis=1)[:, 1:]
    np.testing.assert_allclose(table["neighbour_nearest"], near[:, 0], rtol=1e-9)
    np.testing.assert_allclose(table["neighbour_nearest5"], near[:, :5].mean(axis=1), rtol=1e-9)
    np.testing.assert_array_equal(table["neighbour_within_radius"], (near <= 20).sum(axis=1))
    order = np.argsort(apart, axis=1)
    arms = centres[order[:, 1:3]] - centres[:, None]
    cosine = (arms[:, 0] * arms[:, 1]).sum(1) / np.prod(np.hypot(*arms.transpose(2, 0, 1)), axis=1)
    np.testing.assert_allclose(np.cos(table["neighbour_angle"]), cosine, atol=1e-9)


def test_contact_is_the_shared_part_of_the_outline():
    labels = np.zeros((12, 20), int)
    labels[3:9, 4:9], labels[3:9, 9:15] = 1, 2
    table = measure_field(
        np.ones((1, 12, 20), np.uint8), labels, None, ["DAPI"],
        config=MeasureConfig(families=("neighbours",), workers=1),
    )  # fmt: skip
    assert table["neighbour_nucleus_contact"].tolist() == pytest.approx([6 / 22, 6 / 24])
