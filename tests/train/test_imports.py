"""What the loop needs: a bare GPU machine has torch and NumPy, and nothing else of ours."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]

ALONE = """
import sys

others = "pydantic", "pandas", "scipy", "sklearn", "zarr", "anndata", "safetensors", "dask", "skimage"
for name in others:
    sys.modules[name] = None  # as if it were not there

import napari_apollo.train.loop
import napari_apollo.train.machine
from napari_apollo.train.build import image_architecture, seeded_network
from napari_apollo.train.objectives import get_objective
from napari_apollo.train.presets import PRESETS
"""


def test_the_loop_needs_torch_and_numpy_alone() -> None:
    ended = subprocess.run([sys.executable, "-c", ALONE], capture_output=True, text=True, check=False)
    assert ended.returncode == 0, ended.stderr


BENCHMARK = """
import runpy
sys.argv = "train.py --size 32 --batch 4 --steps 1 --epochs 1 --threads 1 --device cpu".split()
runpy.run_path(root + "/benchmarks/train.py", run_name="__main__")
"""


def test_the_benchmark_runs_on_a_bare_machine_and_says_what_is_missing() -> None:
    code = f"root = {str(ROOT)!r}\n{ALONE}\n{BENCHMARK}"
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    ended = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=False, env=environment
    )
    assert ended.returncode == 0, ended.stderr
    steps, missing = ended.stdout.split("No NVIDIA GPU here.")
    assert [line.split()[0] for line in steps.splitlines() if "GFLOP" not in line][-2:] == [
        "latents",
        "encoders",
    ]
    assert "bf16" in missing
