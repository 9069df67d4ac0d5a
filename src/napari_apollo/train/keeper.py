"""What a run keeps on the way: metrics, checkpoints, the best weights, previews."""

from __future__ import annotations

import time
from typing import Any

from torch import Tensor

from napari_apollo.model.network import Network
from napari_apollo.train.checkpoints import write_checkpoint
from napari_apollo.train.config import TrainConfig
from napari_apollo.train.data import CellData
from napari_apollo.train.folder import RunFolder
from napari_apollo.train.loop import Epoch, Position
from napari_apollo.train.objectives import Objective, Stage
from napari_apollo.train.previews import write_preview


class Keeper:
    """Writes the run folder while the loop runs.

    Parameters
    ----------
    folder
        Where to write.
    network, objective, config
        What is trained.
    validation
        Cells for the previews.
    """

    def __init__(
        self,
        folder: RunFolder,
        network: Network,
        objective: Objective,
        config: TrainConfig,
        validation: CellData,
    ) -> None:
        self._folder = folder
        self._network = network
        self._objective = objective
        self._config = config
        self._validation = validation
        self._best: dict[str, Tensor] | None = None
        self._best_values: dict[str, Any] = {}
        self._best_changed = False
        self._written = time.monotonic()

    def after_epoch(self, epoch: Epoch, position: Position) -> None:
        """Write the metrics of an epoch and, when it is time, a checkpoint and a preview."""
        self._folder.append_metrics(
            {
                "stage": epoch.stage,
                "epoch": epoch.epoch,
                "seconds": round(epoch.seconds, 4),
                "cells": epoch.cells,
                "training": epoch.training,
                "validation": epoch.validation,
                "improved": epoch.improved,
            }
        )
        if epoch.improved and epoch.validation:
            self._best = {name: value.detach().clone() for name, value in self._network.state_dict().items()}
            self._best_values = {
                "stage": epoch.stage,
                "epoch": epoch.epoch,
                "criterion": epoch.validation["criterion"],
            }
            self._best_changed = True
        if time.monotonic() - self._written >= self._config.checkpoint_seconds:
            self._checkpoint(position)
        every = self._config.previews_every
        if every and epoch.validation and epoch.epoch % every == 0:
            name = f"{epoch.stage}_{epoch.epoch:05d}.png"
            write_preview(self._folder.previews / name, self._network, self._validation)

    def before_next(self, stage: Stage, following: Position) -> None:
        """At the end of a stage: go back to its best weights, and write what the next one starts from."""
        if stage.watches_validation and self._best is not None:
            self._network.load_state_dict(self._best)
            write_preview(self._folder.previews / f"{stage.name}_best.png", self._network, self._validation)
        self._checkpoint(following)
        self._best = None

    def _checkpoint(self, position: Position) -> None:
        network = {f"network.{name}": value for name, value in self._network.state_dict().items()}
        if self._best_changed and self._best is not None:
            best = {f"network.{name}": value for name, value in self._best.items()}
            write_checkpoint(self._folder.checkpoints / "best", best, self._best_values)
            self._best_changed = False
        stages = self._objective.stages
        # A stage that is over leaves its latents to the next one, which then keeps them.
        stage = stages[min(position.stage, len(stages) - 1)]
        state = {f"stage.{name}": value for name, value in stage.tensors().items()}
        write_checkpoint(
            self._folder.checkpoints / "last", {**network, **state}, {"position": position.to_dict()}
        )
        self._written = time.monotonic()
