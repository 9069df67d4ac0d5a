"""Ready-cut crops of simulated cells in memory, for training and benchmarks without files."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from napari_apollo.errors import ConfigError
from napari_apollo.panels import Panel, match_stains
from napari_apollo.progress import Progress, ShouldStop, Step, never, silent
from napari_apollo.simulate.fields import SceneConfig, SimulatedField, make_donor, simulate_field
from napari_apollo.simulate.population import CONDITIONS, PANELS, STAINS, Donor
from napari_apollo.tasks import map_tasks

CROP_EXTENT_UM = 14.4
"""Side of a crop in micrometres, whatever its pixels: the largest cells just fit."""

_CROPS_A_SIDE = 10  # sides of a crop in a side of the fields that crops are cut from
_CELLS_A_CROP = 1.3  # cells aimed at in the area of a crop


@dataclass(frozen=True)
class SimulatedCrops:
    """Cells in all stains, cut out, with their truth.

    Attributes
    ----------
    images
        uint16, (cell, 7, y, x), every stain in the order of ``STAINS``, camera counts; neighbours are kept.
    masks
        uint8, (cell, y, x): 0 not this cell, 1 its cytoplasm, 2 its nucleus.
    truth
        One row a cell: as ``SimulatedField.truth``, with its ``label`` as a column.
    pixel_size_um
        Side of a pixel, µm.
    """

    images: NDArray[np.uint16]
    masks: NDArray[np.uint8]
    truth: pd.DataFrame
    pixel_size_um: float

    def of_panel(self, panel: Panel) -> tuple[NDArray[np.intp], NDArray[np.uint16]]:
        """Rows of the cells measured in a panel, and their images in its stains, (cell, stain, y, x)."""
        rows = np.flatnonzero(self.truth["panel"] == panel.name)
        stains = list(match_stains(panel.stains, STAINS, "the simulated stains"))
        return rows, self.images[rows[:, None], stains]

    def measured(self) -> NDArray[np.bool_]:
        """Whether each cell was measured in each stain, (cell, 7); the rest is hidden truth."""
        of_panel = {panel.name: [stain in panel for stain in STAINS] for panel in PANELS}
        return np.array([of_panel[name] for name in self.truth["panel"]], dtype=bool).reshape(-1, len(STAINS))


def simulate_crops(
    cells: int,
    size: int = 64,
    *,
    donors: int = 8,
    scene: SceneConfig | None = None,
    workers: int | None = None,
    progress: Progress = silent,
    should_stop: ShouldStop = never,
) -> SimulatedCrops:
    """Simulate cells and cut them out.

    Parameters
    ----------
    cells
        Number of cells, spread evenly over donors and both panels.
    size
        Side of a crop in pixels, 24 to 256; a crop is always ``CROP_EXTENT_UM`` wide.
    donors
        Number of donors, ``D01`` on; conditions take turns.
    scene
        What the fields look like. Its field size, pixel size and number of cells are decided by ``size``.
    workers
        Threads; every core where not given. The result does not depend on it.

    Raises
    ------
    ConfigError
        When there are fewer cells than donors times two, or a number is out of its bounds.
    Cancelled
        When ``should_stop`` says so.

    Notes
    -----
    Memory: 15 bytes a pixel of every crop, and for every thread a field of ten crops a side.
    """
    if donors < 1 or cells < 2 * donors:
        raise ConfigError(f"cells = {cells}, donors = {donors}: at least one cell for each donor and panel.")
    if not 24 <= size <= 256:
        raise ConfigError(f"size = {size}: crops have 24 to 256 pixels a side.")
    values = (scene or SceneConfig()).model_dump() | {
        "field_size": _CROPS_A_SIDE * size,
        "pixel_size_um": CROP_EXTENT_UM / size,
        "cells_per_field": round(_CELLS_A_CROP * _CROPS_A_SIDE**2),
    }
    config = SceneConfig(**values)
    images = np.empty((cells, len(STAINS), size, size), dtype=np.uint16)
    masks = np.empty((cells, size, size), dtype=np.uint8)
    tables = []
    done = 0
    names = list(CONDITIONS)
    groups = [
        (make_donor(config, f"D{i + 1:02d}", names[i % len(names)]), panel)
        for i in range(donors)
        for panel in PANELS
    ]
    for number, (donor, panel) in enumerate(groups):
        wanted = done + cells // len(groups) + (number < cells % len(groups))
        # A field holds about 90 whole crops; more fields are simulated only where that was not enough.
        index = 0
        while done < wanted:
            batch = range(index, index + max(1, round((wanted - done) / 90)))
            index = batch.stop
            task = partial(_crops_of_field, config=config, donor=donor, panel=panel, size=size)
            for own_images, own_masks, own_truth in map_tasks(
                task, batch, workers=workers, should_stop=should_stop
            ):
                taken = min(len(own_truth), wanted - done)
                images[done : done + taken] = own_images[:taken]
                masks[done : done + taken] = own_masks[:taken]
                tables.append(own_truth[:taken])
                done += taken
                progress(Step("Simulating cells", done, cells, donor.name))
    return SimulatedCrops(images, masks, pd.concat(tables, ignore_index=True), config.pixel_size_um)


def _crops_of_field(
    index: int, config: SceneConfig, donor: Donor, panel: Panel, size: int
) -> tuple[NDArray[np.uint16], NDArray[np.uint8], pd.DataFrame]:
    return cut_whole_crops(simulate_field(config, donor, panel, index), size)


def cut_whole_crops(
    field: SimulatedField, size: int
) -> tuple[NDArray[np.uint16], NDArray[np.uint8], pd.DataFrame]:
    """Cut out every cell whose crop lies wholly in a field.

    Returns
    -------
    images
        uint16, (cell, 7, size, size), centred on the pixel nearest to the nucleus centroid.
    masks
        uint8, (cell, size, size), as in ``SimulatedCrops``.
    truth
        Their rows of the truth table, label as a column.
    """
    centres = np.floor(field.truth[["y", "x"]].to_numpy() + 0.5).astype(int)
    low = centres - size // 2
    whole = ((low >= 0) & (low + size <= field.nuclei.shape)).all(axis=1)
    truth = field.truth[whole].reset_index()
    images = np.empty((len(truth), len(STAINS), size, size), dtype=np.uint16)
    masks = np.empty((len(truth), size, size), dtype=np.uint8)
    for i, ((y, x), label) in enumerate(zip(low[whole], truth["label"], strict=True)):
        window = (slice(y, y + size), slice(x, x + size))
        images[i] = field.image[:, *window]
        masks[i] = (field.cells[window] == label).astype(np.uint8) + (field.nuclei[window] == label)
    return images, masks, truth
