"""What every test may use."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

# How long an example takes says more about the machine than about the code.
settings.register_profile("project", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("project")

os.environ.setdefault("NAPARI_ASYNC", "0")


@pytest.fixture(scope="session")
def data_dir() -> Path:
    """Folder of real development data; the test is skipped, visibly, where it is absent."""
    folder = Path(
        os.environ.get("NAPARI_APOLLO_DATA", Path(__file__).resolve().parents[2] / "shared" / "data")
    )
    if not folder.is_dir():
        pytest.skip(f"real data absent: {folder.name} (set NAPARI_APOLLO_DATA to its folder)")
    return folder
