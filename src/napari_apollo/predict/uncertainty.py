"""How sure a model is of a predicted stain: the spread of predictions over its posterior."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from napari_apollo.errors import ModelError

if TYPE_CHECKING:
    from napari_apollo.predict.inference import Codes, Inference


def require_posteriors(inference: Inference, place: str) -> None:
    """Refuse a model whose encoders do not say how sure they are.

    Raises
    ------
    ModelError
        When they return points (objective ``two-step``).
    """
    if not inference.model.card.architecture.normal_codes:
        raise ModelError(
            place or "the model",
            "gives no posterior: its encoders return points.",
            "Train by the objective agreement, or ask for no uncertainty.",
        )


def predicted_spread(
    inference: Inference, codes: Codes, stain: str, *, draws: int = 8, seed: int = 0
) -> NDArray[np.float32]:
    """Standard deviation of predicted images over the posterior of the shared latent.

    Shared latents are drawn from the normal distribution that the chromatin encoder gives, and decoded; the
    mean of squares about their mean is unbiased. It says what the chromatin leaves open within what the model
    knows, not what the model does not know: see ``support`` and ``conformal`` for that.

    Parameters
    ----------
    inference
        The model at work.
    codes
        Latents of the cells.
    stain
        The stain that is predicted.
    draws
        Images drawn for each cell.
    seed
        Of the draws; the same for every stain, so that stains are drawn together.

    Returns
    -------
    numpy.ndarray
        (cell, y, x) float32, as a part of the stain's range.

    Raises
    ------
    ModelError
        When the model gives no posterior (objective ``two-step``).
    """
    mean, spread = codes.chromatin.shared, codes.chromatin.shared_std
    if spread is None:
        require_posteriors(inference, "")
    assert spread is not None
    rng = np.random.default_rng(seed)
    total = squares = None
    for _ in range(draws):
        drawn = mean + spread * rng.standard_normal(mean.shape).astype(np.float32)
        image = inference.decode_shared(drawn, stain).astype(np.float64)
        total = image if total is None else total + image
        squares = image**2 if squares is None else squares + image**2
    assert total is not None
    assert squares is not None
    variance = (squares - total**2 / draws) / max(draws - 1, 1)
    return np.sqrt(np.maximum(variance, 0)).astype(np.float32)
