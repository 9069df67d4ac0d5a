"""Our objective: the shared latent of a cell is what every modality would have said of it.

Each cell owns a normal distribution for its shared latent, and one for the specific latent of each of its
measured values; they are moved by gradient descent together with decoders and encoders. Nothing but its
price keeps private information out of the shared latent: what is stored costs nats, and what is stored in
the shared latent costs more the less a modality alone would have known it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import ClassVar, NamedTuple, Protocol

import torch
from torch import Tensor

from napari_apollo.errors import ConfigError
from napari_apollo.model.network import Code, Network
from napari_apollo.train.augment import turn
from napari_apollo.train.data import Batch, CellData
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
from napari_apollo.train.objectives.encoding import EncodingStage
from napari_apollo.train.objectives.normals import (
    dependence,
    divergence,
    information,
    sample,
    split,
)
from napari_apollo.train.objectives.nuisance import told_nuisance
from napari_apollo.train.objectives.posteriors import Posteriors, joint_code

OPENING = (0.0, 0.25)
"""Parts of the first stage between which specific information falls to its price."""

INDEPENDENCE = (0.35, 0.65)
"""Parts of the first stage between which independence comes in: from the start, it would keep
information from leaving a block that it does not belong to."""

SHARPENING = (0.4, 0.7)
"""Parts of the first stage between which all information becomes cheaper, once it lies where it belongs."""

CLOSINGS = (0.45, 0.52, 0.59, 0.66, 0.8)
"""Parts of the first stage after which dimensions are closed that hold nothing of their own."""


class AgreementSettings(ObjectiveSettings, Protocol):
    """The settings that this objective reads besides; their meaning is told in ``TrainConfig``."""

    @property
    def beta(self) -> float: ...
    @property
    def gamma(self) -> float: ...
    @property
    def eta(self) -> float: ...
    @property
    def opening(self) -> float: ...
    @property
    def sharpening(self) -> float: ...
    @property
    def follow(self) -> float: ...
    @property
    def tuning_rate(self) -> float: ...
    @property
    def shared_cost(self) -> float: ...
    @property
    def cross_weight(self) -> float: ...
    @property
    def product_weight(self) -> float: ...
    @property
    def unused_below(self) -> float: ...
    @property
    def told_above(self) -> float: ...
    @property
    def unwound_after(self) -> float: ...


class Agreement:
    """Free posteriors that all modalities agree on, then encoders for new cells.

    Parameters
    ----------
    network
        Encoders must give distributions (``Architecture.normal_codes``).
    data
        The training cells, with all their measured values.
    settings
        See ``TrainConfig``.
    """

    name: ClassVar[str] = "agreement"
    one_protein: ClassVar[bool] = False
    normal_codes: ClassVar[bool] = True

    def __init__(self, network: Network, data: CellData, settings: AgreementSettings) -> None:
        if not network.architecture.normal_codes:
            raise ConfigError("The objective 'agreement' needs encoders that give distributions.")
        self.posteriors = Posteriors(network, data, settings)
        self._network = network
        self.stages = (
            AgreementStage(network, settings, self.posteriors),
            EncodingStage(network, settings, self.posteriors),
        )

    def begin_at(self, latents: Mapping[str, Tensor]) -> None:
        """Start the means of posteriors there; see ``Objective``."""
        for block, values in latents.items():
            self.posteriors.begin_at(block, values)

    def optimised(self, block: str, rows: Tensor) -> Tensor:
        """Means of the posteriors; see ``Objective``."""
        tables = self.posteriors
        table = tables.shared if block == "shared" else tables.specific[block]
        return split(table.values.index_select(0, rows))[0] * self._network.kept(block)


class _Seen(NamedTuple):
    """A batch as the encoders see it: some cells turned, which of them lie as they did, and the codes."""

    batch: Batch
    kept: Tensor | None
    codes: Mapping[str, Code]


class AgreementStage:
    """Posteriors, decoders and encoders, together."""

    name = "agreement"
    title = "Step 1: latents, decoders and encoders"
    watches_validation = False

    def __init__(self, network: Network, settings: AgreementSettings, posteriors: Posteriors) -> None:
        self.epochs = settings.latent_epochs
        self.patience = settings.latent_patience
        self._network = network
        self._settings = settings
        self._posteriors = posteriors
        self._closings = 0
        names = list(network.encoders)
        self.losses = (
            "total",
            *(f"{name}_{term}" for name in names for term in ("full", "cross", "product")),
            "information",
            "agreement",
            "encoding",
            "dependence",
        )
        self._optimiser, self.network_parameters = adam_of_all(network, settings)
        self._rates = [group["lr"] for group in self._optimiser.param_groups]

    def prepare(self) -> None:
        """Everything learns."""
        self._network.train().requires_grad_(True)

    def step(self, batch: Batch, rate_scale: float, done: float = 0.0) -> Tensor:
        """One step of all optimisers on the summed loss."""
        posteriors = self._posteriors
        if self._closings < len(CLOSINGS) and done >= CLOSINGS[self._closings]:
            self._closings += 1
            # Before information has become cheap, little is not yet nothing.
            least = self._settings.unused_below if self._closings == len(CLOSINGS) else 0.0
            unwind = done >= self._settings.unwound_after
            apart = self._settings.eta > 0 and ramp(done, *INDEPENDENCE) > 0.5
            posteriors.close(self._network, least, self._settings.told_above, unwind=unwind, apart=apart)
        shared = posteriors.shared.gather(batch.cells)
        specific = {
            name: posteriors.specific[name].gather(view.row)
            for name, view in batch.views.items()
            if name in posteriors.specific
        }
        # Posteriors belong to cells as they lay; what encoders alone say can be asked of turned ones, too.
        seen, kept = turn(batch) if self._settings.turn_cells else (batch, None)
        codes = {
            name: self._network.encode(name, view.values, view.stain) for name, view in seen.views.items()
        }
        losses = self._losses(batch, _Seen(seen, kept, codes), shared, specific, done)
        total = torch.stack(losses).sum()
        descend(self._optimiser, total, self._rates, rate_scale)
        if done < self._settings.follow:
            posteriors.follow(seen, codes, kept)
            return torch.stack([total, *losses]).detach()
        assert shared.grad is not None
        posteriors.shared.update(batch.cells, shared.grad, scale=rate_scale)
        for name, leaf in specific.items():
            assert leaf.grad is not None
            posteriors.specific[name].update(batch.views[name].row, leaf.grad, scale=rate_scale)
        return torch.stack([total, *losses]).detach()

    def _losses(
        self,
        batch: Batch,
        encoded: _Seen,
        shared: Tensor,
        specific: Mapping[str, Tensor],
        done: float,
    ) -> list[Tensor]:
        network, own = self._network, self._settings
        seen, kept, codes = encoded
        mean, log_variance = self._open(shared, "shared")
        free = sample(mean, log_variance)
        joint = sample(*joint_code(batch, codes))
        blocks = {name: self._open(leaf, name) for name, leaf in specific.items()}
        nothing = shared.new_zeros(())
        reconstructions = []
        for name in network.encoders:
            if name not in batch.views:
                reconstructions += [nothing, nothing, nothing]
                continue
            targets = (batch.views[name].values, seen.views[name].values)
            full, through = self._rebuilt(batch, name, codes[name], blocks.get(name), free, joint, targets)
            cross = self._crossed(seen, name, codes)
            reconstructions += [full, own.cross_weight * cross, own.product_weight * through]
        opening = self._opening(done)
        beta = own.beta * own.sharpening ** ramp(done, *SHARPENING)
        cost = own.shared_cost * information(mean, log_variance).sum(1).mean()
        for block in blocks.values():
            cost = cost + opening * information(*block).sum(1).mean()
        apart, encoding, depends = nothing, nothing, nothing
        eta = own.eta * ramp(done, *INDEPENDENCE)
        for name, view in batch.views.items():
            cell_mean = mean.index_select(0, view.cell)
            cell = (cell_mean, log_variance.index_select(0, view.cell))
            weight = None if kept is None else kept.index_select(0, view.cell)
            apart = apart + _mean(divergence(*cell, *codes[name].shared_normal).sum(1), weight)
            if name in blocks:
                own_mean, own_log_variance = blocks[name]
                fixed = (own_mean.detach(), own_log_variance.detach())
                distance = divergence(*fixed, *codes[name].specific_normal).sum(1)
                encoding = encoding + _mean(distance, weight)
                if eta > 0:
                    depends = depends + dependence(cell_mean, own_mean)
        return [
            *reconstructions,
            beta * cost,
            beta * own.gamma * opening * apart,
            beta * encoding,
            eta * depends + told_nuisance(own, batch, mean, codes),
        ]

    def _open(self, table: Tensor, name: str) -> tuple[Tensor, Tensor]:
        """Means and log variances; the standard normal, which costs nothing, in closed dimensions."""
        mean, log_variance = split(table)
        kept = self._network.kept(name)
        return mean * kept, log_variance * kept

    def _opening(self, done: float) -> float:
        """Factor on the price of specific information, from its start down to 1."""
        return float(self._settings.opening ** (1 - ramp(done, *OPENING)))

    def _rebuilt(
        self,
        batch: Batch,
        name: str,
        code: Code,
        block: tuple[Tensor, Tensor] | None,
        free: Tensor,
        joint: Tensor,
        targets: tuple[Tensor, Tensor],
    ) -> tuple[Tensor, Tensor]:
        """Losses of values rebuilt from the posteriors, and from what the encoders say together."""
        network, view = self._network, batch.views[name]
        shared = torch.cat([free.index_select(0, view.cell), joint.index_select(0, view.cell)])
        own = None
        if block is not None:
            own = torch.cat([sample(*block), sample(*code.specific_normal)])
        decoded = network.decode(name, shared, own, torch.cat([view.stain, view.stain]))
        first, second = decoded.chunk(2)
        kind = self._settings.loss
        return (
            reconstruction_loss(network, name, first, targets[0], kind),
            reconstruction_loss(network, name, second, targets[1], kind),
        )

    def _crossed(self, batch: Batch, name: str, codes: Mapping[str, Code]) -> Tensor:
        """Loss of one modality's values predicted from the shared codes of every other modality."""
        network, view = self._network, batch.views[name]
        shared, wanted = [], []
        for other, code in codes.items():
            if other != name:
                source, target = batch.pairs(other, name)
                drawn = sample(*code.shared_normal)
                shared.append(drawn.index_select(0, source))
                wanted.append(target)
        target = torch.cat(wanted) if wanted else view.row[:0]
        if not len(target):
            return view.values.new_zeros(())
        decoded = network.decode(name, torch.cat(shared), None, view.stain.index_select(0, target))
        return reconstruction_loss(
            network, name, decoded, view.values.index_select(0, target), self._settings.loss
        )

    def validate(self, batches: Iterable[Batch]) -> dict[str, float]:
        """Nothing: the encoders are judged in the next stage."""
        return {}

    def tensors(self) -> dict[str, Tensor]:
        """Posteriors with their moments, and the networks' optimiser."""
        return {
            "closings": torch.tensor(self._closings),
            **prefixed("posteriors", self._posteriors.tensors()),
            **prefixed("adam", adam_tensors(self._optimiser, self.network_parameters)),
        }

    def load(self, tensors: Mapping[str, Tensor]) -> None:
        """Go on from what ``tensors`` gave."""
        self._closings = int(tensors["closings"])
        self._posteriors.load(under("posteriors", tensors))
        load_adam(self._optimiser, self.network_parameters, under("adam", tensors))

    def release(self) -> None:
        """Forget gradients and moments."""
        release(self._optimiser)


def _mean(values: Tensor, weight: Tensor | None) -> Tensor:
    """Mean (n,) over all rows, or over those of weight True."""
    if weight is None:
        return values.mean()
    return torch.where(weight, values, 0).sum() / weight.sum().clamp(min=1)


def ramp(done: float, start: float, end: float) -> float:
    """0 before ``start``, 1 after ``end``, straight in between."""
    return min(1.0, max(0.0, (done - start) / (end - start)))


OBJECTIVES[Agreement.name] = Agreement
