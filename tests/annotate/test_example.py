"""The example of an annotation session does what its page says."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd

from napari_apollo.annotate import read_annotations
from napari_apollo.cells import CellStore, CellStoreWriter
from napari_apollo.panels import Panel

EXAMPLE = Path(__file__).resolve().parents[2] / "examples" / "annotation_session.py"


def test_an_annotation_session_by_script(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    panel = Panel(name="p", stains=("DAPI", "CD3"))
    path = tmp_path / "s.cells.zarr"
    area = rng.uniform(20, 90, 240)
    obs = pd.DataFrame(
        {"field": "f", "label": np.arange(1, 241), "donor": ["one", "two"] * 120, "nucleus_area_px": area}
    )
    with CellStoreWriter(path, [panel], crop_size=8, dtype="uint16", pixel_size_um=None) as writer:
        writer.append(
            "p", rng.integers(0, 900, (240, 2, 8, 8), dtype=np.uint16), np.full((240, 8, 8), 2, np.uint8), obs
        )
    store = CellStore.open(path)
    table = store.table.copy()
    table.obsm["shared"] = np.column_stack([area / 20, rng.normal(size=(240, 3))]).astype(np.float32)
    store.write_table(table)
    output = tmp_path / "out.csv"
    command = [sys.executable, str(EXAMPLE), str(path), "--output", str(output)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=250)
    assert done.returncode == 0, done.stderr
    assert "kappa" in done.stdout
    people = read_annotations(path)
    assert {name: len(own.labels) for name, own in people.items()} == {"ada": 60, "bob": 60}
    assert [len(own.excluded) for own in people.values()] == [1, 1]
    obs = CellStore.open(path).obs
    assert (obs["annotation_ada"] != "").sum() == 60
    assert not obs["qc"].all()
    assert len(pd.read_csv(output)) == 240
