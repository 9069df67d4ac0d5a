"""Whether shared and specific can be told apart at all, asked of the latents alone.

Two things give it away, and neither needs known truth. Where a specific factor is a function of the shared
ones, its block can be read from the shared block, and which of both holds it is arbitrary. Where a modality
sees only mixtures of shared and specific factors, the shared latents that it supports are not those that the
other modality supports.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike

from napari_apollo.errors import DataError
from napari_apollo.probes.matrix import block_overlap

MOSTLY = 0.5
"""R² from which on a block is mostly another one, or a modality no longer mostly agrees."""


@dataclass(frozen=True)
class SeparabilityWarning:
    """A reason to doubt what is called shared and specific.

    Attributes
    ----------
    kind
        ``"contained"``: a specific block can be read from the shared one. ``"disagreement"``: modalities do
        not support the same shared latents.
    where
        The block, or the modality whose shared latents the other ones say least about.
    r2
        Non-linear, held-out.
    message
        The reason in words.
    """

    kind: str
    where: str
    r2: float
    message: str


def separability_warnings(
    blocks: Mapping[str, ArrayLike],
    *,
    shared: str = "shared",
    shared_by_modality: Mapping[str, ArrayLike] | None = None,
    seed: int = 0,
) -> list[SeparabilityWarning]:
    """Reasons to doubt a separation; none where it holds.

    Parameters
    ----------
    blocks
        Name of a block to its latents, float, (cell, dimension); at least 50 cells.
    shared
        Which block is the shared one.
    shared_by_modality
        The shared latents as each modality alone would place them, float, (cell, dimension), for two or more
        modalities.
    seed
        Of folds and landmarks.

    Raises
    ------
    DataError
        When blocks do not fit together or none is the shared one.
    """
    if shared not in blocks:
        raise DataError(f"No block is called {shared!r}; there are {', '.join(blocks)}.")
    warnings = []
    for name, r2 in _numbers(block_overlap(blocks, seed=seed).T[shared]):
        if r2 > MOSTLY:
            message = (
                f"{r2:.0%} of what is called specific to {name} can be read from the shared latents: which "
                "of both it belongs to cannot be told from these data."
            )
            warnings.append(SeparabilityWarning("contained", name, r2, message))
    if shared_by_modality:
        for name, r2 in _numbers(block_overlap(shared_by_modality, seed=seed).min(axis=0)):
            if r2 < MOSTLY:
                message = (
                    f"Another modality says only {max(r2, 0):.0%} of the shared latents that {name} alone "
                    "supports: what is called shared holds specific variation and cannot be told from it."
                )
                warnings.append(SeparabilityWarning("disagreement", name, r2, message))
    return warnings


def _numbers(row: pd.Series) -> list[tuple[str, float]]:
    values = row.to_numpy(dtype=np.float64)
    return [(str(name), float(value)) for name, value in zip(row.index, values, strict=True)]
