"""Measuring a study or an image from the command line, and what the command says of missing values."""

from __future__ import annotations

import contextlib
import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import tifffile
from click.testing import Result
from typer.testing import CliRunner

from napari_apollo.cli.app import app
from napari_apollo.study import Study, StudyField


def call(*arguments: object, cwd: Path) -> Result:
    with contextlib.chdir(cwd):
        return CliRunner().invoke(app, ["measure", *map(str, arguments)])


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """An image of three nuclei, one of them a single pixel, and its labels."""
    y, x = np.mgrid[:50, :80]
    labels = np.zeros((50, 80), np.int32)
    labels[np.hypot(y - 25, x - 20) < 9], labels[np.hypot(y - 20, x - 60) < 11] = 1, 2
    labels[45, 40] = 3
    light = np.random.default_rng(0).integers(100, 900, (2, 50, 80)).astype(np.uint16)
    tifffile.imwrite(tmp_path / "a.tif", light, photometric="minisblack")
    tifffile.imwrite(tmp_path / "labels.tif", labels)
    return tmp_path


FEW = ("--families", "shape", "--families", "intensity", "--workers", "1")
IMAGE = ("a.tif", "--labels", "labels.tif", "--channels", "DAPI,CD3")


def test_an_image_with_labels_gives_a_table(folder: Path) -> None:
    outcome = call(*IMAGE, "--pixel-size-um", "0.5", *FEW, "--json", cwd=folder)
    assert outcome.exit_code == 0, outcome.stderr
    told = json.loads(outcome.stdout)
    table = pd.read_csv(folder / "a.features.csv")
    assert told["table"] == "a.features.csv"
    assert told["cells"] == len(table) == 3
    assert table["label"].tolist() == [1, 2, 3]
    labels = tifffile.imread(folder / "labels.tif")
    np.testing.assert_allclose(table["nucleus_area"], np.bincount(labels.ravel())[1:] * 0.25)
    assert told["missing"]["the region has too few pixels"] > 0


def test_missing_values_are_counted_in_words(folder: Path) -> None:
    outcome = call(*IMAGE, *FEW, cwd=folder)
    assert outcome.exit_code == 0, outcome.stderr
    assert "a.features.csv: 3 cells" in outcome.stdout
    assert "values missing: the region has too few pixels" in outcome.stdout


def test_a_manifest_with_labels_gives_a_table(folder: Path) -> None:
    field = StudyField(
        image=folder / "a.tif",
        labels=folder / "labels.tif",
        panel="DAPI/CD3",
        donor="d",
        condition="c",
        channels=("DAPI", "CD3"),
    )
    Study([field]).to_csv(folder / "study.csv")
    outcome = call("study.csv", *FEW, "--output", "out.h5ad", cwd=folder)
    assert outcome.exit_code == 0, outcome.stderr
    assert (folder / "out.h5ad").exists()


@pytest.fixture
def odd(folder: Path) -> Path:
    """Label images that do not fit, or hold little, and a stack, beside the image."""
    labels = tifffile.imread(folder / "labels.tif")
    changed = {
        "small": labels[:40],
        "floats": labels.astype(np.float32),
        "negative": labels - 1,
        "stack": np.repeat(labels[None], 4, axis=0),
        "empty": labels * 0,
        "one": (labels == 1).astype(np.uint8),
    }
    for name, image in changed.items():
        tifffile.imwrite(folder / f"{name}.tif", image, photometric="minisblack")
    light = np.random.default_rng(1).integers(100, 900, (4, 2, 50, 80)).astype(np.uint16)
    channels = {"axes": "ZCYX", "Channel": {"Name": ["DAPI", "CD3"]}}
    tifffile.imwrite(folder / "z.ome.tif", light, metadata=channels)
    return folder


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--labels", "small.tif"), "small.tif: is 40 x 80 pixels, its image 50 x 80"),
        (("--labels", "floats.tif"), "floats.tif: holds floats"),
        (("--labels", "negative.tif"), "negative.tif: holds the negative label -1"),
        (("--labels", "stack.tif"), "stack.tif: has 4 x 50 x 80 planes and pixels, its image 1 x 50 x 80"),
        (("--labels", "labels.tif", "--channels", "DAPI"), "a.tif: has 2 channels"),
        (("--labels", "labels.tif", "--foci-stains", "CD9"), "'CD9' is not in the study; it holds CD3, DAPI"),
        (("--labels", "labels.tif", "--pixel-size-um", "nan"), "pixel_size_um = nan"),
        (("--labels", "labels.tif", "--z-step-um", "1"), "--z-step-um cannot go with"),
        (("--labels", "labels.tif", "--largest-cell-px", "20"), "labels.tif: 2 labels reach further"),
    ],
)
def test_labels_and_settings_that_do_not_fit_are_named(
    odd: Path, arguments: tuple[str, ...], words: str
) -> None:
    channels = () if "--channels" in arguments else ("--channels", "DAPI,CD3")
    outcome = call("a.tif", *arguments, *channels, cwd=odd)
    assert outcome.exit_code == 2
    assert words in " ".join(outcome.stderr.split())
    assert not list(odd.glob("*.features.csv"))


