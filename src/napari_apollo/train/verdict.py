"""What of each modality is shared, what is its own, what stays unexplained; and whether that can be told."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from napari_apollo.model.card import Verdict
from napari_apollo.model.modality import CHROMATIN
from napari_apollo.model.network import Network
from napari_apollo.probes import SeparabilityWarning, separability_warnings
from napari_apollo.train.data import Batch, CellData
from napari_apollo.train.objectives.normals import product

LEAST_CELLS = 100
"""Fewer cells than this cannot tell whether shared and specific are apart."""

_BATCH = 256
_MOST = 4096
"""Cells that are looked at, spread evenly; sampling more would not change two digits."""

_OF = "shared of "


@torch.no_grad()
def judge(network: Network, cells: CellData) -> Verdict:
    """A verdict on a trained model, from cells that it did not learn from.

    Of the variation of a modality's values between cells (around their mean over these cells; around
    that of each stain), ``shared`` is the part that the other modalities of the same cells predict,
    ``specific`` what its own codes rebuild beyond that, ``unexplained`` the rest.

    Parameters
    ----------
    network
        Trained.
    cells
        Validation or test cells.
    """
    network.eval()
    order = np.arange(cells.n_cells)[:: max(1, -(-cells.n_cells // _MOST))]
    sums: dict[str, _Sums] = {}
    latents: dict[str, list[np.ndarray]] = {}
    for batch in cells.batches([order[start : start + _BATCH] for start in range(0, len(order), _BATCH)]):
        shared, own, joint = _codes(network, batch)
        for name, view in batch.views.items():
            rebuilt = _values(network, name, shared[name], own[name], view.stain)
            predicted = _predicted(network, batch, name, shared)
            for stain in view.stain.unique().tolist():
                chosen = view.stain == stain
                truth = network.comparable(name, view.values[chosen])
                parts = (truth, rebuilt[chosen], *(made[chosen] for made in predicted))
                label = _label(network, name, stain)
                sums.setdefault(label, _Sums()).add(*parts)
        for name, block in _blocks(network, batch, shared, own, joint).items():
            latents.setdefault(name, []).append(block)
    blocks = {name: np.concatenate(parts) for name, parts in latents.items()}
    warnings = _warnings(network, blocks)
    return Verdict(
        cells=cells.n_cells,
        parts={label: value.parts() for label, value in sums.items()},
        warnings=tuple(warning.message for warning in warnings),
        kinds=tuple(warning.kind for warning in warnings),
    )


class _Sums:
    """Squared errors of one stain, added up over batches."""

    def __init__(self) -> None:
        self.n = 0
        self.total: Tensor | float = 0.0
        self.squares = self.rebuilt = self.predicted = 0.0
        self.pairs = 0
        self.pair_total: Tensor | float = 0.0
        self.pair_squares = 0.0

    def add(self, values: Tensor, rebuilt: Tensor, predicted: Tensor, there: Tensor) -> None:
        values, rebuilt, predicted = values.double(), rebuilt.double(), predicted.double()
        self.n += len(values)
        self.total = self.total + values.sum(0)
        self.squares += float(values.square().sum())
        self.rebuilt += float((values - rebuilt).square().sum())
        paired = values[there]
        self.pairs += len(paired)
        self.pair_total = self.pair_total + paired.sum(0)
        self.pair_squares += float(paired.square().sum())
        self.predicted += float((paired - predicted[there]).square().sum())

    def parts(self) -> dict[str, float]:
        """Parts of the variance, between 0 and 1, that add up to 1."""
        explained = _explained(self.rebuilt, self.squares, self.total, self.n)
        shared = min(_explained(self.predicted, self.pair_squares, self.pair_total, self.pairs), explained)
        return {"shared": shared, "specific": explained - shared, "unexplained": 1 - explained}


def _explained(error: float, squares: float, total: Tensor | float, n: int) -> float:
    if not n or isinstance(total, float):
        return 0.0
    variation = squares - float((total.square() / n).sum())
    return min(1.0, max(0.0, 1 - error / variation)) if variation > 1e-9 * squares else 0.0


def _codes(network: Network, batch: Batch) -> tuple[dict[str, Tensor], dict[str, Tensor | None], Tensor]:
    """Shared and specific codes of every value, and the shared code of all values of a cell together."""
    shared, own, said = {}, {}, []
    for name, view in batch.views.items():
        code = network.encode(name, view.values, view.stain)
        shared[name], own[name] = code.shared, code.specific
        spread = code.shared_log_variance
        said.append((code.shared, torch.zeros_like(code.shared) if spread is None else spread, view.cell))
    joint, _ = product(len(batch.cells), said, network.architecture.shared, said[0][0])
    return shared, own, joint


def _values(network: Network, name: str, shared: Tensor, own: Tensor | None, stain: Tensor) -> Tensor:
    return network.activate(name, network.decode(name, shared, own, stain))


def _predicted(network: Network, batch: Batch, name: str, shared: dict[str, Tensor]) -> tuple[Tensor, Tensor]:
    """Mean prediction of a modality's values by all other ones of the cell; where there is any."""
    view = batch.views[name]
    total, count = torch.zeros_like(view.values), torch.zeros_like(view.cell)
    for other in batch.views:
        if other == name:
            continue
        source, target = batch.pairs(other, name)
        code, stain = shared[other].index_select(0, source), view.stain.index_select(0, target)
        total.index_add_(0, target, _values(network, name, code, None, stain))
        count.index_add_(0, target, torch.ones_like(target))
    shape = (-1, *[1] * (view.values.dim() - 1))
    return total / count.clamp(min=1).view(shape), count > 0


