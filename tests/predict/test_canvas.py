from __future__ import annotations

from types import SimpleNamespace

import dask
import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from napari_apollo.errors import DataError, UnknownStain
from napari_apollo.panels import Panel
from napari_apollo.predict import Canvas
from napari_apollo.predict.pyramid import halve_block, level_shapes

BOTH = Panel(name="both", stains=("DAPI", "CD3"))
LEFT = Panel(name="left", stains=("DAPI", "CD4"))
RIGHT = Panel(name="right", stains=("CD8", "DAPI"))


def compute(array: object) -> np.ndarray:
    return np.asarray(dask.compute(array, scheduler="synchronous")[0])


@given(
    seed=st.integers(0, 10_000),
    shape=st.tuples(st.integers(20, 70), st.integers(20, 70)),
    size=st.integers(17, 24),
    tile=st.sampled_from([8, 32, 128]),
)
@settings(max_examples=25, deadline=None)
def test_identity_crops_come_back_to_the_pixel(
    synthetic: SimpleNamespace, seed: int, shape: tuple[int, int], size: int, tile: int
) -> None:
    rng = np.random.default_rng(seed)
    nuclei, cells = synthetic.random_cells(rng, shape, count=int(rng.integers(1, 12)), radius=7)
    planes = {stain: rng.integers(1, 60_000, shape, dtype=np.uint16) for stain in ("DAPI", "CD3")}
    store = synthetic.store_from_field(planes, nuclei, cells, dict.fromkeys(range(100), BOTH), size=size)
    canvas = Canvas(store, image="field.tif", shape=shape, tile=tile)
    reachable = np.isin(cells, store.obs["label"])
    assert reachable.any()
    assert np.array_equal(compute(canvas.labels(levels=False)[0]), np.where(reachable, cells, 0))
    for stain, plane in planes.items():
        pasted = canvas.layer(stain)[0]
        assert pasted.dtype == plane.dtype
        assert np.array_equal(compute(pasted), np.where(reachable, plane, 0))


@given(
    seed=st.integers(0, 10_000),
    scale=st.sampled_from([0.5, 0.8, 1.25, 2.0, 3.0]),
    slope=st.tuples(st.floats(-3, 3), st.floats(-3, 3)),
)
@settings(max_examples=25, deadline=None)
def test_resampled_crops_come_back_to_where_they_were_cut(
    synthetic: SimpleNamespace, seed: int, scale: float, slope: tuple[float, float]
) -> None:
    """A plane that is linear in y and x survives bilinear cutting and pasting exactly."""
    rng = np.random.default_rng(seed)
    shape, margin = (80, 90), 24
    nuclei, cells = synthetic.random_cells(rng, shape, count=5, radius=7)
    for labels in (nuclei, cells):  # away from the edge, where crops are padded
        labels[:margin] = labels[-margin:] = 0
        labels[:, :margin] = labels[:, -margin:] = 0
    yy, xx = np.indices(shape)
    plane = (1000 + slope[0] * yy + slope[1] * xx).astype(np.float32)
    nuclei[cells == 0] = 0
    if not (nuclei > 0).any():
        return
    size = int(np.ceil(20 / scale)) | 1
    store = synthetic.store_from_field(
        {"DAPI": plane, "CD3": plane * 2},
        nuclei,
        cells,
        dict.fromkeys(range(100), BOTH),
        size=size,
        scale=scale,
    )
    canvas = Canvas(store, image="field.tif", shape=shape, tile=32)
    pasted = compute(canvas.layer("CD3")[0])
    shown = pasted != 0
    assert np.allclose(pasted[shown], 2 * plane[shown], atol=0.05)
    # the region is that of the mask, to within half a crop pixel
    region = compute(canvas.labels(levels=False)[0])
    inside = np.isin(cells, store.obs["label"])
    assert np.mean((region > 0) == inside) > 0.9
    assert set(np.unique(region[region > 0])) <= set(store.obs["label"])


