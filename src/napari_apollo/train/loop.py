"""The loop: epochs of a stage, validation, stopping, and what is kept on the way.

One loop serves every objective and every device. Inside an epoch nothing waits for the device: losses
stay there and are read once, at the end, or when a checkpoint is due.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, replace
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor

from napari_apollo.errors import TrainingFailed
from napari_apollo.model.network import Network
from napari_apollo.progress import Progress, ShouldStop, Step, stop_if_asked
from napari_apollo.train.data import CellData
from napari_apollo.train.memory import memory_kept
from napari_apollo.train.objectives.base import Objective, Stage
from napari_apollo.train.sampling import batches, epoch_order, step_seed
from napari_apollo.train.team import Team

IMPROVEMENT = 1e-3
"""A criterion counts as better when it is lower by this fraction of itself."""

_LOOK = 16
"""Steps after which processes of one training ask one another whether to stop."""

LEAST_BATCH = 4
"""Cells of the smallest batch that is tried when memory runs out."""


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


@dataclass(frozen=True)
class Position:
    """Where a training stands; with the tensors of stage and network, all that is needed to go on.

    Attributes
    ----------
    stage, epoch
        Stage and epoch at hand.
    done
        Cells of the epoch's order that are visited.
    batch_size
        Cells in a batch of this process; less than the settings say where memory ran out.
    best, best_epoch
        Lowest criterion of the stage, and the epoch that had it (-1: none yet).
    """

    stage: int = 0
    epoch: int = 0
    done: int = 0
    batch_size: int = 0
    best: float = math.inf
    best_epoch: int = -1

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON; no criterion yet is None."""
        return {**asdict(self), "best": None if math.isinf(self.best) else self.best}

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


