"""Trainings in a process of their own, watched from outside."""

from __future__ import annotations

import errno
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from napari_apollo.cells import CellStore
from napari_apollo.cli.scoring import scored
from napari_apollo.errors import Cancelled, FileError, RunError, StoreError, TrainingFailed
from napari_apollo.interpret import interpret
from napari_apollo.progress import Step
from napari_apollo.train import Run, TrainConfig, start_run, train
from napari_apollo.train.folder import RunFolder, RunStatus, now, process_lives

LONG = {"latent_epochs": 100_000, "latent_patience": 0}

Make = Callable[..., CellStore]


def wait_for(condition: Callable[[], object], seconds: float = 90) -> None:
    limit = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < limit, "waited too long"
        time.sleep(0.05)


def training(run: Run) -> bool:
    """Whether at least one epoch is done."""
    return not run.metrics().empty


def test_a_child_trains_the_same_model_and_anybody_can_watch(
    make_store: Make, tmp_path: Path, quick: dict[str, Any]
) -> None:
    store = make_store()
    run = start_run(store.path, TrainConfig(output=tmp_path / "child", **quick))
    watcher = Run(tmp_path / "child")  # as another process would open it
    assert watcher.config == run.config
    steps: list[Step] = []
    assert watcher.wait(steps.append) is watcher
    status = watcher.status()
    assert status.state == "done"
    assert status.pid != os.getpid()
    assert "processor" in status.device
    assert not watcher.alive
    assert steps
    here = train(store, TrainConfig(output=tmp_path / "here", **quick))
    assert watcher.model().card.weights_sha256 == here.model().card.weights_sha256
    assert len(watcher.metrics()) == 4


def test_a_run_ends_when_asked(make_store: Make, tmp_path: Path, quick: dict[str, Any]) -> None:
    run = start_run(make_store(), TrainConfig(output=tmp_path / "run", **{**quick, **LONG}))
    wait_for(lambda: training(run))
    assert run.alive
    with pytest.raises(RunError, match="still going on"):
        start_run(run.store, TrainConfig(output=tmp_path / "run", overwrite=True, **quick))
    with pytest.raises(Cancelled):
        Run(run.folder).wait(should_stop=lambda: True)
    assert not run.alive
    assert run.status().state == "stopped"
    with pytest.raises(Cancelled):
        run.wait()
    run.stop()  # it is over: nothing happens
    wait_for(lambda: not process_lives(run.status().pid))


def test_a_process_that_hangs_is_ended(make_store: Make, tmp_path: Path, quick: dict[str, Any]) -> None:
    run = start_run(make_store(), TrainConfig(output=tmp_path / "run", **{**quick, **LONG}))
    wait_for(lambda: training(run))
    os.kill(run.status().pid, signal.SIGSTOP)
    run.stop(grace=0.5)
    assert run.status().state == "stopped"
    assert not process_lives(run.status().pid)


def test_a_killed_process_is_seen_and_shown_with_its_last_words(
    make_store: Make, tmp_path: Path, quick: dict[str, Any]
) -> None:
    run = start_run(make_store(), TrainConfig(output=tmp_path / "run", **{**quick, **LONG}))
    wait_for(lambda: training(run))
    with (run.folder / "worker.log").open("a") as log:
        log.write("terrible things happened\n")
    os.kill(run.status().pid, signal.SIGKILL)
    with pytest.raises(TrainingFailed, match="terrible things"):
        run.wait()
    assert run.status().state == "failed"
    with pytest.raises(TrainingFailed, match="terrible things"):
        Run(run.folder).wait()


