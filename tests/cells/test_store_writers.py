"""Several writers of one table: what each wrote stays, whoever comes later."""

from __future__ import annotations

import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import anndata
import numpy as np
import pytest
from numpy.typing import NDArray

from napari_apollo.cells import CellStore, CellStoreWriter
from napari_apollo.errors import DataError, StoreBusy, StoreChanged
from napari_apollo.storage import one_writer

Small = tuple[CellStore, dict[str, NDArray]]

WRITE = """
import sys, time
from napari_apollo.cells import CellStore

path, own = sys.argv[1:]
store = CellStore.open(path)
store.table
print("ready", flush=True)
sys.stdin.readline()

def one_more(table):
    table = table.copy()
    for column in (own, "common"):
        table.obs[column] = (table.obs[column] if column in table.obs else 0) + 1
    time.sleep(0.02)
    return table

for _ in range(2):
    store.update_table(one_more)
"""

HOLD = """
import sys, time
from pathlib import Path
from napari_apollo.storage import one_writer

with one_writer(Path(sys.argv[1])):
    print("ready", flush=True)
    sys.stdin.readline()
"""


def start(program: str, *arguments: object) -> subprocess.Popen[str]:
    """Another program, once it has said that it is ready."""
    process = subprocess.Popen(
        [sys.executable, "-c", program, *map(str, arguments)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    assert process.stdout.readline().strip() == "ready"
    return process


def go_on(process: subprocess.Popen[str]) -> None:
    assert process.stdin is not None
    process.stdin.write("\n")
    process.stdin.flush()


def with_column(name: str, value: object) -> Callable[[anndata.AnnData], anndata.AnnData]:
    def change(table: anndata.AnnData) -> anndata.AnnData:
        table = table.copy()
        table.obs[name] = value
        return table

    return change


def test_two_programs_lose_nothing_of_each_other_and_a_third_reads(small_store: Small) -> None:
    store, _ = small_store
    store.update_table(with_column("common", 0))
    writers = [start(WRITE, store.path, own) for own in ("one", "two")]
    for each in writers:
        go_on(each)
    seen: list[int] = []
    while any(each.poll() is None for each in writers):
        common = CellStore.open(store.path).obs["common"].unique()
        assert len(common) == 1, "half of one table and half of another"
        seen.append(int(common[0]))
    for each in writers:
        with each:
            assert each.returncode == 0
    now = CellStore.open(store.path)
    assert seen == sorted(seen)
    assert (now.obs["common"] == 4).all()
    assert (now.obs[["one", "two"]] == 2).all(axis=None)
    assert now.verify() == []


def test_what_others_wrote_is_not_overwritten_unknowingly(small_store: Small) -> None:
    store, _ = small_store
    mine = with_column("mine", 1)(store.table)
    CellStore.open(store.path).update_table(with_column("theirs", 2))
    with pytest.raises(StoreChanged, match=r"in another window.*Open the store again.*nothing was"):
        store.write_table(mine)
    # Saying what is to change, instead of how all is to be, has both.
    store.update_table(with_column("mine", 1))
    for each in (store, CellStore.open(store.path)):
        assert (each.obs["theirs"] == 2).all()
        assert (each.obs["mine"] == 1).all()


def test_one_writer_alone_may_write_as_often_as_it_likes(small_store: Small) -> None:
    store, _ = small_store
    table = store.table.copy()
    for number in range(2):
        table.obs["number"] = number
        store.write_table(table)
    assert (CellStore.open(store.path).obs["number"] == 1).all()


def test_an_old_copy_is_noticed_after_an_own_write_too(small_store: Small) -> None:
    store, _ = small_store
    table = store.table.copy()
    store.write_table(table)
    CellStore.open(store.path).update_table(with_column("theirs", 2))
    with pytest.raises(StoreChanged):
        store.write_table(table)


def test_cells_that_were_cut_anew_take_nothing_found_for_the_old(small_store: Small) -> None:
    store, _ = small_store
    store.table  # noqa: B018 - read before
    panels = store.panels.values()
    with CellStoreWriter(store.path, list(panels), crop_size=16, dtype="uint16", overwrite=True) as writer:
        for name in store.panels:
            rows = np.arange(90)
            images = store.read_images(name, rows)
            writer.append(name, images, store.read_masks(name, rows), store.obs.iloc[store.rows(name)])
    with pytest.raises(StoreChanged, match="cut anew"):
        store.update_table(with_column("mine", 1))
    assert CellStore.open(store.path).verify() == []


def test_a_change_that_fails_leaves_the_table_and_lets_the_next_in(small_store: Small) -> None:
    store, _ = small_store

    def fails(table: anndata.AnnData) -> anndata.AnnData:
        raise DataError("no")

    with pytest.raises(DataError, match="no"):
        store.update_table(fails)
    with pytest.raises(DataError, match="180 cells"):
        store.update_table(lambda table: table[:10].copy())
    store.update_table(with_column("after", 1))
    assert (CellStore.open(store.path).obs["after"] == 1).all()


def test_waiting_ends_and_says_so(tmp_path: Path) -> None:
    target = tmp_path / "a.cells.zarr"
    holder = start(HOLD, target)
    told = r"a\.cells\.zarr: another program has been writing to it"
    with pytest.raises(StoreBusy, match=told), one_writer(target, patience=0.2):
        pass
    # A program that is killed lets the next one in.
    holder.kill()
    with holder, one_writer(target, patience=10):
        pass


def test_threads_of_one_program_wait_for_each_other(tmp_path: Path) -> None:
    inside: list[int] = []
    most: list[int] = []

    def work() -> None:
        with one_writer(tmp_path / "a"):
            inside.append(1)
            most.append(len(inside))
            time.sleep(0.02)
            inside.pop()

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert most == [1, 1, 1, 1]
