"""The whole way on the bundled lymph node, by the buttons of the tools alone."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from napari_apollo.train import Run
from napari_apollo.viewer import dock, find_layers, session_of
from napari_apollo.viewer.scatter import inside_outline

pytestmark = [
    pytest.mark.gui,
    pytest.mark.slow,
    pytest.mark.usefixtures("nothing_stays"),
    pytest.mark.timeout(600),
]

BRIEF = {"latent_epochs": 1, "encoder_epochs": 2, "width": 4, "head": 8, "specific_maps": 4, "threads": 1}


def until(condition: Callable[[], bool], seconds: float = 300) -> None:
    from qtpy.QtWidgets import QApplication

    end = time.monotonic() + seconds
    while not condition() and time.monotonic() < end:
        QApplication.processEvents()
        time.sleep(0.02)
    assert condition()


def test_from_a_sample_to_predicted_stains_and_annotated_cells(window: Any, tmp_path: Path) -> None:
    viewer = window
    session = session_of(viewer)
    session.folder = tmp_path
    viewer.open_sample("napari-apollo", "lymph_node")

    study = dock(viewer, "Study")["Study"]
    study.add_layers()
    assert study.table.rowCount() == 1
    study.save.click()
    assert session.study.path == tmp_path / "study.csv", study.status.text()

    segment = dock(viewer, "Segment and crop")["Segment and crop"]
    assert segment.divide.isVisibleTo(segment)
    segment.start.click()
    assert session.jobs.wait(200)
    assert len(session.study.panels) == 2, segment.status.text()

    segment.correct_field()
    corrected = segment.correct.field.field
    drawn = segment.correct.layer
    gone, first, second = (int(number) for number in np.unique(drawn.data)[[5, 20, 21]])
    before = len(np.unique(drawn.data))
    segment.correct.pick_at(gone)
    segment.correct.delete()
    segment.correct.pick_at(first)
    segment.correct.pick_at(second, add=True)
    segment.correct.merge()
    segment.correct.undo()
    assert len(np.unique(drawn.data)) == before - 1
    segment.correct.save_labels()
    segment.crop.form.set(size=32)
    segment.crop.start.click()
    assert session.jobs.wait(200)
    assert session.store is not None, segment.status.text()
    assert session.store.n_cells > 1500
    assert (session.store.obs["field"] == corrected).sum() == before - 2  # one was background, one is gone

    train = dock(viewer, "Train")["Train"]
    train.form.set(**BRIEF)
    train.start_button.click()
    assert session.run is not None, train.status.text()
    until(lambda: session.run.status().over)
    assert session.run.status().state == "done", session.run.status().message
    until(lambda: "Done" in train.state.text(), 30)

    overlay = dock(viewer, "Overlay")["Overlay"]
    assert overlay.run_box.currentText() == "apollo.run"
    overlay.predict_button.click()
    assert session.jobs.wait(200)
    assert session.predictions is not None, overlay.status.text()
    overlay.show_button.click()
    assert session.jobs.wait(200)
    assert {layer.metadata["napari_apollo"]["stain"] for layer in find_layers(viewer, role="predicted")} == {
        "CD4", "FOXP3", "CD8", "BCL6",
    }  # fmt: skip
    assert (Run(tmp_path / "apollo.run").folder / "model" / "weights.safetensors").is_file()

    explore = dock(viewer, "Explore")["Explore"]
    explore.show_map("PCA of shared")
    low, high = np.nanpercentile(explore.cloud.points, (25, 75), axis=0)
    box = np.array([low, (high[0], low[1]), high, (low[0], high[1])])
    explore.cloud.enclosed.emit(inside_outline(explore.cloud.points, box), False)
    assert 10 < len(session.selection) < session.store.n_cells / 2
    (cells,) = find_layers(viewer, role="cells")
    assert cells.features["selected"].sum() == len(session.selection)
    session.selection = [100]
    until(lambda: len(explore.cell_panel.near) == 8, 60)

    measure = dock(viewer, "Measure")["Measure"]
    measure.form.set(families=("shape",), workers=1)
    measure.start.click()
    assert session.jobs.wait(200)
    measure.show_feature("nucleus_area_px")
    measure.paint_cells()
    assert find_layers(viewer, role="feature")
    measure.export(tmp_path / "cells.h5ad")
    assert session.jobs.wait(200)
    assert (tmp_path / "cells.h5ad").is_file()

    annotate = dock(viewer, "Annotate")["Annotate"]
    annotate.annotate_as("ada")
    for name in ("small", "large"):
        annotate.annotation.annotations.add_class(name)
    order = np.argsort(annotate.annotation.columns.column("nucleus_area_px").values)
    for chosen, name in ((order[:150], "small"), (order[-150:], "large")):
        session.selection = chosen
        annotate.label(name)
    annotate.suggesting.suggest_button.click()
    assert session.jobs.wait(200)
    assert annotate.annotation.suggestions is not None
    assert "Learnt from 300 cells" in annotate.suggesting.quality.text()
    annotate.undo()
    annotate.redo()
    annotate.keeping.write()
    assert session.jobs.wait(200)
    assert session.store.obs["annotation"].value_counts()[["small", "large"]].tolist() == [150, 150]
    annotate.keeping.export(tmp_path / "said.csv")
    assert len(pd.read_csv(tmp_path / "said.csv")) == session.store.n_cells
    session.jobs.wait(200)
