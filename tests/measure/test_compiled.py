"""Compiled code is kept where it can be, is said to be made, and is not needed to be kept."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

SCRIPT = """
import json, sys
import numpy as np
if sys.argv[1] == "nowhere":
    from numba.core import caching
    for kind in vars(caching).values():
        if hasattr(kind, "_locator_classes"):
            kind._locator_classes = []
from napari_apollo.measure import MeasureConfig, measure_field
from napari_apollo.measure.compiled import _cache_folder
said = []
labels = np.pad(np.ones((8, 9), np.int32), 2)
config = MeasureConfig(families=("neighbours",), workers=1)
table = measure_field(labels[None], labels, None, ["DAPI"], config=config, progress=said.append)
folder = _cache_folder()
print(json.dumps([str(folder), len(table), [step.detail for step in said if step.stage == "Compiling"]]))
"""


def ran(tmp_path: Path, where: str) -> list:
    import json
    import os

    done = subprocess.run(
        [sys.executable, "-c", SCRIPT, where],
        capture_output=True,
        text=True,
        check=True,
        cwd=tmp_path,
        env={**os.environ, "NUMBA_CACHE_DIR": str(tmp_path / "code")},
    )
    return json.loads(done.stdout)


def test_compiled_code_goes_where_it_is_told_to_and_serves_the_next_process(tmp_path):
    first, second = ran(tmp_path, "there"), ran(tmp_path, "there")
    assert Path(first[0]).is_relative_to(tmp_path / "code")
    assert list(Path(first[0]).glob("gather.*.nbi"))
    assert first[2] == ["once on this machine; takes a minute or two"]
    assert second == [first[0], 1, []]


def test_nowhere_to_keep_compiled_code_is_said_and_does_not_matter(tmp_path):
    folder, cells, said = ran(tmp_path, "nowhere")
    assert folder == "None"
    assert cells == 1
    assert "NUMBA_CACHE_DIR" in said[0]
