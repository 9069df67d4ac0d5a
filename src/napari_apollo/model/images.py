"""Image encoder and decoder of APOLLO, for crops of any size that can be halved.

The layers are those of Zhang, Shivashankar and Uhler (2025): convolutions of 4 x 4 with stride 2,
padding 1 and no bias, LeakyReLU of slope 0.2, BatchNorm in every block but the encoder's first and
the decoder's last; one linear layer at the bottom; no pooling, no skip, no dropout.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from napari_apollo.model.modality import Architecture, Modality
from napari_apollo.model.precision import Mixed


class StainEmbedding(nn.Module):
    """A learnt vector for each stain of the vocabulary, and their mean for "no stain in particular".

    Parameters
    ----------
    stains
        How many stains; their index in the vocabulary is the index here. Index ``stains`` itself
        is the mean of all, which the chromatin image of a cell without an assigned protein gets.
    length
        Length of a vector.
    """

    def __init__(self, stains: int, length: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(stains, length).normal_())

    def forward(self, stain: Tensor) -> Tensor:
        """Vectors (n, length) of stains (n,) int64."""
        table: Tensor = self.weight
        if not self.training:
            table = torch.cat([table, table.mean(0, keepdim=True)])
        return nn.functional.embedding(stain, table)


class ImageEncoder(Mixed):
    """From an image to the shared and the specific latent.

    The maps of the last block are split: the first ones see only the shared output, the last
    ``specific_maps`` only the specific one. The encoder owns its stain embedding.
    """

    def __init__(self, architecture: Architecture, modality: Modality) -> None:
        super().__init__()
        widths, area = architecture.widths, architecture.bottom**2
        layers: list[nn.Module] = []
        for index, (before, after) in enumerate(zip((1, *widths[:-1]), widths, strict=True)):
            layers.append(nn.Conv2d(before, after, 4, stride=2, padding=1, bias=False))
            if index:
                layers.append(nn.BatchNorm2d(after))
            layers.append(nn.LeakyReLU(0.2))
        self.trunk = nn.Sequential(*layers)
        self.shared_maps = widths[-1] - architecture.specific_maps
        outputs = 2 if architecture.normal_codes else 1
        condition = architecture.embedding if modality.conditional else 0
        self.embedding = (
            StainEmbedding(len(architecture.vocabulary), condition) if modality.conditional else None
        )
        self.to_shared = nn.Linear(self.shared_maps * area + condition, outputs * architecture.shared)
        self.to_specific = (
            nn.Linear(architecture.specific_maps * area + condition, outputs * modality.specific)
            if modality.specific
            else None
        )

    def forward(self, values: Tensor, stain: Tensor | None) -> tuple[Tensor, Tensor | None]:
        """Latents of images.

        Parameters
        ----------
        values
            Images (n, 1, y, x) float32 in [0, 1].
        stain
            Index of each image's stain (n,) int64; ignored by an unconditional modality.

        Returns
        -------
        tuple of torch.Tensor
            Shared (n, s) and specific (n, d), the latter None where the modality has none; twice as
            long, means before log variances, where the encoder gives distributions.
        """
        with self.mixed(values.device):
            maps = self.trunk(values)
            shared = maps[:, : self.shared_maps].flatten(1)
            specific = maps[:, self.shared_maps :].flatten(1)
            if self.embedding is not None:
                assert stain is not None
                condition = self.embedding(stain)
                shared = torch.cat([shared, condition], dim=1)
                specific = torch.cat([specific, condition], dim=1)
            shared = self.to_shared(shared)
            own = self.to_specific(specific) if self.to_specific is not None else None
        return shared.float(), None if own is None else own.float()


class ImageDecoder(Mixed):
    """From a latent to an image, in logits; the mirror of the encoder's trunk.

    Parameters
    ----------
    architecture
        The sizes of the model.
    modality
        Whose images it makes.
    latent
        Length of the latent it is given: shared and specific, or shared alone.
    """

    def __init__(self, architecture: Architecture, modality: Modality, latent: int) -> None:
        super().__init__()
        widths = tuple(reversed(architecture.widths))
        condition = architecture.embedding if modality.conditional else 0
        self.bottom = (widths[0], architecture.bottom, architecture.bottom)
        self.from_latent = nn.Linear(latent + condition, widths[0] * architecture.bottom**2)
        layers: list[nn.Module] = []
        for before, after in zip(widths, (*widths[1:], 1), strict=True):
            layers.append(nn.ConvTranspose2d(before, after, 4, stride=2, padding=1, bias=False))
            layers += [nn.BatchNorm2d(after), nn.LeakyReLU(0.2)]
        self.trunk = nn.Sequential(*layers[:-2])

    def forward(self, latent: Tensor, condition: Tensor | None) -> Tensor:
        """Logits (n, 1, y, x) from a latent (n, l) and the stain's embedding (n, e), if any."""
        if condition is not None:
            latent = torch.cat([latent, condition], dim=1)
        with self.mixed(latent.device):
            maps = nn.functional.relu(self.from_latent(latent)).unflatten(1, self.bottom)
            values = self.trunk(maps)
        return values.float()
