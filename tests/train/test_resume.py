"""Going on after the worst: a process killed at any step ends with the very same model."""

from __future__ import annotations

import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from napari_apollo.cells import CellStore
from napari_apollo.errors import Cancelled, RunError, TrainingFailed
from napari_apollo.progress import Step, never, silent
from napari_apollo.train import Run, TrainConfig, train
from napari_apollo.train.folder import RunFolder
from napari_apollo.train.objectives.two_step import EncoderStage, LatentStage
from napari_apollo.train.operation import prepare_folder
from napari_apollo.train.worker import execute

AGREEMENT = {"preset": "agreement", "eta": 0.1, "told_above": 0.9}

# A worker that is killed, as if by the system, in the middle of its k-th step.
KILLED = """
import os, signal, sys
from napari_apollo.train.objectives.agreement import AgreementStage
from napari_apollo.train.objectives.encoding import EncodingStage
from napari_apollo.train.objectives.two_step import EncoderStage, LatentStage
from napari_apollo.train.worker import main

left = int(sys.argv[2])

def mortal(step):
    def stepping(self, *arguments):
        global left
        result = step(self, *arguments)
        left -= 1
        if left == 0:
            os.kill(os.getpid(), signal.SIGKILL)
        return result
    return stepping

for stage in (LatentStage, EncoderStage, AgreementStage, EncodingStage):
    stage.step = mortal(stage.step)
sys.exit(main(sys.argv[1:2]))
"""

Make = Callable[..., CellStore]


@pytest.fixture
def quick(quick: dict[str, Any]) -> dict[str, Any]:
    return {**quick, "latent_epochs": 3, "encoder_epochs": 3}


def weights(folder: Path) -> bytes:
    return (folder / "model" / "weights.safetensors").read_bytes()


def comparable(run: Run) -> object:
    metrics = run.metrics()
    return metrics.drop(columns="seconds").to_dict("list") if not metrics.empty else {}


@pytest.mark.parametrize("objective", [{}, AGREEMENT], ids=["two-step", "agreement"])
@pytest.mark.parametrize("often", [True, False], ids=["checkpoint-every-step", "checkpoint-every-stage"])
def test_killed_at_any_step_and_resumed_to_the_same_bytes(
    make_store: Make, tmp_path: Path, often: bool, objective: dict[str, Any], quick: dict[str, Any]
) -> None:
    store = make_store()
    config = TrainConfig(
        output=tmp_path / "run", checkpoint_seconds=0 if often else 3600, **quick, **objective
    )
    whole = train(store, config.model_copy(update={"output": tmp_path / "whole"}))
    folder = prepare_folder(store.path, config)
    per_epoch = 3  # 96 cells in batches of 32
    # In step 1, on its last step, in step 2 and in its last epoch; with rare checkpoints a kill in
    # step 2 goes back to the end of step 1, so that only the last one there counts.
    for kill in (4, 9) if often else (2, per_epoch * 3 + 4, 8):
        killed = subprocess.run([sys.executable, "-c", KILLED, str(folder.path), str(kill)], check=False)
        assert killed.returncode == -signal.SIGKILL
        assert Run(folder.path).status().state == "failed"
    execute(folder, store, config, silent, never)
    assert weights(folder.path) == weights(whole.folder)
    card, other = Run(folder.path).model().card, whole.model().card
    assert (card.scores, card.sizes, card.gap, card.verdict) == (
        other.scores,
        other.sizes,
        other.gap,
        other.verdict,
    )
    assert str(comparable(Run(folder.path))) == str(comparable(whole))


def test_a_run_that_died_after_its_last_step_still_knows_the_gap(
    make_store: Make, tmp_path: Path, quick: dict[str, Any]
) -> None:
    store = make_store()
    config = TrainConfig(output=tmp_path / "run", **quick, **AGREEMENT)
    whole = train(store, config)
    shutil.rmtree(whole.folder / "model")
    execute(RunFolder(whole.folder), store, config, silent, never)
    card = whole.model().card
    assert set(card.gap) == {"chromatin", "protein"}
    assert 0 < card.gap["protein"]["shared"] < 10
    assert card.gap["protein"]["optimised"] > 0


def stopped_run(store: CellStore, config: TrainConfig, steps: int) -> RunFolder:
    count = 0

    def should_stop() -> bool:
        nonlocal count
        count += 1
        return count > steps

    folder = prepare_folder(store.path, config)
    with pytest.raises(Cancelled):
        execute(folder, store, config, silent, should_stop)
    return folder


