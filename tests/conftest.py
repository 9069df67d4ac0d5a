"""What every test may use."""

from __future__ import annotations

import os
from collections import Counter
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

# How long an example takes says more about the machine than about the code.
settings.register_profile("project", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("project")

os.environ.setdefault("NAPARI_ASYNC", "0")


def pytest_configure(config: pytest.Config) -> None:
    """Leave the order of files to us: xdist begins with those of many tests, not with the long ones."""
    if hasattr(config.option, "loadscopereorder"):
        config.option.loadscopereorder = False


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with files that take long, so that no process works on one alone in the end."""
    tests = Counter(item.path for item in items)
    slow = {item.path for item in items if item.get_closest_marker("slow")}
    items.sort(key=lambda item: (item.path not in slow, -tests[item.path]))


@pytest.fixture(scope="session")
def data_dir() -> Path:
    """Folder of real development data; the test is skipped, visibly, where it is absent."""
    folder = Path(
        os.environ.get("NAPARI_APOLLO_DATA", Path(__file__).resolve().parents[2] / "shared" / "data")
    )
    if not folder.is_dir():
        pytest.skip(f"real data absent: {folder.name} (set NAPARI_APOLLO_DATA to its folder)")
    return folder
