"""Small cell stores with planted structure."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch

from napari_apollo.cells import CellStore, CellStoreWriter
from napari_apollo.panels import Panel

SIZE = 16


@pytest.fixture(autouse=True)
def _one_thread() -> None:
    torch.set_num_threads(1)


def planted_cells(
    n: int, proteins: int, rng: np.random.Generator, size: int = SIZE
) -> tuple[np.ndarray, np.ndarray]:
    """Cells whose nucleus and proteins come from the same radius and brightness.

    Images (n, 1 + proteins, size, size) uint16 and masks. The first protein is a ring around the
    nucleus, as bright as the nucleus is small; the second fills it, as bright as it is large.
    """
    radius = rng.uniform(2.5, 6.0, n)
    y, x = np.mgrid[:size, :size] - (size - 1) / 2
    distance = np.hypot(y, x)[None]
    inside = 1 / (1 + np.exp(3 * (distance - radius[:, None, None])))
    ring = np.exp(-((distance - radius[:, None, None]) ** 2))
    share = ((radius - 2.5) / 3.5)[:, None, None]
    channels = [600 * inside, 900 * (1 - share) * ring, 900 * share * inside][: 1 + proteins]
    images = np.stack(channels, axis=1) + rng.normal(100, 10, (n, len(channels), size, size))
    masks = np.where(inside > 0.5, 2, np.where(distance < radius[:, None, None] + 2, 1, 0)).astype(np.uint8)
    return images.clip(0, 65535).astype(np.uint16), masks


@pytest.fixture
def make_store(tmp_path: Path) -> Callable[..., CellStore]:
    """Write a store of planted cells in two panels, DAPI/CD3/CD4 and DAPI/CD8, of some donors."""

    def make(
        name: str = "cells",
        *,
        per_field: int = 24,
        donors: int = 4,
        fields: int = 1,
        size: int = SIZE,
        change: Callable[[np.ndarray], np.ndarray] = lambda images: images,
        columns: Callable[[pd.DataFrame], pd.DataFrame] = lambda obs: obs,
    ) -> CellStore:
        rng = np.random.default_rng(7)
        panels = [Panel.parse("DAPI/CD3/CD4", "one"), Panel.parse("DAPI/CD8", "two")]
        path = tmp_path / f"{name}.cells.zarr"
        with CellStoreWriter(path, panels, crop_size=size, dtype=np.uint16, pixel_size_um=0.5) as writer:
            for donor in range(donors):
                for field in range(fields):
                    for panel in panels:
                        images, masks = planted_cells(per_field, len(panel.proteins), rng, size)
                        obs = pd.DataFrame(
                            {
                                "field": f"{panel.name}_d{donor}_f{field}",
                                "donor": f"donor{donor}",
                                "condition": "control",
                                "label": np.arange(1, per_field + 1),
                                "y": rng.uniform(0, 500, per_field),
                                "x": rng.uniform(0, 500, per_field),
                                "qc": True,
                            }
                        )
                        writer.append(panel.name, change(images), masks, columns(obs))
        return CellStore.open(path)

    return make


@pytest.fixture
def quick() -> dict[str, Any]:
    """Settings of a training of seconds; a module asks for more by a fixture of the same name."""
    return {
        "shared": 8,
        "specific": 4,
        "embedding": 4,
        "width": 8,
        "head": 12,
        "specific_maps": 4,
        "batch_size": 32,
        "latent_epochs": 2,
        "encoder_epochs": 2,
        "device": "cpu",
        "threads": 1,
        "previews_every": 0,
    }
