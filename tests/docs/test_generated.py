"""Pages that are written from the code are those that the code would write."""

from __future__ import annotations

import importlib.util
import sys
from types import ModuleType

import pytest

from .conftest import DOCS


@pytest.fixture
def make(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    spec = importlib.util.spec_from_file_location("docs_make", DOCS / "make.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, "docs_make", module)
    spec.loader.exec_module(module)
    return module


def test_the_command_line_page_is_current(make: ModuleType) -> None:
    assert make.COMMAND_LINE.read_text("utf-8") == make.command_line_page(), "run: python docs/make.py"


def test_the_table_of_presets_is_current(make: ModuleType) -> None:
    assert make.TRAINING.read_text("utf-8") == make.training_page(), "run: python docs/make.py"


def test_the_page_has_every_command_and_setting(make: ModuleType) -> None:
    from napari_apollo.train import TrainConfig

    page = make.command_line_page()
    assert "## napari-apollo study check" in page
    section = page.split("## napari-apollo train")[1].split("\n## ")[0]
    for name in TrainConfig.model_fields:
        assert f"`--{name.replace('_', '-')}" in section
