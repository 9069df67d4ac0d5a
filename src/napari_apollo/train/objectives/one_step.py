"""The paper's ablation without latent optimisation: variational autoencoders that take turns.

In an epoch one modality's encoder and decoders learn to rebuild its values; its shared code is drawn to
those that the other modalities' encoders gave when their last turn was over. After Zhang, Shivashankar and
Uhler (Nature Computational Science, 2025); it is kept to be compared with. One thing is simpler here: all
decoders are told the stain by one embedding, in the reference each modality has its own.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import ClassVar, Protocol

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from napari_apollo.errors import ConfigError
from napari_apollo.model.network import Code, Network
from napari_apollo.train.data import Batch, CellData, View
from napari_apollo.train.objectives.base import (
    OBJECTIVES,
    ObjectiveSettings,
    adam_of_all,
    adam_tensors,
    descend,
    load_adam,
    prefixed,
    reconstruction_loss,
    release,
    under,
)
from napari_apollo.train.objectives.inference import validation_losses
from napari_apollo.train.objectives.normals import information, sample
from napari_apollo.train.objectives.nuisance import told_nuisance

_BATCH = 256


class OneStepSettings(ObjectiveSettings, Protocol):
    """The settings that this objective reads besides; their meaning is told in ``TrainConfig``."""

    @property
    def beta(self) -> float: ...


class OneStep:
    """Encoders and decoders together, modality by modality in turns.

    Parameters
    ----------
    network
        Encoders must give distributions (``Architecture.normal_codes``).
    data
        The training cells.
    settings
        See ``TrainConfig``; ``encoder_epochs`` and ``encoder_patience`` are those of its only stage.
    """

    name: ClassVar[str] = "one-step"
    one_protein: ClassVar[bool] = True
    normal_codes: ClassVar[bool] = True

    def __init__(self, network: Network, data: CellData, settings: OneStepSettings) -> None:
        if not network.architecture.normal_codes:
            raise ConfigError("The objective 'one-step' needs encoders that give distributions.")
        self._network = network
        self._data = data
        self.stages = (TurnsStage(network, settings, data),)

    def begin_at(self, latents: Mapping[str, Tensor]) -> None:
        """Nothing: there are no latents but those that encoders give."""

    @torch.no_grad()
    def optimised(self, block: str, rows: Tensor) -> Tensor:
        """What the encoders say, as nothing else was optimised; shared: the mean over modalities."""
        training = self._network.training
        self._network.eval()
        # Codes are made cell by cell; a cell has one value of a modality (``one_protein``).
        cells = rows.cpu().numpy() if block == "shared" else self._data.cells_of(block)[rows.cpu().numpy()]
        wanted, place = np.unique(cells, return_inverse=True)
        plan = [wanted[start : start + _BATCH] for start in range(0, len(wanted), _BATCH)]
        parts = [self._said(block, batch) for batch in self._data.batches(plan)]
        self._network.train(training)
        return torch.cat(parts).index_select(0, torch.from_numpy(place).to(rows.device))

    def _said(self, block: str, batch: Batch) -> Tensor:
        codes = _codes(self._network, batch)
        if block != "shared":
            own = codes[block].specific
            assert own is not None
            return own
        views = batch.views
        total = torch.stack([_by_cell(codes[name].shared, views[name], batch) for name in codes]).sum(0)
        ones = {name: torch.ones_like(codes[name].shared[:, :1]) for name in codes}
        return total / torch.stack([_by_cell(ones[name], views[name], batch) for name in codes]).sum(0)


class TurnsStage:
    """Every epoch is the turn of one modality."""

    name = "one-step"
    title = "Encoders and decoders, in turns"
    watches_validation = True

    def __init__(self, network: Network, settings: OneStepSettings, data: CellData) -> None:
        self.epochs = settings.encoder_epochs
        self.patience = settings.encoder_patience
        self._network = network
        self._settings = settings
        self._data = data
        self._names = list(network.encoders)
        self._learning = ""
        # The epoch at hand, and what encoders said after their turn: NaN where they said nothing yet.
        self._epoch = 0
        length = network.architecture.shared
        self._said = {
            name: torch.full((data.n_cells, length), torch.nan, device=data.device) for name in self._names
        }
        kinds = [("full", network.decoders), ("shared", network.shared_decoders)]
        self.losses = (
            "total",
            *(f"{name}_{kind}" for name in self._names for kind, decoders in kinds if name in decoders),
            "match",
            "information",
        )
        self._optimiser, self.network_parameters = adam_of_all(network, settings)
        self._rates = [group["lr"] for group in self._optimiser.param_groups]

    def prepare(self) -> None:
        """Everything learns when its turn comes, which the first step of the epoch knows."""
        self._network.train().requires_grad_(True)
        self._learning = ""

    def step(self, batch: Batch, rate_scale: float, done: float = 0.0) -> Tensor:
        """One step of the networks whose turn it is."""
        epoch = int(done * self.epochs + 1e-9)
        if epoch != self._epoch:
            self._note(self._turn(epoch - 1))
            self._epoch = epoch
        found = dict.fromkeys(self.losses[1:], batch.cells.new_zeros((), dtype=torch.float32))
        name = self._turn(epoch)
        if name != self._learning:
            self._let_learn(name)
        if name in batch.views:
            found |= self._losses(name, batch)
            total = torch.stack(list(found.values())).sum()
            descend(self._optimiser, total, self._rates, rate_scale)
        return torch.stack([torch.stack(list(found.values())).sum(), *found.values()]).detach()

    def _let_learn(self, name: str) -> None:
        # Momentum of the others' last turn must not move them on.
        for parts in (self._network.encoders, self._network.decoders, self._network.shared_decoders):
            for other, module in parts.items():
                module.requires_grad_(other == name)
        self._learning = name

    def _turn(self, epoch: int) -> str:
        return self._names[epoch % len(self._names)]

    def _losses(self, name: str, batch: Batch) -> dict[str, Tensor]:
        network, view, kind = self._network, batch.views[name], self._settings.loss
        code = network.encode(name, view.values, view.stain)
        shared = sample(*code.shared_normal)
        found: dict[str, Tensor] = {}
        cost = information(*code.shared_normal).mean()
        if code.specific is not None:
            decoded = network.decode(name, shared, sample(*code.specific_normal), view.stain)
            found[f"{name}_full"] = reconstruction_loss(network, name, decoded, view.values, kind)
            cost = cost + information(*code.specific_normal).mean()
        if name in network.shared_decoders:
            decoded = network.decode(name, shared, None, view.stain)
            found[f"{name}_shared"] = reconstruction_loss(network, name, decoded, view.values, kind)
        rows = batch.cells.index_select(0, view.cell)
        others = [self._said[other].index_select(0, rows) for other in self._names if other != name]
        # Where another modality has said nothing, nothing pulls.
        wanted = torch.stack([torch.where(said.isnan(), shared.detach(), said) for said in others])
        found["match"] = functional.mse_loss(shared.expand_as(wanted), wanted) * len(others)
        found["information"] = self._settings.beta * cost + told_nuisance(
            self._settings, batch, None, {name: code}
        )
        return found

    @torch.no_grad()
    def _note(self, name: str) -> None:
        """Keep what the encoder of a modality says of all cells, in evaluation mode."""
        self._network.eval()
        cells = np.arange(self._data.n_cells)
        plan = [cells[start : start + _BATCH] for start in range(0, len(cells), _BATCH)]
        for batch in self._data.batches(plan):
            if name in batch.views:
                view = batch.views[name]
                code = self._network.encode(name, view.values, view.stain)
                rows = batch.cells.index_select(0, view.cell)
                self._said[name].index_copy_(0, rows, code.shared)
        self._network.train()

    def validate(self, batches: Iterable[Batch]) -> dict[str, float]:
        """Reconstruction of validation cells through the encoders, by the training loss."""
        return validation_losses(self._network, batches, self._settings.loss)

    def tensors(self) -> dict[str, Tensor]:
        """Whose turn it is, what was said, and the optimiser."""
        return {
            "epoch": torch.tensor(self._epoch),
            **prefixed("said", self._said),
            **prefixed("adam", adam_tensors(self._optimiser, self.network_parameters)),
        }

    def load(self, tensors: Mapping[str, Tensor]) -> None:
        """Go on from what ``tensors`` gave."""
        self._epoch = int(tensors["epoch"])
        for name, said in under("said", tensors).items():
            self._said[name].copy_(said)
        load_adam(self._optimiser, self.network_parameters, under("adam", tensors))

    def release(self) -> None:
        """Forget gradients and moments."""
        release(self._optimiser)


def _codes(network: Network, batch: Batch) -> dict[str, Code]:
    return {name: network.encode(name, view.values, view.stain) for name, view in batch.views.items()}


def _by_cell(values: Tensor, view: View, batch: Batch) -> Tensor:
    """Sums (b, d) over the values (p, d) of each cell."""
    return values.new_zeros(len(batch.cells), values.shape[1]).index_add_(0, view.cell, values)


OBJECTIVES[OneStep.name] = OneStep
