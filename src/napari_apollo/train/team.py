"""One training in several processes, on several GPUs or machines: ``torchrun`` starts them.

Each process has cells of its own with their latents; decoders and encoders are the same in all of them: their
gradients are averaged before every step, and BatchNorm takes its statistics over the cells of all. So
a step learns from the same global batch as one process would. Process 0 alone writes the run folder, but for
the latents of the others in checkpoints.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import numpy as np
import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.optim.optimizer import register_optimizer_step_pre_hook

from napari_apollo.errors import ApolloError, TrainingFailed

_PATIENCE = timedelta(hours=6)
"""Longest wait for the others: scoring is done by one process while the rest wait."""


@dataclass(frozen=True)
class Team:
    """The processes of a training; alone, every method is a matter of course.

    Attributes
    ----------
    rank, ranks
        Number of this process, and how many there are.
    """

    rank: int = 0
    ranks: int = 1

    @property
    def alone(self) -> bool:
        """Whether there is one process only."""
        return self.ranks == 1

    @property
    def leads(self) -> bool:
        """Whether this process writes the run folder."""
        return self.rank == 0

    @property
    def counters(self) -> tuple[int, ...]:
        """What random choices of this process depend on besides; nothing for a process alone."""
        return () if self.alone else (self.ranks, self.rank)

    def own(self, values: np.ndarray) -> np.ndarray:
        """Share of a list that is for this process."""
        return values[self.rank :: self.ranks]

    def any(self, flag: bool) -> bool:
        """Whether any process says so."""
        return flag if self.alone else bool(self._reduced(torch.tensor(float(flag)), dist.ReduceOp.MAX) > 0)

    def least(self, number: int) -> int:
        """The smallest of the numbers that the processes have."""
        return number if self.alone else int(self._reduced(torch.tensor(number), dist.ReduceOp.MIN))

    def mean(self, values: Tensor, weight: float = 1.0) -> Tensor:
        """Weighted mean over the processes of values on the processor; exactly the values if alone."""
        if self.alone:
            return values
        weighted = torch.cat([values.double().flatten() * weight, torch.tensor([weight]).double()])
        total = self._reduced(weighted, dist.ReduceOp.SUM)
        return (total[:-1] / total[-1]).view_as(values)

    def fail_together(self, problem: str) -> None:
        """Raise in every process what any of them has to say.

        Raises
        ------
        TrainingFailed
            When ``problem`` is not empty somewhere.
        """
        problems: list[Any] = [problem] * self.ranks
        if not self.alone:
            dist.all_gather_object(problems, problem)
        told = next((words for words in problems if words), "")
        if told:
            raise TrainingFailed(told)

    @contextmanager
    def failing_together(self) -> Iterator[None]:
        """Run a block in every process; an error of one ends all, when all are through.

        Raises
        ------
        TrainingFailed
            When another process failed; alone, the error itself passes on.
        """
        if self.alone:
            yield
            return
        problem = ""
        try:
            yield
        except (OSError, ApolloError) as error:
            problem = f"Process {self.rank} of {self.ranks}: {error}"
        self.fail_together(problem)

    def share_value(self, value: Any) -> Any:
        """What process 0 has, in every process."""
        if self.alone:
            return value
        values = [value]
        dist.broadcast_object_list(values)
        return values[0]

    def share_tensors(self, tensors: Iterator[Tensor]) -> None:
        """Overwrite tensors with those of process 0."""
        if not self.alone:
            for tensor in tensors:
                dist.broadcast(tensor, 0)

    @contextmanager
    def averaging(self) -> Iterator[None]:
        """Average gradients over the processes before any optimiser of torch makes a step."""
        if self.alone:
            yield
            return
        handle = register_optimizer_step_pre_hook(lambda optimiser, *_: self._average(optimiser))
        try:
            yield
        finally:
            handle.remove()

    def _average(self, optimiser: torch.optim.Optimizer) -> None:
        parameters = [p for group in optimiser.param_groups for p in group["params"] if p.requires_grad]
        for parameter in parameters:
            if parameter.grad is None:
                parameter.grad = torch.zeros_like(parameter)
        gradients = [parameter.grad for parameter in parameters if parameter.grad is not None]
        flat = torch.cat([gradient.reshape(-1) for gradient in gradients])
        dist.all_reduce(flat)
        flat /= self.ranks
        start = 0
        for gradient in gradients:
            gradient.copy_(flat[start : start + gradient.numel()].view(gradient.shape))
            start += gradient.numel()

    @staticmethod
    def _reduced(values: Tensor, how: dist.ReduceOp.RedOpType) -> Tensor:
        dist.all_reduce(values, how)
        return values


def processes() -> int:
    """How many processes train together."""
    return dist.get_world_size() if dist.is_available() and dist.is_initialized() else 1


@contextmanager
def joined() -> Iterator[Team]:
    """The team of this process: those that ``torchrun`` started with it, or it alone."""
    if not launched_together():
        yield Team()
        return
    backend = "cpu:gloo,cuda:nccl" if torch.cuda.is_available() else "gloo"
    dist.init_process_group(backend, timeout=_PATIENCE)
    try:
        yield Team(dist.get_rank(), dist.get_world_size())
    finally:
        dist.destroy_process_group()


def launched_together() -> bool:
    """Whether ``torchrun`` started this process as one of several."""
    return int(os.environ.get("WORLD_SIZE", "1")) > 1 and "RANK" in os.environ


def launched_first() -> bool:
    """Whether this process is the first one, or the only one."""
    return not launched_together() or os.environ["RANK"] == "0"


def own_device(name: str) -> str:
    """Name of the device of this process where ``name`` leaves the choice: each its own GPU of a machine."""
    if launched_together() and name in ("auto", "cuda") and torch.cuda.is_available():
        return f"cuda:{os.environ.get('LOCAL_RANK', '0')}"
    return name


def synchronise_norms(network: nn.Module) -> None:
    """Let every BatchNorm take its statistics over the cells of all processes; parameters stay the same."""
    for module in network.modules():
        for name, child in module.named_children():
            if type(child) is nn.BatchNorm2d:
                setattr(module, name, _synchronised(child))


def _synchronised(norm: nn.BatchNorm2d) -> nn.Module:
    if norm.weight.is_cuda:
        made: nn.Module = nn.SyncBatchNorm.convert_sync_batchnorm(norm)
        return made
    own = SharedBatchNorm(norm.num_features, norm.eps, norm.momentum)
    own.weight, own.bias = norm.weight, norm.bias
    own.running_mean, own.running_var = norm.running_mean, norm.running_var
    own.num_batches_tracked = norm.num_batches_tracked
    return own.train(norm.training)


class SharedBatchNorm(nn.BatchNorm2d):
    """BatchNorm over the cells of all processes, on a processor; torch's own needs a GPU."""

    def forward(self, values: Tensor) -> Tensor:
        """Normalise maps (n, c, y, x)."""
        if not self.training:
            return super().forward(values)
        assert self.running_mean is not None
        assert self.running_var is not None
        assert self.num_batches_tracked is not None
        from torch.distributed.nn.functional import all_reduce  # absent where torch has no distributed

        wide = values.float()
        count = wide.new_tensor([float(wide.numel() // wide.shape[1])])
        first = all_reduce(torch.cat([wide.sum((0, 2, 3)), count]))
        n, mean = first[-1].detach(), first[:-1] / first[-1].detach()
        centred = wide - mean[:, None, None]
        variance = all_reduce(centred.square().sum((0, 2, 3))) / n
        with torch.no_grad():
            momentum = 0.1 if self.momentum is None else self.momentum
            self.running_mean.lerp_(mean, momentum)
            self.running_var.lerp_(variance * n / (n - 1), momentum)
            self.num_batches_tracked += 1
        scaled = centred * (self.weight / (variance + self.eps).sqrt())[:, None, None]
        return (scaled + self.bias[:, None, None]).to(values.dtype)
