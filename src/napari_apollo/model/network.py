"""All the networks of one model, and the few ways in which they are used together."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple, Protocol

import torch
from torch import Tensor, nn

from napari_apollo.errors import ConfigError
from napari_apollo.model import likelihoods
from napari_apollo.model.images import ImageDecoder, ImageEncoder, StainEmbedding
from napari_apollo.model.modality import WITH_SPREAD, Architecture, Modality
from napari_apollo.model.tables import TableDecoder, TableEncoder

LOG_VARIANCE = (-10.0, 4.0)
"""Bounds of the log variances that encoders may give."""


class Encoder(Protocol):
    """What an encoder of any modality does."""

    def __call__(self, values: Tensor, stain: Tensor | None) -> tuple[Tensor, Tensor | None]:
        """Shared and specific latents of measured values."""


class Decoder(Protocol):
    """What a decoder of any modality does."""

    def __call__(self, latent: Tensor, condition: Tensor | None) -> Tensor:
        """Values, before the activation, from a latent and the embedding of the stain meant."""


class Code(NamedTuple):
    """What an encoder says of a batch: points, or the means and log variances of normals.

    Attributes
    ----------
    shared, specific
        (n, s) and (n, d); specific is None where the modality has none.
    shared_log_variance, specific_log_variance
        The same shapes; None where the encoder gives points.
    """

    shared: Tensor
    specific: Tensor | None
    shared_log_variance: Tensor | None = None
    specific_log_variance: Tensor | None = None

    @property
    def shared_normal(self) -> tuple[Tensor, Tensor]:
        """Mean and log variance of the shared latent, from an encoder that gives normals."""
        assert self.shared_log_variance is not None
        return self.shared, self.shared_log_variance

    @property
    def specific_normal(self) -> tuple[Tensor, Tensor]:
        """Mean and log variance of the specific latent, where there is one."""
        assert self.specific is not None
        assert self.specific_log_variance is not None
        return self.specific, self.specific_log_variance


class Network(nn.Module):
    """Encoders, full decoders and shared-only decoders of every modality.

    Parameters
    ----------
    architecture
        The sizes. The same architecture and the same state of torch's random numbers give the
        same weights.
    """

    def __init__(self, architecture: Architecture) -> None:
        super().__init__()
        self.architecture = architecture
        conditional = any(modality.conditional for modality in architecture.modalities)
        # One embedding for all decoders, as in the paper; each encoder owns another one.
        self.stains = (
            StainEmbedding(len(architecture.vocabulary), architecture.embedding) if conditional else None
        )
        self.encoders = nn.ModuleDict()
        self.decoders = nn.ModuleDict()
        self.shared_decoders = nn.ModuleDict()
        for modality in architecture.modalities:
            self.encoders[modality.name] = _encoder(architecture, modality)
            if modality.specific:
                length = architecture.shared + modality.specific
                self.decoders[modality.name] = _decoder(architecture, modality, length)
            if architecture.shared_decoders or not modality.specific:
                self.shared_decoders[modality.name] = _decoder(architecture, modality, architecture.shared)
        self.spreads = nn.ModuleDict(
            {
                modality.name: likelihoods.Spread(modality.features)
                for modality in architecture.modalities
                if modality.loss in WITH_SPREAD
            }
        )
        if architecture.normal_codes:
            self.register_buffer("kept_shared", torch.ones(architecture.shared))
            for modality in architecture.modalities:
                self.register_buffer(f"kept_{modality.name}", torch.ones(modality.specific))

    @torch.no_grad()
    def keep(self, used: Mapping[str, Tensor]) -> None:
        """Close dimensions of the latents for good: encoders give 0 there, decoders are given 0.

        Parameters
        ----------
        used
            True for a dimension that stays: under ``shared`` (s,) bool, under the name of a modality
            (d,) bool.

        Raises
        ------
        ConfigError
            When encoders give points, which have no unused dimensions to find.
        """
        if not self.architecture.normal_codes:
            raise ConfigError("Only a model whose encoders give distributions can close dimensions.")
        for name, mask in used.items():
            self.kept(name).mul_(mask)

    def sizes(self) -> dict[str, int]:
        """Dimensions in use: of the latent called ``shared``, and of each modality's own."""
        architecture = self.architecture
        if not architecture.normal_codes:
            own = {modality.name: modality.specific for modality in architecture.modalities}
            return {"shared": architecture.shared, **own}
        names = [modality.name for modality in architecture.modalities]
        return {
            "shared": int(self.kept().sum()),
            **{name: int(self.kept(name).sum()) for name in names},
        }

    def kept(self, name: str = "shared") -> Tensor:
        """1 for every dimension of the shared, or of a modality's own latent, that is in use, else 0."""
        return self.get_buffer(f"kept_{name}")

    def spread(self, modality: str) -> likelihoods.Spread | None:
        """How far values of a modality scatter, where its loss has such numbers."""
        if modality not in self.spreads:
            return None
        found = self.spreads[modality]
        assert isinstance(found, likelihoods.Spread)
        return found

    def encode(self, modality: str, values: Tensor, stain: Tensor | None) -> Code:
        """Latents of measured values (n, ...) of one modality; ``stain`` (n,) int64."""
        shared, specific = self.encoders[modality](self.comparable(modality, values), stain)
        if not self.architecture.normal_codes:
            return Code(shared, specific)
        mean, log_variance = self._normal(shared, self.kept())
        if specific is None:
            return Code(mean, None, log_variance)
        own_mean, own_log_variance = self._normal(specific, self.kept(modality))
        return Code(mean, own_mean, log_variance, own_log_variance)

    @staticmethod
    def _normal(code: Tensor, kept: Tensor) -> tuple[Tensor, Tensor]:
        mean, log_variance = code.chunk(2, dim=1)
        # Where nothing is kept, the standard normal: nothing is known.
        return mean * kept, log_variance.clamp(*LOG_VARIANCE) * kept

    def decode(self, modality: str, shared: Tensor, specific: Tensor | None, stain: Tensor | None) -> Tensor:
        """Values before the activation.

        Parameters
        ----------
        modality
            What to decode.
        shared
            (n, s).
        specific
            (n, d); None asks for what the shared latent alone says: the shared-only decoder where
            there is one, else the full decoder with the specific part set to zero (the paper's
            variant without shared-only decoders).
        stain
            (n,) int64; needed by a conditional modality alone.
        """
        condition = self._condition(modality, stain)
        if self.architecture.normal_codes:
            shared = shared * self.kept()
            specific = None if specific is None else specific * self.kept(modality)
        if specific is None and modality in self.shared_decoders:
            return self.shared_decoders[modality](shared, condition)
        length = self.architecture.modality(modality).specific
        if specific is None:
            specific = shared.new_zeros(len(shared), length)
        if modality not in self.decoders:
            raise ConfigError(f"The model has no specific latent for {modality!r}; decode from shared alone.")
        return self.decoders[modality](torch.cat([shared, specific], dim=1), condition)

    def activate(self, modality: str, values: Tensor) -> Tensor:
        """What a decoder gave, as values of the modality; of counts, as ``comparable`` gives them."""
        own, values = self.architecture.modality(modality), values.float()
        if own.activation == "composition":
            return likelihoods.shown(own.loss, values)
        return torch.sigmoid(values) if own.activation == "sigmoid" else values

    def comparable(self, modality: str, values: Tensor) -> Tensor:
        """Measured values in the units of ``activate``: counts as logarithms of parts of their library."""
        composed = self.architecture.modality(modality).activation == "composition"
        return likelihoods.shown_counts(values) if composed else values

    def decoding_modules(self) -> list[nn.Module]:
        """Everything that makes values from latents, without the stain embedding."""
        return [*self.decoders.values(), *self.shared_decoders.values(), *self.spreads.values()]

    def _condition(self, modality: str, stain: Tensor | None) -> Tensor | None:
        if not self.architecture.modality(modality).conditional:
            return None
        assert self.stains is not None
        assert stain is not None
        condition: Tensor = self.stains(stain)
        return condition


def _encoder(architecture: Architecture, modality: Modality) -> nn.Module:
    kind = ImageEncoder if modality.kind == "image" else TableEncoder
    return kind(architecture, modality)


def _decoder(architecture: Architecture, modality: Modality, latent: int) -> nn.Module:
    kind = ImageDecoder if modality.kind == "image" else TableDecoder
    return kind(architecture, modality, latent)
