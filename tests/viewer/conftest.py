"""A small study with cells and predictions, made without training; a virtual screen where one is needed."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import psutil
import pytest
import tifffile

from napari_apollo.panels import Panel

LEFT = Panel(name="DAPI/CD4", stains=("DAPI", "CD4"))
RIGHT = Panel(name="DAPI/CD8", stains=("DAPI", "CD8"))
SHAPE = (90, 120)
SIZE = 16


def _discs(rng: np.random.Generator) -> tuple[np.ndarray, pd.DataFrame]:
    """Nuclei on a jittered grid; their table."""
    yy, xx = np.indices(SHAPE)
    labels = np.zeros(SHAPE, np.int32)
    rows = []
    for y in range(12, SHAPE[0] - 8, 16):
        for x in range(12, SHAPE[1] - 8, 16):
            cy, cx = y + rng.integers(-2, 3), x + rng.integers(-2, 3)
            labels[np.hypot(yy - cy, xx - cx) <= 4.2] = len(rows) + 1
            rows.append({"label": len(rows) + 1, "y": float(cy), "x": float(cx)})
    return labels, pd.DataFrame(rows)


@pytest.fixture(scope="session")
def small(tmp_path_factory: pytest.TempPathFactory) -> SimpleNamespace:
    """Study of one image whose left half has one panel and whose right half another, with predictions."""
    import torch

    from napari_apollo.cells import CellStore, CellStoreWriter
    from napari_apollo.cells.cutting import cut
    from napari_apollo.model import Apollo, Architecture, Modality, ModelCard, Network
    from napari_apollo.predict import PredictConfig, predict
    from napari_apollo.study import Study, StudyField

    folder = tmp_path_factory.mktemp("small")
    rng = np.random.default_rng(5)
    labels, table = _discs(rng)
    image = rng.integers(200, 5000, (3, *SHAPE), dtype=np.uint16)
    tifffile.imwrite(folder / "image.tif", image, photometric="minisblack")
    fields = []
    for panel, own in ((LEFT, table["x"] < SHAPE[1] / 2), (RIGHT, table["x"] >= SHAPE[1] / 2)):
        path = folder / f"{panel.stains[1]}.tif"
        tifffile.imwrite(path, np.where(np.isin(labels, table["label"][own]), labels, 0).astype(np.int32))
        fields.append(
            StudyField(
                image=folder / "image.tif",
                panel=panel,
                donor=panel.stains[1],
                condition="c",
                field=f"half_{panel.stains[1]}",
                labels=path,
                pixel_size_um=0.5,
                channels=tuple(stain if stain in panel.stains else "-" for stain in ("DAPI", "CD4", "CD8")),
            )
        )
    study = Study(fields).to_csv(folder / "study.csv")
    path = folder / "small.cells.zarr"
    with CellStoreWriter(path, [LEFT, RIGHT], crop_size=SIZE, dtype="uint16", pixel_size_um=0.5) as writer:
        for field, own in zip(study, (table["x"] < SHAPE[1] / 2, table["x"] >= SHAPE[1] / 2), strict=True):
            part = table[own]
            obs = part.assign(
                field=field.field,
                image=str(field.image),
                donor=field.donor,
                condition="c",
                centre_y=part["y"].astype(int),
                centre_x=part["x"].astype(int),
                split=np.where(np.arange(len(part)) % 4 == 0, "test", "train"),
            )
            channels = [("DAPI", "CD4", "CD8").index(stain) for stain in field.panel.stains]
            crops, masks = cut(
                image[channels],
                labels,
                None,
                obs[["centre_y", "centre_x"]].to_numpy(np.int64),
                obs["label"].to_numpy(np.int64),
                SIZE,
            )
            writer.append(field.panel.name, crops, masks, obs)
    store = CellStore.open(path)
    torch.manual_seed(0)
    architecture = Architecture(
        modalities=(Modality("chromatin", specific=2), Modality("protein", specific=2, conditional=True)),
        vocabulary=("CD4", "CD8"),
        shared=3,
        embedding=2,
        crop_size=SIZE,
        widths=(4, 4),
        normal_codes=True,
        specific_maps=2,
    )
    card = ModelCard(
        architecture=architecture,
        panels=(LEFT, RIGHT),
        normalisation=store.normalisation.model_dump(mode="json"),
        pixel_size_um=0.5,
    )
    Apollo(Network(architecture), card).save(folder / "tiny.run" / "model")
    predictions = predict(store, folder / "tiny.run", PredictConfig(device="cpu"))
    return SimpleNamespace(
        folder=folder,
        study=study,
        store=store,
        predictions=predictions,
        labels=labels,
        image=image,
        table=table,
        model=folder / "tiny.run" / "model",
    )


@pytest.fixture(scope="session")
def screen() -> Iterator[str]:
    """A display: the one there is, else a virtual one started here; skipped, visibly, without either."""
    # Fixtures build networks in this process. torch's compiler and software OpenGL each bring an LLVM, and
    # only in this order does the process survive both; the tools leave networks to other processes.
    import torch._dynamo  # noqa: F401

    found = os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY")
    if sys.platform != "linux" or found:
        yield found or "native"
        return
    if shutil.which("Xvfb") is None:
        pytest.skip("no display and no Xvfb: install xvfb to run the tests that open a window")
    command = ["Xvfb", "-displayfd", "1", "-screen", "0", "1600x1000x24", "-nolisten", "tcp"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as server:
        assert server.stdout is not None
        os.environ["DISPLAY"] = f":{server.stdout.readline().strip()}"
        yield os.environ["DISPLAY"]
        del os.environ["DISPLAY"]
        server.terminate()


@pytest.fixture
def manifest_path() -> Path:
    return Path(__file__).resolve().parents[2] / "src" / "napari_apollo" / "napari.yaml"


@pytest.fixture(scope="session")
def learnable(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A cell store of two panels and six donors whose cells are discs, enough for a training of seconds."""
    from napari_apollo.cells import CellStoreWriter

    rng = np.random.default_rng(7)
    yy, xx = np.indices((SIZE, SIZE)) - SIZE // 2
    path = tmp_path_factory.mktemp("learnable") / "discs.cells.zarr"
    with CellStoreWriter(path, [LEFT, RIGHT], crop_size=SIZE, dtype="uint16", pixel_size_um=0.5) as writer:
        for number, panel in enumerate((LEFT, RIGHT)):
            for donor in range(3):
                radius = rng.uniform(3, 6, 40)[:, None, None]
                disc = np.clip(radius - np.hypot(yy, xx), 0, 1)
                anchor = 2000 * disc + rng.normal(100, 10, (40, SIZE, SIZE))
                protein = 300 * radius * disc + rng.normal(100, 10, (40, SIZE, SIZE))
                images = np.stack([anchor, protein], axis=1).clip(0).astype(np.uint16)
                obs = pd.DataFrame(
                    {
                        "field": f"f{number}{donor}",
                        "image": f"f{number}{donor}.tif",
                        "label": np.arange(1, 41),
                        "donor": f"P{number}{donor}",
                        "condition": "c",
                        "y": rng.uniform(0, 500, 40),
                        "x": rng.uniform(0, 500, 40),
                        "split": ("train", "validation", "test")[donor],
                    }
                )
                writer.append(panel.name, images, (disc > 0).astype(np.uint8) * 2, obs)
    return path


