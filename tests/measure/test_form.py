"""Size, form, outline and moments against closed forms and other libraries."""

from __future__ import annotations

import numpy as np
import pytest
from skimage import measure as sk

from napari_apollo.measure import MeasureConfig, measure_field

FORM = MeasureConfig(families=("shape", "boundary", "moments"), workers=1)


def of_mask(forms, mask, intensity=None, size=None, config=FORM):
    """Features of one mask."""
    labels = forms.one_label(mask)
    image = np.ones(labels.shape, np.uint16) if intensity is None else np.pad(intensity, 2)
    return measure_field(image[None], labels, None, ["DAPI"], size, config).iloc[0]


@pytest.mark.parametrize(
    ("name", "theirs"),
    [
        ("area", "area"),
        ("equivalent_diameter", "equivalent_diameter_area"),
        ("bbox_area", "area_bbox"),
        ("extent", "extent"),
        ("convex_area", "area_convex"),
        ("solidity", "solidity"),
        ("major_axis", "axis_major_length"),
        ("minor_axis", "axis_minor_length"),
        ("eccentricity", "eccentricity"),
        ("euler_number", "euler_number"),
    ],
)
def test_equals_scikit_image(field, name, theirs):
    found = measure_field(field.image, field.labels, field.cells, field.stains, config=FORM)
    for region, labels in (("nucleus", field.labels), ("cell", field.cells)):
        wanted = [getattr(props, theirs) for props in sk.regionprops(labels)]
        np.testing.assert_allclose(found[f"{region}_{name}"], wanted, rtol=1e-10, atol=1e-12)


def test_perimeter_and_orientation_equal_scikit_image(field):
    found = measure_field(field.image, field.labels, None, field.stains, config=FORM)
    props = sk.regionprops(field.labels)
    np.testing.assert_allclose(
        found["nucleus_perimeter"], [sk.perimeter_crofton(p.image) for p in props], rtol=1e-12
    )
    turn = found["nucleus_orientation"] - [p.orientation for p in props]
    np.testing.assert_allclose(np.sin(turn), 0, atol=1e-9)


def test_moments_equal_scikit_image(field):
    found = measure_field(field.image, field.labels, None, field.stains, config=FORM)
    for props in sk.regionprops(field.labels, field.image[0].astype(float)):
        row = found.loc[props.label]
        # Theirs divides by the sum of weights only; weights over their mean make the two agree.
        weighted = sk.moments_central(props.image_intensity / props.image_intensity[props.image].mean())
        for prefix, central in (("", props.moments_central), ("weighted_", weighted)):
            eta = sk.moments_normalized(central)
            end = "_DAPI" if prefix else ""
            for p, q in ((2, 0), (1, 1), (0, 2), (3, 0), (2, 1), (1, 2), (0, 3)):
                assert row[f"nucleus_{prefix}moment_{p}{q}{end}"] == pytest.approx(eta[p, q], abs=1e-12)
            for k, hu in enumerate(sk.moments_hu(eta)):
                assert row[f"nucleus_{prefix}hu{k + 1}{end}"] == pytest.approx(hu, rel=1e-6, abs=1e-15)


@pytest.mark.parametrize("radius", [8.3, 15.2, 30.4])
def test_disc_has_its_closed_form(forms, radius):
    side = int(2 * radius) + 5
    row = of_mask(forms, forms.wavy_disc((side, side), (side / 2 - 0.5, side / 2 - 0.5), radius))
    off = 1.2 / radius
    assert row["nucleus_area"] == pytest.approx(np.pi * radius**2, rel=off)
    for name in ("equivalent_diameter", "major_axis", "minor_axis", "min_calliper", "max_calliper"):
        assert row[f"nucleus_{name}"] == pytest.approx(2 * radius, rel=off), name
    for name in ("min", "q25", "median", "mean", "q75", "max"):
        assert row[f"nucleus_radius_{name}"] == pytest.approx(radius, rel=off), name
    assert row["nucleus_perimeter"] == pytest.approx(2 * np.pi * radius, rel=0.04)
    assert row["nucleus_shape_factor"] == pytest.approx(1, abs=0.06)
    assert row["nucleus_solidity"] == pytest.approx(1, abs=0.04)
    assert row["nucleus_curvature_mean"] == pytest.approx(1 / radius, rel=0.03)
    assert row["nucleus_curvature_sd"] < 0.3 / radius
    assert row["nucleus_bending_energy"] == pytest.approx(1, abs=0.12)
    assert row["nucleus_concave_fraction"] == 0
    assert row["nucleus_sign_changes"] == 0
    assert np.isnan(row["nucleus_concave_curvature"])
    assert row["nucleus_hu1"] == pytest.approx(1 / (2 * np.pi), rel=0.02)


