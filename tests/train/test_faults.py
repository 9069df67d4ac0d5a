"""What a training survives, and how it ends where it cannot; with ``-v`` this file is a table of faults.

A process killed at any step is in ``test_resume.py``, one of several in ``test_team.py``, damaged model
files in ``tests/model``.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from napari_apollo.cells import CellStore
from napari_apollo.errors import StorageFull, StoreDamaged, TrainingFailed
from napari_apollo.progress import Step, never, silent
from napari_apollo.train import Run, TrainConfig, start_run, train
from napari_apollo.train import run as running
from napari_apollo.train.folder import RunFolder
from napari_apollo.train.objectives.two_step import EncoderStage, LatentStage
from napari_apollo.train.operation import prepare_folder
from napari_apollo.train.worker import execute

Make = Callable[..., CellStore]


@pytest.fixture
def quick(quick: dict[str, Any]) -> dict[str, Any]:
    return {**quick, "checkpoint_seconds": 0}


def weights(folder: Path) -> bytes:
    return (folder / "model" / "weights.safetensors").read_bytes()


def partials(folder: Path) -> list[Path]:
    return [path for path in folder.rglob("*") if "partial" in path.name]


@pytest.fixture
def store(make_store: Make) -> CellStore:
    return make_store()


@pytest.fixture
def whole(store: CellStore, tmp_path: Path, quick: dict[str, Any]) -> bytes:
    """Weights of the training that nothing happened to."""
    return weights(train(store, TrainConfig(output=tmp_path / "whole", **quick)).folder)


# --- numbers ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("often", [True, False], ids=["checkpoint-every-step", "checkpoint-every-stage"])
@pytest.mark.parametrize("value", [float("nan"), float("inf")])
@pytest.mark.parametrize("stage", [LatentStage, EncoderStage])
def test_a_loss_that_is_no_number_ends_with_step_cells_and_last_good_checkpoint(
    store: CellStore,
    whole: bytes,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    stage: type,
    value: float,
    often: bool,
    quick: dict[str, Any],
) -> None:
    step, steps, seen = stage.step, 0, []

    def poisoned(self: object, batch, scale: float, done: float) -> torch.Tensor:
        nonlocal steps
        steps += 1
        losses = step(self, batch, scale, done)
        if steps == 5:  # the second step of the second epoch
            seen.extend(batch.cells.tolist())
            losses[0] = value
        return losses

    config = TrainConfig(output=tmp_path / "run", **{**quick, "checkpoint_seconds": 0 if often else 3600})
    folder = prepare_folder(store.path, config)
    with monkeypatch.context() as patched:
        patched.setattr(stage, "step", poisoned)
        with pytest.raises(TrainingFailed, match="total is not finite in step 1 of epoch 1") as error:
            execute(folder, store, config, silent, never)
    words = str(error.value)
    assert f"({len(seen)} in all)" in words
    assert sum(cell in words for cell in store.obs["cell_id"]) >= 5
    if often:
        assert f"kept: {stage.title}, epoch 1, 32 cells into it" in words
    elif stage is EncoderStage:
        assert f"kept: {stage.title}, epoch 0, 0 cells into it" in words
    else:
        assert "There is no checkpoint yet" in words
    status = Run(folder.path).status()
    assert (status.state, status.error) == ("failed", "TrainingFailed")
    execute(folder, store, config, silent, never)  # what was kept is good
    assert weights(folder.path) == whole


# --- disk ------------------------------------------------------------------------------------------


def worker(folder: RunFolder, limit: int = 0) -> subprocess.CompletedProcess[str]:
    """The process that trains, which may write no file above a limit of bytes (0: as it likes)."""
    limiting = f"import resource; resource.setrlimit(resource.RLIMIT_FSIZE, ({limit}, {limit}))\n"
    training = "import sys; from napari_apollo.train.worker import main; sys.exit(main(sys.argv[1:]))"
    code = (limiting if limit else "") + training
    command = [sys.executable, "-c", code, str(folder.path)]
    return subprocess.run(command, capture_output=True, text=True, check=False)


@pytest.mark.skipif(os.name != "posix", reason="limits of files are a matter of POSIX")
def test_a_disk_that_takes_no_more_ends_cleanly_and_goes_on_when_there_is_room(
    store: CellStore, whole: bytes, tmp_path: Path, quick: dict[str, Any]
) -> None:
    folder = prepare_folder(store.path, TrainConfig(output=tmp_path / "run", **quick))
    ended = worker(folder, limit=60_000)
    assert ended.returncode == StorageFull.exit_code
    assert "no space left" in ended.stderr
    assert (Run(folder.path).status().state, Run(folder.path).status().error) == ("failed", "StorageFull")
    assert not partials(folder.path)
    assert worker(folder).returncode == 0
    assert weights(folder.path) == whole


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 4 MB."""
    place = tmp_path / "disk"
    place.mkdir()
    if sys.platform != "linux" or os.geteuid() != 0:
        pytest.skip("only root can mount a small file system, on Linux")
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=4m", "tmpfs", str(place)], check=False)
    if mounted.returncode:
        pytest.skip("mounting is not allowed here")
    yield place
    subprocess.run(["umount", "-l", str(place)], check=True)


