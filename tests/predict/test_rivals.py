"""Baseline networks learn what chromatin tells of a stain, and which stain is meant."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from napari_apollo.predict.rivals import Inpainting, UNet, fit_rival, fraction_of_epochs


def cells(count: int, seed: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Chromatin; of two stains the first is chromatin, the second what is left of it."""
    rng = np.random.default_rng(seed)
    chromatin = np.kron(rng.random((count, 3, 3)), np.ones((1, 4, 4))).astype(np.float32)
    stain = np.arange(count) % 2
    image = np.where(stain[:, None, None] == 0, chromatin, 1 - chromatin).astype(np.float32)
    return chromatin, stain, image


@pytest.mark.parametrize("kind", ["unet", "inpainting"])
def test_a_network_learns_both_stains(kind: str) -> None:
    torch.manual_seed(0)
    chromatin, stain, image = cells(96, 0)
    network = UNet(2, (8, 8)) if kind == "unet" else Inpainting(chromatin, stain, image)
    batches = fit_rival(network, chromatin, stain, image, done=fraction_of_epochs(96, 50))
    assert batches == 150
    new, _, _ = cells(20, 1)
    for number, truth in enumerate((new, 1 - new)):
        made = network.predict(new, number)
        assert made.shape == new.shape
        assert np.corrcoef(made.ravel(), truth.ravel())[0, 1] > 0.6


def test_odd_sides() -> None:
    chromatin = np.random.default_rng(0).random((2, 13, 11)).astype(np.float32)
    stain = np.zeros(2, np.int64)
    for network in (UNet(1).eval(), Inpainting(chromatin, stain, chromatin).eval()):
        assert network.predict(chromatin, 0).shape == (2, 13, 11)
