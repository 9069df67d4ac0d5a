"""A tiny study on disk, and the Python of a page of the docs run on it."""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile

DOCS = Path(__file__).resolve().parents[2] / "docs"
PANELS = {"dapi_cd3_cd4": ("DAPI", "CD3", "CD4"), "dapi_cd8": ("DAPI", "CD8")}
SIDE = 128

_FENCE = re.compile(r"^```(?P<kind>\w+)[^\n]*\n(?P<code>.*?)^```", re.MULTILINE | re.DOTALL)

Namespace = dict[str, Any]


def blocks_of(page: Path, kind: str) -> list[tuple[int, str]]:
    """First line and text of every fenced block of a kind."""
    text = page.read_text("utf-8")
    return [
        (text.count("\n", 0, found.start()) + 2, found["code"])
        for found in _FENCE.finditer(text)
        if found["kind"] == kind
    ]


def run_page(page: Path) -> Namespace:
    """Execute the Python of a page, block after block, where we are."""
    names: Namespace = {"__name__": f"docs.{page.stem}"}
    for line, code in blocks_of(page, "python"):
        # Blank lines before it give the lines of the page to a traceback.
        exec(compile("\n" * (line - 1) + code, str(page), "exec"), names)
    return names


def write_study(folder: Path) -> None:
    """Three donors in two panels, one field each, as ``images/control/PANEL/DONOR/FIELD.ome.tif``."""
    rng = np.random.default_rng(11)
    rows = ["image,panel,donor,condition"]
    for donor in ("P1", "P2", "P3"):
        for panel, stains in PANELS.items():
            path = Path("images", "control", panel, donor, f"{donor}_{panel}.ome.tif")
            (folder / path).parent.mkdir(parents=True)
            tifffile.imwrite(
                folder / path,
                _field(len(stains), rng),
                ome=True,
                photometric="minisblack",
                metadata={
                    "axes": "CYX",
                    "Channel": {"Name": list(stains)},
                    "PhysicalSizeX": 0.5,
                    "PhysicalSizeY": 0.5,
                },
            )
            rows.append(f"{path.as_posix()},{panel},{donor},control")
    (folder / "study.csv").write_text("\n".join(rows) + "\n", "utf-8")


def _field(stains: int, rng: np.random.Generator) -> np.ndarray:
    """Round nuclei on a jittered grid, proteins in rings around them; uint16 (stain, y, x)."""
    y, x = np.mgrid[:SIDE, :SIDE]
    image = np.full((stains, SIDE, SIDE), 100.0)
    for top in range(12, SIDE - 10, 18):
        for left in range(12, SIDE - 10, 18):
            centre = np.array([top, left]) + rng.uniform(-1, 1, 2)
            radius = rng.uniform(4, 5.5)
            distance = np.hypot(y - centre[0], x - centre[1])
            image[0] += 900 / (1 + np.exp(3 * (distance - radius)))
            for protein in range(1, stains):
                image[protein] += 150 * protein * radius * np.exp(-((distance - radius) ** 2) / 2)
    return (image + rng.normal(0, 8, image.shape)).clip(0, 65535).astype(np.uint16)


@pytest.fixture(scope="module")
def _quick() -> Iterator[None]:
    """One epoch a step, on one thread; other modules of this process see the presets as they are."""
    import torch

    # Defaults, and those that commands show, are taken from the presets as they are.
    import napari_apollo.cli.app
    import napari_apollo.train.config
    import napari_apollo.train.tableconfig  # noqa: F401
    from napari_apollo.train.presets import PRESETS
    from napari_apollo.train.tablepresets import TABLE_PRESETS

    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("OMP_NUM_THREADS", "1")
        for name in ("latent_epochs", "encoder_epochs"):
            patch.setitem(PRESETS["small"], name, 1)
        small = {"latent_epochs": 2, "encoder_epochs": 1, "shared": 3, "specific": 2}
        patch.setitem(TABLE_PRESETS, "agreement", {**TABLE_PRESETS["agreement"], **small})
        yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="module")
def scripted(_quick: None, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Namespace]:
    """The study after the Python of the page ``scripting.md``, and the names that it left."""
    folder = tmp_path_factory.mktemp("scripted")
    write_study(folder)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        names = run_page(DOCS / "scripting.md")
    return folder, names


@pytest.fixture
def workspace(
    scripted: tuple[Path, Namespace], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Callable[[], Path]:
    """Go to a copy of what ``scripting.md`` left: study, cell store, run, predictions."""

    def go() -> Path:
        copy = shutil.copytree(scripted[0], tmp_path / "work")
        monkeypatch.chdir(copy)
        return copy

    return go
