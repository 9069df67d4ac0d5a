"""Simulated cells as a study on disk."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import tifffile

from napari_apollo.errors import Cancelled, ConfigError, FileError
from napari_apollo.progress import Step
from napari_apollo.simulate import CELL_FACTORS, PANELS, STAINS, SimulateConfig, sample_blood_cells, simulate
from napari_apollo.study import Study, open_field, open_labels

SMALL = {
    "field_size": 128,
    "cells_per_field": 8,
    "conditions": ("control", "glioma"),
    "donors_per_condition": 2,
    "seed": 1,
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return simulate(SimulateConfig(output=tmp_path_factory.mktemp("simulated") / "study", **SMALL)).parent


def test_the_manifest_is_a_study_without_problems(folder: Path) -> None:
    study = Study.from_csv(folder / "study.csv")
    assert len(study) == 2 * 2 * 2
    assert study.check() == []
    assert {panel.stains for panel in study.panels.values()} == {panel.stains for panel in PANELS}
    splits = {(field.donor, field.split) for field in study}
    assert splits == {
        ("control01", "train"),
        ("control02", "test"),
        ("glioma01", "train"),
        ("glioma02", "test"),
    }
    image = open_field(next(iter(study)))
    assert image.stains == PANELS[0].stains
    assert image.pixel_size_um == pytest.approx((0.2, 0.2))


def test_the_folder_tree_is_discovered_as_the_same_study(folder: Path) -> None:
    found = Study.discover(folder / "images")
    written = Study.from_csv(folder / "study.csv")
    assert {(f.donor, f.condition, f.panel.stains) for f in found} == {
        (f.donor, f.condition, f.panel.stains) for f in written
    }


def test_truth_holds_the_measured_stains_and_the_hidden_ones(folder: Path) -> None:
    for field in Study.from_csv(folder / "study.csv"):
        truth = tifffile.imread(folder / "truth" / "images" / f"{field.field}.ome.tif")
        assert truth.shape == (7, 128, 128)
        measured = open_field(field).read()
        np.testing.assert_array_equal(measured, truth[[STAINS.index(stain) for stain in field.panel.stains]])


def test_tables_name_every_cell_and_focus(folder: Path) -> None:
    cells = pd.read_csv(folder / "truth" / "cells.csv")
    foci = pd.read_csv(folder / "truth" / "foci.csv")
    assert {factor.name for factor in CELL_FACTORS} <= set(cells.columns)
    assert foci.groupby(["field", "label"]).size().sum() == cells["foci_count"].sum()
    for field in Study.from_csv(folder / "study.csv"):
        labels = np.asarray(open_labels(field.labels).read())
        own = cells[cells["field"] == field.field].set_index("label")
        found = np.bincount(labels.ravel(), minlength=len(own) + 1)[1:]
        np.testing.assert_array_equal(found, own["nucleus_pixels"])
        regions = tifffile.imread(folder / "truth" / "cells" / f"{field.field}.tif")
        np.testing.assert_array_equal(regions[labels > 0], labels[labels > 0])
        assert set(own["donor"]) == {field.donor}
    description = json.loads((folder / "simulation.json").read_text("utf-8"))
    assert description["settings"]["seed"] == 1
    assert len(description["factors"]) == len(CELL_FACTORS)


def test_the_same_seed_writes_the_same_bytes(folder: Path, tmp_path: Path) -> None:
    again = simulate(SimulateConfig(output=tmp_path / "again", **SMALL)).parent
    files = sorted(path.relative_to(folder) for path in folder.rglob("*") if path.is_file())
    assert files == sorted(path.relative_to(again) for path in again.rglob("*") if path.is_file())
    for file in files:
        assert (folder / file).read_bytes() == (again / file).read_bytes(), file


def test_an_existing_folder_is_kept_unless_asked(tmp_path: Path) -> None:
    config = SimulateConfig(
        output=tmp_path / "study", **SMALL | {"donors_per_condition": 1, "held_out_donors": 0}
    )
    (tmp_path / "study").mkdir()
    (tmp_path / "study" / "notes.txt").write_text("mine")
    with pytest.raises(FileError, match="exists already"):
        simulate(config)
    assert (tmp_path / "study" / "notes.txt").read_text() == "mine"
    again = config.model_copy(update={"overwrite": True})
    with pytest.raises(FileError, match="holds other files"):  # nobody's notes are replaced, asked or not
        simulate(again)
    (tmp_path / "study" / "notes.txt").unlink()
    for _ in range(2):
        simulate(again)
        assert (tmp_path / "study" / "study.csv").exists()


def test_a_stop_leaves_nothing_behind(tmp_path: Path) -> None:
    steps: list[Step] = []
    with pytest.raises(Cancelled):
        simulate(
            SimulateConfig(output=tmp_path / "study", **SMALL),
            progress=steps.append,
            should_stop=lambda: len(steps) > 2,
        )
    assert steps[0].total == 8
    assert list(tmp_path.iterdir()) == []


def test_contradicting_settings_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="at least one must be left"):
        SimulateConfig(output=tmp_path, donors_per_condition=2, held_out_donors=2)
    with pytest.raises(ConfigError, match="each once"):
        SimulateConfig(output=tmp_path, conditions=("control", "control"))
    with pytest.raises(ConfigError, match="conditions"):
        SimulateConfig(output=tmp_path, conditions=("cured",))


def test_sample_is_one_field_in_each_panel() -> None:
    first, second = sample_blood_cells()
    assert (first.panel, second.panel) == PANELS
    assert first.image.shape == (7, 512, 512)
    assert len(first.truth) > 40
    assert first.truth["cell_type"].nunique() == 5
