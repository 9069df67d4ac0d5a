"""The cell store gives back what was put in, whole or not at all, and names what is damaged."""

from __future__ import annotations

import copy
import json
import os
import pickle
import shutil
import signal
import warnings
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import tensorstore
import zarr
from numpy.typing import NDArray

from napari_apollo.cells import CellStore, CellStoreWriter, Normalisation, checksums
from napari_apollo.cells.shards import cells_per_shard
from napari_apollo.cells.writer import panel_folder
from napari_apollo.errors import (
    DataError,
    FileError,
    StoreError,
    StoreTooNew,
)
from napari_apollo.panels import Panel

Small = tuple[CellStore, dict[str, NDArray]]
MakeStore = Callable[..., Small]


def files(path: Path) -> list[Path]:
    return sorted(each for each in path.rglob("*") if each.is_file())


def contents(path: Path) -> dict[str, bytes]:
    return {str(each.relative_to(path)): each.read_bytes() for each in files(path)}


# --- reading ------------------------------------------------------------------------------------


def test_what_was_put_in_comes_out(small_store: Small) -> None:
    store, given = small_store
    rng = np.random.default_rng(1)
    for name in store.panels:
        for rows in ([], [3], range(90), rng.integers(0, 90, 256), rng.permutation(90), [7, 7, 0, 89, 7]):
            rows = np.asarray(rows, int)
            images, masks = store.read_images(name, rows), store.read_masks(name, rows)
            assert images.dtype == np.uint16
            np.testing.assert_array_equal(images, given[f"{name} images"][rows])
            np.testing.assert_array_equal(masks, given[f"{name} masks"][rows])
    assert store.n_cells == 180
    assert (store.crop_size, store.pixel_size_um) == (16, 0.5)
    assert store.verify() == []
    assert "A: 90" in repr(store)


def test_memory_may_be_given_to_read_into(small_store: Small) -> None:
    store, given = small_store
    out = np.empty((5, 3, 16, 16), np.uint16)
    assert store.read_images("A", [4, 2, 0, 2, 9], out) is out
    np.testing.assert_array_equal(out, given["A images"][[4, 2, 0, 2, 9]])
    with pytest.raises(ValueError, match="C-contiguous"):
        store.read_images("A", [1], out)


def test_other_zarr_libraries_read_the_same(small_store: Small) -> None:
    store, given = small_store
    group = zarr.open_group(store.path, mode="r")
    assert group.attrs["schema_version"] == 1
    for name in store.panels:
        for kind in ("images", "masks"):
            place = f"panels/{panel_folder(name)}/{kind}"
            array = group[place]
            assert array.metadata.zarr_format == 3
            assert array.shards is not None
            assert array.metadata.dimension_names[0] == "cell"
            np.testing.assert_array_equal(array[:], given[f"{name} {kind}"])
            other = tensorstore.open(
                {"driver": "zarr3", "kvstore": {"driver": "file", "path": str(store.path / place)}}
            ).result()
            np.testing.assert_array_equal(
                other[[5, 80, 5]].read().result(), given[f"{name} {kind}"][[5, 80, 5]]
            )


def test_cells_are_compressed_where_it_pays(tmp_path: Path) -> None:
    """Masked crops shrink; noise, which hardly would, is stored so that it is read fast."""
    rng = np.random.default_rng(0)
    noise = rng.poisson(600, (200, 1, 64, 64)).astype(np.uint16)
    masked = noise * (np.hypot(*np.mgrid[-32:32, -32:32]) < 12).astype(np.uint16)
    for name, images, least, most in (("noise", noise, 0.95, 1.1), ("masked", masked, 0.0, 0.3)):
        path = tmp_path / f"{name}.cells.zarr"
        panel = Panel(name="A", stains=("DAPI",))
        with CellStoreWriter(path, [panel], crop_size=64, dtype=np.uint16) as writer:
            masks = np.full((200, 64, 64), 2, np.uint8)
            writer.append("A", images, masks, pd.DataFrame({"field": "f", "label": np.arange(1, 201)}))
        np.testing.assert_array_equal(CellStore.open(path).read_images("A", np.arange(200)), images)
        np.testing.assert_array_equal(zarr.open_group(path, mode="r")["panels/A/images"][:], images)
        size = sum(each.stat().st_size for each in (path / "panels/A/images/c").rglob("*") if each.is_file())
        assert least < size / images.nbytes < most


