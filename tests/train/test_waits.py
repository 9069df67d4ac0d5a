"""Inside an epoch nothing waits for the device: no step reads a number back from it."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from napari_apollo.train.build import image_architecture, seeded_network
from napari_apollo.train.data import CellData, Crops, Observed
from napari_apollo.train.objectives import OBJECTIVES, get_objective
from napari_apollo.train.presets import AGREEMENT, ONE_STEP, SMALL

CPU = torch.device("cpu")
N = 12
PRESETS = {"two-step": SMALL, "agreement": {**AGREEMENT, "eta": 0.1, "opening": 10.0}, "one-step": ONE_STEP}
SIZES = {"shared": 5, "specific": 3, "embedding": 4, "width": 8, "head": 12, "specific_maps": 4}
# What gives a number, or a shape, that only the device knows.
WAITING = {
    torch.ops.aten._local_scalar_dense,
    torch.ops.aten.nonzero,
    torch.ops.aten.masked_select,
    torch.ops.aten._unique2,
}
INDEXING = {torch.ops.aten.index, torch.ops.aten.index_put, torch.ops.aten.index_put_}


def _masked(indices: list[torch.Tensor | None]) -> bool:
    return any(index is not None and index.dtype is torch.bool for index in indices)


class Waits(TorchDispatchMode):
    """Counts the operations that would wait for a device."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: list[str] = []

    def __torch_dispatch__(
        self, func: Any, types: object, args: tuple = (), kwargs: dict | None = None
    ) -> object:
        if func.overloadpacket in WAITING or (func.overloadpacket in INDEXING and _masked(args[1])):
            self.seen.append(str(func))
        return func(*args, **(kwargs or {}))


def cell_data() -> CellData:
    rng = np.random.default_rng(0)

    def observed(rows: np.ndarray) -> Observed:
        images = rng.integers(0, 256, (rows.size, 16, 16), dtype=np.uint8)
        made = Crops(lambda wanted: images[wanted], np.zeros(rows.size), np.full(rows.size, 255), np.uint8)
        made.to_device(CPU)
        return Observed(made, rows, rng.integers(0, 3, rows.size))

    return CellData(
        {"chromatin": observed(np.arange(N)[:, None]), "protein": observed(np.arange(2 * N).reshape(N, 2))},
        CPU,
    )


def test_the_watch_sees_what_waits() -> None:
    with Waits() as waits:
        torch.ones(3).sum().item()
        torch.ones(3)[torch.ones(3) > 0]
    assert len(waits.seen) == 2


@pytest.mark.parametrize("done", [0.1, 0.55, 0.9])
@pytest.mark.parametrize("name", OBJECTIVES)
def test_no_step_waits_for_the_device(name: str, done: float) -> None:
    own = SimpleNamespace(**{**PRESETS[name], **SIZES, "encoder_epochs": 4})
    data = cell_data()
    network = seeded_network(image_architecture(own, ("a", "b", "c"), 16), 0)
    for stage in get_objective(name, network, data, own).stages:
        stage.prepare()
        plan = [np.arange(4), np.arange(4, 8)]
        for batch in data.batches(plan * 2):  # dimensions are closed, or codes noted, a few times in all
            stage.step(batch, 1.0, done)
        with Waits() as waits:
            for batch in data.batches(plan):
                stage.step(batch, 1.0, done)
        assert waits.seen == []
