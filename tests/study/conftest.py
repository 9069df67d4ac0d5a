"""Small studies and images that the tests of reading and checking share."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from napari_apollo.study import StudyField


@pytest.fixture
def make_field() -> Callable[..., StudyField]:
    """A field of an image, with what is not asked about filled in."""

    def make(image: Path, panel: str = "DAPI/CD4/CD8", **values: Any) -> StudyField:
        return StudyField(**{"image": image, "panel": panel, "donor": "P1", "condition": "control", **values})

    return make


@pytest.fixture
def pixels() -> np.ndarray:
    """Three smooth channels (c, y, x), uint16, no two planes, rows or columns alike."""
    y, x = np.mgrid[:37, :45]
    return np.stack([1000 * np.sin(y / 5 + c) * np.cos(x / 7) + 2000 + y + 3 * x for c in range(3)]).astype(
        "u2"
    )


@pytest.fixture
def run_python() -> Callable[[str], str]:
    """Run a line of Python in an interpreter of its own and return what it prints."""

    def run(code: str) -> str:
        return subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout

    return run