def test_a_stopped_run_goes_on_in_a_child(make_store: Make, tmp_path: Path, quick: dict[str, Any]) -> None:
    store = make_store()
    config = TrainConfig(output=tmp_path / "run", checkpoint_seconds=0, **quick)
    whole = train(store, config.model_copy(update={"output": tmp_path / "whole"}))
    folder = stopped_run(store, config, 12)
    run = Run(folder.path)
    assert run.status().state == "stopped"
    run.resume().wait()
    assert weights(run.folder) == weights(whole.folder)
    with pytest.raises(RunError, match="done"):
        run.resume()


def test_a_run_is_not_resumed_on_other_cells(make_store: Make, tmp_path: Path, quick: dict[str, Any]) -> None:
    config = TrainConfig(output=tmp_path / "run", checkpoint_seconds=0, **quick)
    folder = stopped_run(make_store("a"), config, 5)
    with pytest.raises(RunError, match="other cells"):
        execute(folder, make_store("b", per_field=25), config, silent, never)


@pytest.mark.parametrize("changed", [{"shared": 7}, {"objective": "agreement"}])
def test_a_run_is_not_resumed_with_settings_that_its_checkpoint_does_not_fit(
    make_store: Make, tmp_path: Path, quick: dict[str, Any], changed: dict[str, Any]
) -> None:
    store, config = make_store(), TrainConfig(output=tmp_path / "run", checkpoint_seconds=0, **quick)
    folder = stopped_run(store, config, 4)
    edited = config.model_copy(update=changed)
    folder.write_config(store.path, edited)
    with pytest.raises(RunError, match=r"other settings than its config\.json says now"):
        execute(folder, store, edited, silent, never)
    assert Run(folder.path).status().error == "RunError"


@pytest.mark.parametrize("stage", [LatentStage, EncoderStage])
def test_when_memory_runs_out_the_batch_is_halved_and_every_cell_visited(
    make_store: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, stage: type, quick: dict[str, Any]
) -> None:
    visited: list[int] = []
    step = stage.step

    def limited(self: object, batch, scale: float, done: float) -> torch.Tensor:
        if len(batch.cells) > 10 and len(visited) >= 32:
            raise torch.OutOfMemoryError("CUDA out of memory")
        visited.extend(batch.cells.tolist())
        return step(self, batch, scale, done)

    monkeypatch.setattr(stage, "step", limited)
    steps: list[Step] = []
    config = TrainConfig(output=tmp_path / "run", **{**quick, "latent_epochs": 1, "encoder_epochs": 1})
    run = train(make_store(), config, progress=steps.append)
    told = [step.detail for step in steps if "ran out" in step.detail]
    assert told == [f"ran out; going on with batches of {size} cells" for size in (16, 8)]
    assert sorted(visited) == list(range(run.model().card.held_out.cells["train"]))


def test_memory_that_never_suffices_ends_in_words(
    make_store: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, quick: dict[str, Any]
) -> None:
    def never_enough(self: object, batch: object, scale: float, done: float) -> torch.Tensor:
        raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr(LatentStage, "step", never_enough)
    with pytest.raises(TrainingFailed, match="does not hold a batch of 4 cells"):
        train(make_store(), TrainConfig(output=tmp_path / "run", **quick))


def test_a_full_disk_leaves_the_last_checkpoint(
    make_store: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, quick: dict[str, Any]
) -> None:
    store = make_store()
    config = TrainConfig(output=tmp_path / "run", checkpoint_seconds=0, **quick)
    whole = train(store, config.model_copy(update={"output": tmp_path / "whole"}))
    from napari_apollo.errors import StorageFull
    from napari_apollo.train import checkpoints

    writes = 0
    write = checkpoints.write_tensors

    def full(path: Path, tensors: dict) -> str:
        nonlocal writes
        writes += 1
        if writes == 6:
            path.write_bytes(b"half")
            raise OSError(28, "No space left on device")
        return write(path, tensors)

    monkeypatch.setattr(checkpoints, "write_tensors", full)
    folder = prepare_folder(store.path, config)
    with pytest.raises(StorageFull, match="no space left"):
        execute(folder, store, config, silent, never)
    assert Run(folder.path).status().error == "StorageFull"
    assert not list((folder.path / "checkpoints").glob("*partial*"))
    execute(folder, store, config, silent, never)
    assert weights(folder.path) == weights(whole.folder)
    shutil.rmtree(folder.path)
