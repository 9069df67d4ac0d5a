"""From settings and cells to an untrained network."""

from __future__ import annotations

from typing import Any

import torch

from napari_apollo.model.modality import CHROMATIN, PROTEIN, Architecture, Modality, paper_widths
from napari_apollo.model.network import Network
from napari_apollo.train.objectives import normal_codes
from napari_apollo.train.sampling import step_seed

_BUILD = 2**31 - 1  # the "stage" whose random numbers make the start weights


def image_architecture(settings: Any, vocabulary: tuple[str, ...], crop_size: int) -> Architecture:
    """Chromatin and protein images of cells.

    Parameters
    ----------
    settings
        The sizes, named as in ``TrainConfig``.
    vocabulary
        Protein stains in the order of the embedding.
    crop_size
        Pixels.

    Raises
    ------
    ConfigError
        When crop size or sizes do not go together.
    """
    widths = paper_widths(crop_size, settings.width, settings.head)
    places = (2 * crop_size // 2 ** len(widths)) ** 2
    own = settings.protein_spatial if settings.specific else 0
    return Architecture(
        modalities=(
            Modality(CHROMATIN, specific=settings.specific, conditional=settings.anchor_conditional),
            Modality(PROTEIN, specific=settings.specific + own * places, spatial=own, conditional=True),
        ),
        vocabulary=vocabulary,
        shared=settings.shared + settings.spatial * places,
        spatial=settings.spatial,
        embedding=settings.embedding,
        crop_size=crop_size,
        widths=widths,
        specific_maps=settings.specific_maps,
        shared_decoders=settings.shared_decoders,
        normal_codes=normal_codes(settings.objective),
    )


def seeded_network(architecture: Architecture, seed: int) -> Network:
    """Network whose start weights depend on the seed alone; torch's random numbers stay as they were."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(step_seed(seed, _BUILD, 0))
        return Network(architecture)