def test_a_disk_that_is_really_full(
    store: CellStore, whole: bytes, small_disk: Path, quick: dict[str, Any]
) -> None:
    folder = prepare_folder(store.path, TrainConfig(output=small_disk / "run", **quick))
    (small_disk / "others").write_bytes(bytes(shutil.disk_usage(small_disk).free - 250_000))
    ended = worker(folder)
    assert ended.returncode == StorageFull.exit_code, ended.stderr
    assert "no space left" in ended.stderr
    assert not partials(folder.path)
    (small_disk / "others").unlink()
    assert worker(folder).returncode == 0
    assert weights(folder.path) == whole


def test_cells_that_cannot_be_read_any_more_end_it_with_their_rows(
    make_store: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, quick: dict[str, Any]
) -> None:
    store = make_store()
    # The smallest budget of memory: crops are read from the store in every step, by a thread.
    config = TrainConfig(output=tmp_path / "run", **{**quick, "memory_gb": 1e-9})
    step = LatentStage.step

    def spoiled(self: object, batch, scale: float, done: float) -> torch.Tensor:
        for shard in (store.path / "panels").rglob("c/*/*/*/*"):
            if shard.is_file():
                shard.write_bytes(os.urandom(shard.stat().st_size))
        return step(self, batch, scale, done)

    monkeypatch.setattr(LatentStage, "step", spoiled)
    with pytest.raises(StoreDamaged, match=r"rows \d+"):
        train(store, config)
    status = Run(tmp_path / "run").status()
    assert (status.state, status.error) == ("failed", "StoreDamaged")


def test_crops_read_batch_by_batch_give_the_same_bytes(
    store: CellStore, whole: bytes, tmp_path: Path, quick: dict[str, Any]
) -> None:
    told: list[Step] = []
    run = train(
        store, TrainConfig(output=tmp_path / "run", **{**quick, "memory_gb": 1e-9}), progress=told.append
    )
    assert weights(run.folder) == whole
    assert any("batch by batch" in step.detail for step in told)


# --- processes -------------------------------------------------------------------------------------


def test_a_child_that_is_held_up_is_alive_and_a_foreign_process_is_not(
    store: CellStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, quick: dict[str, Any]
) -> None:
    run = start_run(store, TrainConfig(output=tmp_path / "run", **{**quick, "latent_epochs": 100_000}))
    try:
        while run.status().state != "running":
            assert run.alive
        os.kill(run.status().pid, signal.SIGSTOP)  # no sign of life from now on
        monkeypatch.setattr(running, "SILENCE", -1.0)
        assert run.alive  # it is our own child: we know that it lives
        monkeypatch.setattr(running, "_children", {})
        assert not Run(run.folder).alive  # a process of this number, but perhaps another one
        assert Run(run.folder).status().state == "failed"
        monkeypatch.setattr(running, "SILENCE", 300.0)
        assert Run(run.folder).alive
    finally:
        monkeypatch.undo()
        os.kill(RunFolder(run.folder).read_status().pid, signal.SIGKILL)
        with pytest.raises(TrainingFailed):
            run.wait()


def test_a_training_that_died_at_once_shows_its_last_words(
    store: CellStore, tmp_path: Path, quick: dict[str, Any]
) -> None:
    config = TrainConfig(output=tmp_path / "run", **quick)
    folder = prepare_folder(store.path, config)
    settings = json.loads(folder.config_file.read_text())
    settings["config"]["noise"] = -5  # a setting that no worker accepts
    run = Run(folder.path)
    folder.config_file.write_text(json.dumps(settings))
    running._launch(folder)
    with pytest.raises(TrainingFailed, match="noise"):
        run.wait()
