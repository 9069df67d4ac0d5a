"""The main job, whole, with as little training as there can be."""

from __future__ import annotations

import re
from pathlib import Path

import anndata
import numpy as np
import pandas as pd
import pytest
import zarr

from napari_apollo.cells import CellStore
from napari_apollo.demo import DemoConfig, DemoResults, demo
from napari_apollo.errors import Cancelled, FileError
from napari_apollo.predict import PredictionStore
from napari_apollo.progress import Step
from napari_apollo.study import Study
from napari_apollo.train import Run


@pytest.fixture(scope="module")
def steps() -> list[Step]:
    return []


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory, steps: list[Step]) -> DemoResults:
    folder = tmp_path_factory.mktemp("demonstration") / "demo"
    return demo(DemoConfig(output=folder, epochs=1), progress=steps.append)


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_everything_that_is_promised_is_there(results: DemoResults) -> None:
    assert [sample.name for sample in results.samples] == ["lymph_node", "u2os_wells"]
    for sample in results.samples:
        store = CellStore.open(results.path(sample.store))
        assert store.verify() == []
        assert PredictionStore.open(results.path(sample.predictions)).verify() == []
        assert Run(results.path(sample.run)).status().state == "done"
        table = anndata.read_h5ad(results.path(sample.h5ad))
        assert table.n_obs == sample.cells == store.n_cells == len(pd.read_csv(results.path(sample.csv)))
        assert {"shared", "chromatin_specific"} <= set(table.obsm)
        assert np.isfinite(table.obsm["shared"]).all()
    lymph, wells = results.samples
    assert 1500 < lymph.cells < 3500
    assert len(wells.images) == 4


@pytest.mark.slow
def test_the_other_panel_is_hidden_from_training_and_scored_after_it(results: DemoResults) -> None:
    lymph = results.samples[0]
    study = Study.from_csv(results.path(lymph.manifest))
    assert {panel.stains for panel in study.panels.values()} == {
        ("DAPI", "CD4", "FOXP3"),
        ("DAPI", "CD8", "BCL6"),
    }
    store = CellStore.open(results.path(lymph.store))
    assert {store.panels[name].stains for name in store.panels} == {
        panel.stains for panel in study.panels.values()
    }
    hidden = {row["stain"] for row in lymph.scores if row["truth"] == "hidden"}
    assert hidden == {"CD4", "FOXP3", "CD8", "BCL6"}


@pytest.mark.slow
def test_the_image_names_its_channels(results: DemoResults) -> None:
    group = zarr.open_group(results.path(results.samples[0].images[0]), mode="r")
    names = [channel["label"] for channel in group.attrs["ome"]["omero"]["channels"]]
    assert "DAPI" in names
    assert "CD8 (predicted from DAPI)" in names
    assert "CD4 (reconstructed)" in names


@pytest.mark.slow
def test_the_page_is_one_file_with_pictures(results: DemoResults) -> None:
    html = results.path(results.report).read_text("utf-8")
    assert html.count('src="data:image/png;base64,') > 15
    assert not re.findall(r'(?:src|href)="(?!data:|#)', html)  # nothing is fetched from elsewhere


@pytest.mark.slow
def test_progress_names_sample_and_stage(results: DemoResults, steps: list[Step]) -> None:
    stages = {step.stage for step in steps}
    assert any(stage.startswith("Lymph node, two panels: Step 1") for stage in stages)
    assert any(stage.startswith("U2OS wells") for stage in stages)


@pytest.mark.slow
def test_results_can_be_read_again(results: DemoResults) -> None:
    assert DemoResults.read(results.folder) == results


def test_a_folder_with_other_files_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "thesis.doc").write_text("mine")
    with pytest.raises(FileError, match="holds other files"):
        demo(DemoConfig(output=tmp_path))
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.doc"]


def test_no_demonstration_is_said_in_words(tmp_path: Path) -> None:
    with pytest.raises(FileError, match="holds no demonstration"):
        DemoResults.read(tmp_path)


def test_it_stops_when_asked(tmp_path: Path) -> None:
    with pytest.raises(Cancelled):
        demo(DemoConfig(output=tmp_path / "demo"), should_stop=lambda: True)
