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
from napari_apollo.train.objectives.pruning import distinct_dimensions, used_dimensions

if TYPE_CHECKING:
    from napari_apollo.train.objectives.agreement import AgreementSettings

_START_SPREAD, _START_LOG_VARIANCE = 0.1, -2.0


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

    def close(self, network: Network, least: float, told: float = 1.0) -> None:
        """Close the dimensions that hold fewer than ``least`` nats a row, or nothing of their own.

        A dimension holds nothing of its own where more than the part ``told`` of its variance can be
        read from the others of its block.
        """
        tables = self.tables
        used = used_dimensions(tables, {name: network.kept(name) for name in tables}, least)
        if told < 1:
            for name, table in tables.items():
                means = split(table.values)[0].cpu().numpy()
                chosen = distinct_dimensions(means, used[name].cpu().numpy(), told)
                used[name] = torch.from_numpy(chosen).to(table.values.device)
        network.keep(used)

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
