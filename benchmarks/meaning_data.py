"""Stores of cells for ``meaning.py``: simulated blood cells, MCF-7, tissue of many stains."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from napari_apollo.cells import CellStore, CellStoreWriter, CropConfig, SegmentConfig, crop, segment
from napari_apollo.cells.segmentation import expand_nuclei, segment_image
from napari_apollo.measure import MeasureConfig, measure
from napari_apollo.panels import Panel
from napari_apollo.simulate import SimulateConfig, simulate
from napari_apollo.study import Study, StudyField

FAMILIES = ("shape", "intensity", "condensation", "texture", "radial", "protein", "foci")
_SIDE = 64
_REACH = 16  # pixels that a MCF-7 cell is taken to reach beyond its nucleus


def blood(path: Path, *, donors: int, cells: int, held_out: int, seed: int = 0) -> CellStore:
    """Simulated blood cells in two panels, measured; their causes are in ``<path>.study/truth``.

    Parameters
    ----------
    path
        Store to write, unless it is there.
    donors
        Of each of two conditions.
    cells
        Of a field; each donor has one for each panel.
    held_out
        Donors of the test.
    seed
        Of everything.
    """
    if not path.exists():
        manifest = simulate(
            SimulateConfig(
                output=path.with_suffix(".study"),
                conditions=("control", "glioma"),
                donors_per_condition=donors,
                held_out_donors=held_out,
                field_size=288,
                pixel_size_um=0.4,
                cells_per_field=cells,
                seed=seed,
            )
        )
        crop(manifest, CropConfig(output=path, size=32, expand=2, workers=1))
        measure(path, MeasureConfig(families=FAMILIES, workers=1))
    return CellStore.open(path)


def mcf7(path: Path, data: Path, *, cells: int, seed: int = 0) -> tuple[CellStore, CellStore]:
    """MCF-7 cells (BBBC021): half with DNA and actin, half with DNA and tubulin; and all with both, as truth.

    Fields take the place of donors. DMSO was imaged in one well, the inhibitors in others: what differs
    between treatments may be what differs between wells.

    Parameters
    ----------
    path
        Store to write, unless it is there; the truth goes beside it.
    data
        Folder that holds ``mcf7_bbbc021/cells.npz``.
    cells
        How many are drawn.
    seed
        Of the draw and of the panels.
    """
    whole = path.with_name(f"truth_{path.name}")
    if not path.exists():
        with np.load(data / "mcf7_bbbc021" / "cells.npz") as file:
            images, about = file["images"], pd.DataFrame({k: file[k] for k in ("treatment", "well", "field")})
        rng = np.random.default_rng(seed)
        chosen = np.sort(rng.permutation(len(images))[:cells])
        edge = (images.shape[-1] - _SIDE) // 2
        images = np.ascontiguousarray(images[chosen][:, :, edge : edge + _SIDE, edge : edge + _SIDE])
        masks = np.stack([_mask(image[0]) for image in images])
        seen = (masks == 2).any(axis=(1, 2))
        obs = _obs(about.iloc[chosen]).assign(label=np.arange(len(images)) + 1)
        images, masks, obs = images[seen], masks[seen], obs[seen]
        actin, tubulin = Panel.parse("DAPI/actin", "actin"), Panel.parse("DAPI/tubulin", "tubulin")
        side = rng.permutation(len(images)) % 2
        _write(
            whole,
            [(Panel.parse("DAPI/actin/tubulin", "all"), [0, 1, 2], np.ones(len(side), bool))],
            images,
            masks,
            obs,
        )
        _write(path, [(actin, [0, 1], side == 0), (tubulin, [0, 2], side == 1)], images, masks, obs)
        measure(path, MeasureConfig(families=FAMILIES, workers=1))
    return CellStore.open(path), CellStore.open(whole)


def _mask(dna: np.ndarray) -> np.ndarray:
    """(y, x) uint8: the nucleus in the middle is 2, what lies around it and is no other cell's 1."""
    labels = segment_image(dna, config=SegmentConfig(engine="threshold"))
    middle = labels[_SIDE // 2 - 3 : _SIDE // 2 + 4, _SIDE // 2 - 3 : _SIDE // 2 + 4]
    own = np.bincount(middle[middle > 0]).argmax() if (middle > 0).any() else 0
    if not own:
        return np.zeros(dna.shape, np.uint8)
    region: np.ndarray = (expand_nuclei(labels, _REACH) == own).astype(np.uint8)
    region[labels == own] = 2
    return region


def _obs(about: pd.DataFrame) -> pd.DataFrame:
    names = {name: f"{name[:3]}_{at:02d}" for at, name in enumerate(sorted(set(about["field"])))}
    field = about["field"].map(names).to_numpy(object)
    return pd.DataFrame(
        {
            "field": field,
            "image": field,
            "donor": field,
            "condition": about["treatment"].to_numpy(object),
            "y": _SIDE / 2,
            "x": _SIDE / 2,
            "qc": True,
        }
    )


def _write(
    path: Path,
    parts: Sequence[tuple[Panel, list[int], np.ndarray]],
    images: np.ndarray,
    masks: np.ndarray,
    obs: pd.DataFrame,
) -> None:
    panels = [panel for panel, _, _ in parts]
    with CellStoreWriter(path, panels, crop_size=_SIDE, dtype=np.uint16) as writer:
        for panel, channels, own in parts:
            crops = np.ascontiguousarray(images[own][:, channels])
            writer.append(panel.name, crops, masks[own], obs[own].reset_index(drop=True))


def tissue(
    path: Path, images: Sequence[Path], panel: Panel, channels: Sequence[str], *, size: int, diameter: float
) -> CellStore:
    """Cells of images in which every cell has all stains, measured; images take the place of donors.

    Parameters
    ----------
    path
        Store to write, unless it is there.
    images
        Files.
    panel
        Stains that are used.
    channels
        Stain of every channel, ``-`` for those that are not used; empty where the files name them.
    size
        Side of a crop in pixels.
    diameter
        Of nuclei in pixels.
    """
    if not path.exists():
        fields = [
            StudyField(
                image=image,
                panel=panel,
                donor=image.name.partition(".")[0],
                condition="none",
                channels=tuple(channels) or None,
            )
            for image in images
        ]
        settings = SegmentConfig(output=path.with_suffix(".study"), engine="threshold", diameter=diameter)
        study = segment(Study(fields), settings)
        crop(study, CropConfig(output=path, size=size, expand=3, workers=1))
        measure(path, MeasureConfig(families=FAMILIES, workers=1))
    return CellStore.open(path)