def test_errors_of_the_child_have_their_own_type_here(
    make_store: Make, tmp_path: Path, quick: dict[str, Any]
) -> None:
    run = train(make_store(), TrainConfig(output=tmp_path / "run", **quick))
    folder = RunFolder(run.folder)
    folder.write_config(tmp_path / "nowhere", run.config)
    worker = [sys.executable, "-m", "napari_apollo.train.worker", str(run.folder)]
    assert subprocess.run(worker, check=False).returncode == StoreError.exit_code
    with pytest.raises(StoreError) as error:
        Run(run.folder).wait()
    assert error.value.path == tmp_path / "nowhere"
    # What it learnt from can be named where it lies now.
    with pytest.raises(RunError, match=r"nowhere, which is not there.*evaluate STORE --model RUN"):
        scored(run.folder, None)
    with pytest.raises(RunError, match=r"nowhere, which is not there.*--store"):
        interpret(run.folder)


def test_a_silent_run_counts_as_dead(tmp_path: Path, make_store: Make, quick: dict[str, Any]) -> None:
    run = train(make_store(), TrainConfig(output=tmp_path / "run", **quick))
    folder = RunFolder(run.folder)
    folder.write_status(RunStatus(state="running", pid=os.getpid(), heartbeat=now()))
    assert run.alive
    folder.write_status(RunStatus(state="running", pid=os.getpid(), heartbeat=now() - 3600))
    assert not run.alive
    assert run.status().state == "failed"


def test_a_run_that_is_going_on_is_not_replaced(
    tmp_path: Path, make_store: Make, quick: dict[str, Any]
) -> None:
    store, config = make_store(), TrainConfig(output=tmp_path / "run", overwrite=True, **quick)
    folder = RunFolder(train(store, config).folder)
    folder.write_status(RunStatus(state="running", pid=os.getpid(), heartbeat=now()))
    before = {path: path.stat().st_mtime_ns for path in folder.path.rglob("*")}
    for begin in (train, start_run):
        with pytest.raises(RunError, match="still going on"):
            begin(store, config)
    assert {path: path.stat().st_mtime_ns for path in folder.path.rglob("*")} == before


def test_a_run_that_cannot_be_read_any_more_may_be_replaced(
    tmp_path: Path, make_store: Make, quick: dict[str, Any]
) -> None:
    """Settings of another version, for example: overwriting is the way out."""
    store, config = make_store(), TrainConfig(output=tmp_path / "run", overwrite=True, **quick)
    folder = RunFolder(tmp_path / "run")
    folder.path.mkdir()
    folder.config_file.write_text('{"store": "a", "config": {"setting of another version": 1}}')
    folder.write_status(RunStatus(state="done"))
    run = start_run(store, config)
    assert run.config == config
    run.stop()


def test_a_place_that_may_not_be_written_is_named(
    tmp_path: Path, make_store: Make, quick: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    store = make_store().path
    mkdir = Path.mkdir

    def refused(self: Path, *arguments: Any, **values: Any) -> None:
        if self.name == "run":
            raise OSError(errno.EROFS, os.strerror(errno.EROFS))
        mkdir(self, *arguments, **values)

    monkeypatch.setattr(Path, "mkdir", refused)
    with pytest.raises(FileError, match="cannot be written"):
        start_run(store, TrainConfig(output=tmp_path / "run", **quick))
    assert not (tmp_path / "run").exists()


def test_folders_that_are_no_runs_are_refused(tmp_path: Path, make_store: Make) -> None:
    with pytest.raises(RunError, match="no run folder"):
        Run(tmp_path)
    with pytest.raises(StoreError):
        start_run(tmp_path / "nothing.cells.zarr", TrainConfig(output=tmp_path / "run"))
    assert not (tmp_path / "run").exists()
    (tmp_path / "config.json").write_text("{")
    with pytest.raises(RunError, match="JSON"):
        Run(tmp_path)
    (tmp_path / "config.json").write_text('{"store": "a", "config": {"noise": -5}}')
    with pytest.raises(RunError, match="noise"):
        Run(tmp_path)


def test_a_line_of_metrics_that_is_being_written_is_left_out(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path)
    folder.append_metrics({"stage": "latents", "epoch": 0, "training": {"total": 1.0}})
    with folder.metrics_file.open("a") as stream:
        stream.write('{"stage": "lat')
    assert len(folder.read_metrics()) == 1
