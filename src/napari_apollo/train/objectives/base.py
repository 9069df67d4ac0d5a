"""What the loop asks of an objective, and where objectives are found by name."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, ClassVar, Protocol

import torch
from torch import Tensor, nn
from torch.nn import functional

from napari_apollo.errors import ConfigError
from napari_apollo.model.likelihoods import table_loss
from napari_apollo.model.network import Network
from napari_apollo.train.data import Batch, CellData


class Stage(Protocol):
    """A part of a training with its own parameters and losses."""

    name: str
    title: str
    epochs: int
    patience: int
    losses: tuple[str, ...]
    """Names of what ``step`` gives, ``total`` first."""
    network_parameters: list[nn.Parameter]
    watches_validation: bool
    """Whether stopping looks at ``validate``, else at the training loss."""

    def prepare(self) -> None:
        """Set training and evaluation modes; called at the start and after each validation."""

    def step(self, batch: Batch, rate_scale: float, done: float = 0.0) -> Tensor:
        """Learn from one batch; the losses (k,), detached, on the device.

        ``rate_scale`` is a factor on learning rates; ``done`` the part of the stage's epochs that lies
        behind, for objectives whose weights change on the way.
        """

    def validate(self, batches: Iterable[Batch]) -> dict[str, float]:
        """Losses on cells that are not learnt from; ``criterion`` is the one that counts."""

    def tensors(self) -> dict[str, Tensor]:
        """State of optimisers and latents, to go on from."""

    def load(self, tensors: Mapping[str, Tensor]) -> None:
        """Go on from what ``tensors`` gave."""

    def release(self) -> None:
        """Let go of what steps alone needed, gradients and moments; there will be no more of them."""


class ObjectiveSettings(Protocol):
    """The settings that every objective reads; their meaning is told in ``TrainConfig``."""

    @property
    def loss(self) -> str: ...
    @property
    def decoder_rate(self) -> float: ...
    @property
    def latent_rate(self) -> float: ...
    @property
    def encoder_rate(self) -> float: ...
    @property
    def latent_epochs(self) -> int: ...
    @property
    def encoder_epochs(self) -> int: ...
    @property
    def latent_patience(self) -> int: ...
    @property
    def encoder_patience(self) -> int: ...
    @property
    def dense_latents(self) -> bool: ...
    @property
    def regression_weight(self) -> float: ...
    @property
    def reconstruction_weight(self) -> float: ...
    @property
    def tune_decoders(self) -> bool: ...
    @property
    def turn_cells(self) -> bool: ...


class Objective(Protocol):
    """A way of training: a sequence of stages over one network."""

    name: ClassVar[str]
    one_protein: ClassVar[bool]
    """Whether a cell is trained with one of its proteins instead of all."""
    normal_codes: ClassVar[bool]
    """Whether encoders are to give distributions."""
    stages: Sequence[Stage]

    def begin_at(self, latents: Mapping[str, Tensor]) -> None:
        """Start the latents that are optimised, where there are any, at ``latents`` (row, k), by block, of
        all rows: their first k dimensions.
        """

    def optimised(self, block: str, rows: Tensor) -> Tensor:
        """Latents (n, d) that were optimised, of rows (n,): of cells where ``block`` is ``shared``, else
        of the values of the modality of that name. Closed dimensions are 0.
        """


OBJECTIVES: dict[str, Any] = {}
"""By name, classes that are made of a network, its training cells and settings."""


def get_objective(name: str, network: Network, data: CellData, settings: Any) -> Objective:
    """Objective of a name over a network and its training cells.

    Raises
    ------
    ConfigError
        When there is none of that name.
    """
    objective: Objective = _find(name)(network, data, settings)
    return objective


def one_protein(name: str) -> bool:
    """Whether the objective of that name trains a cell with one of its proteins."""
    return bool(_find(name).one_protein)


def normal_codes(name: str) -> bool:
    """Whether the objective of that name wants encoders that give distributions."""
    return bool(_find(name).normal_codes)


def _find(name: str) -> Any:
    if name not in OBJECTIVES:
        raise ConfigError(f"objective = {name!r}: {', '.join(OBJECTIVES)} would do.")
    return OBJECTIVES[name]


def reconstruction_loss(
    network: Network, modality: str, decoded: Tensor, target: Tensor, kind: str
) -> Tensor:
    """Mean loss over batch and pixels between what a decoder gave and the values.

    Parameters
    ----------
    network, modality
        Say which activation belongs to ``decoded``.
    decoded
        (n, ...) before the activation.
    target
        (n, ...) values; in [0, 1] for ``bce``.
    kind
        ``"bce"``: binary cross entropy of logits with soft targets; ``"mse"``; ``"mae"``. A
        modality that has a loss of its own takes that.
    """
    own = network.architecture.modality(modality)
    if own.loss and own.loss not in ("mse", "mae"):
        spread, positive = network.spread(modality), own.positive_weight
        return own.weight * table_loss(own.loss, decoded, target, spread=spread, positive_weight=positive)
    kind = own.loss or kind
    if kind == "bce":
        return functional.binary_cross_entropy_with_logits(decoded, target)
    values = network.activate(modality, decoded)
    distance = functional.mse_loss(values, target) if kind == "mse" else functional.l1_loss(values, target)
    return own.weight * distance if own.weight != 1 else distance


def adam(parameters: list[nn.Parameter], rate: float) -> torch.optim.Adam:
    """Adam with its default momenta, as the reference uses it; fused into one kernel where it can be."""
    fused = all(parameter.device.type in ("cpu", "cuda") for parameter in parameters)
    return torch.optim.Adam(parameters, lr=rate, fused=fused)


def adam_of_all(network: Network, settings: ObjectiveSettings) -> tuple[torch.optim.Adam, list[nn.Parameter]]:
    """Adam over decoders with their stain embedding, and over encoders, at their rates; what it moves."""
    decoders = [p for module in network.decoding_modules() for p in module.parameters()]
    stains = list(network.stains.parameters()) if network.stains is not None else []
    encoders = list(network.encoders.parameters())
    optimiser = adam(decoders + stains, settings.decoder_rate)
    optimiser.add_param_group({"params": encoders, "lr": settings.encoder_rate})
    return optimiser, [*decoders, *stains, *encoders]


def adam_of_encoders(
    network: Network, settings: ObjectiveSettings
) -> tuple[torch.optim.Adam, list[nn.Parameter]]:
    """Adam over encoders and, where they may move, decoders, at their rates; what it moves."""
    parameters = list(network.encoders.parameters())
    optimiser = adam(parameters, settings.encoder_rate)
    if settings.tune_decoders:
        decoders = [p for module in network.decoding_modules() for p in module.parameters()]
        parameters = [*parameters, *decoders]
        optimiser.add_param_group({"params": decoders, "lr": settings.decoder_rate})
    return optimiser, parameters


def let_encoders_learn(
    network: Network, parameters: Sequence[nn.Parameter], settings: ObjectiveSettings
) -> None:
    """Freeze all but ``parameters``, those of ``adam_of_encoders``; what is frozen is in evaluation mode."""
    network.requires_grad_(False)
    network.eval()
    for parameter in parameters:
        parameter.requires_grad_(True)
    network.encoders.train()
    if settings.tune_decoders:
        network.decoders.train()
        network.shared_decoders.train()


def descend(optimiser: torch.optim.Optimizer, total: Tensor, rates: Sequence[float], scale: float) -> None:
    """One step of an optimiser down the gradient of a loss.

    Parameters
    ----------
    rates, scale
        Learning rates of the optimiser's groups, and the factor on them.
    """
    for group, rate in zip(optimiser.param_groups, rates, strict=True):
        group["lr"] = rate * scale
    optimiser.zero_grad(set_to_none=True)
    total.backward()
    optimiser.step()


def adam_tensors(optimiser: torch.optim.Optimizer, parameters: Sequence[nn.Parameter]) -> dict[str, Tensor]:
    """Moments and steps of an optimiser by position of the parameter."""
    return {
        f"{index}.{name}": value
        for index, parameter in enumerate(parameters)
        for name, value in optimiser.state.get(parameter, {}).items()
    }


def load_adam(
    optimiser: torch.optim.Optimizer, parameters: Sequence[nn.Parameter], tensors: Mapping[str, Tensor]
) -> None:
    """Put moments and steps back that ``adam_tensors`` gave."""
    for key, value in tensors.items():
        index, name = key.split(".", 1)
        parameter = parameters[int(index)]
        if name == "step":  # which a fused Adam wants beside the parameter, another one on the processor
            device = parameter.device if optimiser.defaults["fused"] else "cpu"
            optimiser.state[parameter][name] = value.to(device, copy=True)
        else:  # in the memory layout of the parameter
            optimiser.state[parameter][name] = torch.empty_like(parameter).copy_(value).detach()


def release(optimiser: torch.optim.Optimizer) -> None:
    """Forget the gradients and the moments of an optimiser; wide networks hold most memory there."""
    optimiser.zero_grad(set_to_none=True)
    optimiser.state.clear()


def prefixed(prefix: str, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Tensors under the names ``prefix.name``."""
    return {f"{prefix}.{name}": value for name, value in tensors.items()}


def under(prefix: str, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Those tensors that ``prefixed`` named so, under their own names."""
    start = f"{prefix}."
    return {name.removeprefix(start): value for name, value in tensors.items() if name.startswith(start)}
