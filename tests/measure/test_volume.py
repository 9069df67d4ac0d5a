"""Stacks against closed forms and plain NumPy."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import ndimage, stats

from napari_apollo.errors import DataError
from napari_apollo.measure import MeasureConfig, measure_stack

ONE = MeasureConfig(workers=1)


def ellipsoid(shape, semi, size=(1, 1, 1)):
    """Ellipsoid with semi-axes in the unit of the voxel size."""
    grid = np.indices(shape) - (np.array(shape)[:, None, None, None] - 1) / 2
    return sum((g * s / a) ** 2 for g, s, a in zip(grid, size, semi, strict=True)) <= 1


def light(shape, seed=0):
    return np.random.default_rng(seed).integers(50, 900, (2, *shape)).astype(np.uint16)


def test_ellipsoid_has_its_closed_form_in_micrometres():
    size = (0.5, 0.25, 0.25)
    mask = ellipsoid((30, 60, 70), (5, 6, 8), size)
    row = measure_stack(light(mask.shape), mask.astype(np.int32), ["DAPI", "CD3"], size, ONE).loc[1]
    volume = 4 / 3 * np.pi * 5 * 6 * 8
    assert row["nucleus_volume"] == pytest.approx(volume, rel=0.01)
    assert row["nucleus_convex_volume"] == pytest.approx(volume, rel=0.07)
    assert row["nucleus_solidity_3d"] == pytest.approx(1, abs=0.07)
    assert row["nucleus_concavity_3d"] == pytest.approx(1 - row["nucleus_solidity_3d"])
    assert [row[f"nucleus_axis{k}_3d"] for k in (1, 2, 3)] == pytest.approx([16, 12, 10], rel=0.02)
    assert row["nucleus_extent_3d"] == pytest.approx(np.pi / 6, rel=0.05)
    assert row["nucleus_equivalent_diameter_3d"] == pytest.approx(2 * np.cbrt(5 * 6 * 8), rel=0.01)


def test_light_and_condensation_equal_their_definitions():
    labels = np.zeros((12, 30, 60), np.int32)
    labels[:, :, :30][ellipsoid((12, 30, 30), (5, 11, 12))] = 4
    labels[:, :, 30:][ellipsoid((12, 30, 30), (4, 9, 9))] = 7
    image = light(labels.shape)
    table = measure_stack(image, labels, ["DAPI", "CD3"], None, ONE)
    assert list(table.index) == [4, 7]
    for label in table.index:
        row = table.loc[label]
        for channel, stain in enumerate(("DAPI", "CD3")):
            v = image[channel][labels == label].astype(float)
            assert row[f"nucleus_mean_3d_{stain}"] == pytest.approx(v.mean())
            assert row[f"nucleus_rel_3d_{stain}"] == pytest.approx(v.mean())
            assert row[f"nucleus_q25_3d_{stain}"] == pytest.approx(np.percentile(v, 25))
            assert row[f"nucleus_median_3d_{stain}"] == pytest.approx(np.median(v))
            assert row[f"nucleus_skewness_3d_{stain}"] == pytest.approx(stats.skew(v))
            assert row[f"nucleus_kurtosis_3d_{stain}"] == pytest.approx(stats.kurtosis(v))
        dna = image[0][labels == label].astype(float)
        dense = (dna >= dna.mean() + 1.5 * dna.std()).mean()
        assert row["nucleus_rel_hc_volume_DAPI"] == pytest.approx(dense)
        assert row["nucleus_hc_ec_ratio_3d_DAPI"] == pytest.approx(dense / (1 - dense))
        profile = [row[f"nucleus_rdp_{k}_DAPI"] for k in range(10)]
        assert profile[-1] == 1
        assert np.all(np.diff(profile) >= 0)


def test_profile_of_erosions_is_known():
    """A block of 3 x 21 x 21 loses one plane each way in z and five pixels each way in y and x."""
    labels = np.ones((3, 21, 21), np.int32)
    row = measure_stack(np.ones((1, 3, 21, 21)), labels, ["DAPI"], None, ONE).loc[1]
    inner = 11 * 11 / labels.size
    wanted = np.interp(np.linspace(0, 1, 10), [0, 1], [inner, 1])
    np.testing.assert_allclose([row[f"nucleus_rdp_{k}_DAPI"] for k in range(10)], wanted)


def test_other_nuclei_and_padding_change_nothing():
    mask = ellipsoid((11, 21, 21), (4, 8, 9))
    image = light(mask.shape)
    alone = measure_stack(image, mask.astype(np.int32), ["DAPI", "CD3"], None, ONE).loc[1]
    pad = ((3, 1), (2, 9), (5, 0))
    other = np.pad(mask.astype(np.int32) * 2, pad)
    other[0, 0] = 9
    padded = measure_stack(np.pad(image, ((0, 0), *pad)), other, ["DAPI", "CD3"], None, ONE).loc[2]
    np.testing.assert_allclose(padded, alone, rtol=1e-9)


@pytest.mark.parametrize("kind", ["voxel", "line", "plane"])
def test_flat_nuclei_are_missing_with_a_reason(kind):
    labels = np.zeros((5, 9, 9), np.int32)
    labels[{"voxel": (2, 4, 4), "line": (2, 4), "plane": 2}[kind]] = 1
    table = measure_stack(np.full((1, 5, 9, 9), 7.0), labels, ["DAPI"], None, ONE)
    values = table.to_numpy()
    assert not np.isinf(values).any()
    assert np.isnan(values).sum() == sum(table.attrs["missing"].values())
    assert np.isnan(table["nucleus_convex_volume"].item())
    assert table["nucleus_volume"].item() == (labels > 0).sum()
    assert table.attrs["missing"]["the intensity is the same in every pixel of the region"] == 5


@pytest.mark.parametrize(
    ("labels", "voxel", "words"),
    [
        (np.zeros((5, 9), int), None, "z, y, x"),
        (np.zeros((5, 9, 9), float), None, "whole numbers"),
        (np.zeros((5, 9, 8), int), None, "need"),
        (np.zeros((5, 9, 9), int), (1, 1, 0), "voxel"),
    ],
)
def test_stacks_that_do_not_fit_are_refused(labels, voxel, words):
    with pytest.raises(DataError, match=words):
        measure_stack(np.zeros((1, 5, 9, 9)), labels, ["DAPI"], voxel)


def test_holes_make_concavity():
    outer, inner = ellipsoid((31, 31, 31), (14, 14, 14)), ellipsoid((31, 31, 31), (7, 7, 7))
    shell = (outer & ~inner).astype(np.int32)
    row = measure_stack(light(shell.shape), shell, ["DAPI", "CD3"], None, ONE).loc[1]
    assert row["nucleus_concavity_3d"] == pytest.approx(1 / 8, abs=0.04)
    assert ndimage.label(shell)[1] == 1
