"""Simulated blood cells as a study on disk: what a microscope would have saved, and the truth beside it.

::

    OUTPUT/study.csv                                     the manifest, labels included
    OUTPUT/images/CONDITION/PANEL/DONOR/FIELD.ome.tif    the stains of the panel
    OUTPUT/labels/FIELD.tif                              nuclei, int32
    OUTPUT/truth/cells/FIELD.tif                         cell regions, same numbers
    OUTPUT/truth/images/FIELD.ome.tif                    every stain, also those of the other panel
    OUTPUT/truth/cells.csv, foci.csv                     every factor of every cell; every focus
    OUTPUT/simulation.json                               settings, and what each factor drives
"""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Literal

import numpy as np
import pandas as pd
import tifffile
from numpy.typing import NDArray
from pydantic import Field, model_validator

from napari_apollo import __version__
from napari_apollo.panels import Panel
from napari_apollo.progress import Progress, ShouldStop, Step, never, silent
from napari_apollo.simulate.fields import (
    SceneConfig,
    SimulatedField,
    field_memory,
    make_donor,
    simulate_field,
)
from napari_apollo.simulate.population import CELL_FACTORS, PANELS, STAINS, Donor
from napari_apollo.storage import whole_folder, write_json
from napari_apollo.tasks import map_tasks

ConditionName = Literal["control", "headneck", "meningioma", "glioma"]


class SimulateConfig(SceneConfig):
    """Settings of a simulated study."""

    output: Path
    """Folder to write; it appears whole or not at all."""
    conditions: tuple[ConditionName, ...] = ("control", "headneck", "meningioma", "glioma")
    """Conditions to simulate; they differ in foci, chromatin and composition."""
    donors_per_condition: int = Field(3, ge=1, le=99)
    """Donors of each condition; each is measured in both panels."""
    fields_per_panel: int = Field(1, ge=1, le=99)
    """Fields of each donor in each panel."""
    held_out_donors: int = Field(1, ge=0, le=98)
    """Donors of each condition that the manifest sets aside as test donors."""
    overwrite: bool = False
    """Replace the folder where it exists."""

    @model_validator(mode="after")
    def _check(self) -> SimulateConfig:
        if not self.conditions or len(set(self.conditions)) != len(self.conditions):
            raise ValueError("conditions: name at least one, and each once.")
        if self.held_out_donors >= self.donors_per_condition:
            raise ValueError(
                f"held_out_donors = {self.held_out_donors} of the {self.donors_per_condition} donors of a "
                "condition: at least one must be left to train on."
            )
        return self


def simulate(config: SimulateConfig, *, progress: Progress = silent, should_stop: ShouldStop = never) -> Path:
    """Write a simulated study.

    Parameters
    ----------
    config
        What to simulate and where to put it. Memory: that of one field (announced first) for every core.

    Returns
    -------
    pathlib.Path
        The manifest, ``OUTPUT/study.csv``.

    Raises
    ------
    FileError
        When the folder exists and ``overwrite`` is not set.
    StorageFull
        When the disk is full; nothing is left behind.
    Cancelled
        When ``should_stop`` says so; nothing is left behind.
    """
    jobs = _jobs(config)
    stage = "Simulating fields"
    progress(Step(stage, 0, len(jobs), f"{field_memory(config) / 1e6:.0f} MB a field at work"))
    with whole_folder(config.output, overwrite=config.overwrite, mark="simulation.json") as folder:
        rows, truths, foci = [], [], []
        results = map_tasks(partial(_simulate_job, config=config), jobs, should_stop=should_stop)
        for done, ((donor, _, _), field) in enumerate(zip(jobs, results, strict=True), 1):
            rows.append(_write_field(folder, field, donor, _split(config, donor)))
            truths.append(field.truth.reset_index())
            foci.append(field.foci.assign(field=field.name))
            progress(Step(stage, done, len(jobs), field.name))
        pd.DataFrame(rows).to_csv(folder / "study.csv", index=False)
        pd.concat(truths).to_csv(folder / "truth" / "cells.csv", index=False)
        pd.concat(foci).to_csv(folder / "truth" / "foci.csv", index=False)
        settings = config.model_dump(mode="json", exclude={"output", "overwrite"})
        factors = [vars(factor) for factor in CELL_FACTORS]
        write_json(
            folder / "simulation.json", {"version": __version__, "settings": settings, "factors": factors}
        )
    return config.output / "study.csv"


def sample_blood_cells(seed: int = 0) -> tuple[SimulatedField, SimulatedField]:
    """Two small fields of one donor, one in each panel, for a first look and as the plugin's sample data.

    Returns
    -------
    tuple of SimulatedField
        512 x 512 pixels of 0.2 µm; ``measured()`` gives what the microscope saw, ``image`` all stains.
    """
    config = SceneConfig(cells_per_field=80, seed=seed)
    donor = make_donor(config, "sample", "headneck")
    first, second = (simulate_field(config, donor, panel) for panel in PANELS)
    return first, second


def _jobs(config: SimulateConfig) -> list[tuple[Donor, Panel, int]]:
    return [
        (make_donor(config, f"{condition}{number + 1:02d}", condition), panel, index)
        for condition in config.conditions
        for number in range(config.donors_per_condition)
        for panel in PANELS
        for index in range(config.fields_per_panel)
    ]


def _simulate_job(job: tuple[Donor, Panel, int], config: SceneConfig) -> SimulatedField:
    return simulate_field(config, *job)


def _split(config: SimulateConfig, donor: Donor) -> str:
    number = int(donor.name.removeprefix(donor.condition))
    return "test" if number > config.donors_per_condition - config.held_out_donors else "train"


def _write_field(folder: Path, field: SimulatedField, donor: Donor, split: str) -> dict[str, object]:
    image = Path("images", donor.condition, field.panel.name, donor.name, f"{field.name}.ome.tif")
    labels = Path("labels", f"{field.name}.tif")
    _write_image(folder / image, field.measured(), field.panel.stains, field.pixel_size_um)
    _write_image(
        folder / "truth" / "images" / f"{field.name}.ome.tif", field.image, STAINS, field.pixel_size_um
    )
    _write_labels(folder / labels, field.nuclei)
    _write_labels(folder / "truth" / "cells" / f"{field.name}.tif", field.cells)
    return {
        "image": image.as_posix(),
        "panel": field.panel.name,
        "donor": donor.name,
        "condition": donor.condition,
        "field": field.name,
        "labels": labels.as_posix(),
        "pixel_size_um": field.pixel_size_um,
        "split": split,
    }


def _write_image(path: Path, image: NDArray[np.uint16], stains: Sequence[str], pixel_um: float) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    tifffile.imwrite(
        path,
        image,
        ome=True,
        photometric="minisblack",
        tile=(256, 256),
        compression="zlib",
        predictor=True,
        metadata={
            "axes": "CYX",
            "Channel": {"Name": list(stains)},
            "PhysicalSizeX": pixel_um,
            "PhysicalSizeXUnit": "µm",
            "PhysicalSizeY": pixel_um,
            "PhysicalSizeYUnit": "µm",
            # Of the name alone, so that the same seed writes the same bytes.
            "UUID": str(uuid.uuid5(uuid.NAMESPACE_URL, path.name)),
        },
    )


def _write_labels(path: Path, labels: NDArray[np.int32]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    tifffile.imwrite(path, labels, tile=(256, 256), compression="zlib", metadata={"axes": "YX"})
