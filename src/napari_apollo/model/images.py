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
    ``specific_maps`` only the specific one. The spatial parts of both are read, place by place, from the
    maps of the block before. The encoder owns its stain embedding.
    """

    def __init__(self, architecture: Architecture, modality: Modality) -> None:
        super().__init__()
        widths, area = architecture.widths, architecture.bottom**2
        layers: list[nn.Module] = []
        for index, (before, after) in enumerate(zip((1, *widths[:-1]), widths, strict=True)):
            self.last_block = len(layers)
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
        self.outputs = outputs
        whole = architecture.shared - architecture.places(architecture.spatial)
        own = modality.specific - architecture.places(modality.spatial)
        self.to_shared = nn.Linear(self.shared_maps * area + condition, outputs * whole)
        self.to_specific = (
            nn.Linear(architecture.specific_maps * area + condition, outputs * own)
            if modality.specific
            else None
        )
        self.maps = [outputs * architecture.spatial, outputs * modality.spatial]
        self.to_spatial = (
            nn.Sequential(
                nn.Conv2d(widths[-2] + condition, widths[-2], 1),
                nn.LeakyReLU(0.2),
                nn.Conv2d(widths[-2], sum(self.maps), 1),
            )
            if sum(self.maps)
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
            before = self.trunk[: self.last_block](values)  # which has a map for each place
            maps = self.trunk[self.last_block :](before)
            shared = maps[:, : self.shared_maps].flatten(1)
            specific = maps[:, self.shared_maps :].flatten(1)
            condition = None
            if self.embedding is not None:
                assert stain is not None
                condition = self.embedding(stain)
                shared = torch.cat([shared, condition], dim=1)
                specific = torch.cat([specific, condition], dim=1)
            found = [self.to_shared(shared)]
            if self.to_specific is not None:
                found.append(self.to_specific(specific))
            if self.to_spatial is not None:
                if condition is not None:
                    everywhere = condition[:, :, None, None].expand(-1, -1, *before.shape[2:])
                    before = torch.cat([before, everywhere], dim=1)
                at = self.to_spatial(before).split(self.maps, 1)
                found = [self._with_places(*parts) for parts in zip(found, at, strict=False)]
        shared, *own = (latent.float() for latent in found)
        return shared, own[0] if own else None

    def _with_places(self, whole: Tensor, maps: Tensor) -> Tensor:
        """What is said of the whole crop and then of its places; all means before all log variances."""
        parts = zip(whole.chunk(self.outputs, 1), maps.chunk(self.outputs, 1), strict=True)
        return torch.cat([values for of_all, at in parts for values in (of_all, at.flatten(1))], dim=1)


_BLOCK = 3
"""Layers of a decoder's block but the last: deconvolution, normalisation, activation."""


class ImageDecoder(Mixed):
    """From a latent to an image, in logits; the mirror of the encoder's trunk.

    Parameters
    ----------
    architecture
        The sizes of the model.
    modality
        Whose images it makes.
    latent
        Length of the latent it is given: shared and specific, or shared alone. Their spatial parts come in
        before the second block.
    """

    def __init__(self, architecture: Architecture, modality: Modality, latent: int) -> None:
        super().__init__()
        widths = tuple(reversed(architecture.widths))
        condition = architecture.embedding if modality.conditional else 0
        self.bottom = (widths[0], architecture.bottom, architecture.bottom)
        self.grid = (architecture.grid, architecture.grid)
        own = modality.spatial if latent > architecture.shared else 0
        places = [architecture.places(architecture.spatial), architecture.places(own)]
        # Of the whole crop and of its places: shared, then specific.
        wholes = [architecture.shared - places[0], latent - architecture.shared - places[1]]
        self.lengths = [wholes[0], places[0], wholes[1], places[1]]
        spatial = architecture.spatial + own
        self.from_latent = nn.Linear(sum(wholes) + condition, widths[0] * architecture.bottom**2)
        layers: list[nn.Module] = []
        for index, (before, after) in enumerate(zip(widths, (*widths[1:], 1), strict=True)):
            given = before + (spatial if index == 1 else 0)
            layers.append(nn.ConvTranspose2d(given, after, 4, stride=2, padding=1, bias=False))
            layers += [nn.BatchNorm2d(after), nn.LeakyReLU(0.2)]
        self.trunk = nn.Sequential(*layers[:-2])

    def forward(self, latent: Tensor, condition: Tensor | None) -> Tensor:
        """Logits (n, 1, y, x) from a latent (n, l) and the stain's embedding (n, e), if any."""
        parts = latent.split(self.lengths, dim=1)
        latent = torch.cat(parts[::2], dim=1)
        if condition is not None:
            latent = torch.cat([latent, condition], dim=1)
        with self.mixed(latent.device):
            maps = nn.functional.relu(self.from_latent(latent)).unflatten(1, self.bottom)
            maps = self.trunk[:_BLOCK](maps)
            at = [part.unflatten(1, (-1, *self.grid)).to(maps.dtype) for part in parts[1::2] if part.shape[1]]
            values = self.trunk[_BLOCK:](torch.cat([maps, *at], dim=1))
        return values.float()
