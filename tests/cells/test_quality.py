"""Measures of nuclei equal their definitions, and each check finds what it is for."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy import ndimage
from skimage.morphology import convex_hull_image

from napari_apollo.cells import CropConfig, SegmentConfig, crop, segment
from napari_apollo.cells.normalisation import Histogram
from napari_apollo.cells.quality import (
    REASONS,
    QualityLimits,
    count_reasons,
    find_limits,
    flag,
    none_passed,
    saturation_level,
)
from napari_apollo.cells.shape import COLUMNS, detail_filter, measure_nuclei
from napari_apollo.cells.survey import find_nuclei
from napari_apollo.panels import Panel
from napari_apollo.study import Study, StudyField


def measure(
    image: NDArray, labels: NDArray, cells: NDArray | None = None, size: int = 64, scale: float = 1.0
) -> pd.DataFrame:
    found = find_nuclei(labels)
    windows = np.concatenate([found.centre - size // 2, found.centre - size // 2 + size - 1], axis=1)
    values = measure_nuclei(
        image,
        0,
        labels,
        labels if cells is None else cells,
        found.label,
        windows,
        (0, 0),
        labels.shape,
        np.full(len(image), np.inf),
        detail_filter(scale),
    )
    return pd.DataFrame(values, columns=list(COLUMNS), index=found.label)


@given(st.integers(0, 2**32), st.floats(0.02, 0.9))
@settings(deadline=None, max_examples=80)
def test_solidity_counts_the_pixels_of_the_convex_hull(seed: int, density: float) -> None:
    rng = np.random.default_rng(seed)
    shape = rng.integers(1, 14, 2)
    nucleus = rng.random(shape) < density
    if not nucleus.any():
        return
    labels = np.pad(nucleus, 2).astype(np.int32)
    found = measure(np.ones((1, *labels.shape), np.uint8), labels, size=40)
    points = np.argwhere(nucleus)
    flat = np.linalg.matrix_rank(points - points[0]) < 2
    if flat:  # one point or one line: count lattice points between its ends
        span = np.abs(points - points[:, None]).reshape(-1, 2).max(0)
        expected = np.gcd(*span) + 1
    else:
        expected = convex_hull_image(nucleus, offset_coordinates=False).sum()
    assert found["solidity"].iloc[0] == pytest.approx(nucleus.sum() / expected)


@pytest.mark.parametrize("radius", [2, 4, 5.5, 12, 30])
def test_a_disc_is_solid_at_every_size(radius: float) -> None:
    y, x = np.mgrid[-40:41, -40:41]
    labels = (y**2 + x**2 <= radius**2).astype(np.int32)
    assert measure(np.ones((1, 81, 81), np.uint8), labels, size=81)["solidity"].iloc[0] == 1


def test_measures_equal_their_definitions() -> None:
    rng = np.random.default_rng(0)
    labels = np.kron(rng.permutation(25).reshape(5, 5), np.ones((9, 9), int)).astype(np.int32)
    labels[rng.random(labels.shape) < 0.2] = 0
    image = rng.integers(0, 1000, (2, *labels.shape)).astype(np.uint16)
    found = measure(image, labels)
    detail = ndimage.correlate(image[0].astype(float), detail_filter(1.0), mode="nearest")
    for label, row in found.iterrows():
        inside = labels == label
        assert row["pixels"] == inside.sum()
        assert row["dna"] == image[0][inside].sum()
        assert row["detail"] == pytest.approx(np.sqrt((detail[inside] ** 2).mean()))
        edge = inside[[0, -1]].any() or inside[:, [0, -1]].any()
        assert bool(row["border"]) == edge


def test_the_cell_region_decides_about_the_border() -> None:
    labels = np.zeros((20, 20), np.int32)
    labels[4:7, 8:12] = 1
    cells = np.zeros_like(labels)
    cells[0:10, 6:14] = 1
    image = np.ones((1, 20, 20), np.uint8)
    assert not measure(image, labels, labels)["border"].iloc[0]
    assert measure(image, labels, cells)["border"].iloc[0]


@given(tile=st.integers(3, 40), seed=st.integers(0, 50))
@settings(deadline=None, max_examples=25)
def test_nuclei_do_not_depend_on_tiles(tile: int, seed: int) -> None:
    from napari_apollo.cells.survey import Nuclei, tiles_of

    rng = np.random.default_rng(seed)
    labels = np.kron(rng.integers(0, 9, (6, 7)), np.ones((6, 5), int)).astype(np.int32)
    # Numbers with gaps, one of them far beyond the number of pixels.
    labels = np.array([0, 3, 4, 50, 51, 70, 900, 2**30, 2**31 - 1], np.int32)[labels]
    whole = find_nuclei(labels)
    parts = [find_nuclei(labels[a:c, b:d], a, b) for a, b, c, d in tiles_of(labels.shape, tile)]
    merged = Nuclei.merged(parts)
    for name in ("label", "area", "sum_y", "sum_x", "box"):
        np.testing.assert_array_equal(getattr(merged, name), getattr(whole, name))
    for k, label in enumerate(whole.label):
        points = np.argwhere(labels == label)
        assert whole.area[k] == len(points)
        np.testing.assert_allclose(whole.centroid[k], points.mean(0))
        np.testing.assert_array_equal(whole.box[k], [*points.min(0), *points.max(0)])


def table(count: int = 200, **changes: float) -> pd.DataFrame:
    """Good nuclei, the last of them changed."""
    rng = np.random.default_rng(0)
    area = rng.normal(100, 10, count)
    nuclei = pd.DataFrame(
        {
            "nucleus_area": area,
            "nucleus_solidity": rng.uniform(0.96, 1.0, count),
            "nucleus_focus": rng.normal(0.3, 0.02, count),
            "nucleus_dna": area * rng.normal(50, 2, count),
            "nucleus_saturation": 0.0,
            "border": False,
            "cut": False,
        }
    )
    for column, value in changes.items():
        nuclei[column] = nuclei[column].astype(type(value))
        nuclei.loc[count - 1, column] = value
    return nuclei


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({}, ""),
        ({"nucleus_area": 30.0, "nucleus_dna": 1500.0}, "area"),
        ({"nucleus_area": 400.0}, "area"),
        ({"nucleus_solidity": 0.7}, "solidity"),
        ({"border": True}, "border"),
        ({"nucleus_focus": 0.1}, "focus"),
        ({"nucleus_saturation": 0.2}, "saturation"),
        ({"nucleus_dna": 200.0}, "debris"),
        ({"nucleus_area": 20.0, "nucleus_dna": 4000.0}, "area;debris"),
        ({"nucleus_dna": 9800.0, "nucleus_solidity": 0.88}, "doublet"),
        ({"nucleus_dna": 9800.0}, ""),  # a cell before its division
        ({"cut": True}, "larger-than-crop"),
        ({"border": True, "cut": True}, "border;larger-than-crop"),
    ],
)
def test_each_check_finds_what_it_is_for(changes: dict, reason: str) -> None:
    nuclei = table(**changes)
    qc, reasons = flag(nuclei, find_limits(nuclei))
    assert reasons[-1] == reason
    assert qc[-1] == (reason == "")
    assert qc[:-1].mean() > 0.97


def test_checks_can_be_left_out_and_limits_given() -> None:
    nuclei = table(border=True, nucleus_focus=0.1)
    limits = find_limits(nuclei)
    assert flag(nuclei, limits, ["focus"])[1][-1] == "focus"
    assert flag(nuclei, limits, [])[0].all()
    given_limits = find_limits(nuclei, area=(95.0, 105.0), solidity=0.97, focus=0.28, saturation=0.5)
    assert (given_limits.area_low, given_limits.area_high) == (95, 105)
    assert (given_limits.solidity_low, given_limits.focus_low) == (0.97, 0.28)
    assert 0.3 < flag(nuclei, given_limits, ["area"])[0].mean() < 0.5


def test_a_handful_of_cells_has_no_robust_limits() -> None:
    nuclei = table(8, nucleus_area=4000.0)
    limits = find_limits(nuclei)
    assert limits == QualityLimits(saturation_high=0.05)
    assert flag(nuclei, limits)[0].all()


def test_nuclei_that_are_all_of_one_size_pass() -> None:
    """Beads, or a simulation: their spread is nothing, and the limits would lie on the median itself."""
    nuclei = table(nucleus_area=145.0)
    nuclei["nucleus_area"] = np.where(np.arange(len(nuclei)) % 4, 145.0, 143.0)
    assert flag(nuclei, find_limits(nuclei), ["area"])[0].all()


def test_the_order_of_cells_does_not_matter() -> None:
    nuclei = table(nucleus_focus=0.1)
    order = np.random.default_rng(1).permutation(len(nuclei))
    assert find_limits(nuclei.iloc[order]) == find_limits(nuclei)


def test_reasons_are_counted() -> None:
    obs = pd.DataFrame({"qc_reason": ["", "area", "area;border", "", "border"]})
    assert count_reasons(obs) == {"cells": 5, "passed": 2, "area": 2, "border": 2}
    assert list(count_reasons(pd.DataFrame({"qc_reason": [";".join(REASONS)]})))[2:] == list(REASONS)


def counted(values: NDArray) -> Histogram:
    histogram = Histogram(values.dtype)
    histogram.add(values)
    return histogram


def test_where_a_stain_is_saturated() -> None:
    rng = np.random.default_rng(0)
    free = rng.gamma(4, 300, 100_000)
    assert saturation_level(counted(free.astype(np.uint16))) == np.inf
    assert saturation_level(counted(free.clip(0, 4095).astype(np.uint16))) == 4095
    assert saturation_level(counted((free / 8).clip(0, 255).astype(np.uint8))) == 255
    # Clipped at a value that no camera has: pixels pile up there.
    assert saturation_level(counted(free.clip(0, 2500).astype(np.uint16))) == 2500
    # Ion counts: few levels, no pile that means anything.
    assert saturation_level(counted(rng.poisson(0.3, 100_000).astype(np.uint8))) == np.inf
    assert saturation_level(counted(free.astype(np.float32))) == np.inf


def test_the_detail_filter_answers_to_nothing_flat() -> None:
    for scale in (0.5, 1.0, 2.3):
        kernel = detail_filter(scale)
        assert kernel.sum() == pytest.approx(0, abs=1e-12)
        assert kernel.shape[0] % 2 == 1


@pytest.mark.realdata
@pytest.mark.parametrize("name", ["lymph_node", "u2os"])
def test_blurred_nuclei_of_a_real_study_are_found(data_dir: Path, tmp_path: Path, name: str) -> None:
    """Of four copies of a field, one is put out of focus: its nuclei fail, those of the sharp ones pass."""
    import tifffile

    if name == "lymph_node":
        path, panel = (
            data_dir / "lymph_node_codex" / "lymph_node.tiff",
            Panel.parse("DAPI/CD4/CD8/FOXP3/BCL6"),
        )
    else:
        path, panel = data_dir / "u2os_fkhr_bbbc013" / "well_A02.ome.tif", Panel.parse("DNA/FKHR")
        if not path.exists():
            path = min(path.parent.glob("well_*.ome.tif"))
    image = tifffile.imread(path)
    blurred = image.copy()
    # Out of focus, the camera's noise stays: that of the darkest pixels.
    sharp = image[0].astype(float)
    residue = (sharp - ndimage.gaussian_filter(sharp, 0.7))[sharp <= np.quantile(sharp, 0.1)]
    soft = ndimage.gaussian_filter(sharp, 2.5) + np.random.default_rng(0).normal(
        0, residue.std(), sharp.shape
    )
    blurred[0] = soft.clip(0, np.iinfo(image.dtype).max).astype(image.dtype)
    # Most of the study is sharp, as it is in life.
    copies = {"sharp": image, "mirrored": image[:, ::-1], "turned": image[:, :, ::-1], "blurred": blurred}
    for key, pixels in copies.items():
        tifffile.imwrite(tmp_path / f"{key}.tif", np.ascontiguousarray(pixels), metadata={"axes": "CYX"})
    fields = [
        StudyField(
            image=tmp_path / f"{key}.tif", panel=panel, donor=key, condition="c", channels=panel.stains
        )
        for key in copies
    ]
    labelled = segment(Study(fields), SegmentConfig(output=tmp_path / "labels"))
    # The blurred copy keeps the labels of the sharp one: the same nuclei, out of focus.
    labelled = labelled.with_labels({"blurred": labelled["sharp"].labels})
    store = crop(labelled, CropConfig(output=tmp_path / "store.cells.zarr"))
    failed = store.obs["qc_reason"].str.contains("focus").groupby(store.obs["field"]).mean()
    assert failed["blurred"] > 0.5
    assert failed[["sharp", "mirrored", "turned"]].max() < 0.03
    passed = store.obs["qc"].groupby(store.obs["field"]).mean()
    assert passed["sharp"] > 0.7


def test_that_no_cell_passed_is_told_with_reasons_and_a_remedy() -> None:
    obs = pd.DataFrame({"qc_reason": ["area", "area;border", "excluded"]})
    words = str(none_passed(obs, "a.cells.zarr"))
    assert "a.cells.zarr: none of its 3 cells passed" in words
    assert "(flagged: area 2, border 1, excluded 1)" in words
    assert "Cut the cells again" in words
