"""Cells in memory, cut by the rule of the architecture page one pixel at a time, and cells on disk."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import pytest

from napari_apollo.cells import CellStore, CellStoreWriter
from napari_apollo.panels import Panel


def cut_by_definition(
    plane: np.ndarray, centre: tuple[int, int], scale: float, size: int, fill: float = 0
) -> np.ndarray:
    """Crop pixel (i, j) is the bilinear value at centre + (i - S//2, j - S//2) * f; slow and plain."""
    out = np.full((size, size), fill, np.float64)
    for i in range(size):
        for j in range(size):
            y = centre[0] + (i - size // 2) * scale
            x = centre[1] + (j - size // 2) * scale
            if not (0 <= y <= plane.shape[0] - 1 and 0 <= x <= plane.shape[1] - 1):
                continue
            y0, x0 = int(np.floor(y)), int(np.floor(x))
            y1, x1 = min(y0 + 1, plane.shape[0] - 1), min(x0 + 1, plane.shape[1] - 1)
            wy, wx = y - y0, x - x0
            out[i, j] = (
                (1 - wy) * (1 - wx) * plane[y0, x0]
                + (1 - wy) * wx * plane[y0, x1]
                + wy * (1 - wx) * plane[y1, x0]
                + wy * wx * plane[y1, x1]
            )
    return out


@dataclass
class MemoryStore:
    """The part of a cell store that the canvas reads."""

    panels: dict[str, Panel]
    crop_size: int
    obs: pd.DataFrame
    images: dict[str, np.ndarray]
    masks: dict[str, np.ndarray]

    def read_images(self, panel: str, rows: np.ndarray) -> np.ndarray:
        return self.images[panel][rows]

    def read_masks(self, panel: str, rows: np.ndarray) -> np.ndarray:
        return self.masks[panel][rows]


def store_from_field(
    planes: dict[str, np.ndarray],
    nuclei: np.ndarray,
    cells: np.ndarray,
    panel_of: dict[int, Panel],
    *,
    size: int,
    scale: float = 1.0,
    image: str = "field.tif",
) -> MemoryStore:
    """Cut every labelled cell of a field into the panel it was given."""
    dtype = next(iter(planes.values())).dtype
    rows: dict[str, list[dict]] = {}
    images: dict[str, list[np.ndarray]] = {}
    masks: dict[str, list[np.ndarray]] = {}
    panels: dict[str, Panel] = {}
    for label in np.unique(nuclei[nuclei > 0]):
        panel = panel_of[int(label)]
        panels[panel.name] = panel
        y, x = (axis.mean() for axis in np.nonzero(nuclei == label))
        centre = (int(np.floor(y + 0.5)), int(np.floor(x + 0.5)))
        crop = [cut_by_definition(planes[stain].astype(float), centre, scale, size) for stain in panel.stains]
        at_y = np.rint(centre[0] + (np.arange(size) - size // 2) * scale).astype(int)
        at_x = np.rint(centre[1] + (np.arange(size) - size // 2) * scale).astype(int)
        inside = np.logical_and.outer(
            (at_y >= 0) & (at_y < nuclei.shape[0]), (at_x >= 0) & (at_x < nuclei.shape[1])
        )
        grid = np.ix_(np.clip(at_y, 0, nuclei.shape[0] - 1), np.clip(at_x, 0, nuclei.shape[1] - 1))
        mask = (
            (cells[grid] == label).astype(np.uint8) + ((nuclei[grid] == label) & (cells[grid] == label))
        ) * inside
        rows.setdefault(panel.name, []).append(
            {
                "panel": panel.name,
                "row": len(rows.get(panel.name, [])),
                "field": f"block_{panel.name}",
                "image": image,
                "label": int(label),
                "y": y,
                "x": x,
                "centre_y": centre[0],
                "centre_x": centre[1],
                "scale": float(scale),
            }
        )
        crop_array = np.stack(crop)
        images.setdefault(panel.name, []).append(
            np.rint(crop_array).astype(dtype)
            if np.issubdtype(dtype, np.integer)
            else crop_array.astype(dtype)
        )
        masks.setdefault(panel.name, []).append(mask.astype(np.uint8))
    obs = pd.DataFrame([row for name in rows for row in rows[name]])
    return MemoryStore(
        panels,
        size,
        obs,
        {name: np.stack(part) for name, part in images.items()},
        {name: np.stack(part) for name, part in masks.items()},
    )


def random_cells(
    rng: np.random.Generator, shape: tuple[int, int], count: int, radius: int
) -> tuple[np.ndarray, np.ndarray]:
    """Nuclei and the cell regions around them, (Y, X) int32; regions do not overlap."""
    yy, xx = np.indices(shape)
    centres = np.column_stack([rng.integers(0, shape[0], count), rng.integers(0, shape[1], count)])
    distance = np.hypot(yy[None] - centres[:, 0, None, None], xx[None] - centres[:, 1, None, None])
    nearest = distance.argmin(0)
    least = distance.min(0)
    nuclei = np.where(least <= radius / 2, nearest + 1, 0).astype(np.int32)
    cells = np.where(least <= radius, nearest + 1, 0).astype(np.int32)
    cells[~np.isin(cells, np.unique(nuclei))] = 0
    return nuclei, cells


@pytest.fixture(scope="session")
def synthetic() -> SimpleNamespace:
    """Makers of synthetic fields and stores."""
    return SimpleNamespace(
        random_cells=random_cells, store_from_field=store_from_field, MemoryStore=MemoryStore
    )


LEFT = Panel(name="DAPI/CD4", stains=("DAPI", "CD4"))
RIGHT = Panel(name="right", stains=("CD8", "DAPI", "CD3"))
SIZE = 16


def write_store(
    path: Path,
    *,
    panels: tuple[Panel, ...] = (LEFT, RIGHT),
    count: int = 40,
    size: int = SIZE,
    dtype: str = "uint16",
    top: int = 60_000,
    pixel_size_um: float | None = 0.5,
    seed: int = 0,
    split: bool = True,
) -> CellStore:
    """Cells with random crops whose proteins are brighter where the chromatin is."""
    rng = np.random.default_rng(seed)
    with CellStoreWriter(path, panels, crop_size=size, dtype=dtype, pixel_size_um=pixel_size_um) as writer:
        for number, panel in enumerate(panels):
            y = rng.uniform(10, 190, count)
            x = rng.uniform(10, 190, count)
            obs = pd.DataFrame(
                {
                    "field": f"field_{number}",
                    "image": "image.tif",
                    "donor": f"donor_{number}",
                    "condition": "c",
                    "label": np.arange(count) + 1 + 1000 * number,
                    "y": y,
                    "x": x,
                    "centre_y": np.floor(y + 0.5).astype(int),
                    "centre_x": np.floor(x + 0.5).astype(int),
                    "scale": 1.0,
                    "split": np.where(np.arange(count) % 4 == 0, "test", "train") if split else "",
                }
            )
            base = rng.uniform(0, 1, (count, 1, size, size))
            crops = (base + rng.uniform(0, 1, (count, len(panel.stains), size, size))) / 2 * top
            masks = np.zeros((count, size, size), np.uint8)
            masks[:, 3:13, 3:13] = 1
            masks[:, 5:11, 5:11] = 2
            writer.append(panel.name, crops.astype(dtype), masks, obs)
    return CellStore.open(path)


def write_model(
    folder: Path, store: CellStore, *, conditional: bool = False, codes: bool = False, **changes: Any
) -> Path:
    """An untrained model that fits a store."""
    import torch

    from napari_apollo.model import Apollo, Architecture, Modality, ModelCard, Network

    torch.manual_seed(1)
    architecture = Architecture(
        modalities=(
            Modality("chromatin", specific=2, conditional=conditional),
            Modality("protein", specific=2, conditional=True),
        ),
        vocabulary=changes.pop("vocabulary", ("CD3", "CD4", "CD8")),
        shared=3,
        embedding=2,
        crop_size=changes.pop("crop_size", store.crop_size),
        widths=(4, 4),
        specific_maps=2,
        shared_decoders=changes.pop("shared_decoders", True),
        normal_codes=codes,
    )
    normalisation = changes.pop("normalisation", store.normalisation.model_dump(mode="json"))
    for stain in architecture.vocabulary:  # of stains that the store lacks, as of another training
        normalisation["constants"]["*"].setdefault(stain, (100.0, 5000.0))
    card = ModelCard(
        architecture=architecture,
        panels=tuple(store.panels.values()),
        normalisation=normalisation,
        pixel_size_um=changes.pop("pixel_size_um", store.pixel_size_um),
        **changes,
    )
    network = Network(architecture)
    with torch.no_grad():  # spread values out: an untrained decoder gives one grey
        for weights in network.parameters():
            weights.mul_(3)
    return Apollo(network, card).save(folder)


@pytest.fixture(scope="session")
def make() -> SimpleNamespace:
    """Makers of stores and untrained models on disk."""
    return SimpleNamespace(store=write_store, model=write_model, left=LEFT, right=RIGHT)


@pytest.fixture(scope="session")
def made(tmp_path_factory: pytest.TempPathFactory) -> SimpleNamespace:
    """A store, a model and predictions that are read and never changed."""
    from napari_apollo.predict import PredictConfig, predict

    folder = tmp_path_factory.mktemp("made")
    store = write_store(folder / "a.cells.zarr")
    model = write_model(folder / "model", store)
    predictions = predict(store, model, PredictConfig(device="cpu", also_measured=True))
    return SimpleNamespace(folder=folder, store=store, model=model, predictions=predictions)
