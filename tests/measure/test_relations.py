"""Families one by one, and features that follow from others or from single foci."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from napari_apollo.measure import MeasureConfig, find_foci, measure_field, measure_stack
from napari_apollo.measure.config import ALL_FAMILIES
from napari_apollo.measure.registry import OWN


@pytest.fixture(scope="module")
def small(forms):
    return forms.make_field(seed=9, side=96)


@pytest.fixture(scope="module")
def found(small, quick):
    return measure_field(small.image, small.labels, small.cells, small.stains, 0.5, quick)


@pytest.mark.parametrize("family", ALL_FAMILIES)
def test_a_family_alone_gives_what_it_gives_among_all(small, found, family):
    config = MeasureConfig(families=(family,), workers=1)
    alone = measure_field(small.image, small.labels, small.cells, small.stains, 0.5, config)
    assert {about["family"] for about in alone.attrs["var"].values()} == {family}
    own = [name for name, about in found.attrs["var"].items() if about["family"] == family]
    assert list(alone) == own
    pd.testing.assert_frame_equal(alone, found[own], check_exact=True)


def test_every_column_says_its_unit_its_definition_and_its_source(found):
    for name, about in found.attrs["var"].items():
        assert about["unit"], name
        assert about["description"], name
        assert about["source"], name
        assert about["missing"] or found[name].notna().all(), name
    assert {about["source"] for about in found.attrs["var"].values()} > {OWN, "numpy.mean"}


@pytest.mark.parametrize("region", ["nucleus", "cell"])
def test_ratios_are_those_of_their_parts(found, region):
    def of(name):
        return found[f"{region}_{name}"].to_numpy()

    np.testing.assert_allclose(of("convexity"), of("convex_perimeter") / of("perimeter"))
    np.testing.assert_allclose(of("calliper_ratio"), of("min_calliper") / of("max_calliper"))
    np.testing.assert_allclose(of("aspect_ratio"), of("minor_axis") / of("major_axis"))
    np.testing.assert_allclose(of("rectangularity"), of("area") / of("min_box_area"))
    np.testing.assert_allclose(of("shape_factor"), of("perimeter") ** 2 / (4 * np.pi * of("area")))


def test_radii_and_convex_curvature_of_an_ellipse(forms):
    a, b = 30.0, 20.0
    y, x = np.mgrid[:70, :70] - 34.6
    labels = ((x / a) ** 2 + (y / b) ** 2 <= 1).astype(int)
    config = MeasureConfig(families=("shape", "boundary"), workers=1)
    row = measure_field(labels[None], labels, None, ["DAPI"], config=config).iloc[0]
    # By arc length: where the parameter t runs evenly the outline is walked unevenly.
    t = np.linspace(0, 2 * np.pi, 100_001)
    speed, radius = np.hypot(a * np.sin(t), b * np.cos(t)), np.hypot(a * np.cos(t), b * np.sin(t))
    length = np.trapezoid(speed, t)
    mean = np.trapezoid(radius * speed, t) / length
    sd = np.sqrt(np.trapezoid((radius - mean) ** 2 * speed, t) / length)
    assert row["nucleus_radius_mean"] == pytest.approx(mean, rel=0.02)
    assert row["nucleus_radius_sd"] == pytest.approx(sd, rel=0.05)
    # All of it is convex, and the curvature of a closed outline sums to a whole turn.
    assert row["nucleus_convex_curvature"] == pytest.approx(2 * np.pi / length, rel=0.03)
    assert row["nucleus_convex_curvature"] == pytest.approx(row["nucleus_curvature_mean"])


def test_foci_of_a_nucleus_are_its_single_foci():
    y, x = np.mgrid[:81, :81]
    mask = np.hypot(y - 40, x - 40) < 32
    image = 200.0 + np.random.default_rng(0).normal(scale=2, size=mask.shape)
    for row, column, height, width in ((40, 40, 900, 1.5), (40, 56, 500, 1.5), (24, 40, 700, 2.3)):
        image += height * np.exp(-((y - row) ** 2 + (x - column) ** 2) / 2 / width**2)
    config = MeasureConfig(families=("foci",), foci_sigma_px=1.5, workers=1)
    stains, labels = ["DAPI", "gammaH2AX"], mask.astype(int)
    light = np.stack([image, image])
    row = measure_field(light, labels, None, stains, config=config).iloc[0]
    single = find_foci(light, labels, stains, "gammaH2AX", config)

    def of(name):
        return row[f"nucleus_foci_{name}_gammaH2AX"]

    assert of("count") == len(single) == 3
    assert of("area") == single["area"].sum()
    assert of("area_fraction") == pytest.approx(single["area"].sum() / mask.sum())
    assert of("area_mean") == pytest.approx(single["area"].mean())
    assert of("area_sd") == pytest.approx(single["area"].std(ddof=0))
    assert of("area_sd") > 0
    assert of("intensity_fraction") == pytest.approx(single["intensity"].sum() / image[mask].sum())
    assert of("height_mean") == pytest.approx(single["height"].mean())
    assert of("height_max") == pytest.approx(900, rel=0.05)
    assert of("height_max") == single["height"].max()


def test_contact_of_cells_is_the_shared_part_of_their_outlines():
    labels, cells = np.zeros((12, 20), int), np.zeros((12, 20), int)
    labels[5:7, 5:7], labels[5:7, 12:14] = 1, 2
    cells[3:9, 4:9], cells[3:9, 9:15] = 1, 2
    table = measure_field(
        np.ones((1, 12, 20), np.uint8), labels, cells, ["DAPI"],
        config=MeasureConfig(families=("neighbours",), workers=1),
    )  # fmt: skip
    assert table["neighbour_cell_contact"].tolist() == pytest.approx([6 / 22, 6 / 24])
    assert table["neighbour_nucleus_contact"].tolist() == [0, 0]


def test_light_of_a_stack_equals_numpy():
    labels = np.zeros((8, 20, 20), np.int32)
    labels[2:7, 4:15, 5:17] = 3
    image = np.random.default_rng(2).integers(50, 900, (2, *labels.shape)).astype(np.uint16)
    row = measure_stack(image, labels, ["DAPI", "CD3"], None, MeasureConfig(workers=1)).loc[3]
    for channel, stain in enumerate(("DAPI", "CD3")):
        v = image[channel][labels == 3].astype(float)
        wanted = {"min": v.min(), "max": v.max(), "sd": v.std(), "q75": np.percentile(v, 75)}
        for name, value in wanted.items():
            assert row[f"nucleus_{name}_3d_{stain}"] == pytest.approx(value), name
    dna = image[0][labels == 3].astype(float)
    assert row["nucleus_rel_ec_volume_DAPI"] == pytest.approx((dna < dna.mean() + 1.5 * dna.std()).mean())
    assert row["nucleus_rdp_9_DAPI"] == 1
