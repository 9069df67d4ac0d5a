"""Constants are exact, do not depend on blocks, and go there and back."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from napari_apollo.cells import Normalisation, NormalisationBuilder
from napari_apollo.cells.histogram import Histogram
from napari_apollo.errors import DataError, UnknownStain

STAINS = ("DAPI", "CD4")


def cells(count: int = 60, dtype: type = np.uint16, seed: int = 0) -> tuple:
    rng = np.random.default_rng(seed)
    top = np.iinfo(dtype).max if np.dtype(dtype).kind in "ui" else 1000
    images = (rng.gamma(2.0, 0.05, (count, 2, 12, 12)).clip(0, 1) * top).astype(dtype)
    masks = rng.integers(0, 3, (count, 12, 12)).astype(np.uint8)
    return images, masks, np.array(["a", "b", "c"])[rng.integers(0, 3, count)]


@given(
    values=st.lists(st.integers(0, 65535), min_size=1, max_size=300),
    percent=st.floats(0, 100),
    blocks=st.integers(1, 5),
)
@settings(deadline=None, max_examples=150)
def test_percentiles_of_integers_are_exact(values: list[int], percent: float, blocks: int) -> None:
    pixels = np.array(values, np.uint16)
    counted = Histogram(pixels.dtype)
    for part in np.array_split(pixels, blocks):
        counted.add(part)
    assert counted.total == len(values)
    assert counted.extremes() == (pixels.min(), pixels.max())
    expected = np.percentile(pixels, percent, method="inverted_cdf")
    # Where rounding decides whether a rank is reached, the neighbouring value is as right.
    step = 1e-7
    near = np.percentile(pixels, [max(0, percent - step), min(100, percent + step)], method="inverted_cdf")
    assert counted.percentile(percent) in {expected, *near}


@pytest.mark.parametrize("dtype", [np.uint8, np.int8, np.int16])
def test_every_value_of_a_small_type_is_told_apart(dtype: type) -> None:
    values = np.arange(np.iinfo(dtype).min, np.iinfo(dtype).max + 1).astype(dtype)
    for value in values[:: max(1, len(values) // 300)]:
        counted = Histogram(values.dtype)
        counted.add(np.array([value]))
        assert counted.extremes() == (value, value)


@given(st.lists(st.floats(-1e6, 1e6, width=32), min_size=2, max_size=200))
@settings(deadline=None, max_examples=60)
def test_floats_are_counted_in_fine_bins(values: list[float]) -> None:
    pixels = np.array(values, np.float32)
    counted = Histogram(pixels.dtype)
    counted.add(pixels)
    expected = np.percentile(pixels, 50, method="inverted_cdf")
    assert counted.percentile(50) == pytest.approx(expected, rel=1 / 1024, abs=1e-35)


def test_constants_come_from_the_pixels_of_cells() -> None:
    images, masks, groups = cells()
    builder = NormalisationBuilder("donor", percentiles=(5, 90))
    builder.add_cells(images, masks, STAINS, groups)
    made, problems = builder.build()
    assert problems == []
    for group in ("a", "b", "c", "*"):
        chosen = np.ones(len(groups), bool) if group == "*" else groups == group
        for channel, stain in enumerate(STAINS):
            pixels = images[chosen, channel][masks[chosen] > 0]
            expected = np.percentile(pixels, [5, 90], method="inverted_cdf")
            assert made.constants[group][stain] == tuple(expected)


@given(blocks=st.integers(1, 7), seed=st.integers(0, 100))
@settings(deadline=None, max_examples=20)
def test_constants_do_not_depend_on_blocks_or_order(blocks: int, seed: int) -> None:
    images, masks, groups = cells()
    whole = NormalisationBuilder("donor")
    whole.add_cells(images, masks, STAINS, groups)
    order = np.random.default_rng(seed).permutation(len(groups))
    parts = NormalisationBuilder("donor")
    for part in np.array_split(order, blocks):
        parts.add_cells(images[part], masks[part], STAINS, groups[part])
    assert parts.build() == whole.build()


def test_finishing_a_group_early_changes_nothing() -> None:
    images, masks, groups = cells()
    whole, early = NormalisationBuilder("donor"), NormalisationBuilder("donor")
    for group in "abc":
        chosen = groups == group
        for builder in (whole, early):
            builder.add_cells(images[chosen], masks[chosen], STAINS, groups[chosen])
        early.finish(group)
    assert early.build() == whole.build()


def test_held_out_cells_have_no_part_in_pooled_constants() -> None:
    images, masks, groups = cells()
    held_out = groups == "c"
    images[held_out] //= 7
    builder, without = NormalisationBuilder("donor"), NormalisationBuilder("donor")
    builder.add_cells(images, masks, STAINS, groups, held_out)
    without.add_cells(images[~held_out], masks[~held_out], STAINS, groups[~held_out])
    made, alone = builder.build()[0], without.build()[0]
    assert made.constants["*"] == alone.constants["*"]
    assert made.constants["c"] != made.constants["*"]


def test_held_out_cells_have_no_part_in_the_constants_of_their_panel() -> None:
    images, masks, groups = cells()
    held_out = groups == "c"
    images[held_out] //= 7
    builder, without = NormalisationBuilder("panel"), NormalisationBuilder("panel")
    builder.add_cells(images, masks, STAINS, ["p"] * len(groups), held_out)
    without.add_cells(images[~held_out], masks[~held_out], STAINS, ["p"] * int((~held_out).sum()))
    assert builder.build() == without.build()
    # A panel that only held-out cells have is scaled by these.
    only = NormalisationBuilder("panel")
    only.add_cells(images, masks, STAINS, ["p"] * len(groups), np.ones(len(groups), bool))
    assert set(only.build()[0].constants) == {"p"}
    assert only.build()[0].constants["p"] != builder.build()[0].constants["p"]


def test_integers_and_floats_of_one_stain_do_not_mix() -> None:
    images, masks, groups = cells()
    builder = NormalisationBuilder()
    builder.add_cells(images, masks, STAINS, ["p"] * len(groups))
    with pytest.raises(DataError, match="different scales"):
        builder.add_cells(images.astype(np.float32), masks, STAINS, ["p"] * len(groups))


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_there_and_back_is_exact_within_the_limits(dtype: type) -> None:
    top = np.iinfo(dtype).max
    low, high = top // 50, top - top // 9
    made = Normalisation(constants={"p": {"DAPI": (low, high)}})
    values = np.arange(low, high + 1).astype(dtype)
    images = values.reshape(1, 1, 1, -1)
    scaled = made.apply(images, ["DAPI"], ["p"])
    assert scaled.dtype == np.float32
    assert (scaled.min(), scaled.max()) == (0, 1)
    back = made.invert(scaled[:, 0], "DAPI", ["p"])
    np.testing.assert_array_equal(np.rint(back).astype(dtype).reshape(-1), values)
    # Beyond the limits values are held at 0 and 1.
    ends = np.array([0, low - 1, high + 1, top], dtype).reshape(1, 1, 1, -1)
    np.testing.assert_array_equal(made.apply(ends, ["DAPI"], ["p"]).reshape(-1), [0, 0, 1, 1])


def test_each_cell_has_the_constants_of_its_group_and_stain() -> None:
    made = Normalisation(
        by="donor",
        constants={"a": {"DAPI": (0, 10), "CD4": (0, 100)}, "*": {"DAPI": (0, 20), "CD4": (10, 30)}},
    )
    images = np.full((2, 2, 1, 1), 10, np.uint16)
    scaled = made.apply(images, ["CD4", "DAPI"], ["a", "never seen"])
    np.testing.assert_allclose(scaled.reshape(2, 2), [[0.1, 1.0], [0.0, 0.5]])
    np.testing.assert_array_equal(made.limits("dapi", ["x", "a"]), [[0, 20], [0, 10]])
    assert made.stains == ("CD4", "DAPI")
    with pytest.raises(UnknownStain, match="CD8"):
        made.limits("CD8", ["a"])
    with pytest.raises(DataError, match="axes"):
        made.apply(images, ["CD4"], ["a", "a"])


def test_a_constant_stain_is_named() -> None:
    images, masks, groups = cells()
    images[:, 1] = 7
    builder = NormalisationBuilder("panel")
    builder.add_cells(images, masks, STAINS, ["p"] * len(groups))
    with pytest.raises(DataError, match=r"CD4 .* \(7\)"):
        builder.build()


def test_a_stain_constant_in_one_group_has_the_pooled_constants() -> None:
    images, masks, groups = cells()
    images[groups == "b", 1] = 0
    builder = NormalisationBuilder("donor")
    builder.add_cells(images, masks, STAINS, groups)
    made, problems = builder.build()
    assert len(problems) == 1
    assert "CD4 is constant (0) in donor b" in problems[0]
    np.testing.assert_array_equal(made.limits("CD4", ["b"])[0], made.constants["*"]["CD4"])


def test_a_sparse_stain_is_scaled_by_its_extremes() -> None:
    images = np.zeros((4, 1, 20, 20), np.uint8)
    images[0, 0, 0, 0] = 3
    builder = NormalisationBuilder()
    builder.add_cells(images, np.ones((4, 20, 20), np.uint8), ["FOXP3"], ["p"] * 4)
    assert builder.build()[0].constants["*"]["FOXP3"] == (0, 3)


def test_minmax_takes_whole_fields() -> None:
    builder = NormalisationBuilder("field", "minmax")
    builder.add_limits("f1", "DAPI", 5, 100)
    builder.add_limits("f2", "DAPI", 2, 50)
    builder.add_limits("f3", "DAPI", 0, 900, held_out=True)
    made, _ = builder.build()
    assert made.percentiles is None
    assert made.constants == {
        "f1": {"DAPI": (5, 100)},
        "f2": {"DAPI": (2, 50)},
        "f3": {"DAPI": (0, 900)},
        "*": {"DAPI": (2, 100)},
    }


def test_percentiles_must_rise() -> None:
    with pytest.raises(DataError, match="rising"):
        NormalisationBuilder(percentiles=(90, 10))
    with pytest.raises(DataError, match="no values"):
        Histogram(np.dtype(np.uint8)).percentile(50)


def test_it_survives_json() -> None:
    made = Normalisation(by="field", constants={"f": {"DAPI": (1.0, 2.5)}})
    assert Normalisation.model_validate_json(made.model_dump_json()) == made
