"""Cells of ``quality.py``: real cells that carry every stain, as if they had been stained in two panels."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from skimage.measure import regionprops_table

from napari_apollo.cells import CellStore, CellStoreWriter
from napari_apollo.cells.cutting import cut
from napari_apollo.cells.segmentation import expand_nuclei, segment_image
from napari_apollo.panels import Panel
from napari_apollo.study import StudyField, open_field

ANCHOR = "DAPI"
_CELL_PX = 2
"""How far a cell reaches beyond its nucleus, in pixels; lymphocytes have little cytoplasm."""


@dataclass(frozen=True)
class Source:
    """Cells with all their stains.

    Attributes
    ----------
    images, masks
        (cell, stain, y, x) as acquired, and (cell, y, x) uint8 as in a cell store.
    panels
        Proteins of the two panels; the stains of ``images`` are DNA and then these, in this order.
    table
        ``field, donor, label, y, x``, one row a cell.
    held_out
        Fields kept away from training.
    """

    images: np.ndarray
    masks: np.ndarray
    panels: tuple[tuple[str, ...], tuple[str, ...]]
    table: pd.DataFrame
    held_out: tuple[str, ...]

    @property
    def proteins(self) -> tuple[str, ...]:
        """All proteins, in the order of the images."""
        return sum(self.panels, ())


def mcf7(data: Path, count: int, rng: np.random.Generator) -> Source:
    """MCF-7 cells of BBBC021, 64 px; 10 of 35 fields held out."""
    with np.load(data / "mcf7_bbbc021" / "cells.npz") as file:
        images, fields, wells = file["images"], file["field"], file["well"]
    chosen = np.sort(rng.permutation(len(images))[:count])
    edge = (images.shape[-1] - 64) // 2
    images = images[chosen][:, :, edge : edge + 64, edge : edge + 64]
    table = pd.DataFrame({"field": fields[chosen], "donor": wells[chosen], "label": chosen + 1})
    held_out = tuple(sorted(rng.permutation(np.unique(table["field"]))[:10].tolist()))
    masks = np.full((len(images), 64, 64), 2, np.uint8)
    return Source(images, masks, (("actin",), ("tubulin",)), table.assign(y=0.0, x=0.0), held_out)


def lymphoid(data: Path, count: int, rng: np.random.Generator) -> Source:
    """Lymphoid tissue by MIBI, 32 px of about 0.5 µm; one of four fields held out."""
    channels = (ANCHOR, "H3K9Ac", "CD45", "CD20", "CD3", *["-"] * 10)
    panels = (("CD3", "CD20"), ("CD45", "H3K9Ac"))
    paths = sorted((data / "lymphoid_mibi").glob("*.ome.tif"))
    found = [_cells(path, channels, panels, pixel_um=0.5) for path in paths]
    images, masks = (np.concatenate([each[index] for each in found]) for index in (0, 1))
    table = pd.concat([each[2] for each in found], ignore_index=True)
    chosen = np.sort(rng.permutation(len(images))[:count])
    held_out = (str(rng.choice(table["field"].unique())),)
    return Source(images[chosen], masks[chosen], panels, table.iloc[chosen], held_out)


def lymph_node(data: Path, count: int, rng: np.random.Generator) -> Source:
    """A lymph node by CODEX, 32 px; a quarter of its only field held out, with a gap of a crop."""
    channels = (ANCHOR, "CD4", "CD8", "FOXP3", "BCL6")
    panels = (("CD4", "FOXP3"), ("CD8", "BCL6"))
    path = data / "lymph_node_codex" / "lymph_node.tiff"
    images, masks, table = _cells(path, channels, panels)
    last = 0.75 * table["x"].max()
    east = table["x"].to_numpy() > last
    apart = east | (table["x"].to_numpy() < last - images.shape[-1])
    # Four strips for the rest, so that whole regions can be kept for validation.
    strip = (4 * table["x"] / last).clip(upper=3).astype(int).astype(str)
    table = table.assign(field=np.where(east, "east", "strip " + strip))
    chosen = np.flatnonzero(apart)
    chosen = np.sort(rng.permutation(chosen)[:count])
    return Source(images[chosen], masks[chosen], panels, table.iloc[chosen], ("east",))


SOURCES: dict[str, Callable[[Path, int, np.random.Generator], Source]] = {
    "mcf7": mcf7,
    "lymphoid": lymphoid,
    "lymph-node": lymph_node,
}


def _cells(
    path: Path,
    channels: tuple[str, ...],
    panels: tuple[tuple[str, ...], ...],
    *,
    pixel_um: float | None = None,
    size: int = 32,
) -> tuple[np.ndarray, np.ndarray, pd.DataFrame]:
    """Crops, masks and table of the cells of a field; DNA first, then the proteins of the panels."""
    stains = (ANCHOR, *sum(panels, ()))
    panel = Panel.parse("/".join(stains), "all")
    field = StudyField(image=path, panel=panel, channels=channels, donor=path.stem, condition="none")
    image = open_field(field).read(stains)
    labels = segment_image(image[0], pixel_size_um=pixel_um)
    cells = expand_nuclei(labels, _CELL_PX)
    found = pd.DataFrame(regionprops_table(labels, properties=("label", "centroid")))
    centres = found[["centroid-0", "centroid-1"]].to_numpy()
    ids = found["label"].to_numpy()
    images, masks = cut(image, labels, cells, np.rint(centres).astype(np.int64), ids, size, threads=1)
    name = path.name.split(".")[0]
    table = pd.DataFrame({"field": name, "donor": name, "label": ids, "y": centres[:, 0], "x": centres[:, 1]})
    return images, masks, table


class Cells:
    """The cells: a store to learn from, and the truth of the held-out ones.

    Each cell is given one panel by chance; what it has of the other panel is hidden from training, and
    is the truth of predictions where the cell is held out.

    Attributes
    ----------
    store
        Two panels, all cells.
    proteins, held_out
        Names of the proteins, and of the fields kept away.
    dna, stain, image
        Of each measured protein of the training cells: DNA and protein (n, y, x) float32 in [0, 1], and
        which protein (n,) int64, a place in ``proteins``.
    test_dna, truth
        Of the held-out cells: DNA (m, y, x), and every protein by its name.
    """

    def __init__(self, source: Source, folder: Path, rng: np.random.Generator) -> None:
        images, table = source.images, source.table.reset_index(drop=True)
        self.proteins, self.held_out = source.proteins, source.held_out
        test = table["field"].isin(self.held_out).to_numpy()
        of_panel = rng.integers(0, len(source.panels), len(images))
        panels = [Panel.parse("/".join((ANCHOR, *names)), "-".join(names)) for names in source.panels]
        places = [[1 + self.proteins.index(name) for name in names] for names in source.panels]
        with CellStoreWriter(
            folder / "cells.zarr", panels, crop_size=images.shape[-1], dtype=images.dtype
        ) as writer:
            for index, panel in enumerate(panels):
                own = np.flatnonzero(of_panel == index)
                obs = table.iloc[own].assign(condition="none", qc=True)
                crops = np.ascontiguousarray(images[own][:, [0, *places[index]]])
                writer.append(panel.name, crops, source.masks[own], obs.reset_index(drop=True))
        self.store = CellStore.open(folder / "cells.zarr")
        parts: list[tuple[np.ndarray, np.ndarray, np.ndarray]] = []
        self.truth = {}
        for index, panel in enumerate(panels):
            own = np.flatnonzero((of_panel == index) & ~test)
            dna = self._normalised(images[own, 0], ANCHOR, panel.name)
            for name, place in zip(source.panels[index], places[index], strict=True):
                values = self._normalised(images[:, place], name, panel.name)
                parts.append((dna, np.full(len(own), place - 1), values[own]))
                self.truth[name] = values[test]
        self.dna, self.stain, self.image = (np.concatenate(part) for part in zip(*parts, strict=True))
        self.test_dna = self._normalised(images[test, 0], ANCHOR, panels[0].name)
        self.folder = folder

    def _normalised(self, images: np.ndarray, stain: str, panel: str) -> np.ndarray:
        low, high = self.store.normalisation.limits(stain, [panel])[0]
        return np.clip((images - low) / (high - low), 0, 1).astype(np.float32)
