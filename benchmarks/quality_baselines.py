"""Baselines of ``quality.py``: networks trained for a processor time, the nearest neighbour."""

from __future__ import annotations

import time

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from napari_apollo.predict.rivals import Rival, fit_rival


def train_network(
    network: Rival, dna: np.ndarray, stain: np.ndarray, image: np.ndarray, seconds: float, seed: int
) -> None:
    """Train for a processor time; see ``fit_rival``."""
    started = time.process_time()
    batches = fit_rival(
        network, dna, stain, image, done=lambda _: (time.process_time() - started) / seconds, seed=seed
    )
    print(f"{type(network).__name__}: {batches} batches, {time.process_time() - started:.0f} s")


def nearest_neighbour(dna: np.ndarray, image: np.ndarray, wanted: np.ndarray) -> np.ndarray:
    """Images of the training cells nearest by DNA, seen at a quarter of the resolution.

    Parameters
    ----------
    dna, image
        (n, y, x) of training cells with one stain.
    wanted
        (m, y, x) DNA of other cells.
    """

    def small(values: np.ndarray) -> Tensor:
        return functional.avg_pool2d(torch.from_numpy(values)[:, None], 4).flatten(1)

    nearest = torch.cdist(small(wanted), small(dna)).argmin(1).numpy()
    found: np.ndarray = image[nearest]
    return found
