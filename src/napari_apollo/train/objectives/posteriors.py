"""The normal distributions that cells own while a model is trained by ``agreement``."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from napari_apollo.model.network import Code, Network
from napari_apollo.train.data import Batch, CellData
from napari_apollo.train.latents import LatentTable
from napari_apollo.train.objectives.base import prefixed, under
from napari_apollo.train.objectives.normals import product, split
from napari_apollo.train.objectives.pruning import (
    CELLS,
    distinct_dimensions,
    held_nats,
    used_dimensions,
    wound_dimension,
)

if TYPE_CHECKING:
    from napari_apollo.train.objectives.agreement import AgreementSettings

_START_SPREAD, _START_LOG_VARIANCE = 0.1, -2.0
_UNKNOWN_SPREAD = 0.01  # of means of which nothing is known: their variance is that of the standard normal


class Posteriors:
    """The normal distributions that cells own: one shared, one for each measured value.

    Attributes
    ----------
    shared
        Rows are cells; means, and log variances beside them.
    specific
        By modality that has a latent of its own; rows are its values, so that each measured stain
        of a cell has one.
    """

    def __init__(self, network: Network, data: CellData, settings: AgreementSettings) -> None:
        def table(rows: int, length: int) -> LatentTable:
            made = LatentTable(
                rows,
                2 * length,
                rate=settings.latent_rate,
                device=data.device,
                dense=settings.dense_latents,
                spread=_START_SPREAD,
            )
            made.values[:, length:] = _START_LOG_VARIANCE
            return made

        self._data = data
        self.shared = table(data.n_cells, network.architecture.shared)
        self.specific = {
            modality.name: table(data.n_rows(modality.name), modality.specific)
            for modality in network.architecture.modalities
            if modality.specific
        }

    @property
    def tables(self) -> dict[str, LatentTable]:
        """All tables: ``shared``, and the names of modalities."""
        return {"shared": self.shared, **self.specific}

    @torch.no_grad()
    def begin_at(self, block: str, values: Tensor) -> None:
        """Start the first means of a block at values (row, k); of the others nothing is known."""
        table = self.tables[block].values
        k, length = values.shape[1], table.shape[1] // 2
        table[:, :k] = values
        table[:, k:length] *= _UNKNOWN_SPREAD / _START_SPREAD
        table[:, length + k :] = 0

    @torch.no_grad()
    def follow(self, batch: Batch, codes: Mapping[str, Code], kept: Tensor | None) -> None:
        """Take over what the encoders say of the cells of a batch, but for those not ``kept`` (b,) bool."""
        said = {"shared": (batch.cells, torch.cat(joint_code(batch, codes), 1), kept)}
        for name, code in codes.items():
            if name in self.specific:
                view = batch.views[name]
                lies = None if kept is None else kept.index_select(0, view.cell)
                said[name] = (view.row, torch.cat(code.specific_normal, 1), lies)
        for name, (rows, values, lies) in said.items():
            table = self.tables[name].values
            if lies is not None:
                values = torch.where(lies[:, None], values, table.index_select(0, rows))
            table.index_copy_(0, rows, values)

    def close(
        self,
        network: Network,
        least: float,
        told: float = 1.0,
        *,
        unwind: bool = True,
        apart: bool = False,
    ) -> None:
        """Close the dimensions that hold fewer than ``least`` nats a row, or nothing of their own.

        A dimension holds nothing of its own where more than the part ``told`` of its variance can be
        read from the others of its block, or, if ``unwind``, where codes only wind through it
        (``wound_dimension``); ``apart`` where blocks have been asked to be independent for a while.
        """
        tables = self.tables
        used = used_dimensions(tables, {name: network.kept(name) for name in tables}, least)
        if told < 1:
            for name, table in tables.items():
                means = split(table.values)[0].cpu().numpy()
                held = held_nats(table, network.kept(name)).cpu().numpy()
                chosen = distinct_dimensions(means, used[name].cpu().numpy(), held, told)
                used[name] = torch.from_numpy(chosen).to(table.values.device)
        network.keep(used)
        if told < 1 and unwind:
            for name in self.specific:
                self._unwind(network, name, 1 - told, apart=apart)

    @torch.no_grad()
    def _unwind(self, network: Network, name: str, least: float, *, apart: bool) -> None:
        """Close dimensions of a specific block, one by one, through which codes only wind.

        Where being told by others is sign enough, but one: what it held of a factor has to find its way
        into the others first, which until then are told, too.
        """
        table, kept = self.specific[name], network.kept(name)
        rows = torch.arange(0, len(table.values), max(1, len(table.values) // CELLS))
        cells = torch.from_numpy(self._data.cells_of(name))[rows].to(table.values.device)
        stain = torch.from_numpy(self._data.observed[name].stain)[rows].to(table.values.device)
        own = split(table.values[rows.to(table.values.device)])[0] * kept
        shared = split(self.shared.values.index_select(0, cells))[0] * network.kept()
        while int(kept.sum()) > 1:
            open_ = kept.nonzero()[:, 0]
            moves = None if apart else sensitivity(network, name, shared, own * kept, stain, open_)
            going = wound_dimension(
                own[:, open_].cpu().numpy(),
                shared.cpu().numpy(),
                None if moves is None else moves.cpu().numpy(),
                held_nats(table, kept)[open_].cpu().numpy(),
                least,
            )
            if going is None:
                return
            left = kept.bool()
            left[open_[going]] = False
            network.keep({name: left})
            if apart:
                return

    def tensors(self) -> dict[str, Tensor]:
        """Everything needed to go on."""
        return {
            k: v for name, table in self.tables.items() for k, v in prefixed(name, table.tensors()).items()
        }

    def load(self, tensors: Mapping[str, Tensor]) -> None:
        """Go on from what ``tensors`` gave."""
        for name, table in self.tables.items():
            table.load(under(name, tensors))


def joint_code(batch: Batch, codes: Mapping[str, Code]) -> tuple[Tensor, Tensor]:
    """Means and log variances (b, s) of what all encoders of a cell say together."""
    said = [(*code.shared_normal, batch.views[name].cell) for name, code in codes.items()]
    return product(len(batch.cells), said, said[0][0].shape[1], said[0][0])


_NUDGE = 0.05


def sensitivity(
    network: Network, name: str, shared: Tensor, own: Tensor, stain: Tensor, dimensions: Tensor
) -> Tensor:
    """How decoded values move with a specific latent.

    Parameters
    ----------
    network, name
        Full decoder of which modality; it is asked in evaluation mode.
    shared, own, stain
        (n, s) and (n, e) latents and the stains (n,) of n values.
    dimensions
        (d,) int64, of the specific latent.

    Returns
    -------
    torch.Tensor
        (n, d, d): products of the derivatives by the dimensions (central differences), before the activation.
    """
    training = network.training
    network.eval()
    moved = []
    for dimension in dimensions.tolist():
        nudge = torch.zeros_like(own)
        nudge[:, dimension] = _NUDGE
        there, back = (network.decode(name, shared, own + sign * nudge, stain) for sign in (1, -1))
        moved.append(((there - back) / (2 * _NUDGE)).flatten(1))
    network.train(training)
    derivatives = torch.stack(moved, dim=1)
    return derivatives @ derivatives.transpose(1, 2)
