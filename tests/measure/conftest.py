"""Cells with known form for the tests of measuring."""

from __future__ import annotations

from dataclasses import dataclass
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from numpy.typing import NDArray
from scipy import ndimage

from napari_apollo.cells import CellStore, CellStoreWriter
from napari_apollo.cells.cutting import cut
from napari_apollo.measure import MeasureConfig
from napari_apollo.panels import Panel


@dataclass(frozen=True)
class Field:
    """A field of cells: image (stain, y, x), nuclei and cells (y, x)."""

    image: NDArray
    labels: NDArray
    cells: NDArray
    stains: tuple[str, ...] = ("DAPI", "CD3", "gammaH2AX")

    def nucleus(self, label: int) -> NDArray:
        return self.labels == label

    def region(self, name: str, label: int) -> NDArray:
        cell = (self.cells == label) | (self.labels == label)
        nucleus = self.labels == label
        return {"nucleus": nucleus, "cell": cell, "cytoplasm": cell & ~nucleus}[name]

    def values(self, stain: str, region: str, label: int) -> NDArray:
        return self.image[self.stains.index(stain)][self.region(region, label)].astype(float)


def wavy_disc(
    shape: tuple[int, int], centre: tuple[float, float], radius: float, waves: tuple = ()
) -> NDArray:
    """Disc whose radius is 1 + sum of amplitude * cos(number * angle + phase)."""
    y, x = np.mgrid[: shape[0], : shape[1]]
    y, x = y - centre[0], x - centre[1]
    angle = np.arctan2(y, x)
    edge = radius * (1 + sum(a * np.cos(k * angle + phase) for k, a, phase in waves))
    return np.hypot(y, x) <= edge


def make_field(seed: int = 0, side: int = 160, pitch: int = 32, dtype: type = np.uint16) -> Field:
    """Nuclei of many forms on a grid, textured stains, cells that reach 4 px beyond."""
    rng = np.random.default_rng(seed)
    labels = np.zeros((side, side), np.int32)
    number = 0
    for top in range(pitch // 2, side - pitch // 2 + 1, pitch):
        for left in range(pitch // 2, side - pitch // 2 + 1, pitch):
            number += 1
            centre = (top + rng.uniform(-1, 1), left + rng.uniform(-1, 1))
            waves = [(k, rng.uniform(0, 0.25 / k), rng.uniform(0, 6)) for k in (2, 3, 4)]
            labels[wavy_disc(labels.shape, centre, rng.uniform(5, 9.5), waves)] = number
    distance, nearest = ndimage.distance_transform_edt(labels == 0, return_indices=True)
    cells = np.where(distance <= 4, labels[tuple(nearest)], 0).astype(np.int32)
    smooth = ndimage.gaussian_filter(rng.normal(size=(3, side, side)), (0, 1.3, 1.3))
    image = 400 + 900 * (labels > 0) * np.array([1, 0.2, 0.5])[:, None, None] + 900 * smooth
    image += rng.normal(scale=20, size=image.shape)
    top_value = np.iinfo(dtype).max
    if dtype == np.uint8:
        image = image / 12
    return Field(np.clip(image, 0, top_value).astype(dtype), labels, cells)


SIZE = 48


def write_store(path, field, *, panels=None, pixel_size_um=0.5):
    """Store of the field's cells; every other cell has the second panel."""
    panels = panels or [Panel(name="one", stains=field.stains)]
    ids = np.unique(field.labels)[1:]
    yx = np.array(ndimage.center_of_mass(field.labels > 0, field.labels, ids))
    centres = np.floor(yx + 0.5).astype(int)
    with CellStoreWriter(
        path, panels, crop_size=SIZE, dtype=field.image.dtype, pixel_size_um=pixel_size_um
    ) as writer:
        for k, panel in enumerate(panels):
            own = np.arange(len(ids)) % len(panels) == k
            channels = [field.stains.index(stain) for stain in panel.stains]
            images, masks = cut(
                field.image[channels], field.labels, field.cells, centres[own], ids[own], SIZE
            )
            obs = pd.DataFrame(
                {
                    "field": f"field-{panel.name}",
                    "image": "field.tif",
                    "donor": "d1",
                    "condition": "c",
                    "label": ids[own],
                    "y": yx[own, 0],
                    "x": yx[own, 1],
                    "centre_y": centres[own, 0],
                    "centre_x": centres[own, 1],
                    "scale": 1.0,
                }
            )
            writer.append(panel.name, images, masks, obs)
    return CellStore.open(path)


@pytest.fixture(scope="session")
def field() -> Field:
    return make_field()


@pytest.fixture(scope="session")
def quick() -> MeasureConfig:
    """All families, one worker."""
    return MeasureConfig(workers=1)


def one_label(mask: NDArray, pad: int = 2) -> NDArray:
    """Label image of a single mask."""
    return np.pad(mask.astype(np.int32), pad)


@pytest.fixture(scope="session")
def forms() -> SimpleNamespace:
    """Makers of fields and masks."""
    return SimpleNamespace(
        Field=Field, make_field=make_field, wavy_disc=wavy_disc, one_label=one_label, write_store=write_store
    )
