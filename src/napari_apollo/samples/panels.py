"""Two panels made from one image, the stains of the other panel hidden but kept as truth.

Cells are divided by blocks of the image, so that neighbours have one panel and whole blocks can be
held out. Every block is a field of the study: the same image, a label image with its cells alone,
and the channels its panel does not have marked as not used. The truth is the undivided image.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import tifffile

from napari_apollo.errors import DataError
from napari_apollo.panels import UNUSED, Panel
from napari_apollo.samples.bundled import LYMPH_NODE_PANELS, LYMPH_NODE_STAINS, lymph_node
from napari_apollo.storage import whole_file
from napari_apollo.study import Study, StudyField

Split = Literal["train", "validation", "test"]
GRID = (5, 5)


@dataclass(frozen=True)
class Block:
    """Cells of one block of an image.

    Attributes
    ----------
    name
        ``block_<row>_<column>``, counted from 0.
    panel
        The panel its cells are given.
    split
        Part of the data it belongs to.
    labels
        (Y, X) int32: the cells whose centroid lies in the block, with the numbers they have in the
        whole image.
    """

    name: str
    panel: Panel
    split: Split
    labels: np.ndarray


@dataclass(frozen=True)
class TwoPanels:
    """A two-panel experiment and what it hides.

    Attributes
    ----------
    study
        One field a block; a cell's field names only the stains of its panel.
    truth
        The same cells, undivided, with every stain.
    """

    study: Study
    truth: Study


def split_of(row: int, column: int) -> Split:
    """Part of the data a block belongs to: one block in five is test, one validation.

    Two rows on is one column on, as a knight moves in chess: held-out blocks touch no other
    held-out block of their kind and fall on both panels.
    """
    kinds: dict[int, Split] = {0: "test", 2: "validation"}
    return kinds.get((2 * row + column) % 5, "train")


def panel_map(shape: tuple[int, int], grid: tuple[int, int] = GRID, panels: int = 2) -> np.ndarray:
    """Which panel each pixel's block has, (Y, X) uint8, alternating as on a chessboard."""
    rows = np.arange(shape[0]) * grid[0] // shape[0]
    columns = np.arange(shape[1]) * grid[1] // shape[1]
    return ((rows[:, None] + columns) % panels).astype(np.uint8)


def divide_into_panels(
    labels: np.ndarray, panels: Sequence[Panel] = LYMPH_NODE_PANELS, *, grid: tuple[int, int] = GRID
) -> tuple[Block, ...]:
    """Divide the cells of an image over panels, block by block.

    Parameters
    ----------
    labels
        (Y, X) integer label image of the nuclei.
    panels
        Given to the blocks in turn, along rows and columns.
    grid
        Blocks along y and x.

    Returns
    -------
    tuple of Block
        Those that have cells; every cell is in exactly one.

    Raises
    ------
    DataError
        When a panel comes out with no cells in one of train, validation and test.
    """
    from skimage.measure import regionprops_table

    labels = np.asarray(labels, np.int32)
    table = regionprops_table(labels, properties=("label", "centroid"))
    row = (table["centroid-0"] * grid[0] / labels.shape[0]).astype(int).clip(0, grid[0] - 1)
    column = (table["centroid-1"] * grid[1] / labels.shape[1]).astype(int).clip(0, grid[1] - 1)
    blocks = []
    for y, x in np.ndindex(grid):
        own = table["label"][(row == y) & (column == x)]
        if len(own):
            kept = np.zeros(int(labels.max(initial=0)) + 1, bool)
            kept[own] = True
            blocks.append(
                Block(
                    f"block_{y}_{x}",
                    panels[(y + x) % len(panels)],
                    split_of(y, x),
                    np.where(kept[labels], labels, 0).astype(np.int32),
                )
            )
    for panel in panels:
        found = {block.split for block in blocks if block.panel == panel}
        if missing := {"train", "validation", "test"} - found:
            raise DataError(
                f"Panel {panel.name} has no cells for {', '.join(sorted(missing))} when "
                f"{len(table['label'])} cells are divided over a grid of {grid[0]} x {grid[1]} blocks; "
                "5 x 5 or more blocks of an image full of cells would do."
            )
    return tuple(blocks)


def two_panel_study(
    labels: np.ndarray,
    folder: Path | str,
    *,
    grid: tuple[int, int] = GRID,
) -> TwoPanels:
    """The lymph node as a two-panel experiment, written as manifests with their label images.

    Parameters
    ----------
    labels
        (Y, X) label image of the nuclei of the lymph node, as its segmentation gave it.
    folder
        Gets ``study.csv``, ``truth.csv`` and ``labels/*.tif``.
    grid
        Blocks along y and x.

    Raises
    ------
    DataError
        When the labels do not fit the image or do not fill the blocks.
    """
    folder = Path(folder)
    whole = next(iter(lymph_node()))
    with tifffile.TiffFile(whole.image) as file:
        shape = file.series[0].shape[-2:]
    if labels.shape != shape:
        raise DataError(f"The labels are {labels.shape} pixels, the lymph node is {shape}.")
    blocks = divide_into_panels(labels, grid=grid)
    fields = [
        StudyField(
            image=whole.image,
            panel=block.panel,
            donor=block.name,
            condition=whole.condition,
            field=f"{whole.field}_{block.name}",
            labels=write_labels(folder / "labels" / f"{whole.field}_{block.name}.tif", block.labels),
            split=block.split,
            channels=tuple(stain if stain in block.panel.stains else UNUSED for stain in LYMPH_NODE_STAINS),
        )
        for block in blocks
    ]
    all_labels = write_labels(folder / "labels" / f"{whole.field}.tif", labels)
    truth = lymph_node().with_labels({whole.field: all_labels})
    return TwoPanels(Study(fields).to_csv(folder / "study.csv"), truth.to_csv(folder / "truth.csv"))


def write_labels(path: Path, labels: np.ndarray) -> Path:
    """Write a label image, whole or not at all, as compressed TIFF."""
    with whole_file(path) as partial:
        tifffile.imwrite(partial, np.asarray(labels, np.int32), compression="zlib", photometric="minisblack")
    return path