def _blocks(
    network: Network, batch: Batch, shared: dict[str, Tensor], own: dict[str, Tensor | None], joint: Tensor
) -> dict[str, np.ndarray]:
    """Latents of the cells that have every modality, each by the first of its values."""
    names = [modality.name for modality in network.architecture.modalities]
    firsts = {name: np.unique(batch.positions[name], return_index=True) for name in batch.views}
    complete = np.arange(len(batch.cells))
    for name in names:
        complete = np.intersect1d(complete, firsts[name][0]) if name in firsts else complete[:0]
    blocks = {"shared": joint[torch.from_numpy(complete).to(joint.device)]}
    for name in names if len(complete) else []:
        cells, first = firsts[name]
        rows = torch.from_numpy(first[np.isin(cells, complete)]).to(joint.device)
        blocks[_OF + name] = shared[name][rows]
        specific = own[name]
        if specific is not None:
            blocks[name] = specific[rows]
    return {name: block.float().cpu().numpy() for name, block in blocks.items()} if len(complete) else {}


def _warnings(network: Network, blocks: dict[str, np.ndarray]) -> list[SeparabilityWarning]:
    cells = len(blocks.get("shared", ()))
    if cells < LEAST_CELLS:
        message = f"Only {cells} cells have all modalities: too few to tell whether the separation holds."
        return [SeparabilityWarning("unknown", "shared", 0.0, message)]
    alone = {k.removeprefix(_OF): block for k, block in blocks.items() if k.startswith(_OF)}
    rest = {name: block for name, block in blocks.items() if not name.startswith(_OF)}
    empty = [
        SeparabilityWarning(
            "empty",
            name,
            0.0,
            f"Nothing specific to {name} was found. It has nothing of its own, or what it has is a function "
            "of what is shared: these data cannot tell which.",
        )
        for name, size in network.sizes().items()
        if name in rest and not size
    ]
    return [*empty, *separability_warnings(rest, shared_by_modality=alone)]


def _label(network: Network, name: str, stain: int) -> str:
    conditional = network.architecture.modality(name).conditional and name != CHROMATIN
    return network.architecture.vocabulary[stain] if conditional else name
