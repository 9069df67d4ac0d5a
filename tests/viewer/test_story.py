"""The whole way on the bundled lymph node, by the buttons of the tools alone."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from napari_apollo.train import Run
from napari_apollo.viewer import dock, find_layers, session_of

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


def test_from_a_sample_to_predicted_stains(window: Any, tmp_path: Path) -> None:
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
    segment.crop.form.set(size=32)
    segment.crop.start.click()
    assert session.jobs.wait(200)
    assert session.store is not None, segment.status.text()
    assert session.store.n_cells > 1500

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