def test_the_table_is_plain_anndata(small_store: Small) -> None:
    import anndata

    store, _ = small_store
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        table = anndata.read_zarr(store.path / "table")
    assert list(table.obs_names) == list(store.obs["cell_id"])


def test_the_table_tells_where_each_cell_is(small_store: Small) -> None:
    store, given = small_store
    obs = store.obs
    assert obs.index.is_unique
    assert list(obs.index) == list(obs["cell_id"])
    assert obs["cell_id"].iloc[0] == "field of A:1"
    assert (obs["donor"] == "d1").all()
    assert obs["qc"].all()
    for name in store.panels:
        positions = store.rows(name)
        rows = obs["row"].to_numpy()[positions]
        np.testing.assert_array_equal(rows, np.arange(90))
        np.testing.assert_array_equal(store.read_images(name, rows[::-1]), given[f"{name} images"][::-1])
    assert store.table.X.shape == (180, 0)
    assert json.loads(store.table.uns["provenance"]) == store.provenance


def test_normalised_crops(small_store: Small) -> None:
    store, given = small_store
    rows = np.array([8, 3, 8])
    scaled = store.normalised("A", rows)
    expected = store.normalisation.apply(given["A images"][rows], store.panels["A"].stains, ["A"] * 3)
    np.testing.assert_array_equal(scaled, expected)
    pixels = given["A images"][:, 1][given["A masks"] > 0]
    low, high = np.percentile(pixels, [1, 99.8], method="inverted_cdf")
    assert store.normalisation.constants["A"]["CD4"] == (low, high)


def test_constants_of_chosen_cells(small_store: Small) -> None:
    """A model that holds donors out is normalised by its training cells alone."""
    store, given = small_store
    chosen = np.concatenate([np.arange(30), np.arange(100, 150)])
    made = store.make_normalisation(chosen, percentiles=(3, 97))
    for name, rows in (("A", np.arange(30)), ("dapi/cd3", np.arange(10, 60))):
        pixels = given[f"{name} images"][rows, 0][given[f"{name} masks"][rows] > 0]
        expected = np.percentile(pixels, [3, 97], method="inverted_cdf")
        assert made.constants[name]["DAPI"] == tuple(expected)
    every = store.make_normalisation(np.arange(180))
    assert every == store.normalisation


def test_passed_cells_only(small_store: Small) -> None:
    store, _ = small_store
    table = store.table.copy()
    table.obs["qc"] = np.arange(180) % 3 > 0
    store.write_table(table)
    assert len(store.rows("A", passed_qc=True)) == 60
    assert store.obs["qc"].to_numpy()[store.rows("dapi/cd3", passed_qc=True)].all()


def test_rows_and_panels_that_do_not_exist(small_store: Small) -> None:
    store, _ = small_store
    for rows in ([90], [-1], [0, 5000]):
        with pytest.raises(DataError, match="does not exist"):
            store.read_images("A", rows)
    with pytest.raises(DataError, match=r"no panel 'B'; it holds A, dapi/cd3"):
        store.read_images("B", [0])
    with pytest.raises(DataError, match="no panel"):
        store.rows("B")


def test_a_store_travels_as_its_path(small_store: Small) -> None:
    store, given = small_store
    for other in (pickle.loads(pickle.dumps(store)), copy.deepcopy(store)):
        assert other.path == store.path
        np.testing.assert_array_equal(other.read_images("A", [4]), given["A images"][[4]])


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork on this system")
def test_reading_works_after_a_fork(small_store: Small) -> None:
    store, _ = small_store
    rows = np.arange(90).repeat(3)
    expected = store.read_images("A", rows)
    child = os.fork()
    if child == 0:
        signal.alarm(20)
        same = np.array_equal(store.read_images("A", rows), expected)
        os._exit(0 if same else 1)
    assert os.waitpid(child, 0)[1] == 0


