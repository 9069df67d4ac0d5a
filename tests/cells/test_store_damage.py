"""A store is there whole or not at all, and what is damaged is found and named."""

from __future__ import annotations

import errno
import os
import resource
import signal
import subprocess
import sys
import textwrap
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from napari_apollo.cells import CellStore, CellStoreWriter, checksums
from napari_apollo.cells.shards import cells_per_shard
from napari_apollo.cells.writer import panel_folder
from napari_apollo.errors import (
    StorageFull,
    StoreDamaged,
    StoreError,
)
from napari_apollo.panels import Panel

Small = tuple[CellStore, dict[str, NDArray]]
MakeStore = Callable[..., Small]


def files(path: Path) -> list[Path]:
    return sorted(each for each in path.rglob("*") if each.is_file())


def contents(path: Path) -> dict[str, bytes]:
    return {str(each.relative_to(path)): each.read_bytes() for each in files(path)}


def writer(path: Path, **options: object) -> CellStoreWriter:
    return CellStoreWriter(
        path, **{"panels": [Panel.parse("dapi_cd3")], "crop_size": 4, "dtype": np.uint16, **options}
    )


# --- damage -------------------------------------------------------------------------------------


def test_every_flipped_byte_is_found(small_store: Small) -> None:
    """One byte of each file, of the larger ones several."""
    store, _ = small_store
    rng = np.random.default_rng(0)
    for path in files(store.path):
        good = path.read_bytes()
        places = {0, len(good) - 1, *rng.integers(0, len(good), 3 if len(good) > 1000 else 1).tolist()}
        for place in places:
            bad = bytearray(good)
            bad[place] ^= int(rng.integers(1, 256))
            path.write_bytes(bad)
            problems = store.verify()
            assert any(str(path) in problem for problem in problems), (path, place, problems)
        path.write_bytes(good)
    assert store.verify() == []


def test_missing_cut_and_surplus_files_are_found(small_store: Small) -> None:
    store, _ = small_store
    for path in files(store.path):
        good = path.read_bytes()
        path.unlink()
        assert any(str(path) in problem for problem in store.verify()), path
        path.write_bytes(good[:-1])
        assert any(str(path) in problem for problem in store.verify()), path
        path.write_bytes(good)
    for place in ("extra", "panels/A/images/c/7/0/0/0", "table/obs/extra"):
        surplus = store.path / place
        surplus.parent.mkdir(parents=True, exist_ok=True)
        surplus.write_bytes(b"x")
        assert any(str(surplus) in problem and "belong" in problem for problem in store.verify()), place
        surplus.unlink()


def shard_of(store: CellStore, panel: str = "A", kind: str = "images") -> Path:
    return files(store.path / "panels" / panel_folder(panel) / kind / "c")[0]


def test_reading_a_damaged_cell_names_panel_and_rows(small_store: Small) -> None:
    store, given = small_store
    path = shard_of(store)
    data = bytearray(path.read_bytes())
    index = np.frombuffer(bytes(data[-(cells_per_shard(3 * 16 * 16 * 2) * 16 + 4) : -4]), "<u8").reshape(
        -1, 2
    )
    for row in (11, 42):
        data[int(index[row, 0]) + 5] ^= 0x10
    path.write_bytes(data)
    fresh = CellStore.open(store.path)
    with pytest.raises(StoreDamaged, match=r"panel A, images, rows 11, 42: a cell does not match") as caught:
        fresh.read_images("A", [3, 42, 11, 42])
    assert caught.value.path == path
    np.testing.assert_array_equal(fresh.read_images("A", [3, 12]), given["A images"][[3, 12]])
    np.testing.assert_array_equal(fresh.read_masks("A", [11]), given["A masks"][[11]])


@pytest.mark.parametrize("kind", ["images", "masks"])
def test_a_missing_shard_is_no_black_image(small_store: Small, kind: str) -> None:
    store, _ = small_store
    shard_of(store, kind=kind).unlink()
    fresh = CellStore.open(store.path)
    read = fresh.read_images if kind == "images" else fresh.read_masks
    with pytest.raises(StoreDamaged, match=rf"panel A, {kind}, rows 5: the file is gone"):
        read("A", [5])


@pytest.mark.parametrize("left", [0, 3, 500, -1])
def test_a_shard_cut_short(small_store: Small, left: int) -> None:
    store, _ = small_store
    path = shard_of(store)
    path.write_bytes(path.read_bytes()[:left])
    with pytest.raises(StoreDamaged, match="panel A, images, rows 0"):
        CellStore.open(store.path).read_images("A", [0])


def test_a_shard_of_noise(small_store: Small) -> None:
    store, _ = small_store
    path = shard_of(store)
    path.write_bytes(np.random.default_rng(0).bytes(path.stat().st_size))
    with pytest.raises(StoreDamaged):
        CellStore.open(store.path).read_images("A", [0])


def test_a_damaged_description_is_named(small_store: Small) -> None:
    store, _ = small_store
    root = store.path / "zarr.json"
    good = root.read_text()
    for bad in (
        good[:-40],
        good.replace('"crop_size": 16', '"crop_size": 32'),
        "[]",
        '{"attributes": 3}',
        "\xff",
    ):
        root.write_bytes(bad.encode("latin-1"))
        with pytest.raises(StoreDamaged, match=r"zarr\.json"):
            CellStore.open(store.path)
    root.write_text(good)
    array = store.path / "panels" / "A" / "images" / "zarr.json"
    for bad in (
        "",
        "{}",
        array.read_text().replace('"zstd"', '"gzip"'),
        array.read_text().replace("16", "1600"),
    ):
        array.write_text(bad)
        with pytest.raises(StoreDamaged, match=r"images"):
            CellStore.open(store.path).read_images("A", [0])


