"""What the docs show runs: Python on a tiny study, commands as far as their options."""

from __future__ import annotations

import re
import shlex
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import typer

from .conftest import DOCS, Namespace, blocks_of, run_page

PAGES = sorted(DOCS.glob("*.md"))
WITH_COMMANDS = [*PAGES, DOCS.parent / "README.md"]
OTHERS = [
    page for page in PAGES if page.stem not in ("scripting", "simulation") and blocks_of(page, "python")
]


def test_the_whole_chain(scripted: tuple[Path, Namespace]) -> None:
    folder, names = scripted
    assert (folder / "study.cells.zarr").is_dir()
    assert (folder / "study.predictions.zarr").is_dir()
    assert set(names["scores"].table["part"]) == {"test"}


@pytest.mark.parametrize("page", OTHERS, ids=lambda page: page.stem)
def test_python(page: Path, workspace: Callable[[], Path]) -> None:
    workspace()
    run_page(page)


def commands_of(page: Path) -> list[str]:
    """Lines of a page's shell blocks that call napari-apollo, continued lines joined."""
    text = "\n".join(code for _, code in blocks_of(page, "bash")).replace("\\\n", " ")
    return re.findall(r"^napari-apollo .*$", text, re.MULTILINE)


@pytest.mark.parametrize(
    "line",
    sorted({line for page in WITH_COMMANDS for line in commands_of(page)}),
    ids=lambda line: line[14:60],
)
def test_commands_exist(line: str) -> None:
    from napari_apollo.cli.app import app

    words = shlex.split(line.split(" > ")[0], comments=True)[1:]
    command: Any = typer.main.get_command(app)
    while hasattr(command, "commands"):
        command = command.commands[words.pop(0)]
    # Parses every option and argument, checks choices and kinds, and runs nothing.
    command.make_context(command.name, words)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_links_lead_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\(([^)#\s]+)", page.read_text("utf-8")):
        if not target.startswith(("http:", "https:", "mailto:")):
            if target == "features.md" and not (DOCS / target).exists():
                pytest.skip("features.md is written from the registry of features, and is not there yet")
            assert (page.parent / target).exists(), target