def test_cells_fill_many_shards(tmp_path: Path) -> None:
    """More cells than a shard holds, in blocks that do not fit its edges; panels may be empty."""
    per_shard = cells_per_shard(2 * 2 * 2)
    count = 2 * per_shard + 5
    images = np.arange(count * 8, dtype=np.uint32).reshape(count, 2, 2, 2) % 60000
    path = tmp_path / "many.cells.zarr"
    with CellStoreWriter(
        path, [Panel.parse("dapi_cd3"), Panel.parse("dna_cd8")], crop_size=2, dtype="u2"
    ) as writer:
        for start in range(0, count, 3001):
            part = images[start : start + 3001].astype(np.uint16)
            obs = pd.DataFrame({"field": "f", "label": np.arange(start, start + len(part))})
            writer.append("dapi_cd3", part, np.ones((len(part), 2, 2), np.uint8), obs)
    store = CellStore.open(path)
    assert len(files(path / "panels" / "dapi_cd3" / "images" / "c")) == 3
    rows = np.random.default_rng(0).integers(0, count, 400)
    np.testing.assert_array_equal(store.read_images("dapi_cd3", rows), images[rows])
    assert store.read_images("dna_cd8", []).shape == (0, 2, 2, 2)
    assert store.count("dna_cd8") == 0
    assert store.verify() == []


@pytest.mark.parametrize("dtype", ["uint8", "int16", "float32", "uint32"])
def test_pixels_stay_as_acquired(tmp_path: Path, dtype: str) -> None:
    images = (np.random.default_rng(0).random((6, 2, 5, 5)) * 100).astype(dtype)
    store = one_panel(tmp_path / "s.cells.zarr", images)
    read = store.read_images("dapi_cd3", range(6))
    assert read.dtype == np.dtype(dtype) == store.dtype("dapi_cd3")
    np.testing.assert_array_equal(read, images)


def one_panel(path: Path, images: NDArray, **options: object) -> CellStore:
    size = images.shape[-1]
    with writer(path, crop_size=size, dtype=images.dtype, **options) as opened:
        obs = pd.DataFrame({"field": "f", "label": np.arange(len(images)) + 1})
        opened.append("dapi_cd3", images, np.ones((len(images), size, size), np.uint8), obs)
    return CellStore.open(path)


def test_the_same_cells_are_the_same_bytes(make_store: MakeStore, tmp_path: Path) -> None:
    first, _ = make_store(tmp_path / "one.cells.zarr")
    second, _ = make_store(tmp_path / "two.cells.zarr")
    assert contents(first.path) == contents(second.path)


# --- refused ------------------------------------------------------------------------------------


def writer(path: Path, **options: object) -> CellStoreWriter:
    return CellStoreWriter(
        path, **{"panels": [Panel.parse("dapi_cd3")], "crop_size": 4, "dtype": np.uint16, **options}
    )


@pytest.mark.parametrize(
    ("images", "masks", "obs", "match"),
    [
        (np.zeros((2, 3, 4, 4), "u2"), np.zeros((2, 4, 4), "u1"), {}, "need images of shape"),
        (np.zeros((2, 2, 4, 5), "u2"), np.zeros((2, 4, 4), "u1"), {}, "need images of shape"),
        (np.zeros((2, 2, 4, 4), "u2"), np.zeros((1, 4, 4), "u1"), {}, "masks of"),
        (np.zeros((2, 2, 4, 4), "i4"), np.zeros((2, 4, 4), "u1"), {}, "int32 pixels do not fit into uint16"),
        (np.zeros((2, 2, 4, 4), "u2"), np.zeros((2, 4, 4), "u1"), {"label": None}, "columns label"),
    ],
)
def test_blocks_that_do_not_fit_are_refused(
    tmp_path: Path, images: NDArray, masks: NDArray, obs: dict, match: str
) -> None:
    columns = {
        key: value for key, value in {"field": "f", "label": [1, 2], **obs}.items() if value is not None
    }
    with pytest.raises(DataError, match=match), writer(tmp_path / "s.cells.zarr") as opened:
        opened.append("dapi_cd3", images, masks, pd.DataFrame(columns, index=[0, 1]))
    assert list(tmp_path.iterdir()) == []


def test_values_that_are_no_numbers_are_named(tmp_path: Path) -> None:
    images = np.zeros((3, 2, 4, 4), np.float32)
    images[1, 1, 2, 2] = np.nan
    with pytest.raises(DataError, match=r"field f, label 2: CD3 is not finite"):
        one_panel(tmp_path / "s.cells.zarr", images)
    assert list(tmp_path.iterdir()) == []


