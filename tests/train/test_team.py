"""One training in several processes: the same steps as in one."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from safetensors.torch import load_file

from napari_apollo.cells import CellStore
from napari_apollo.errors import RunError
from napari_apollo.progress import never, silent
from napari_apollo.train import Run, TrainConfig
from napari_apollo.train.folder import RunFolder
from napari_apollo.train.worker import execute

Make = Callable[..., CellStore]


@pytest.fixture
def quick(quick: dict[str, Any]) -> dict[str, Any]:
    return {**quick, "checkpoint_seconds": 0}


# A training of which every process knows the latents that its cells start from, and which is killed in the
# middle of a step if asked to. Alone it visits the cells in batches such as two processes have together.
TRAINING = """
import json, os, signal, sys
import numpy as np
import torch
from napari_apollo.train import TrainConfig, loop, train
from napari_apollo.train.objectives.two_step import EncoderStage, TwoStep
from napari_apollo.train.team import processes

store, settings, kill = sys.argv[1], json.loads(sys.argv[2]), int(sys.argv[3])
rank, ranks = int(os.environ.get("RANK", 0)), int(os.environ.get("WORLD_SIZE", 1))
build, order_of, step = TwoStep.__init__, loop.epoch_order, EncoderStage.step

def known_latents(self, network, data, settings):
    build(self, network, data, settings)
    for table in (self.shared, *self.specific.values()):
        cells = torch.arange(rank, len(table.values) * ranks, ranks).double()[:, None]
        table.values.copy_(torch.sin(1.7 * cells + 0.9 * torch.arange(table.values.shape[1])))

def joint_order(n, seed, stage, epoch, fixed=False):
    own = [order_of(n // 2, seed, stage, epoch, 2, k) * 2 + k for k in range(2)]
    half = settings["batch_size"] // 2
    return np.concatenate([o[start : start + half] for start in range(0, n // 2, half) for o in own])

def mortal(self, *arguments):
    global kill
    kill -= 1
    if kill == 0:
        os.kill(os.getpid(), signal.SIGKILL)
    return step(self, *arguments)

TwoStep.__init__ = known_latents
EncoderStage.step = mortal
if ranks == 1:
    loop.epoch_order = joint_order
train(store, TrainConfig(**settings))
"""


def together(commands: list[list[str]]) -> list[subprocess.CompletedProcess[str]]:
    """Run commands as ``torchrun`` runs processes, and wait for all."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = str(probe.getsockname()[1])
    shared = {"WORLD_SIZE": str(len(commands)), "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}
    running = [
        subprocess.Popen(
            [sys.executable, *command],
            env={**os.environ, **shared, "RANK": str(rank), "LOCAL_RANK": str(rank)},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for rank, command in enumerate(commands)
    ]
    return [
        subprocess.CompletedProcess(process.args, process.wait(300), *process.communicate())
        for process in running
    ]


def training(store: CellStore, settings: dict, kill: int = 0) -> list[str]:
    return ["-c", TRAINING, str(store.path), json.dumps(settings), str(kill)]


def losses(run: Path) -> pd.DataFrame:
    """Losses of each epoch; gaps are left out, which each process takes over its own part of a batch."""
    metrics = Run(run).metrics()
    kept = [name for name in metrics if name.startswith(("training.", "validation."))]
    return metrics[[name for name in kept if not name.endswith("_gap")]]


def test_two_processes_do_what_one_does(make_store: Make, tmp_path: Path, quick: dict[str, Any]) -> None:
    """Losses agree to 1e-5 of themselves and weights to 1e-4, after 4 epochs of the same global batches.

    Noise and turned cells, which every process draws for its own cells, are left out.
    """
    store = make_store()
    same = {**quick, "noise": 0.0, "turn_cells": False}
    for process in together([training(store, {**same, "output": str(tmp_path / "two")})] * 2):
        assert process.returncode == 0, process.stderr
    alone = [sys.executable, *training(store, {**same, "output": str(tmp_path / "one")})]
    subprocess.run(alone, check=True)
    np.testing.assert_allclose(losses(tmp_path / "one"), losses(tmp_path / "two"), rtol=1e-5)
    one, two = (load_file(tmp_path / name / "model" / "weights.safetensors") for name in ("one", "two"))
    assert one.keys() == two.keys()
    for name, values in one.items():
        np.testing.assert_allclose(values, two[name], atol=1e-4, err_msg=name)
    cards = [Run(tmp_path / name).model().card for name in ("one", "two")]
    assert cards[0].held_out == cards[1].held_out
    assert cards[0].fingerprint == cards[1].fingerprint


def test_a_process_that_dies_ends_all_and_all_go_on_to_the_same_bytes(
    make_store: Make, tmp_path: Path, quick: dict[str, Any]
) -> None:
    store = make_store()
    whole, broken = tmp_path / "whole", tmp_path / "broken"
    for process in together([training(store, {**quick, "output": str(whole)})] * 2):
        assert process.returncode == 0, process.stderr
    settings = {**quick, "output": str(broken)}
    first, second = together([training(store, settings), training(store, settings, kill=4)])
    assert second.returncode == -signal.SIGKILL
    assert first.returncode not in (0, None)
    assert Run(broken).status().state == "failed"
    with pytest.raises(RunError, match="begun with 2 processes"):
        execute(RunFolder(broken), store, TrainConfig(**settings), silent, never)
    for process in together([["-m", "napari_apollo.train.worker", str(broken)]] * 2):
        assert process.returncode == 0, process.stderr
    for name in ("weights.safetensors",):
        assert (broken / "model" / name).read_bytes() == (whole / "model" / name).read_bytes()
    assert Run(broken).status().state == "done"


def test_the_command_under_torchrun(make_store: Make, tmp_path: Path, quick: dict[str, Any]) -> None:
    store = make_store()
    options = [part for name, value in quick.items() for part in (f"--{name.replace('_', '-')}", str(value))]
    launched = subprocess.run(
        [
            *(sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"),
            *("-m", "napari_apollo", "train", str(store.path), "--output", str(tmp_path / "run")),
            *("--json", *options),
        ],
        capture_output=True,
        text=True,
        check=False,
    )
    assert launched.returncode == 0, launched.stderr
    told = json.loads(launched.stdout)  # one object, from one process
    assert told["kind"]
    assert Run(tmp_path / "run").status().state == "done"
