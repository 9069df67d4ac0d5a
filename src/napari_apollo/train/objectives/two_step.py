"""The objective of the paper: latents first, encoders afterwards.

Step 1 has no encoders. Each cell owns a shared vector and one for each modality; they are moved by
gradient descent together with the decoders, under noise of unit variance and a small penalty. Step 2
freezes both and trains encoders to give the vectors that the cells have. After Zhang, Shivashankar and
Uhler (Nature Computational Science, 2025); every number is a setting, and the preset ``paper`` holds
those of the reference.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import ClassVar, Protocol

import torch
from torch import Tensor

from napari_apollo.model.network import Network
from napari_apollo.train.augment import turn
from napari_apollo.train.data import Batch, CellData, View
from napari_apollo.train.latents import LatentTable
from napari_apollo.train.objectives.base import (
    OBJECTIVES,
    ObjectiveSettings,
    adam,
    adam_of_encoders,
    adam_tensors,
    descend,
    let_encoders_learn,
    load_adam,
    prefixed,
    reconstruction_loss,
    release,
    under,
)
from napari_apollo.train.objectives.inference import batch_gap, decoded_losses, validation_losses
from napari_apollo.train.objectives.nuisance import told_nuisance


class TwoStepSettings(ObjectiveSettings, Protocol):
    """The settings that this objective reads besides; their meaning is told in ``TrainConfig``."""

    @property
    def noise(self) -> float: ...
    @property
    def penalty(self) -> float: ...


class TwoStep:
    """Latent optimisation, then encoders.

    Parameters
    ----------
    network
        Its decoders are trained in the first stage, its encoders in the second.
    data
        The training cells, one value a modality and cell.
    settings
        See ``TrainConfig``.
    """

    name: ClassVar[str] = "two-step"
    one_protein: ClassVar[bool] = True
    normal_codes: ClassVar[bool] = False

    def __init__(self, network: Network, data: CellData, settings: TwoStepSettings) -> None:
        def table(rows: int, length: int) -> LatentTable:
            return LatentTable(
                rows, length, rate=settings.latent_rate, device=data.device, dense=settings.dense_latents
            )

        self.shared = table(data.n_cells, network.architecture.shared)
        self.specific = {
            modality.name: table(data.n_rows(modality.name), modality.specific)
            for modality in network.architecture.modalities
            if modality.specific
        }
        self.stages = (
            LatentStage(network, settings, self.shared, self.specific),
            EncoderStage(network, settings, self.shared, self.specific),
        )

    def begin_at(self, latents: Mapping[str, Tensor]) -> None:
        """Start the vectors there; see ``Objective``."""
        for block, values in latents.items():
            table = self.shared if block == "shared" else self.specific[block]
            table.values[:, : values.shape[1]] = values

    def optimised(self, block: str, rows: Tensor) -> Tensor:
        """Latents that were optimised; see ``Objective``."""
        table = self.shared if block == "shared" else self.specific[block]
        return table.values.index_select(0, rows)


class LatentStage:
    """Step 1: the vectors of the cells and the decoders, together."""

    name = "latents"
    title = "Step 1: latents and decoders"
    watches_validation = False

    def __init__(
        self,
        network: Network,
        settings: TwoStepSettings,
        shared: LatentTable,
        specific: Mapping[str, LatentTable],
    ) -> None:
        self.epochs = settings.latent_epochs
        self.patience = settings.latent_patience
        self._network = network
        self._settings = settings
        self._shared = shared
        self._specific = specific
        self.losses = (
            "total",
            *(f"{name}_full" for name in network.decoders),
            *(f"{name}_shared" for name in network.shared_decoders),
            "penalty",
        )
        decoders = [p for module in network.decoding_modules() for p in module.parameters()]
        stains = list(network.stains.parameters()) if network.stains is not None else []
        self.network_parameters = [*decoders, *stains]
        # The reference's embedding moves with the latents, at their rate.
        self._optimiser = adam(decoders, settings.decoder_rate)
        if stains:
            self._optimiser.add_param_group({"params": stains, "lr": settings.latent_rate})
        self._rates = [group["lr"] for group in self._optimiser.param_groups]

    def prepare(self) -> None:
        """Decoders learn, encoders do not."""
        self._network.requires_grad_(False)
        self._network.train()
        for parameter in self.network_parameters:
            parameter.requires_grad_(True)

    def step(self, batch: Batch, rate_scale: float, done: float = 0.0) -> Tensor:
        """One step of all optimisers on the summed loss."""
        shared = self._shared.gather(batch.cells)
        specific = {
            name: self._specific[name].gather(view.row)
            for name, view in batch.views.items()
            if name in self._specific
        }
        losses = self._losses(batch, shared, specific)
        total = torch.stack(losses).sum()
        descend(self._optimiser, total, self._rates, rate_scale)
        assert shared.grad is not None
        self._shared.update(batch.cells, shared.grad, scale=rate_scale)
        for name, leaf in specific.items():
            assert leaf.grad is not None
            self._specific[name].update(batch.views[name].row, leaf.grad, scale=rate_scale)
        return torch.stack([total, *losses]).detach()

    def _losses(self, batch: Batch, shared: Tensor, specific: Mapping[str, Tensor]) -> list[Tensor]:
        noise, network = self._settings.noise, self._network
        # One draw for each block and use of the cell; the same noisy shared vector feeds every decoder.
        noisy = shared + noise * torch.randn_like(shared)
        nothing = shared.new_zeros(())
        full, alone = [], []
        for name in network.decoders:
            if name not in batch.views:
                full.append(nothing)
                continue
            view = batch.views[name]
            own = specific[name] + noise * torch.randn_like(specific[name])
            decoded = network.decode(name, noisy.index_select(0, view.cell), own, view.stain)
            full.append(self._reconstruction(name, decoded, view))
        for name in network.shared_decoders:
            if name not in batch.views:
                alone.append(nothing)
                continue
            view = batch.views[name]
            decoded = network.decode(name, noisy.index_select(0, view.cell), None, view.stain)
            alone.append(self._reconstruction(name, decoded, view))
        blocks = [shared, *specific.values()]
        norms = torch.stack([block.norm(dim=1).mean() / block.shape[1] for block in blocks])
        penalty = self._settings.penalty * norms.sum() + told_nuisance(self._settings, batch, shared, {})
        return [*full, *alone, penalty]

    def _reconstruction(self, name: str, decoded: Tensor, view: View) -> Tensor:
        return reconstruction_loss(self._network, name, decoded, view.values, self._settings.loss)

    def validate(self, batches: Iterable[Batch]) -> dict[str, float]:
        """Nothing: cells without latents cannot be judged before there are encoders."""
        return {}

    def tensors(self) -> dict[str, Tensor]:
        """Latents with their moments, and the decoders' optimiser."""
        return {
            **prefixed("shared", self._shared.tensors()),
            **{
                key: value
                for name, table in self._specific.items()
                for key, value in prefixed(f"specific.{name}", table.tensors()).items()
            },
            **prefixed("adam", adam_tensors(self._optimiser, self.network_parameters)),
        }

    def load(self, tensors: Mapping[str, Tensor]) -> None:
        """Go on from what ``tensors`` gave."""
        self._shared.load(under("shared", tensors))
        for name, table in self._specific.items():
            table.load(under(f"specific.{name}", tensors))
        load_adam(self._optimiser, self.network_parameters, under("adam", tensors))

    def release(self) -> None:
        """Forget gradients and moments."""
        release(self._optimiser)