def test_a_constant_stain_is_refused(tmp_path: Path) -> None:
    images = np.random.default_rng(0).integers(0, 9, (3, 2, 4, 4)).astype(np.uint8)
    images[:, 1] = 0
    with pytest.raises(DataError, match="CD3 has the same intensity"):
        one_panel(tmp_path / "s.cells.zarr", images)
    assert list(tmp_path.iterdir()) == []


def test_one_name_for_two_cells_is_refused(tmp_path: Path) -> None:
    block = np.random.default_rng(0).integers(0, 9, (2, 2, 4, 4)).astype(np.uint16)
    masks = np.ones((2, 4, 4), np.uint8)
    with (
        pytest.raises(DataError, match=r"more than one cell \(f:7\)"),
        writer(tmp_path / "s.cells.zarr") as opened,
    ):
        opened.append("dapi_cd3", block, masks, pd.DataFrame({"field": "f", "label": [7, 7]}))
    assert list(tmp_path.iterdir()) == []


def test_panels_of_sixty_stains_have_folders(tmp_path: Path) -> None:
    stains = ("DAPI", *(f"marker {number} β" for number in range(60)))
    panels = [Panel(name="_".join(names), stains=names) for names in (stains, stains[:-1])]
    image = np.arange(61 * 16, dtype=np.uint16).reshape(1, 61, 4, 4)
    with CellStoreWriter(tmp_path / "s.cells.zarr", panels, crop_size=4, dtype="uint16") as writer:
        for number, panel in enumerate(panels):
            obs = pd.DataFrame({"field": [f"f{number}"], "label": [1]})
            pixels = image[:, : len(panel.stains)] + number
            writer.append(panel.name, pixels, np.full((1, 4, 4), 2, np.uint8), obs)
    store = CellStore.open(tmp_path / "s.cells.zarr")
    for number, panel in enumerate(panels):
        np.testing.assert_array_equal(
            store.read_images(panel.name, [0])[0, -1], image[0, -1 - number] + number
        )
    assert store.verify() == []


def test_other_mistakes_of_a_writer(make_store: MakeStore, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="at least one panel"):
        writer(tmp_path / "s.cells.zarr", panels=[])
    with pytest.raises(DataError, match="complex128 cannot be stored"):
        writer(tmp_path / "s.cells.zarr", dtype=complex)
    with (
        pytest.raises(DataError, match="not one of the store's"),
        writer(tmp_path / "s.cells.zarr") as opened,
    ):
        opened.append("other", np.zeros((0, 2, 4, 4), "u2"), np.zeros((0, 4, 4), "u1"), pd.DataFrame())
    store, _ = make_store(tmp_path / "kept.cells.zarr")
    with pytest.raises(FileError, match="exists already"), writer(store.path):
        pass
    assert CellStore.open(store.path).verify() == []


def test_what_is_no_store(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="no such folder"):
        CellStore.open(tmp_path / "absent.cells.zarr")
    (tmp_path / "empty").mkdir()
    with pytest.raises(StoreError, match="no cell store"):
        CellStore.open(tmp_path / "empty")
    zarr.create_group(tmp_path / "other.zarr")
    with pytest.raises(StoreError, match="zarr group, but no cell store"):
        CellStore.open(tmp_path / "other.zarr")


def test_a_store_of_a_newer_version(small_store: Small) -> None:
    store, _ = small_store
    checksums.seal_group(store.path, {"schema_version": 2})
    with pytest.raises(StoreTooNew, match=r"schema 2; this one reads up to 1.*Update"):
        CellStore.open(store.path)


# --- tables --------------------------------------------------


def test_a_table_comes_back_as_it_was_written(small_store: Small) -> None:
    import anndata

    store, _ = small_store
    rng = np.random.default_rng(0)
    old = store.table
    table = anndata.AnnData(
        X=rng.random((180, 4)).astype(np.float32),
        obs=old.obs.copy(),
        var=pd.DataFrame(index=["area", "DAPI mean", "CD4/CD8", "γH2AX"]),
        obsm={"shared": rng.random((180, 7)).astype(np.float32)},
        uns=dict(old.uns),
    )
    table.obs["cluster"] = [f"c{k % 3}" for k in range(180)]
    table.obs["score"] = rng.random(180)
    table.obs["annotation"] = "T cell"
    store.write_table(table)
    for read in (store, CellStore.open(store.path)):
        np.testing.assert_array_equal(read.table.X, table.X)
        np.testing.assert_array_equal(read.table.obsm["shared"], table.obsm["shared"])
        assert list(read.table.var_names) == list(table.var_names)
        assert list(read.obs["cluster"]) == list(table.obs["cluster"])
        np.testing.assert_array_equal(read.obs["score"], table.obs["score"])
        assert (read.obs["annotation"] == "T cell").all()
        assert read.verify() == []
    # Text may be changed to any other word.
    store.table.obs.loc[store.obs.index[0], "annotation"] = "B cell"
    store.write_table(store.table)
    assert CellStore.open(store.path).obs["annotation"].iloc[0] == "B cell"


