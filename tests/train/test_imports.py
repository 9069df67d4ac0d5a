"""What the loop needs: a bare GPU machine has torch and NumPy, and nothing else of ours."""

from __future__ import annotations

import subprocess
import sys

ALONE = """
import sys

class Bare:
    others = {"pydantic", "pandas", "scipy", "sklearn", "zarr", "anndata", "safetensors", "dask", "skimage"}

    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in self.others:
            raise ImportError(f"{name} is not there")

sys.meta_path.insert(0, Bare())
import napari_apollo.train.loop
import napari_apollo.train.machine
from napari_apollo.train.build import image_architecture, seeded_network
from napari_apollo.train.objectives import get_objective
from napari_apollo.train.presets import PRESETS
"""


def test_the_loop_needs_torch_and_numpy_alone() -> None:
    ended = subprocess.run([sys.executable, "-c", ALONE], capture_output=True, text=True, check=False)
    assert ended.returncode == 0, ended.stderr