class Keeping(Protocol):
    """What the loop tells while it runs."""

    def due(self) -> bool:
        """Whether it is time for a checkpoint."""

    def checkpoint(self, position: Position, losses: Tensor | None) -> None:
        """Keep everything that is needed to go on; ``losses`` (step, k) are those of the epoch at hand."""

    def last_good(self) -> str:
        """Which checkpoint there is to go back to, in words."""

    def after_epoch(self, epoch: Epoch) -> None:
        """Take note of an epoch."""

    def after_stage(self, stage: Stage, following: Position) -> None:
        """A stage is over; the next one begins at ``following``."""


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
    keeper
        Writes what is to be kept.
    position, losses
        Where to begin, and the losses of the epoch's steps that are done.
    team
        The processes that train together; ``training`` and ``validation`` are this one's share.
    """

    network: Network
    objective: Objective
    training: CellData
    validation: CellData | None
    settings: LoopSettings
    names: Callable[[int], str]
    keeper: Keeping
    position: Position = field(default_factory=Position)
    losses: Tensor | None = None
    team: Team = field(default_factory=Team)

    def run(self, progress: Progress, should_stop: ShouldStop) -> None:
        """Run all stages to their end.

        Raises
        ------
        Cancelled
            When ``should_stop`` says so.
        TrainingFailed
            When a loss is not finite (stage, epoch, step and cells are named), or not even a small
            batch fits into the memory of the device.
        """
        # Cells that do not divide among the processes wait for another epoch.
        self._cells = self.team.least(self.training.n_cells)
        if not self.position.batch_size:
            size = max(1, self.settings.batch_size // self.team.ranks)
            self.position = replace(self.position, batch_size=size)
        device = self.training.device
        with (
            own_random_numbers(device),
            self.team.averaging(),
            fixed_shapes(device),
            memory_kept(device),
        ):
            while self.position.stage < len(self.objective.stages):
                stage = self.objective.stages[self.position.stage]
                self._run_stage(stage, progress, should_stop)
                self.position = Position(stage=self.position.stage + 1, batch_size=self.position.batch_size)
                self.keeper.after_stage(stage, self.position)
                stage.release()

    def _run_stage(self, stage: Stage, progress: Progress, should_stop: ShouldStop) -> None:
        while self.position.epoch < stage.epochs and not self._exhausted(stage):
            started = time.perf_counter()
            epoch = self.position.epoch
            # Which latents are closed is for one process to say.
            self.team.share_tensors(self.network.buffers())
            training = self._train(stage, progress, should_stop)
            validation = self._validate(stage)
            criterion = validation["criterion"] if validation else training["total"]
            improved = better(criterion, self.position.best)
            if improved:
                self.position = replace(self.position, best=criterion, best_epoch=epoch)
            self.position = replace(self.position, epoch=epoch + 1, done=0)
            seconds = time.perf_counter() - started
            cells = self._cells * self.team.ranks
            self.keeper.after_epoch(Epoch(stage.name, epoch, seconds, cells, training, validation, improved))
            if self.team.any(self.keeper.due()):
                self.keeper.checkpoint(self.position, None)
            detail = f"loss {training['total']:.4f}" + (
                f", validation {validation['criterion']:.4f}" if validation else ""
            )
            progress(Step(stage.title, epoch + 1, stage.epochs, detail))

    def _exhausted(self, stage: Stage) -> bool:
        """Whether the criterion has not improved for as many epochs as the stage is patient (0: for ever)."""
        return 0 < stage.patience <= self.position.epoch - 1 - self.position.best_epoch

    def _train(self, stage: Stage, progress: Progress, should_stop: ShouldStop) -> dict[str, float]:
        """Run, or finish, an epoch; the mean losses of its steps."""
        at, settings = self.position, self.settings
        n, counters = self.training.n_cells, self.team.counters
        order = epoch_order(n, settings.seed, at.stage, at.epoch, *counters, fixed=settings.fixed_order)
        order = order[: self._cells]
        losses = [] if self.losses is None else list(self.losses.to(self.training.device))
        self.losses = None
        # Losses that came with a checkpoint are known to be finite; their batches need no names.
        visited: list[np.ndarray] = [order[:0]] * len(losses)
        stage.prepare()
        while self.position.done < len(order):
            try:
                self._steps(stage, order, losses, visited, should_stop)
            except torch.OutOfMemoryError as error:
                self._halve(progress, error)
        values = self._finite(stage, losses, visited).double()  # the one wait for the device
        mean = self.team.mean(torch.from_numpy(values.numpy().mean(axis=0)))
        return dict(zip(stage.losses, mean.tolist(), strict=True))

    def _steps(
        self,
        stage: Stage,
        order: np.ndarray,
        losses: list[Tensor],
        visited: list[np.ndarray],
        should_stop: ShouldStop,
    ) -> None:
        """Steps from where the epoch stands to its end."""
        settings = self.settings
        plan = batches(order, self.position.batch_size, self.position.done, fixed=settings.fixed_order)
        for cells, batch in zip(plan, self.training.batches(plan), strict=True):
            self._stop_if_asked(should_stop)
            at = self.position
            # The place in the order, not the number of the step, counts: it is the same after the
            # batch was halved, and after the run was resumed.
            torch.manual_seed(step_seed(settings.seed, at.stage, at.epoch, at.done, *self.team.counters))
            done = (at.epoch + at.done / len(order)) / stage.epochs
            losses.append(stage.step(batch, _rate_scale(settings.schedule, done), done))
            visited.append(cells)
            self.position = replace(at, done=min(len(order), at.done + len(cells)))
            # Processes that train together meet at the end of an epoch, not on the way.
            if self.team.alone and self.position.done < len(order) and self.keeper.due():
                self.keeper.checkpoint(self.position, self._finite(stage, losses, visited))

    def _stop_if_asked(self, should_stop: ShouldStop) -> None:
        if self.team.alone:
            stop_if_asked(should_stop)
        elif self.position.done // self.position.batch_size % _LOOK == 0:
            asked = self.team.any(should_stop())
            stop_if_asked(lambda: asked)

    def _halve(self, progress: Progress, error: torch.OutOfMemoryError) -> None:
        if not self.team.alone:  # the others are in the middle of the step
            raise TrainingFailed(
                f"The memory of {self.training.device} does not hold a batch of {self.position.batch_size} "
                f"cells. Take a smaller batch_size; each of {self.team.ranks} processes gets its part of it."
            ) from error
        half = self.position.batch_size // 2
        if half < LEAST_BATCH:
            raise TrainingFailed(
                f"The memory of {self.training.device} does not hold a batch of "
                f"{self.position.batch_size} cells. Close other programs, take smaller sizes, or train "
                "on the processor."
            ) from error
        torch.cuda.empty_cache()
        self.position = replace(self.position, batch_size=half)
        progress(Step("Memory", detail=f"ran out; going on with batches of {half} cells"))

    def _finite(self, stage: Stage, losses: list[Tensor], visited: list[np.ndarray]) -> Tensor:
        """Losses (step, k) on the processor, all of them finite."""
        values = torch.stack(losses).cpu()
        self.team.fail_together(self._problem(stage, values, visited))
        return values

    def _problem(self, stage: Stage, values: Tensor, visited: list[np.ndarray]) -> str:
        """What is wrong with losses, in words."""
        finite = torch.isfinite(values)
        if bool(finite.all()):
            return ""
        step = int((~finite).any(dim=1).nonzero()[0])
        bad = [name for name, good in zip(stage.losses, finite[step].tolist(), strict=True) if not good]
        cells = visited[step]
        names = ", ".join(self.names(int(cell)) for cell in cells[:5])
        return (
            f"{stage.title}: {', '.join(bad)} is not finite in step {step} of epoch {self.position.epoch}. "
            f"The cells of that step begin with {names} ({len(cells)} in all). {self.keeper.last_good()} "
            "A lower learning rate usually helps."
        )

    def _validate(self, stage: Stage) -> dict[str, float]:
        if self.validation is None or not stage.watches_validation:
            return {}
        cells, size = np.arange(self.validation.n_cells), self.position.batch_size
        plan = [cells[start : start + size] for start in range(0, len(cells), size)]
        found = stage.validate(self.validation.batches(plan))
        mean = self.team.mean(torch.tensor(list(found.values()), dtype=torch.float64), float(len(cells)))
        return dict(zip(found, mean.tolist(), strict=True))


@contextmanager
def own_random_numbers(device: torch.device) -> Iterator[None]:
    """Leave torch's random numbers outside the block as they were."""
    processor = torch.get_rng_state()
    cuda = torch.cuda.get_rng_state(device) if device.type == "cuda" else None
    mps = torch.mps.get_rng_state() if device.type == "mps" else None
    try:
        yield
    finally:
        torch.set_rng_state(processor)
        if cuda is not None:
            torch.cuda.set_rng_state(cuda, device)
        if mps is not None:
            torch.mps.set_rng_state(mps)


@contextmanager
def fixed_shapes(device: torch.device) -> Iterator[None]:
    """Let an NVIDIA GPU try out its convolutions once and keep the fastest: batches have one shape."""
    if device.type != "cuda":
        yield
        return
    with torch.backends.cudnn.flags(enabled=True, benchmark=True, allow_tf32=True):
        yield


def better(criterion: float, best: float) -> bool:
    """Whether a criterion is lower than the best so far by what counts; log likelihoods may be negative."""
    return criterion < best - (IMPROVEMENT * abs(best) if math.isfinite(best) else 0)


def _rate_scale(schedule: str, done: float) -> float:
    """Factor on learning rates when the part ``done`` of a stage lies behind."""
    return 1.0 if schedule == "constant" else 0.5 * (1 + math.cos(math.pi * done))
