"""Classes from images: found for donors that were held out, the same again, and both networks fit."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from napari_apollo.errors import Cancelled
from napari_apollo.predict.imageclasses import held_out_image_classes, make_network


def discs(rng: np.random.Generator, label: np.ndarray) -> np.ndarray:
    y, x = np.mgrid[-8:8, -8:8]
    radius = np.where(label == 1, 6, 3)[:, None, None] + rng.normal(size=(len(label), 1, 1)) * 0.3
    return ((np.hypot(y, x) < radius) + 0.1 * rng.normal(size=(len(label), 16, 16))).astype(np.float32)


def test_held_out_donors_are_classified() -> None:
    rng = np.random.default_rng(0)
    fold = np.repeat(np.arange(4), 30)
    label = np.tile([0, 0, 1], 40)
    images = discs(rng, label)
    predicted = held_out_image_classes(images, label, fold, epochs=6, seed=1)
    assert np.mean(predicted == label) > 0.9
    assert np.array_equal(predicted, held_out_image_classes(images, label, fold, epochs=6, seed=1))
    with pytest.raises(Cancelled):
        held_out_image_classes(images, label, fold, epochs=1, should_stop=lambda: True)


def test_a_class_that_training_would_lack() -> None:
    label = np.repeat([0, 1], 20)
    predicted = held_out_image_classes(discs(np.random.default_rng(0), label), label, label, epochs=1)
    assert (predicted == -1).all()


@pytest.mark.parametrize("architecture", ["small", "resnet18"])
def test_networks_take_one_channel(architecture: str) -> None:
    network = make_network(architecture, 3).eval()
    assert network(torch.zeros(2, 1, 32, 32)).shape == (2, 3)