@pytest.fixture
def nothing_stays(screen: str, small: SimpleNamespace) -> Iterator[None]:
    """No tool, thread or child process is left when the window is gone.

    The study with its model is made before there is a window: networks are never built in a window's process.
    """
    yield
    from qtpy.QtWidgets import QApplication

    from napari_apollo.viewer.tool import Tool

    end = time.monotonic() + 40
    while time.monotonic() < end and (_children() or _widgets(QApplication, Tool)):
        QApplication.sendPostedEvents(None, 52)  # deferred deletions
        QApplication.processEvents()
        time.sleep(0.05)
    assert _children() == []
    assert _widgets(QApplication, Tool) == []


def _widgets(app: Any, kind: type) -> list[Any]:
    return [widget for widget in app.allWidgets() if isinstance(widget, kind)]


def _children() -> list[str]:
    """Working processes that are still there; a training may outlive the window, these may not."""
    found = []
    for child in psutil.Process().children(recursive=True):
        try:
            words = " ".join(child.cmdline())
        except psutil.NoSuchProcess:
            continue
        if "napari_apollo" in words and child.status() != psutil.STATUS_ZOMBIE:
            found.append(words)
    return found


@pytest.fixture
def window(nothing_stays: None, request: pytest.FixtureRequest) -> Iterator[Any]:
    """A viewer with a window, as plugins are given it; its work is over when the window goes."""
    from napari_apollo.viewer import session_of

    make: Callable[..., Any] = request.getfixturevalue("make_napari_viewer_proxy")
    viewer = make(show=True)
    yield viewer
    session = session_of(viewer)
    session.jobs.cancel()
    session.jobs.wait(10)
