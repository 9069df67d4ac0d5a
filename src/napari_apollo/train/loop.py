"""The loop: epochs of a stage, validation, stopping, and what is kept on the way.

One loop serves every objective and every device. Inside an epoch nothing waits for the device: losses
stay there and are read once, at the end.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor

from napari_apollo.errors import TrainingFailed
from napari_apollo.model.network import Network
from napari_apollo.progress import Progress, ShouldStop, Step, stop_if_asked
from napari_apollo.train.data import CellData
from napari_apollo.train.objectives.base import Objective, Stage
from napari_apollo.train.sampling import batches, epoch_order, step_seed

IMPROVEMENT = 1e-3
"""A criterion counts as better when it is lower by this fraction of itself."""


class LoopSettings(Protocol):
    """The settings that the loop reads; their meaning is told in ``TrainConfig``."""

    @property
    def seed(self) -> int: ...
    @property
    def batch_size(self) -> int: ...
    @property
    def fixed_order(self) -> bool: ...
    @property
    def schedule(self) -> str: ...


@dataclass
class Position:
    """Where a training stands; with the tensors of stage and network, all that is needed to go on.

    Attributes
    ----------
    stage, epoch
        Next epoch to run, in stage number ``stage``.
    best, best_epoch
        Lowest criterion of the stage, and the epoch that had it (-1: none yet).
    """

    stage: int = 0
    epoch: int = 0
    best: float = math.inf
    best_epoch: int = -1

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON; no criterion yet is None."""
        values = asdict(self)
        return {**values, "best": None if math.isinf(self.best) else self.best}

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> Position:
        """Position from what ``to_dict`` gave."""
        return cls(**{**values, "best": math.inf if values["best"] is None else values["best"]})


@dataclass(frozen=True)
class Epoch:
    """What an epoch gave.

    Attributes
    ----------
    stage, epoch
        Name of the stage, and number of the epoch in it.
    seconds
        Wall time of the epoch, validation included.
    cells
        Cells visited.
    training, validation
        Losses by name; validation is empty where the stage has none.
    improved
        Whether the criterion is the best so far.
    """

    stage: str
    epoch: int
    seconds: float
    cells: int
    training: dict[str, float]
    validation: dict[str, float] = field(default_factory=dict)
    improved: bool = False


@dataclass
class Loop:
    """A training under way.

    Attributes
    ----------
    network, objective
        What is trained, and how.
    training, validation
        The cells learnt from, and those that decide when to stop (None: the training loss does).
    settings
        Seed, batch size, order and schedule.
    names
        Gives the name of a training cell, for errors.
    after_epoch
        Called after each epoch, with the position of the next one.
    before_next
        Called at the end of each stage, with the position at which the next one begins.
    position
        Where to begin.
    """

    network: Network
    objective: Objective
    training: CellData
    validation: CellData | None
    settings: LoopSettings
    names: Callable[[int], str]
    after_epoch: Callable[[Epoch, Position], None]
    before_next: Callable[[Stage, Position], None]
    position: Position = field(default_factory=Position)

    def run(self, progress: Progress, should_stop: ShouldStop) -> None:
        """Run all stages to their end.

        Raises
        ------
        Cancelled
            When ``should_stop`` says so.
        TrainingFailed
            When a loss is not finite; stage, epoch, step and cells are named.
        """
        with own_random_numbers(self.training.device):
            while self.position.stage < len(self.objective.stages):
                stage = self.objective.stages[self.position.stage]
                self._run_stage(stage, progress, should_stop)
                self.position = Position(stage=self.position.stage + 1)
                self.before_next(stage, self.position)

    def _run_stage(self, stage: Stage, progress: Progress, should_stop: ShouldStop) -> None:
        while self.position.epoch < stage.epochs and not self._exhausted(stage):
            epoch = self.position.epoch
            started = time.perf_counter()
            training, cells = self._train(stage, epoch, progress, should_stop)
            validation = self._validate(stage)
            criterion = validation["criterion"] if validation else training["total"]
            improved = not criterion >= self.position.best * (1 - IMPROVEMENT)
            if improved:
                self.position.best, self.position.best_epoch = criterion, epoch
            self.position.epoch += 1
            seconds = time.perf_counter() - started
            self.after_epoch(
                Epoch(stage.name, epoch, seconds, cells, training, validation, improved), self.position
            )
            detail = f"loss {training['total']:.4f}" + (
                f", validation {validation['criterion']:.4f}" if validation else ""
            )
            progress(Step(stage.title, epoch + 1, stage.epochs, detail))

    def _exhausted(self, stage: Stage) -> bool:
        """Whether the criterion has not improved for as many epochs as the stage is patient (0: for ever)."""
        return 0 < stage.patience <= self.position.epoch - 1 - self.position.best_epoch

    def _train(
        self, stage: Stage, epoch: int, progress: Progress, should_stop: ShouldStop
    ) -> tuple[dict[str, float], int]:
        settings, number = self.settings, self.position.stage
        order = epoch_order(self.training.n_cells, settings.seed, number, epoch, fixed=settings.fixed_order)
        plan = batches(order, settings.batch_size, fixed=settings.fixed_order)
        stage.prepare()
        losses: list[Tensor] = []
        for index, batch in enumerate(self.training.batches(plan)):
            stop_if_asked(should_stop)
            step = epoch * len(plan) + index
            torch.manual_seed(step_seed(settings.seed, number, step))
            scale = _rate_scale(settings.schedule, step / (stage.epochs * len(plan)))
            losses.append(stage.step(batch, scale))
        values = torch.stack(losses).double().cpu().numpy()  # the one wait for the device
        finite = np.isfinite(values).all(axis=1)
        if not finite.all():
            self._refuse(stage, epoch, int(np.argmin(finite)), plan, values)
        means = dict(zip(stage.losses, values.mean(axis=0).tolist(), strict=True))
        return means, sum(map(len, plan))

    def _refuse(
        self, stage: Stage, epoch: int, step: int, plan: list[np.ndarray], values: np.ndarray
    ) -> None:
        bad = [name for name, value in zip(stage.losses, values[step], strict=True) if not np.isfinite(value)]
        cells = ", ".join(self.names(int(cell)) for cell in plan[step][:5])
        raise TrainingFailed(
            f"{stage.title}: {', '.join(bad)} is not finite in step {step} of epoch {epoch}. The cells of "
            f"that step begin with {cells} ({len(plan[step])} in all). The last good checkpoint is kept; "
            "a lower learning rate usually helps."
        )

    def _validate(self, stage: Stage) -> dict[str, float]:
        if self.validation is None or not stage.watches_validation:
            return {}
        cells = np.arange(self.validation.n_cells)
        plan = [
            cells[i : i + self.settings.batch_size] for i in range(0, len(cells), self.settings.batch_size)
        ]
        return stage.validate(self.validation.batches(plan))


@contextmanager
def own_random_numbers(device: torch.device) -> Iterator[None]:
    """Leave torch's random numbers outside the block as they were."""
    devices = [device] if device.type in ("cuda", "mps") else []
    with torch.random.fork_rng(devices=devices, device_type=device.type if devices else "cuda"):
        yield


def _rate_scale(schedule: str, done: float) -> float:
    """Factor on learning rates when the part ``done`` of a stage lies behind."""
    return 1.0 if schedule == "constant" else 0.5 * (1 + math.cos(math.pi * done))