def two_panels(synthetic: SimpleNamespace) -> tuple[object, dict[str, np.ndarray], np.ndarray]:
    rng = np.random.default_rng(3)
    shape = (60, 70)
    nuclei, cells = synthetic.random_cells(rng, shape, count=12, radius=7)
    planes = {stain: rng.integers(1, 255, shape, dtype=np.uint8) for stain in ("DAPI", "CD4", "CD8")}
    panel_of = {label: LEFT if label % 2 else RIGHT for label in range(1, 20)}
    store = synthetic.store_from_field(planes, nuclei, cells, panel_of, size=21)
    return store, planes, cells


def test_cells_of_two_panels_share_one_canvas(synthetic: SimpleNamespace) -> None:
    store, planes, cells = two_panels(synthetic)
    canvas = Canvas(store, image="field.tif", shape=cells.shape)
    assert set(canvas.stains()) == {"DAPI", "CD4", "CD8"}
    assert set(canvas.placement.fields) == {"block_left", "block_right"}
    assert np.array_equal(compute(canvas.layer("DAPI")[0]), np.where(cells > 0, planes["DAPI"], 0))
    odd = cells % 2 == 1
    assert np.array_equal(compute(canvas.layer("CD4")[0]), np.where((cells > 0) & odd, planes["CD4"], 0))
    assert np.array_equal(compute(canvas.layer("cd8")[0]), np.where((cells > 0) & ~odd, planes["CD8"], 0))


def test_a_field_names_the_image_of_all_its_neighbours(synthetic: SimpleNamespace) -> None:
    store, _, cells = two_panels(synthetic)
    by_field = Canvas(store, image="block_left", shape=cells.shape)
    assert len(by_field.placement) == len(store.obs)


def cell_at(y: float, x: float, label: int, **more: object) -> dict:
    centre = {"centre_y": int(np.floor(y + 0.5)), "centre_x": int(np.floor(x + 0.5))}
    return {
        "panel": "both",
        "field": "f",
        "image": "i",
        "label": label,
        "y": y,
        "x": x,
        "scale": 1.0,
        **centre,
        **more,
    }


def test_the_nearest_cell_wins_and_a_nucleus_wins_over_cytoplasm(synthetic: SimpleNamespace) -> None:
    size = 9
    obs = pd.DataFrame([cell_at(10, 10, 1, row=0), cell_at(10, 14, 2, row=1)])
    masks = np.ones((2, size, size), np.uint8)  # both claim everything within reach
    masks[0, 4, 7] = 2  # ... and the first has nucleus at (10, 13), nearer to the second
    images = np.stack([np.full((2, size, size), value, np.uint8) for value in (50, 90)])
    store = synthetic.MemoryStore({"both": BOTH}, size, obs, {"both": images}, {"both": masks})
    canvas = Canvas(store, image="i", shape=(20, 25))
    row = compute(canvas.labels(levels=False)[0])[10]
    # the pixel in the middle is equally far: the cell that comes first has it
    assert row[6:19].tolist() == [1, 1, 1, 1, 1, 1, 1, 1, 2, 2, 2, 2, 2]
    assert row[12] == 1
    assert row[13] == 1
    assert compute(canvas.layer("CD3")[0])[10, 13] == 50


def test_crops_over_the_edge_of_the_image_are_cut_off(synthetic: SimpleNamespace) -> None:
    obs = pd.DataFrame([cell_at(0, 0, 4, row=0), cell_at(7, 11, 5, row=1)])
    images = np.arange(2 * 2 * 81, dtype=np.uint8).reshape(2, 2, 9, 9)
    masks = np.full((2, 9, 9), 2, np.uint8)
    store = synthetic.MemoryStore({"both": BOTH}, 9, obs, {"both": images}, {"both": masks})
    pasted = compute(Canvas(store, image="i", shape=(8, 12)).layer("CD3")[0])
    assert pasted.shape == (8, 12)
    assert np.array_equal(pasted[:3, :5], images[0, 1, 4:7, 4:9])
    assert np.array_equal(pasted[-3:, -5:], images[1, 1, 2:5, :5])


