"""Compartments with one model of all stains and with models of pairs side by side, on planted cells."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import torch
from typer.testing import CliRunner

from napari_apollo.cells import CellStore, CellStoreWriter
from napari_apollo.cli.app import app
from napari_apollo.errors import ConfigError, DataError
from napari_apollo.interpret import InterpretConfig, interpret
from napari_apollo.measure import MeasureConfig, measure
from napari_apollo.model import Apollo, Architecture, Modality, ModelCard, Network
from napari_apollo.panels import Panel

SIDE, DONORS, CELLS = 24, 5, 30
QUICK = {"directions": 1, "permutations": 20, "probe": "linear", "folds": 5, "walks": 0, "device": "cpu"}


def write_store(path: Path) -> CellStore:
    """The nuclear share of A follows how far the ER reaches, that of C follows nothing."""
    rng = np.random.default_rng(3)
    count = DONORS * CELLS
    y, x = np.mgrid[:SIDE, :SIDE] - (SIDE - 1) / 2
    radius = np.hypot(y, x)
    size, reach, cause = rng.normal(size=(3, count))[:, :, None, None]
    nucleus = radius < 5 + 0.5 * size
    cell = (radius < 11) & ~nucleus
    shares = [1 / (1 + np.exp(-value)) for value in (reach, cause)]
    inside = nucleus / nucleus.sum((1, 2), keepdims=True)
    outside = cell / cell.sum((1, 2), keepdims=True)
    channels = [
        nucleus * 1.0,
        cell * np.exp(-(radius - 5) / np.exp(1.2 + 0.5 * reach)),
        cell * (1 + np.sin(x + 6 * rng.random((count, 1, 1)))) / 2,
        *((share * inside + (1 - share) * outside) * 150 for share in shares),
    ]
    gain = np.repeat(np.exp(0.2 * rng.normal(size=(DONORS, 5))), CELLS, axis=0)[:, :, None, None]
    images = np.stack(channels, 1) * (0.8 + 0.4 * rng.random((count, 5, SIDE, SIDE))) + 0.02
    donor = np.repeat([f"D{k}" for k in range(DONORS)], CELLS)
    obs = pd.DataFrame({"field": donor, "donor": donor, "condition": "none", "label": np.arange(count) + 1})
    panel = Panel.parse("DAPI/ER/tubulin/A/C", "all")
    with CellStoreWriter(path, [panel], crop_size=SIDE, dtype=np.uint16) as writer:
        masks = (2 * nucleus + cell).astype(np.uint8)
        crops = np.clip(images * gain * 8000, 0, 65535).astype(np.uint16)
        writer.append("all", crops, masks, obs.assign(y=SIDE / 2, x=SIDE / 2, qc=True))
    return measure(CellStore.open(path), MeasureConfig(families=("intensity",), workers=1))


def write_model(path: Path, store: CellStore, *stains: str) -> Path:
    """An untrained model of some stains, the first of which takes the place of the chromatin.

    Its encoders are functions of their own images alone, which is what is asked of them here.
    """
    torch.manual_seed(5)
    architecture = Architecture(
        modalities=(Modality("chromatin", specific=6), Modality("protein", specific=6, conditional=True)),
        vocabulary=stains[1:],
        shared=6,
        embedding=2,
        crop_size=SIDE,
        widths=(8, 8),
        specific_maps=4,
    )
    panel = Panel(name="own", stains=stains, anchor=stains[0])
    normalisation = store.normalisation.model_dump(mode="json")
    card = ModelCard(architecture=architecture, panels=(panel,), normalisation=normalisation)
    Apollo(Network(architecture), card).save(path)
    return path


@pytest.fixture(scope="module")
def cell_lab(tmp_path_factory: pytest.TempPathFactory) -> SimpleNamespace:
    folder = tmp_path_factory.mktemp("pairs")
    store = write_store(folder / "all.cells.zarr")
    models = {
        "+".join(stains): write_model(folder / "_".join(stains), store, *stains)
        for stains in (
            ("DAPI", "ER", "tubulin", "A", "C"),
            ("DAPI", "ER"),
            ("DAPI", "tubulin"),
            ("tubulin", "ER"),
        )
    }
    return SimpleNamespace(folder=folder, store=store, models=models)


def command(lab: SimpleNamespace, source: Path, *more: str) -> dict[str, object]:
    arguments = ["interpret", str(source), "--store", str(lab.store.path), "--json", "--compartments"]
    arguments += ["--no-phenotypes", "--probe", "linear", "--permutations", "20", "--directions", "1"]
    result = CliRunner().invoke(app, [*arguments, "--walks", "0", *more])
    assert result.exit_code == 0, result.output
    content: dict[str, object] = json.loads(result.stdout)
    return content


def leading(folder: Path) -> dict[str, str]:
    table = pd.read_csv(folder / "compartments.csv")
    table = table[table["leads"] & (table["measure"] == "nuclear fraction")]
    return dict(zip(table["protein"], table["block"], strict=True))


def test_one_model_of_all_stains(cell_lab: SimpleNamespace, tmp_path: Path) -> None:
    command(cell_lab, cell_lab.models["DAPI+ER+tubulin+A+C"], "--output", str(tmp_path / "one"))
    found = leading(tmp_path / "one")
    assert found["A"].startswith("ER ")
    assert "C" not in found


def test_models_of_pairs_side_by_side(cell_lab: SimpleNamespace, tmp_path: Path) -> None:
    pairs = [cell_lab.models[name] for name in ("DAPI+tubulin", "tubulin+ER")]
    more = [part for path in pairs for part in ("--pairs", str(path))]
    command(cell_lab, cell_lab.models["DAPI+ER"], *more, "--output", str(tmp_path / "pairs"))
    table = pd.read_csv(tmp_path / "pairs" / "compartments.csv")
    of_a = set(table.loc[table["protein"] == "A", "block"])
    assert {"chromatin shared", "ER specific", "DAPI+tubulin: tubulin specific"} <= of_a
    assert {"tubulin+ER: tubulin shared", "tubulin+ER: ER shared", "tubulin+ER: ER specific"} <= of_a
    # Nothing that was made of a stain's own image is asked where that stain lies.
    assert not [block for block in table.loc[table["protein"] == "ER", "block"] if "ER s" in block]
    found = leading(tmp_path / "pairs")
    assert found["A"].endswith(("ER shared", "ER specific"))
    assert "C" not in found
    assert "tubulin+ER: ER specific" in (tmp_path / "pairs" / "interpretation.html").read_text("utf-8")


def test_what_pairs_need(cell_lab: SimpleNamespace, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="compartments"):
        InterpretConfig(pairs=(tmp_path,))
    models, store = cell_lab.models, cell_lab.store
    settings = {"store": store.path, "compartments": True, "phenotypes": False, **QUICK}
    with pytest.raises(ConfigError, match=r"second model of DAPI\+ER"):
        interpret(models["DAPI+ER"], InterpretConfig(pairs=(models["DAPI+ER"],) * 2, **settings))
    other = write_model(tmp_path / "other", store, "DAPI", "lamin")
    with pytest.raises(DataError, match="no panel with DAPI and lamin"):
        interpret(models["DAPI+ER"], InterpretConfig(pairs=(other,), **settings))