def test_a_table_about_other_cells_is_refused(small_store: Small) -> None:
    store, _ = small_store
    table = store.table
    before = contents(store.path)
    renamed = table.copy()
    renamed.obs["cell_id"] = "x" + renamed.obs["cell_id"]
    for wrong in (table[:100].copy(), table[::-1].copy(), renamed):
        with pytest.raises(DataError, match="180 cells in their order"):
            store.write_table(wrong)
    lacking = table.copy()
    del lacking.obs["qc"]
    with pytest.raises(DataError, match="lacks the columns qc"):
        store.write_table(lacking)
    assert contents(store.path) == before


@pytest.mark.parametrize("suffix", [".csv", ".h5ad"])
def test_the_table_for_other_programs(small_store: Small, tmp_path: Path, suffix: str) -> None:
    import anndata

    store, _ = small_store
    table = store.table.copy()
    table = anndata.AnnData(
        X=np.arange(360.0).reshape(180, 2), obs=table.obs, var=pd.DataFrame(index=["a", "b"]), uns=table.uns
    )
    store.write_table(table)
    path = tmp_path / f"out{suffix}"
    store.export_table(path)
    if suffix == ".csv":
        read = pd.read_csv(path, keep_default_na=False)
        np.testing.assert_array_equal(read[["a", "b"]], table.X)
    else:
        found = anndata.read_h5ad(path)
        np.testing.assert_array_equal(found.X, table.X)
        read = found.obs
    assert list(read["cell_id"]) == list(store.obs["cell_id"])
    assert list(read["qc_reason"]) == [""] * 180
    with pytest.raises(FileError, match=r"\.csv or \.h5ad"):
        store.export_table(tmp_path / "out.xlsx")


def test_constants_given_to_a_writer_are_kept(tmp_path: Path) -> None:
    made = Normalisation(by="field", constants={"*": {"DAPI": (0, 100), "CD3": (3, 9)}})
    images = np.random.default_rng(0).integers(0, 200, (4, 2, 4, 4)).astype(np.uint16)
    path = tmp_path / "s.cells.zarr"
    with writer(path) as opened:
        opened.normalisation = made
        obs = pd.DataFrame({"field": "f", "label": [1, 2, 3, 4]})
        opened.append("dapi_cd3", images, np.ones((4, 4, 4), np.uint8), obs)
        changed = opened.obs.assign(qc=[True, False, True, True], extra=1.5)
        opened.replace_obs(changed)
        with pytest.raises(DataError, match="same cells"):
            opened.replace_obs(changed[::-1])
    store = CellStore.open(path)
    assert store.normalisation == made
    assert list(store.obs["qc"]) == [True, False, True, True]
    assert (store.obs["extra"] == 1.5).all()
    np.testing.assert_allclose(
        store.normalised("dapi_cd3", [2])[0, 0], np.clip(images[2, 0] / 100, 0, 1), rtol=1e-6
    )


def test_an_archive_of_a_store_is_the_store(small_store: Small, tmp_path: Path) -> None:
    """A store is only its files: copied anywhere, under any name, it is whole."""
    store, given = small_store
    copied = shutil.copytree(store.path, tmp_path / "elsewhere" / "copy")
    other = CellStore.open(copied)
    assert other.verify() == []
    np.testing.assert_array_equal(other.read_images("A", [2]), given["A images"][[2]])


def test_reading_from_many_threads(small_store: Small) -> None:
    from concurrent.futures import ThreadPoolExecutor

    store, given = small_store

    def read(seed: int) -> bool:
        rows = np.random.default_rng(seed).integers(0, 90, 150)
        return np.array_equal(store.read_images("A", rows), given["A images"][rows])

    with ThreadPoolExecutor(8) as pool:
        assert all(pool.map(read, range(40)))