def test_labels_used_twice_are_numbered_anew(synthetic: SimpleNamespace) -> None:
    obs = pd.DataFrame([cell_at(5, 5, 1, row=0), cell_at(5, 20, 1, row=1, field="other")])
    masks = np.full((2, 9, 9), 2, np.uint8)
    store = synthetic.MemoryStore(
        {"both": BOTH}, 9, obs, {"both": np.ones((2, 2, 9, 9), np.uint8)}, {"both": masks}
    )
    canvas = Canvas(store, image="i", shape=(10, 30))
    assert sorted(canvas.placement.ids) == [1, 2]
    assert set(np.unique(compute(canvas.labels(levels=False)[0]))) == {0, 1, 2}


def test_only_the_tiles_looked_at_are_computed(synthetic: SimpleNamespace) -> None:
    count, size, side = 400, 9, 400
    grid = np.arange(20) * 20 + 10
    obs = pd.DataFrame(
        [cell_at(y, x, k + 1, row=k) for k, (y, x) in enumerate((y, x) for y in grid for x in grid)]
    )

    class Counting(synthetic.MemoryStore):
        read = 0

        def read_images(self, panel: str, rows: np.ndarray) -> np.ndarray:
            Counting.read += len(rows)
            return super().read_images(panel, rows)

    store = Counting(
        {"both": BOTH},
        size,
        obs,
        {"both": np.full((count, 2, size, size), 7, np.uint8)},
        {"both": np.full((count, size, size), 2, np.uint8)},
    )
    layer = Canvas(store, image="i", shape=(side, side), tile=64).layer("CD3")
    Counting.read = 0
    part = compute(layer[0][200:230, 200:230])
    assert (part == 7).any()
    assert 0 < Counting.read < 30


def test_levels_halve_and_keep_brightness(synthetic: SimpleNamespace) -> None:
    rng = np.random.default_rng(0)
    shape = (130, 101)
    nuclei, cells = synthetic.random_cells(rng, shape, count=20, radius=7)
    planes = {stain: rng.integers(100, 3000, shape).astype(np.uint16) for stain in ("DAPI", "CD3")}
    store = synthetic.store_from_field(planes, nuclei, cells, dict.fromkeys(range(50), BOTH), size=19)
    canvas = Canvas(store, image="field.tif", shape=shape, tile=16)
    levels = canvas.layer("CD3")
    assert (
        [level.shape for level in levels]
        == level_shapes(shape, 16)
        == [(130, 101), (65, 51), (33, 26), (17, 13), (9, 7)]
    )
    full = compute(levels[0])
    for level in levels[1:]:
        full = halve_block(full)
        assert np.array_equal(compute(level), full)
    assert [level.shape for level in canvas.labels()] == [level.shape for level in levels]


def test_a_value_per_cell_is_painted_over_its_region(synthetic: SimpleNamespace) -> None:
    store, _, cells = two_panels(synthetic)
    canvas = Canvas(store, image="field.tif", shape=cells.shape)
    values = canvas.placement.ids * 0.5
    values[0] = np.nan
    painted = compute(canvas.per_cell(values)[0])
    without = cells == canvas.placement.ids[0]
    assert np.allclose(painted, np.where(without, 0, cells * 0.5))


def test_what_is_not_there_is_named(synthetic: SimpleNamespace) -> None:
    store, _, cells = two_panels(synthetic)
    with pytest.raises(DataError, match=r"elsewhere.*field\.tif"):
        Canvas(store, image="elsewhere", shape=cells.shape)
    canvas = Canvas(store, image="field.tif", shape=cells.shape)
    with pytest.raises(UnknownStain, match=r"CD19.*CD4"):
        canvas.layer("CD19")
    with pytest.raises(UnknownStain):
        canvas.layer("CD4", "predicted")
