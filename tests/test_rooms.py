"""The rules of the house: who may import whom, style, types, and what a discovery may load."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
SOURCE = ROOT / "src" / "napari_apollo"
MODULES = sorted(SOURCE.rglob("*.py"))


def run(*command: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)


def test_no_import_goes_down_the_table() -> None:
    result = run(str(Path(sys.executable).with_name("lint-imports")), "--no-cache")
    assert result.returncode == 0, result.stdout + result.stderr


def test_style() -> None:
    result = run(sys.executable, "-m", "ruff", "check", ".")
    assert result.returncode == 0, result.stdout
    result = run(sys.executable, "-m", "ruff", "format", "--check", ".")
    assert result.returncode == 0, result.stdout


def test_types() -> None:
    result = run(sys.executable, "-m", "mypy")
    assert result.returncode == 0, result.stdout


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(SOURCE)))
def test_a_module_can_be_read_in_one_sitting(path: Path) -> None:
    assert len(path.read_text("utf-8").splitlines()) <= 450


def test_nothing_that_is_read_can_run_code() -> None:
    unsafe = re.compile(r"\bpickle\b|joblib\.(load|dump)|torch\.(load|save)\(|allow_pickle=True")
    offenders = [str(path) for path in MODULES if unsafe.search(path.read_text("utf-8"))]
    assert not offenders


def test_listing_the_plugin_loads_neither_torch_nor_qt() -> None:
    code = (
        "import json, sys, time; start = time.perf_counter(); import napari_apollo;"
        "import napari_apollo.viewer;"
        "print(json.dumps([time.perf_counter() - start, sorted(m.split('.')[0] for m in sys.modules)]))"
    )
    seconds, modules = json.loads(run(sys.executable, "-c", code).stdout)
    heavy = {"torch", "qtpy", "PyQt6", "PySide6", "napari", "magicgui", "numba", "zarr", "dask"}
    assert not heavy & set(modules)
    # A bound with a wide margin: the import takes milliseconds, an import of torch takes seconds.
    assert seconds < 1.0


def test_every_public_name_is_there() -> None:
    import napari_apollo

    for name in napari_apollo.__all__:
        assert getattr(napari_apollo, name) is not None
    with pytest.raises(AttributeError, match="no_such_name"):
        _ = napari_apollo.no_such_name  # type: ignore[attr-defined]
