"""What a run keeps on the way: metrics, checkpoints, the best weights, previews."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from napari_apollo.errors import RunError
from napari_apollo.model.network import Network
from napari_apollo.train.checkpoints import (
    checkpoint_processes,
    has_checkpoint,
    read_checkpoint,
    write_checkpoint,
)
from napari_apollo.train.common import CommonTrainConfig
from napari_apollo.train.config import TrainConfig
from napari_apollo.train.data import CellData
from napari_apollo.train.folder import RunFolder
from napari_apollo.train.loop import Epoch, Position
from napari_apollo.train.objectives import Objective, Stage
from napari_apollo.train.previews import write_preview
from napari_apollo.train.tablepreviews import write_table_preview
from napari_apollo.train.team import Team

_NETWORK, _STAGE, _LOSSES = "network.", "stage.", "losses"


class Keeper:
    """Writes the run folder while the loop runs, and reads it when a run goes on.

    Parameters
    ----------
    folder
        Where to write.
    network, objective, config
        What is trained.
    validation
        Cells for the previews.
    fingerprint
        Of the training cells; a checkpoint of other cells is not gone on from.
    team
        The processes that train together; the first one writes, the others add their latents to
        checkpoints.
    """

    def __init__(
        self,
        folder: RunFolder,
        network: Network,
        objective: Objective,
        config: CommonTrainConfig,
        validation: CellData,
        fingerprint: str,
        team: Team | None = None,
    ) -> None:
        self._team = team or Team()
        self._last: Position | None = None
        self._folder = folder
        self._network = network
        self._objective = objective
        self._config = config
        self._validation = validation
        self._fingerprint = fingerprint
        self._best: dict[str, Tensor] | None = None
        self._best_values: dict[str, Any] = {}
        self._best_changed = False
        self._written = time.monotonic()

    def due(self) -> bool:
        """Whether the last checkpoint is old enough."""
        return time.monotonic() - self._written >= self._config.checkpoint_seconds

    def after_epoch(self, epoch: Epoch) -> None:
        """Write the metrics of an epoch, remember the best weights, and draw a preview when it is time."""
        if self._team.leads:
            self._folder.append_metrics(
                {
                    "stage": epoch.stage,
                    "epoch": epoch.epoch,
                    "seconds": round(epoch.seconds, 4),
                    "cells": epoch.cells,
                    "training": epoch.training,
                    "validation": epoch.validation,
                    "improved": epoch.improved,
                    "sizes": self._network.sizes(),
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
        every = self._config.previews_every
        # On tables, the long first step is looked at, too, where encoders learn along in it.
        shown = epoch.validation or (self._of_tables and self._objective.normal_codes)
        if every and shown and epoch.epoch % every == 0:
            name = f"{epoch.stage}_{epoch.epoch:05d}.png"
            self._preview(name)

    def after_stage(self, stage: Stage, following: Position) -> None:
        """Go back to the best weights of the stage, and keep what the next one starts from."""
        if stage.watches_validation and self._best is not None:
            self._network.load_state_dict(self._best)
            self._preview(f"{stage.name}_best.png")
        self.checkpoint(following, None)
        self._best = None

    def checkpoint(self, position: Position, losses: Tensor | None) -> None:
        """Write ``best``, where it is new, and then ``last``.

        Were the process to die between the two, ``last`` would be older than ``best``; the run goes on
        from ``last`` and meets the same best epoch again.
        """
        if self._best_changed and self._best is not None and self._team.leads:
            write_checkpoint(
                self._folder.checkpoints / "best", _prefixed(_NETWORK, self._best), self._best_values
            )
        self._best_changed = False
        tensors = _prefixed(_NETWORK, self._network.state_dict())
        # After the last stage its latents are still wanted, for the gap between them and the encoders.
        tensors |= _prefixed(_STAGE, self._stage_at(position).tensors())
        if losses is not None:
            tensors[_LOSSES] = losses
        values = {
            "position": position.to_dict(),
            "fingerprint": self._fingerprint,
            "threads": torch.get_num_threads(),
        }
        write_checkpoint(self._folder.checkpoints / "last", tensors, values, self._team)
        self._last = position
        self._written = time.monotonic()

    def last_good(self) -> str:
        """Which checkpoint there is to go back to, in words."""
        at = self._last
        if at is None:
            return "There is no checkpoint yet."
        if at.stage >= len(self._objective.stages):
            return "The last good checkpoint is that of the end."
        title = self._objective.stages[at.stage].title
        return f"The last good checkpoint is kept: {title}, epoch {at.epoch}, {at.done} cells into it."

    def _preview(self, name: str) -> None:
        if self._team.leads:
            write = write_table_preview if self._of_tables else write_preview
            write(self._folder.previews / name, self._network, self._validation)

    @property
    def _of_tables(self) -> bool:
        return not isinstance(self._config, TrainConfig)

    def _stage_at(self, position: Position) -> Stage:
        """The stage of a position; the last one where all are over."""
        stages = self._objective.stages
        return stages[min(position.stage, len(stages) - 1)]

    def restore(self) -> tuple[Position, Tensor | None]:
        """Put network, stage and best weights back as the last checkpoint had them.

        Returns
        -------
        position : Position
            Where to go on; the very beginning where there is no checkpoint yet.
        losses : torch.Tensor or None
            Those of the epoch's steps that are done.

        Raises
        ------
        RunError
            When the checkpoint is of other cells, other settings, or of another number of processes.
        ModelDamaged
            When its tensors were cut off.
        """
        team, last = self._team, self._folder.checkpoints / "last"
        # One process looks first: looking mends what an interrupted writer left.
        if not team.share_value(has_checkpoint(last) if team.leads else None):
            if team.leads:
                self._folder.keep_metrics(0)
            return Position(), None
        if checkpoint_processes(last) != team.ranks:
            raise RunError(
                self._folder.path,
                f"was begun with {checkpoint_processes(last)} processes, not {team.ranks}.",
                "Go on with as many, or train anew.",
            )
        tensors, values = read_checkpoint(last, self._validation.device, team.rank)
        if values["fingerprint"] != self._fingerprint:
            raise RunError(
                self._folder.path,
                "was begun with other cells than its store holds now.",
                "Train anew, or put the old store back.",
            )
        position = Position.from_dict(values["position"])
        stages = self._objective.stages
        stage = self._stage_at(position)
        try:
            self._network.load_state_dict(_under(_NETWORK, tensors))
            stage.load(_under(_STAGE, tensors))
        except (
            RuntimeError,
            KeyError,
            IndexError,
        ) as error:  # tensors of other sizes, or of another objective
            raise RunError(
                self._folder.path,
                "was begun with other settings than its config.json says now.",
                "Put the settings back, or train anew.",
            ) from error
        if position.stage < len(stages) and position.best_epoch >= 0 and stage.watches_validation:
            best, self._best_values = read_checkpoint(
                self._folder.checkpoints / "best", self._validation.device
            )
            self._best = _under(_NETWORK, best)
        if team.leads:
            self._folder.keep_metrics(_epochs_before(self._folder, stages, position))
        self._last = position
        return position, tensors.get(_LOSSES)


def _epochs_before(folder: RunFolder, stages: Sequence[Stage], position: Position) -> int:
    """Lines of metrics that belong to epochs before a position."""
    names = [stage.name for stage in stages]
    metrics = folder.read_metrics()
    if metrics.empty:
        return 0
    number = metrics["stage"].map(names.index)
    before = (number < position.stage) | ((number == position.stage) & (metrics["epoch"] < position.epoch))
    return int(before.sum())


def _prefixed(prefix: str, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    return {f"{prefix}{name}": value for name, value in tensors.items()}


def _under(prefix: str, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    return {name.removeprefix(prefix): value for name, value in tensors.items() if name.startswith(prefix)}
