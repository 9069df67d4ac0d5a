"""Table encoder and decoder: vectors of features instead of images.

Two kinds of blocks. ``paper`` is the reference's, for its simulations and its sequencing data: dropout of
0.01 on what enters, a linear layer without bias, BatchNorm, LeakyReLU of slope 0.01, and a plain linear
layer without bias at the end. ``plain`` is a linear layer and GELU: cells of a batch do not touch each
other, and a code is the same function of a cell in training and afterwards.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from napari_apollo.model.images import StainEmbedding
from napari_apollo.model.modality import Architecture, Modality, TableBlocks
from napari_apollo.model.precision import Mixed

DROPOUT = 0.01


class TableEncoder(Mixed):
    """From a vector of features to the shared and the specific latent.

    ``depth - 1`` hidden layers are common to both; each latent then has a branch of its own: in the
    paper's networks another block as wide as the latent, and a linear layer.
    """

    def __init__(self, architecture: Architecture, modality: Modality) -> None:
        super().__init__()
        condition = architecture.embedding if modality.conditional else 0
        self.embedding = (
            StainEmbedding(len(architecture.vocabulary), condition) if modality.conditional else None
        )
        kind, hidden = architecture.table_blocks, architecture.hidden
        self.trunk = _trunk(kind, modality.features + condition, hidden, architecture.depth - 1)
        outputs = 2 if architecture.normal_codes else 1
        self.to_shared = _branch(kind, hidden, architecture.shared, outputs)
        self.to_specific = _branch(kind, hidden, modality.specific, outputs) if modality.specific else None

    def forward(self, values: Tensor, stain: Tensor | None) -> tuple[Tensor, Tensor | None]:
        """Latents of vectors (n, feature) float32; otherwise as ``ImageEncoder``."""
        if self.embedding is not None:
            assert stain is not None
            values = torch.cat([values, self.embedding(stain)], dim=1)
        with self.mixed(values.device):
            hidden = self.trunk(values)
            shared = self.to_shared(hidden)
            own = self.to_specific(hidden) if self.to_specific is not None else None
        return shared.float(), None if own is None else own.float()


class TableDecoder(Mixed):
    """From a latent to a vector of features, before the activation.

    Parameters
    ----------
    architecture
        The sizes of the model.
    modality
        Whose vectors it makes.
    latent
        Length of the latent it is given: shared and specific, or shared alone.
    """

    def __init__(self, architecture: Architecture, modality: Modality, latent: int) -> None:
        super().__init__()
        condition = architecture.embedding if modality.conditional else 0
        kind, hidden = architecture.table_blocks, architecture.hidden
        self.trunk = _trunk(kind, latent + condition, hidden, architecture.depth)
        self.to_values = nn.Linear(hidden, modality.features, bias=kind == "plain")

    def forward(self, latent: Tensor, condition: Tensor | None) -> Tensor:
        """Vectors (n, feature) from a latent (n, l) and the stain's embedding (n, e), if any.

        Where the network is mixed they have 16 bits: losses of wide tables read them as they are.
        """
        if condition is not None:
            latent = torch.cat([latent, condition], dim=1)
        with self.mixed(latent.device):
            values: Tensor = self.to_values(self.trunk(latent))
        return values


def _trunk(kind: TableBlocks, inputs: int, hidden: int, depth: int) -> nn.Sequential:
    layers: list[nn.Module] = []
    for layer in range(depth):
        layers += _block(kind, hidden if layer else inputs, hidden)
    return nn.Sequential(*layers)


def _branch(kind: TableBlocks, hidden: int, latent: int, outputs: int) -> nn.Sequential:
    narrow = _block(kind, hidden, latent) if kind == "paper" else []
    return nn.Sequential(
        *narrow, nn.Linear(latent if narrow else hidden, outputs * latent, bias=kind == "plain")
    )


def _block(kind: TableBlocks, inputs: int, outputs: int) -> list[nn.Module]:
    if kind == "plain":
        return [nn.Linear(inputs, outputs), nn.GELU()]
    return [
        nn.Dropout(DROPOUT),
        nn.Linear(inputs, outputs, bias=False),
        nn.BatchNorm1d(outputs),
        nn.LeakyReLU(0.01),
    ]
