"""Small fields with known nuclei, as arrays and as studies on disk."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import tifffile
from numpy.typing import NDArray

from napari_apollo.cells import CellStore, CellStoreWriter
from napari_apollo.panels import Panel
from napari_apollo.study import Study, StudyField

PANEL = Panel(name="A", stains=("DAPI", "CD4", "CD8"))


def nuclei(
    shape: tuple[int, int], spacing: int = 24, radius: float = 6.0, seed: int = 0
) -> NDArray[np.int32]:
    """Discs of varying size on a jittered grid, some cut by the edge of the field."""
    rng = np.random.default_rng(seed)
    labels = np.zeros(shape, np.int32)
    y, x = np.indices(shape)
    grid = [(a, b) for a in range(2, shape[0], spacing) for b in range(2, shape[1], spacing)]
    for number, (a, b) in enumerate(grid, start=1):
        cy, cx = a + rng.uniform(-2, 2), b + rng.uniform(-2, 2)
        ry, rx = radius * rng.uniform(0.8, 1.2, 2)
        labels[((y - cy) / ry) ** 2 + ((x - cx) / rx) ** 2 <= 1] = number
    return labels


def stains(
    labels: NDArray[np.int32], count: int = 3, dtype: type = np.uint16, seed: int = 0
) -> NDArray[np.generic]:
    """Bright nuclei on a dim background with noise, ``(stain, y, x)``."""
    rng = np.random.default_rng(seed)
    top = 200 if np.dtype(dtype).itemsize == 1 else 3000
    brightness = rng.uniform(0.4, 0.8, (count, int(labels.max()) + 1)) * top
    brightness[:, 0] = 0.05 * top
    image = brightness[:, labels] + rng.normal(0, 0.02 * top, (count, *labels.shape))
    return image.clip(0, None).astype(dtype)


@pytest.fixture
def make_study(tmp_path: Path) -> Callable[..., Study]:
    """Writes fields given as ``(image, labels)`` and returns their study."""

    def make(
        fields: Sequence[tuple[NDArray[np.generic], NDArray[np.integer]]],
        *,
        panels: Sequence[Panel] | None = None,
        donors: Sequence[str] | None = None,
        pixel_sizes: Sequence[float | None] | None = None,
        splits: Sequence[str | None] | None = None,
        folder: str = "study",
    ) -> Study:
        base = tmp_path / folder
        base.mkdir(exist_ok=True)
        rows = []
        for position, (image, labels) in enumerate(fields):
            panel = panels[position] if panels else PANEL
            path, mask = base / f"field{position}.tif", base / f"field{position}_labels.tif"
            tifffile.imwrite(path, image, photometric="minisblack", metadata={"axes": "CYX"}, tile=(64, 64))
            tifffile.imwrite(mask, labels, metadata={"axes": "YX"})
            rows.append(
                StudyField(
                    image=path,
                    labels=mask,
                    panel=panel,
                    donor=donors[position] if donors else f"donor{position}",
                    condition="control",
                    channels=panel.stains,
                    pixel_size_um=pixel_sizes[position] if pixel_sizes else None,
                    split=splits[position] if splits else None,
                )
            )
        return Study(rows).to_csv(base / "study.csv")

    return make


@pytest.fixture
def make_field() -> Callable[..., tuple[NDArray[np.generic], NDArray[np.int32]]]:
    """Makes ``(image, labels)`` of a field with known nuclei."""

    def make(
        shape: tuple[int, int] = (150, 130),
        *,
        spacing: int = 24,
        radius: float = 6.0,
        count: int = 3,
        dtype: type = np.uint16,
        seed: int = 0,
    ) -> tuple[NDArray[np.generic], NDArray[np.int32]]:
        labels = nuclei(shape, spacing, radius, seed)
        return stains(labels, count, dtype, seed), labels

    return make


@pytest.fixture
def make_store() -> Callable[..., tuple[CellStore, dict[str, NDArray[np.generic]]]]:
    """Writes a store of two panels of random cells; returns it with what was put into it."""
    return write_store


@pytest.fixture
def small_store(tmp_path: Path) -> tuple[CellStore, dict[str, NDArray[np.generic]]]:
    """A store of two panels, with what was put into it."""
    return write_store(tmp_path / "small.cells.zarr")


def write_store(
    path: Path, cells: int = 90, size: int = 16, *, overwrite: bool = False, seed: int = 0
) -> tuple[CellStore, dict[str, NDArray[np.generic]]]:
    rng = np.random.default_rng(seed)
    panels = [Panel(name="A", stains=("DAPI", "CD4", "CD8")), Panel.parse("dapi/cd3")]
    given: dict[str, NDArray[np.generic]] = {}
    with CellStoreWriter(
        path, panels, crop_size=size, dtype=np.uint16, pixel_size_um=0.5, overwrite=overwrite
    ) as writer:
        for panel in panels:
            images = rng.integers(0, 5000, (cells, len(panel.stains), size, size)).astype(np.uint16)
            masks = rng.integers(0, 3, (cells, size, size)).astype(np.uint8)
            given[f"{panel.name} images"], given[f"{panel.name} masks"] = images, masks
            for start in range(0, cells, 40):
                part = slice(start, start + 40)
                label = np.arange(start, min(cells, start + 40)) + 1
                obs = pd.DataFrame({"field": f"field of {panel.name[0]}", "label": label, "donor": "d1"})
                writer.append(panel.name, images[part], masks[part], obs)
    return CellStore.open(path), given