class EncoderStage:
    """Step 2: encoders that give the vectors which step 1 found.

    The reference regresses on the vectors alone. With a ``reconstruction_weight`` the encoders are
    also asked that what they give decodes to the cell's images: each modality from both its latents,
    from its shared latent alone, and every other modality from that same shared latent, which is how
    the model will be used.
    """

    name = "encoders"
    title = "Step 2: encoders"
    watches_validation = True

    def __init__(
        self,
        network: Network,
        settings: TwoStepSettings,
        shared: LatentTable,
        specific: Mapping[str, LatentTable],
    ) -> None:
        self.epochs = settings.encoder_epochs
        self.patience = settings.encoder_patience
        self._network = network
        self._settings = settings
        self._shared = shared
        self._specific = specific
        self._reconstructs = settings.reconstruction_weight > 0
        self.losses = (
            "total",
            *(f"{name}_regression" for name in network.encoders),
            *((f"{name}_decoded" for name in network.encoders) if self._reconstructs else ()),
            *(f"{name}_gap" for name in network.encoders),
        )
        self._optimiser, self.network_parameters = adam_of_encoders(network, settings)
        self._rates = [group["lr"] for group in self._optimiser.param_groups]

    def prepare(self) -> None:
        """Encoders learn; decoders are frozen unless they may move."""
        let_encoders_learn(self._network, self.network_parameters, self._settings)

    def step(self, batch: Batch, rate_scale: float, done: float = 0.0) -> Tensor:
        """One step of the encoders' optimiser."""
        settings = self._settings
        kept = torch.ones_like(batch.cells, dtype=torch.bool)
        if settings.turn_cells:
            batch, kept = turn(batch)
        nothing = torch.zeros((), device=batch.cells.device)
        of_modality = dict.fromkeys(self._network.encoders, nothing)
        of_decoded = dict.fromkeys(self._network.encoders, nothing)
        gaps = dict.fromkeys(self._network.encoders, nothing)
        for name, view in batch.views.items():
            code = self._network.encode(name, view.values, view.stain)
            weight = kept.index_select(0, view.cell).to(code.shared.dtype)
            target = self._shared.values.index_select(0, batch.cells.index_select(0, view.cell))
            loss = _regression(code.shared, target, weight)
            gaps[name] = batch_gap(code.shared, target, weight)
            if code.specific is not None:
                target = self._specific[name].values.index_select(0, view.row)
                loss = loss + _regression(code.specific, target, weight)
            of_modality[name] = settings.regression_weight * loss
            if self._reconstructs:
                parts = decoded_losses(self._network, batch, name, code.shared, code.specific, settings.loss)
                of_decoded[name] = settings.reconstruction_weight * torch.stack(list(parts.values())).sum()
        regressions = list(of_modality.values())
        decoded = list(of_decoded.values()) if self._reconstructs else []
        total = torch.stack([*regressions, *decoded]).sum()
        descend(self._optimiser, total, self._rates, rate_scale)
        return torch.stack([total, *regressions, *decoded, *gaps.values()]).detach()

    def validate(self, batches: Iterable[Batch]) -> dict[str, float]:
        """Reconstruction of validation cells through the encoders, by the training loss."""
        return validation_losses(self._network, batches, self._settings.loss)

    def tensors(self) -> dict[str, Tensor]:
        """The optimiser, and the vectors that are regressed on."""
        return {
            "shared": self._shared.values,
            **{f"specific.{name}": table.values for name, table in self._specific.items()},
            **prefixed("adam", adam_tensors(self._optimiser, self.network_parameters)),
        }

    def load(self, tensors: Mapping[str, Tensor]) -> None:
        """Go on from what ``tensors`` gave."""
        self._shared.values.copy_(tensors["shared"])
        for name, table in self._specific.items():
            table.values.copy_(tensors[f"specific.{name}"])
        load_adam(self._optimiser, self.network_parameters, under("adam", tensors))

    def release(self) -> None:
        """Forget gradients and moments."""
        release(self._optimiser)


def _regression(code: Tensor, target: Tensor, weight: Tensor) -> Tensor:
    """Mean squared distance over the cells of weight 1 and the dimensions."""
    distance = (code - target).square().mean(dim=1)
    return (distance * weight).sum() / weight.sum().clamp(min=1)


OBJECTIVES[TwoStep.name] = TwoStep
