"""Second stage of ``agreement``: encoders for cells that have no posterior of their own."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from napari_apollo.model.network import Code, Network
from napari_apollo.train.augment import turn
from napari_apollo.train.data import Batch, View
from napari_apollo.train.objectives.base import (
    adam_of_encoders,
    adam_tensors,
    descend,
    let_encoders_learn,
    load_adam,
    prefixed,
    release,
    under,
)
from napari_apollo.train.objectives.inference import (
    batch_gap,
    crossed_losses,
    rebuilt_loss,
    validation_losses,
)
from napari_apollo.train.objectives.normals import dependence, divergence, split
from napari_apollo.train.objectives.nuisance import told_nuisance
from napari_apollo.train.objectives.posteriors import Posteriors

if TYPE_CHECKING:
    from napari_apollo.train.objectives.agreement import AgreementSettings


class EncodingStage:
    """Encoders learn the posteriors that cells have, and what their codes decode to; decoders may move.

    Dimensions that hold nothing are closed first. What an encoder says of the shared latent is judged by
    the posterior and by what it predicts of *other* modalities; how well a modality is rebuilt from its own
    codes teaches its specific code alone, so that nothing private enters the shared one on this road.
    Nor does the specific code take in on it what is shared: it is to be independent of the shared latent, at
    the price that step 1 asked for that.
    """

    name = "encoders"
    title = "Step 2: encoders"
    watches_validation = True

    def __init__(self, network: Network, settings: AgreementSettings, posteriors: Posteriors) -> None:
        self.epochs = settings.encoder_epochs
        self.patience = settings.encoder_patience
        self._network = network
        self._settings = settings
        self._posteriors = posteriors
        self._closed = False
        names = list(network.encoders)
        self._reconstructs = settings.reconstruction_weight > 0
        self.losses = (
            "total",
            *(f"{name}_regression" for name in names),
            *((f"{name}_decoded" for name in names) if self._reconstructs else ()),
            "dependence",
            *(f"{name}_gap" for name in names),
        )
        self._optimiser, self.network_parameters = adam_of_encoders(network, settings)
        self._rates = [settings.tuning_rate * group["lr"] for group in self._optimiser.param_groups]

    def prepare(self) -> None:
        """Close what is unused; encoders learn, decoders are frozen unless they may move."""
        if not self._closed:
            self._posteriors.close(self._network, self._settings.unused_below)
            self._closed = True
        let_encoders_learn(self._network, self.network_parameters, self._settings)

    def step(self, batch: Batch, rate_scale: float, done: float = 0.0) -> Tensor:
        """One step of the optimiser."""
        settings = self._settings
        kept = torch.ones_like(batch.cells, dtype=torch.bool)
        if settings.turn_cells:
            batch, kept = turn(batch)
        nothing = batch.cells.new_zeros((), dtype=torch.float32)
        regressions = dict.fromkeys(self._network.encoders, nothing)
        decoded = dict.fromkeys(self._network.encoders, nothing)
        gaps = dict.fromkeys(self._network.encoders, nothing)
        depends = nothing
        codes = {}
        for name, view in batch.views.items():
            codes[name] = code = self._network.encode(name, view.values, view.stain)
            weight = kept.index_select(0, view.cell).to(code.shared.dtype)
            loss, gaps[name] = self._regression(name, batch, view, code, weight)
            regressions[name] = settings.beta * settings.regression_weight * loss
            if settings.eta > 0 and code.specific is not None:
                depends = depends + settings.eta * self._dependence(batch, view, code.specific)
            if self._reconstructs:
                parts = self._decoded(batch, name, code)
                decoded[name] = settings.reconstruction_weight * torch.stack(parts).sum()
        terms = [*regressions.values(), *(decoded.values() if self._reconstructs else ()), depends]
        total = torch.stack(terms).sum() + told_nuisance(settings, batch, None, codes)
        descend(self._optimiser, total, self._rates, rate_scale)
        return torch.stack([total, *terms, *gaps.values()]).detach()

    def _regression(
        self, name: str, batch: Batch, view: View, code: Code, weight: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Divergence of the posteriors from the codes, over the cells of weight 1 and kept dimensions;
        and the gap between the means of the shared ones.
        """
        rows = batch.cells.index_select(0, view.cell)
        shared = self._posteriors.shared.values.index_select(0, rows)
        kept_shared, kept_own = self._network.kept(), self._network.kept(name)
        distance = (divergence(*split(shared), *code.shared_normal) * kept_shared).sum(1)
        if code.specific is not None:
            own = self._posteriors.specific[name].values.index_select(0, view.row)
            divergences = divergence(*split(own), *code.specific_normal)
            distance = distance + (divergences * kept_own).sum(1)
        gap = batch_gap(code.shared, split(shared)[0] * kept_shared, weight)
        return (distance * weight).sum() / weight.sum().clamp(min=1), gap

    def _dependence(self, batch: Batch, view: View, specific: Tensor) -> Tensor:
        """How much a specific code depends on the posteriors of the shared latents of its cells."""
        rows = batch.cells.index_select(0, view.cell)
        shared = split(self._posteriors.shared.values.index_select(0, rows))[0]
        return dependence(shared * self._network.kept(), specific)

    def _decoded(self, batch: Batch, name: str, code: Code) -> list[Tensor]:
        loss = self._settings.loss
        losses = list(crossed_losses(self._network, batch, name, code.shared, loss).values())
        if code.specific is not None:
            shared = code.shared.detach()
            losses.append(rebuilt_loss(self._network, batch, name, shared, code.specific, loss))
        return losses or [code.shared.new_zeros(())]

    def validate(self, batches: Iterable[Batch]) -> dict[str, float]:
        """Reconstruction of validation cells through the encoders, by the training loss."""
        return validation_losses(self._network, batches, self._settings.loss)

    def tensors(self) -> dict[str, Tensor]:
        """The optimiser, and the posteriors."""
        return {
            **prefixed("posteriors", self._posteriors.tensors()),
            **prefixed("adam", adam_tensors(self._optimiser, self.network_parameters)),
        }

    def load(self, tensors: Mapping[str, Tensor]) -> None:
        """Go on from what ``tensors`` gave."""
        self._posteriors.load(under("posteriors", tensors))
        load_adam(self._optimiser, self.network_parameters, under("adam", tensors))

    def release(self) -> None:
        """Forget gradients and moments."""
        release(self._optimiser)
