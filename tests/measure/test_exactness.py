"""What may not change a value, and what must be missing and say why."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from napari_apollo.errors import DataError
from napari_apollo.measure import MeasureConfig, measure_field
from napari_apollo.measure.config import ALL_FAMILIES

ONE = MeasureConfig(workers=1)
CELL_BY_CELL = MeasureConfig(workers=1, families=tuple(f for f in ALL_FAMILIES if f != "neighbours"))
few = settings(max_examples=8, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


def measured(field, config=ONE, **changes):
    image = changes.get("image", field.image)
    stains = changes.get("stains", field.stains)
    return measure_field(
        image, changes.get("labels", field.labels), changes.get("cells", field.cells), stains, 0.5, config
    )


@pytest.fixture(scope="module")
def reference(field):
    return measured(field)


@few
@given(tile=st.integers(64, 200), batch=st.integers(1, 40), workers=st.integers(1, 3))
def test_tiles_batches_and_threads_change_nothing(field, reference, tile, batch, workers):
    config = MeasureConfig(tile_px=tile, batch=batch, workers=workers)
    pd.testing.assert_frame_equal(measured(field, config), reference, check_exact=True)


@few
@given(seed=st.integers(0, 2**32 - 1))
def test_numbers_of_labels_change_nothing(field, reference, seed):
    rng = np.random.default_rng(seed)
    new = np.concatenate([[0], rng.choice(np.arange(1, 5000), field.labels.max(), replace=False)])
    found = measured(field, labels=new[field.labels], cells=new[field.cells])
    found = found.loc[new[reference.index]].set_axis(reference.index)
    pd.testing.assert_frame_equal(found, reference, check_exact=True)


@few
@given(top=st.integers(0, 30), left=st.integers(0, 30), bottom=st.integers(0, 9), right=st.integers(0, 9))
def test_translation_and_padding_change_nothing(field, reference, top, left, bottom, right):
    pad = ((top, bottom), (left, right))
    found = measured(
        field,
        image=np.pad(field.image, ((0, 0), *pad), constant_values=7),
        labels=np.pad(field.labels, pad),
        cells=np.pad(field.cells, pad),
    )
    off_edge = [c for c in found if not c.endswith("at_edge")]
    pd.testing.assert_frame_equal(
        found[off_edge], reference[off_edge], check_exact=False, rtol=1e-9, atol=1e-12
    )


@few
@given(data=st.data())
def test_other_cells_change_nothing(field, data):
    label = data.draw(st.integers(1, int(field.labels.max())))
    whole = measured(field, CELL_BY_CELL).loc[[label]]
    alone = measured(
        field,
        CELL_BY_CELL,
        image=np.where((field.cells == label) | (field.labels == label), field.image, 60_000),
        labels=np.where(field.labels == label, field.labels, 0),
        cells=np.where(field.cells == label, field.cells, 0),
    )
    pd.testing.assert_frame_equal(alone, whole, check_exact=True)


@pytest.mark.parametrize("order", [(2, 0, 1), (1, 2, 0), (2, 1, 0)])
def test_order_of_channels_changes_nothing(field, reference, order):
    found = measured(field, image=field.image[list(order)], stains=[field.stains[k] for k in order])
    assert list(found.columns) == list(reference.columns)
    pd.testing.assert_frame_equal(found, reference, check_exact=True)


@pytest.mark.parametrize("turns", [1, 2, 3])
@pytest.mark.parametrize("mirror", [False, True])
def test_quarter_turns_and_mirrors_change_only_what_has_a_direction(forms, turns, mirror):
    field = forms.make_field(seed=3, side=96)

    def turned(array):
        array = np.rot90(array, turns, axes=(-2, -1))
        return np.ascontiguousarray(array[..., ::-1] if mirror else array)

    before = measured(field)
    after = measured(field, image=turned(field.image), labels=turned(field.labels), cells=turned(field.cells))
    directed = [name for name, about in before.attrs["var"].items() if about["turns"]]
    assert {"nucleus_orientation", "nucleus_moment_21"} <= set(directed)
    free = [name for name in before if name not in directed]
    for name in free:
        sign = -1 if mirror and name.split("_DAPI")[0].endswith("hu7") else 1
        np.testing.assert_allclose(after[name], sign * before[name], rtol=1e-6, atol=1e-10, err_msg=name)


@few
@given(gain=st.floats(0.5, 3), offset=st.integers(0, 500))
def test_gain_changes_only_what_carries_intensity(field, gain, offset):
    """A brighter exposure scales intensities and leaves ratios, texture levels and form alone."""
    image = field.image.astype(float) + 1
    config = MeasureConfig(workers=1, families=("shape", "moments", "radial", "condensation"))
    before, after = measured(field, config, image=image), measured(field, config, image=image * 2.0)
    pd.testing.assert_frame_equal(after, before, check_exact=False, rtol=1e-9, atol=1e-12)


SHAPES = {
    "one pixel": ["1"],
    "two pixels": ["11"],
    "three in a row": ["111"],
    "three in a corner": ["10", "11"],
    "a line": ["1" * 12],
    "a diagonal": [" " * k + "1" for k in range(9)],
    "two far pixels": ["1" + " " * 20 + "1"],
}


def drawn(rows):
    width = max(map(len, rows))
    return np.array([[c == "1" for c in row.ljust(width)] for row in rows])


@pytest.mark.parametrize("name", SHAPES)
@pytest.mark.parametrize("light", ["constant", "zero", "varied"])
def test_degenerate_cells_are_missing_with_a_reason(forms, name, light):
    labels = forms.one_label(drawn(SHAPES[name]))
    rng = np.random.default_rng(0)
    image = {
        "constant": np.full((2, *labels.shape), 50, np.uint16),
        "zero": np.zeros((2, *labels.shape), np.uint16),
        "varied": rng.integers(1, 900, (2, *labels.shape), dtype=np.uint16),
    }[light]
    table = measure_field(image, labels, None, ["DAPI", "CD3"], config=ONE)
    values = table.to_numpy()
    assert not np.isinf(values).any()
    assert np.isnan(values).sum() == sum(table.attrs["missing"].values())
    assert np.isnan(
        table.filter(regex="nucleus_(perimeter|solidity|radius|curvature|major)").to_numpy()
    ).all()
    assert table["nucleus_area"].item() == labels.sum()
    if light != "varied":
        flat = table.filter(regex="skewness|kurtosis|entropy|texture|pearson|hc_").to_numpy()
        assert np.isnan(flat).all()
    if light == "zero":
        assert np.isnan(table.filter(regex="_cv_|ring|overlap|manders|weighted").to_numpy()).all()
    assert "the formula gives no finite number for this cell" not in table.attrs["missing"]


@settings(max_examples=60, deadline=None)
@given(
    seed=st.integers(0, 2**32 - 1),
    share=st.floats(0.05, 1),
    high=st.sampled_from([0, 1, 2, 255, 65535]),
    height=st.integers(1, 14),
    width=st.integers(1, 14),
)
def test_no_mask_and_no_image_breaks_it(seed, share, high, height, width):
    rng = np.random.default_rng(seed)
    labels = (rng.random((height, width)) < share) * rng.integers(1, 3, (height, width))
    cells = np.where(rng.random((height, width)) < 0.5, rng.integers(0, 3, (height, width)), labels)
    image = rng.integers(0, high + 1, (2, height, width)).astype(np.uint16)
    table = measure_field(image, labels, cells, ["DAPI", "CD3"], config=ONE)
    values = table.to_numpy()
    assert not np.isinf(values).any()
    assert np.isnan(values).sum() == sum(table.attrs["missing"].values())
    assert "the formula gives no finite number for this cell" not in table.attrs["missing"]


@settings(max_examples=20, deadline=None)
@given(
    seed=st.integers(0, 2**32 - 1),
    share=st.floats(0.05, 1),
    high=st.sampled_from([0, 1, 255, 65535]),
    side=st.integers(1, 14),
    alpha=st.sampled_from([-3.0, 1.0, 10.0]),
)
def test_nothing_breaks_both_name_spaces(seed, share, high, side, alpha):
    rng = np.random.default_rng(seed)
    labels = (rng.random((side, side)) < share) * rng.integers(1, 3, (side, side))
    image = rng.integers(0, high + 1, (3, side, side)).astype(np.uint16)
    config = MeasureConfig(name_space="both", condensation_alpha=alpha, workers=1)
    table = measure_field(image, labels, None, ["DAPI", "CD3", "gammaH2AX"], config=config)
    values = table.to_numpy()
    assert not np.isinf(values).any()
    assert np.isnan(values).sum() == sum(table.attrs["missing"].values())


def test_damaged_dna_tells_nothing_of_foci_in_dense_chromatin(forms):
    rows, columns = np.mgrid[:60, :60]
    labels = (np.hypot(rows - 30, columns - 30) < 22).astype(int)
    spot = 900 * np.exp(-((rows - 30) ** 2 + (columns - 30) ** 2) / 2 / 1.3**2)
    image = np.stack([rows + 100.0, 300 + spot + np.random.default_rng(0).normal(size=spot.shape)])
    config = MeasureConfig(families=("foci",), workers=1)
    whole = measure_field(image, labels, None, ["DAPI", "gammaH2AX"], config=config)
    image[0, 25, 25] = np.nan
    damaged = measure_field(image, labels, None, ["DAPI", "gammaH2AX"], config=config)
    name = "nucleus_foci_in_dense_chromatin_gammaH2AX"
    assert whole["nucleus_foci_count_gammaH2AX"].item() == 1
    assert whole[name].notna().all()
    assert damaged[name].isna().all()
    pd.testing.assert_frame_equal(damaged.drop(columns=name), whole.drop(columns=name))


def test_pixels_that_are_not_finite_are_missing_and_harm_no_other_cell(field, reference):
    image = field.image.astype(np.float32)
    inside = np.argwhere(field.labels == 3)[0]
    outside = np.argwhere(field.cells == 0)[0]
    image[1, inside[0], inside[1]] = np.nan
    image[0, outside[0], outside[1]] = np.inf
    table = measured(field, image=image)
    with_it = np.array(["CD3" in about["stain"] for about in table.attrs["var"].values()])
    assert table.loc[3, with_it].isna().all()
    pd.testing.assert_frame_equal(table.loc[3:3, ~with_it], reference.loc[3:3, ~with_it], rtol=1e-6)
    pd.testing.assert_frame_equal(table.drop(3), reference.drop(3), rtol=1e-6)
    assert table.attrs["missing"]["the image holds NaN or infinity in this cell"] == with_it.sum()


def test_a_field_without_cells_gives_an_empty_table(field):
    empty = np.zeros_like(field.labels)
    table = measured(field, labels=empty, cells=empty)
    assert table.shape[0] == 0
    assert table.shape[1] > 100


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.int32, np.int64, np.uint32, bool])
def test_any_whole_number_labels(field, reference, dtype):
    labels = field.labels.astype(dtype)
    table = measured(field, CELL_BY_CELL, labels=labels, cells=None)
    assert len(table) == (1 if dtype is bool else len(reference))


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"labels": np.zeros((5, 5), int)}, "need"),
        ({"labels": np.zeros((160, 160), float)}, "whole numbers"),
        ({"cells": np.zeros((10, 160), int)}, "Cell regions"),
        ({"stains": ("DAPI", "CD3")}, "2 stains"),
        ({"stains": ("DAPI", "CD3", "dapi")}, "more than once"),
        ({"image": np.zeros((3, 160, 160), complex)}, "real numbers"),
    ],
)
def test_input_that_does_not_fit_is_refused(field, change, words):
    with pytest.raises(DataError, match=words):
        measured(field, **change)


def test_a_label_scattered_over_the_field_is_refused_by_its_number():
    labels = np.zeros((500, 5000), np.int32)
    labels[10:20, 10:20], labels[480:490, 4980:4990] = 7, 7
    labels[100:110, 30:40] = 3

    class Image:
        shape, dtype = (1, *labels.shape), np.dtype(np.uint8)

        def __getitem__(self, area):
            raise AssertionError("no pixel needs to be read to know this")

    with pytest.raises(DataError, match=r"1 labels .* 4096 px: 7 \(480 x 4980 px\)"):
        measure_field(Image(), labels, None, ["DAPI"], config=ONE)
    image = np.ones((1, *labels.shape), np.uint8)
    config = MeasureConfig(families=("shape",), largest_cell_px=5000, workers=1)
    assert measure_field(image, labels, None, ["DAPI"], config=config).loc[7, "nucleus_area"] == 200


def test_large_cells_are_not_read_together():
    from napari_apollo.measure.parts import FieldParts

    side = 3000
    labels = np.zeros((side + 40, side + 40), np.int32)
    for k in range(8):
        labels[5 * k, 5 * k :], labels[5 * k :, 5 * k] = k + 1, k + 1
    image = np.zeros((1, *labels.shape), np.uint8)
    parts = FieldParts(image, labels, None, 1, MeasureConfig(tile_px=4096), lambda: False)
    assert sorted(np.concatenate(parts.batches)) == list(range(8))
    assert max(map(len, parts.batches)) <= 2


@pytest.mark.parametrize("size", [0.0, -1.0, float("nan"), (0.5, 0.6)])
def test_pixel_sizes_that_cannot_be_are_refused(field, size):
    with pytest.raises(DataError, match="µm"):
        measure_field(field.image, field.labels, None, field.stains, size)


def test_lazy_arrays_are_read_in_parts(field, reference):
    import dask.array as da

    found = measured(
        field,
        MeasureConfig(tile_px=64, workers=1),
        image=da.from_array(field.image, chunks=(1, 50, 50)),
        labels=da.from_array(field.labels, chunks=64),
    )
    pd.testing.assert_frame_equal(found, reference, check_exact=True)
