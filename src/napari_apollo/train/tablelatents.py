"""Where cells of tables lie, and what is made of them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from napari_apollo.model.network import Network
from napari_apollo.progress import ShouldStop, never, stop_if_asked
from napari_apollo.train.data import CellData
from napari_apollo.train.objectives.normals import product

_BATCH = 512


@dataclass(frozen=True)
class TableLatents:
    """Latents of cells, NaN where a cell lacks the modality.

    Attributes
    ----------
    shared
        (cell, s) float32: what all modalities of a cell say together. Of encoders that give distributions,
        the mean of their product with the prior; else the mean of the points.
    shared_by
        By modality (cell, s): what it says alone.
    specific
        By modality (cell, d).
    """

    shared: np.ndarray
    shared_by: dict[str, np.ndarray]
    specific: dict[str, np.ndarray]


@torch.no_grad()
def encode_cells(network: Network, cells: CellData, should_stop: ShouldStop = never) -> TableLatents:
    """Latents of all cells, dimensions in use alone, in their order."""
    network.eval()
    architecture, n = network.architecture, cells.n_cells
    used = {name: _used(network, name) for name in ("shared", *(m.name for m in architecture.modalities))}

    def empty(block: str) -> np.ndarray:
        return np.full((n, int(used[block].sum())), np.nan, np.float32)

    names = [modality.name for modality in architecture.modalities]
    found = TableLatents(
        empty("shared"), {name: empty("shared") for name in names}, {name: empty(name) for name in names}
    )
    plan = [np.arange(start, min(start + _BATCH, n)) for start in range(0, n, _BATCH)]
    for chosen, batch in zip(plan, cells.batches(plan), strict=True):
        stop_if_asked(should_stop)
        said = []
        for name, view in batch.views.items():
            code = network.encode(name, view.values, view.stain)
            rows = chosen[batch.positions[name]]
            found.shared_by[name][rows] = _numbers(code.shared)[:, used["shared"]]
            if code.specific is not None:
                found.specific[name][rows] = _numbers(code.specific)[:, used[name]]
            spread = code.shared_log_variance
            said.append((code.shared, torch.zeros_like(code.shared) if spread is None else spread, view.cell))
        joint = _joint(len(chosen), said, architecture.shared, normal=architecture.normal_codes)
        found.shared[chosen] = _numbers(joint)[:, used["shared"]]
    return found


@torch.no_grad()
def predicted_batches(
    network: Network, cells: CellData, source: str, target: str, should_stop: ShouldStop = never
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """One table predicted from the shared latent of another, some cells that have both at a time.

    With ``source`` equal to ``target``, the table rebuilt from both its latents.

    Yields
    ------
    predicted, measured : numpy.ndarray
        (n, feature), or of images (n, 1, y, x), float32 in the units of ``Network.activate``.
    """
    network.eval()
    n = cells.n_cells
    plan = [np.arange(start, min(start + _BATCH, n)) for start in range(0, n, _BATCH)]
    for batch in cells.batches(plan):
        stop_if_asked(should_stop)
        if source not in batch.views or target not in batch.views:
            continue
        view = batch.views[source]
        code = network.encode(source, view.values, view.stain)
        own, other = batch.pairs(source, target)
        specific = None
        if source == target and code.specific is not None:
            specific = code.specific.index_select(0, own)
        truth = batch.views[target]
        stain = truth.stain.index_select(0, other)
        made = network.decode(target, code.shared.index_select(0, own), specific, stain)
        measured = network.comparable(target, truth.values.index_select(0, other))
        if len(own):
            yield _numbers(network.activate(target, made)), _numbers(measured)


def _joint(n: int, said: list[tuple[Tensor, Tensor, Tensor]], length: int, *, normal: bool) -> Tensor:
    if normal:
        return product(n, said, length, said[0][0])[0]
    total, count = said[0][0].new_zeros(n, length), said[0][0].new_zeros(n, 1)
    for shared, _, cell in said:
        total.index_add_(0, cell, shared)
        count.index_add_(0, cell, torch.ones_like(shared[:, :1]))
    return total / count.clamp(min=1)


def _used(network: Network, block: str) -> np.ndarray:
    architecture = network.architecture
    if architecture.normal_codes:
        return network.kept(block).bool().cpu().numpy()
    length = architecture.shared if block == "shared" else architecture.modality(block).specific
    return np.ones(length, bool)


def _numbers(values: Tensor) -> np.ndarray:
    return values.float().cpu().numpy()
