"""napari is closed in the middle of a training and started again: two processes with real windows."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from napari_apollo.train import Run

pytestmark = [pytest.mark.gui, pytest.mark.slow, pytest.mark.timeout(300)]

COMMON = """
import json, sys, time
import napari
from qtpy.QtCore import QTimer
from qtpy.QtWidgets import QApplication
from napari_apollo.cells import CellStore
from napari_apollo.viewer import dock, session_of

store, place = sys.argv[1:]
viewer = napari.Viewer(show=True)
session = session_of(viewer)
session.folder = place
session.store = CellStore.open(store)
tool = dock(viewer, "Train")["Train"]

def until(condition, seconds=120):
    end = time.monotonic() + seconds
    while not condition() and time.monotonic() < end:
        QApplication.processEvents()
        time.sleep(0.02)
    assert condition(), tool.state.text() + tool.status.text()
"""

FIRST = """
tool.form.set(
    latent_epochs=1, encoder_epochs=3000, encoder_patience=0, shared=4, specific=4, embedding=2, width=4,
    head=8, specific_maps=4, checkpoint_seconds=0.0, device="cpu", threads=1, previews_every=1,
)
tool.start_button.click()
until(lambda: session.run is not None and len(session.run.metrics()) >= 2)
run = session.run
print(json.dumps({"folder": str(run.folder), "pid": run.status().pid, "epochs": len(run.metrics())}))
# as a person closes it: the window goes, the loop ends, the process ends
QTimer.singleShot(0, viewer.close)
napari.run()
"""

SECOND = """
until(lambda: session.run is not None and "epoch" in tool.state.text())
before = len(session.run.metrics())
until(lambda: len(session.run.metrics()) > before)
found = {"folder": str(session.run.folder), "pid": session.run.status().pid, "epochs": before}
found["words"] = tool.state.text()
found["preview"] = not tool.preview.empty.isVisibleTo(tool)
found["torch"] = "torch" in sys.modules
tool.stop_button.click()
until(lambda: session.run.status().state == "stopped")
until(lambda: tool.resume_button.isEnabled(), 20)
print(json.dumps(found))
QTimer.singleShot(0, viewer.close)
napari.run()
"""


def napari_process(script: str, *arguments: Path) -> dict[str, Any]:
    """What a napari of its own prints; it must end by itself, without an error."""
    command = [sys.executable, "-c", COMMON + script, *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=240, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    found: dict[str, Any] = json.loads(done.stdout.strip().splitlines()[-1])
    return found


def test_a_training_outlives_napari_and_is_found_again(screen: str, learnable: Path, tmp_path: Path) -> None:
    first = napari_process(FIRST, learnable, tmp_path)
    run = Run(first["folder"])
    try:
        assert run.alive  # the window is gone, the training is not
        assert not run.status().over
        second = napari_process(SECOND, learnable, tmp_path)
    finally:
        run.stop()
    assert second["folder"] == first["folder"]
    assert second["pid"] == first["pid"]
    assert second["epochs"] >= first["epochs"]
    assert "epoch" in second["words"]
    assert second["preview"]
    assert not second["torch"]  # watching needs no torch
    assert run.status().state == "stopped"
