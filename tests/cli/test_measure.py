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
