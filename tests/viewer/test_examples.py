"""Scripts of examples/ that need nothing but the package run to their end."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"


@pytest.mark.gui
@pytest.mark.slow
def test_tools_driven_by_script(screen: str, tmp_path: Path) -> None:
    result = subprocess.run(
        [sys.executable, str(EXAMPLES / "dock_tools.py"), "--folder", "work"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
        timeout=280,
    )
    assert result.returncode == 0, result.stderr[-2000:]
    assert "cells pass." in result.stdout
    assert (tmp_path / "work" / "study.csv").is_file()
    assert list((tmp_path / "work").glob("**/*.cells.zarr"))