def test_ellipse_has_its_closed_form(forms):
    a, b = 24.0, 12.0
    y, x = np.mgrid[:60, :60] - 29.6
    turned = (y + x) / np.sqrt(2), (y - x) / np.sqrt(2)
    row = of_mask(forms, (turned[0] / a) ** 2 + (turned[1] / b) ** 2 <= 1)
    assert row["nucleus_area"] == pytest.approx(np.pi * a * b, rel=0.02)
    assert row["nucleus_major_axis"] == pytest.approx(2 * a, rel=0.02)
    assert row["nucleus_minor_axis"] == pytest.approx(2 * b, rel=0.02)
    assert row["nucleus_max_calliper"] == pytest.approx(2 * a, rel=0.03)
    assert row["nucleus_min_calliper"] == pytest.approx(2 * b, rel=0.03)
    assert row["nucleus_min_box_area"] == pytest.approx(4 * a * b, rel=0.05)
    assert row["nucleus_rectangularity"] == pytest.approx(np.pi / 4, rel=0.05)
    assert row["nucleus_eccentricity"] == pytest.approx(np.sqrt(0.75), rel=0.01)
    assert abs(row["nucleus_orientation"]) == pytest.approx(np.pi / 4, abs=0.02)
    assert row["nucleus_curvature_min"] == pytest.approx(b / a**2, abs=0.2 / b)
    assert row["nucleus_curvature_max"] == pytest.approx(a / b**2, rel=0.15)
    assert row["nucleus_convex_peaks"] == 2
    assert row["nucleus_hu1"] == pytest.approx((a * a + b * b) / (4 * np.pi * a * b), rel=0.02)


def test_ring_has_a_hole_and_the_moments_of_a_ring(forms):
    outer = forms.wavy_disc((51, 51), (25, 25), 20.3)
    inner = forms.wavy_disc((51, 51), (25, 25), 10.3)
    row = of_mask(forms, outer & ~inner)
    assert row["nucleus_euler_number"] == 0
    assert row["nucleus_solidity"] == pytest.approx(1 - (10.3 / 20.3) ** 2, rel=0.03)
    assert row["nucleus_major_axis"] == pytest.approx(2 * np.hypot(20.3, 10.3), rel=0.02)
    assert row["nucleus_curvature_mean"] == pytest.approx(1 / 20.3, rel=0.03)


def test_square_has_its_closed_form(forms):
    row = of_mask(forms, np.ones((20, 20), bool))
    assert row["nucleus_min_calliper"] == pytest.approx(20)
    assert row["nucleus_max_calliper"] == pytest.approx(np.hypot(20, 19))
    assert row["nucleus_min_box_area"] == pytest.approx(400)
    assert row["nucleus_convex_perimeter"] == pytest.approx(4 * 19 + 4 * np.sqrt(0.5))
    assert row["nucleus_solidity"] == row["nucleus_extent"] == 1
    assert np.isnan(row["nucleus_orientation"])


def test_lobes_are_counted(forms):
    mask = forms.wavy_disc((90, 90), (45, 45), 30, ((4, 0.12, 0.3),))
    row = of_mask(forms, mask)
    assert row["nucleus_convex_peaks"] == 4
    assert row["nucleus_concave_peaks"] == 4
    assert row["nucleus_sign_changes"] == 8
    # Polar curve r = R (1 + e cos 4t): its curvature where the radius is largest and smallest.
    e, r = 0.12, 30
    tip = (1 + 17 * e) / (r * (1 + e) ** 2)
    dent = (1 - 17 * e) / (r * (1 - e) ** 2)
    assert row["nucleus_convex_peak_mean"] == pytest.approx(tip, rel=0.1)
    # A dent narrower than the smoothing looks shallower than it is.
    assert 0.1 * -dent < row["nucleus_concave_peak_mean"] < -dent


def test_outline_goes_round_what_polar_angle_cannot_order(forms):
    """A horseshoe: seen from its middle, one direction meets the outline three times."""
    y, x = np.mgrid[:60, :60] - 30
    r = np.hypot(y, x)
    horseshoe = (r <= 25) & (r >= 14) & ~((y > 0) & (np.abs(x) < 8))
    row = of_mask(forms, horseshoe)
    assert row["nucleus_concave_fraction"] > 0.2
    assert row["nucleus_sign_changes"] == 2
    assert row["nucleus_convex_peaks"] >= 2


def test_lengths_carry_the_pixel_size(field):
    pixels = measure_field(field.image, field.labels, field.cells, field.stains, config=FORM)
    microns = measure_field(field.image, field.labels, field.cells, field.stains, 0.25, FORM)
    units = {name: about["unit"] for name, about in microns.attrs["var"].items()}
    powers = {"µm": 1, "µm²": 2, "µm⁻¹": -1, "1": 0, "rad": 0}
    for name in pixels:
        np.testing.assert_allclose(microns[name], pixels[name] * 0.25 ** powers[units[name]], rtol=1e-12)
    assert {about["unit"] for about in pixels.attrs["var"].values()} == {"px", "px²", "px⁻¹", "1", "rad"}