@pytest.mark.parametrize(("labels", "cells"), [("empty.tif", 0), ("one.tif", 1)])
def test_few_cells_are_cells(odd: Path, labels: str, cells: int) -> None:
    outcome = call("a.tif", "--labels", labels, "--channels", "DAPI,CD3", "--workers", "1", "--json", cwd=odd)
    assert outcome.exit_code == 0, outcome.stderr
    assert json.loads(outcome.stdout)["cells"] == cells
    table = pd.read_csv(odd / "a.features.csv")
    assert len(table) == cells
    assert not np.isinf(table.select_dtypes("number").to_numpy()).any()


def test_a_stack_with_flat_labels_is_measured_on_its_maximum(odd: Path) -> None:
    outcome = call("z.ome.tif", "--labels", "labels.tif", *FEW, cwd=odd)
    assert outcome.exit_code == 0, outcome.stderr
    table = pd.read_csv(odd / "z.features.csv")
    labels, light = tifffile.imread(odd / "labels.tif"), tifffile.imread(odd / "z.ome.tif")
    wanted = [light[:, 0].max(axis=0)[labels == label].mean() for label in table["label"]]
    np.testing.assert_allclose(table["nucleus_mean_DAPI"], wanted, rtol=1e-6)


def test_a_stack_with_labels_in_planes_is_measured_in_three_dimensions(odd: Path) -> None:
    size = ("--pixel-size-um", "0.5", "--z-step-um", "2")
    outcome = call("z.ome.tif", "--labels", "stack.tif", *size, *FEW, cwd=odd)
    assert outcome.exit_code == 0, outcome.stderr
    table = pd.read_csv(odd / "z.features.csv").set_index("label")
    labels, light = tifffile.imread(odd / "stack.tif"), tifffile.imread(odd / "z.ome.tif")
    for label in (1, 2, 3):
        inside = labels == label
        assert table.at[label, "nucleus_volume"] == pytest.approx(inside.sum() * 0.5)
        assert table.at[label, "nucleus_mean_3d_CD3"] == pytest.approx(light[:, 1][inside].mean(), rel=1e-6)
        place = table.loc[label, ["z", "y", "x"]].to_numpy(float)
        np.testing.assert_allclose(place, np.argwhere(inside).mean(axis=0))
    lacking = call("z.ome.tif", "--labels", "stack.tif", "--pixel-size-um", "0.5", cwd=odd)
    assert lacking.exit_code == 2
    assert "give the z_step_um" in " ".join(lacking.stderr.split())


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("a.tif",), "--labels"),
        (("a.tif", "--labels", "labels.tif"), "does not name its channels"),
        ((*IMAGE, "--output", "t.parquet"), ".h5ad"),
        (("nothing.tif", "--labels", "labels.tif"), "does not exist"),
        (("a.tif", "--labels", "labels.tif", "--channels", "CD3,CD4"), "DNA"),
    ],
)
def test_what_does_not_fit_is_told(folder: Path, arguments: tuple[str, ...], words: str) -> None:
    outcome = call(*arguments, cwd=folder)
    assert outcome.exit_code == 2
    assert words in outcome.stderr
    assert not list(folder.glob("*.features.csv"))
