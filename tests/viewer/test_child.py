from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from napari_apollo.errors import Cancelled, DataError, FileError
from napari_apollo.progress import Step, never, silent
from napari_apollo.viewer.child import ChildProcess, WorkFailed, in_child

ARRAY = "napari_apollo.viewer.work:segment_array"


@pytest.fixture
def child() -> Iterator[ChildProcess]:
    child = ChildProcess()
    yield child
    child.close()
    assert not child.alive


def test_the_work_is_that_of_the_core(child: ChildProcess, small: SimpleNamespace, tmp_path: Path) -> None:
    steps: list[Step] = []
    path = child.call(
        "napari_apollo.viewer.work:predict_store",
        {
            "store": str(small.store.path),
            "model": str(small.model),
            "settings": {
                "output": str(tmp_path / "a.predictions.zarr"),
                "device": "cpu",
                "write_table": False,
            },
        },
        steps.append,
        never,
    )
    assert Path(path) == tmp_path / "a.predictions.zarr"
    assert Path(path).is_dir()
    assert any(step.stage == "Predicting" for step in steps)


def test_errors_keep_their_type_and_the_process_its_life(child: ChildProcess, tmp_path: Path) -> None:
    np.save(tmp_path / "flat.npy", np.zeros((40, 40), np.uint16))
    arguments = {
        "image": tmp_path / "flat.npy",
        "labels": tmp_path / "l.npy",
        "settings": {"engine": "threshold"},
    }
    with pytest.raises(DataError, match="image"):
        child.call(ARRAY, arguments, silent, never)
    assert child.alive
    with pytest.raises(FileError) as met:
        child.call(
            "napari_apollo.viewer.work:measure_store",
            {"store": tmp_path / "no.cells.zarr", "settings": {}},
            silent,
            never,
        )
    assert met.value.path == tmp_path / "no.cells.zarr"


def test_a_fault_brings_its_last_words(child: ChildProcess) -> None:
    with pytest.raises(WorkFailed) as met:
        child.call("napari_apollo.viewer.work:ready", {"nonsense": 1}, silent, never)
    assert "TypeError" in met.value.report
    assert not child.alive
    assert child.call("napari_apollo.viewer.work:ready", {"engine": "threshold"}, silent, never) is None


def test_only_functions_of_the_package_are_called(child: ChildProcess) -> None:
    with pytest.raises(WorkFailed):
        child.call("os:getcwd", {}, silent, never)


def test_stopped_within_a_second(child: ChildProcess, tmp_path: Path) -> None:
    child.start()
    asked = threading.Event()
    threading.Timer(0.2, asked.set).start()
    np.save(tmp_path / "image.npy", np.random.default_rng(0).normal(100, 5, (3000, 3000)))
    arguments = {
        "image": tmp_path / "image.npy",
        "labels": tmp_path / "l.npy",
        "settings": {"engine": "threshold", "tile": 64, "workers": 1},
    }
    with pytest.raises(Cancelled):
        child.call(ARRAY, arguments, silent, asked.is_set)


def test_a_child_of_one_call_is_gone_afterwards() -> None:
    before = threading.active_count()
    call = in_child("napari_apollo.viewer.work:ready", engine="threshold")
    assert call(silent, never) is None
    end = time.monotonic() + 5
    while threading.active_count() > before and time.monotonic() < end:
        time.sleep(0.02)
    assert threading.active_count() <= before


@pytest.mark.parametrize("seconds", [0.0, 0.002, 0.05])
def test_a_process_that_is_only_just_starting_is_ended_too(seconds: float) -> None:
    """As when a tool is opened and closed at once."""
    child = ChildProcess()
    ended = threading.Event()

    def ask() -> None:
        with pytest.raises((Cancelled, WorkFailed)):
            child.call("napari_apollo.viewer.work:ready", {"engine": "threshold"}, silent, never)
        ended.set()

    thread = threading.Thread(target=ask)
    thread.start()
    time.sleep(seconds)
    child.close()
    thread.join(60)
    assert ended.is_set()
    assert not child.alive