def test_a_damaged_table_is_named(small_store: Small) -> None:
    store, _ = small_store
    path = max(files(store.path / "table" / "obs" / "row"), key=lambda each: each.stat().st_size)
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)
    with pytest.raises(StoreDamaged, match="the table is damaged"):
        _ = CellStore.open(store.path).obs


def test_verifying_can_be_watched_and_stopped(small_store: Small) -> None:
    from napari_apollo.errors import Cancelled

    steps = []
    small_store[0].verify(progress=steps.append)
    assert steps[-1].done > 50
    with pytest.raises(Cancelled):
        small_store[0].verify(should_stop=lambda: True)


# --- interrupted --------------------------------------------------------------------------------

_KILLED = """
    import os, signal, sys
    import numpy as np, pandas as pd
    from napari_apollo.cells import CellStoreWriter
    from napari_apollo.panels import Panel
    with CellStoreWriter(
        sys.argv[1], [Panel.parse("dapi_cd3")], crop_size=64, dtype="u2", overwrite=True
    ) as writer:
        for k in range(8):
            images = np.random.default_rng(k).integers(0, 999, (500, 2, 64, 64)).astype("u2")
            obs = pd.DataFrame({"field": "f", "label": np.arange(k * 500, k * 500 + 500)})
            writer.append("dapi_cd3", images, np.ones((500, 64, 64), "u1"), obs)
        os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.mark.skipif(os.name == "nt", reason="needs signals")
def test_a_killed_writer_leaves_the_old_store(make_store: MakeStore, tmp_path: Path) -> None:
    store, given = make_store(tmp_path / "s.cells.zarr")
    before = contents(store.path)
    killed = subprocess.run([sys.executable, "-c", textwrap.dedent(_KILLED), str(store.path)], check=False)
    assert killed.returncode == -signal.SIGKILL
    left = [path for path in tmp_path.iterdir() if path != store.path]
    assert len(left) == 1
    assert len(files(left[0])) >= 2
    with pytest.raises(StoreError, match="never finished"):
        CellStore.open(left[0])
    assert contents(store.path) == before
    np.testing.assert_array_equal(CellStore.open(store.path).read_images("A", [1]), given["A images"][[1]])
    # The next writer sweeps up.
    make_store(store.path, overwrite=True)
    lock = tmp_path / ".s.cells.zarr.lock"  # of writers, empty; it stays
    assert {store.path} <= set(tmp_path.iterdir()) <= {store.path, lock}


def test_an_exception_leaves_the_old_store(make_store: MakeStore, tmp_path: Path) -> None:
    store, _ = make_store(tmp_path / "s.cells.zarr")
    before = contents(store.path)
    with pytest.raises(RuntimeError, match="stop"), writer(store.path, overwrite=True):
        raise RuntimeError("stop")
    assert list(tmp_path.iterdir()) == [store.path]
    assert contents(store.path) == before


@pytest.mark.parametrize("at", range(1, 12, 2))
def test_a_full_disk_leaves_the_old_store(
    make_store: MakeStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, at: int
) -> None:
    """The n-th file that is written meets a full disk."""
    store, _ = make_store(tmp_path / "s.cells.zarr")
    before = contents(store.path)
    written = 0
    fsync = os.fsync

    def full(descriptor: int) -> None:
        nonlocal written
        written += 1
        if written == at:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        fsync(descriptor)

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(StorageFull, match=r"s\.cells\.zarr"):
        make_store(store.path, overwrite=True)
    monkeypatch.undo()
    assert list(tmp_path.iterdir()) == [store.path]
    assert contents(store.path) == before


@pytest.mark.skipif(os.name == "nt", reason="needs limits on file sizes")
@pytest.mark.parametrize("limit", [20_000, 3_000])
def test_a_disk_that_really_refuses_leaves_nothing(make_store: MakeStore, tmp_path: Path, limit: int) -> None:
    """The system itself refuses to write beyond a size: in a shard, then in the table or its description."""
    path = tmp_path / "s.cells.zarr"
    child = os.fork()
    if child == 0:
        try:
            signal.alarm(100)
            signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
            resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
            make_store(path)
        except StorageFull:
            os._exit(0)
        finally:
            os._exit(1)
    assert os.waitpid(child, 0)[1] == 0
    assert list(tmp_path.iterdir()) == []


def test_writing_the_table_is_whole_or_not_at_all(
    small_store: Small, monkeypatch: pytest.MonkeyPatch
) -> None:
    store, _ = small_store
    before = contents(store.path)
    table = store.table.copy()
    table.obs["annotation"] = "T cell"
    monkeypatch.setattr(checksums, "seal_group", _fail)
    with pytest.raises(StorageFull):
        store.write_table(table)
    monkeypatch.undo()
    assert contents(store.path) == before
    assert (CellStore.open(store.path).obs["annotation"] == "").all()


def _fail(*arguments: object) -> None:
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def test_a_table_swap_that_was_cut_short_is_recovered(small_store: Small) -> None:
    store, _ = small_store
    folder = store.path / "table"
    folder.rename(store.path / "table.replaced-by-napari-apollo")
    fresh = CellStore.open(store.path)
    assert len(fresh.obs) == 180
    assert fresh.verify() == []


def test_a_store_swap_that_was_cut_short_is_recovered(small_store: Small) -> None:
    store, _ = small_store
    store.path.rename(store.path.with_name(store.path.name + ".replaced-by-napari-apollo"))
    assert CellStore.open(store.path).verify() == []
