"""Interpretation of a model and of a store: what is written and refused, what a poor study still gets."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import anndata
import numpy as np
import pandas as pd
import pytest
from typer.testing import CliRunner

import napari_apollo
from napari_apollo.cli.app import app
from napari_apollo.errors import Cancelled, ConfigError, DataError, FileError
from napari_apollo.interpret import InterpretConfig, interpret
from napari_apollo.interpret.source import Source
from napari_apollo.model import Apollo, Network
from napari_apollo.progress import Step

QUICK = {"directions": 2, "permutations": 10, "probe": "linear", "folds": 3, "walks": 1, "device": "cpu"}


@pytest.fixture(scope="module")
def written(blood: SimpleNamespace, tmp_path_factory: pytest.TempPathFactory) -> SimpleNamespace:
    folder = tmp_path_factory.mktemp("out") / "meaning"
    steps: list[Step] = []
    config = InterpretConfig(
        store=blood.store.path, output=folder, published=True, hold_outs=2, ablation=False, **QUICK
    )
    found = napari_apollo.interpret(blood.model, config, progress=steps.append)
    return SimpleNamespace(folder=folder, found=found, steps=steps, config=config)


def test_a_report_that_stands_alone_and_its_tables(written: SimpleNamespace) -> None:
    html = (written.folder / "interpretation.html").read_text("utf-8")
    assert "What explains each feature" in html
    assert "data:image/png;base64," in html
    assert "http" not in html.replace("http-equiv", "")
    for name, table in written.found.tables().items():
        assert len(pd.read_csv(written.folder / f"{name}.csv")) == len(table)
    facts = json.loads((written.folder / "interpretation.json").read_text("utf-8"))
    assert facts["schema_version"] == 1
    assert facts["shares"][0]["feature"]
    data = anndata.read_h5ad(written.folder / "interpretation.h5ad")
    assert data.n_obs == 240
    assert data.obsm["shared"].shape == (240, 3)
    assert data.obsm["shared_directions"].shape[1] == 2
    assert {step.stage for step in written.steps} >= {"Placing cells", "Finding directions"}


def test_blocks_are_those_of_the_model(written: SimpleNamespace) -> None:
    found = written.found
    assert {"shared", "chromatin_specific", "protein_specific_gammaH2AX"} <= set(found.cells.blocks)
    assert found.walks
    walk = next(walk for walk in found.walks if walk.block == "shared")
    assert walk.decoded["chromatin"].shape == (5, 24, 24)
    assert "DAPI" in walk.real
    assert "Note" not in found.in_words() or found.notes


def test_the_same_again(written: SimpleNamespace, blood: SimpleNamespace) -> None:
    again = interpret(blood.model, written.config.model_copy(update={"output": None}))
    for name, table in written.found.tables().items():
        pd.testing.assert_frame_equal(table, again.tables()[name])


def test_latents_of_a_store(blood: SimpleNamespace) -> None:
    with pytest.raises(DataError, match="holds no latents"):
        interpret(blood.store.path, InterpretConfig(**QUICK))
    table = blood.store.table.copy()
    table.obsm["shared"] = np.random.default_rng(0).normal(size=(table.n_obs, 2)).astype(np.float32)
    blood.store.write_table(table)
    try:
        found = interpret(blood.store, InterpretConfig(**QUICK, phenotypes=False))
        assert list(found.cells.blocks) == ["shared"]
        assert not found.directions.table["discovery"].any()
    finally:
        del table.obsm["shared"]
        blood.store.write_table(table)


def test_phenotypes_from_images(blood: SimpleNamespace) -> None:
    config = InterpretConfig(
        store=blood.store.path, images="small", ablation=False, most_cells=100, **QUICK | {"walks": 0}
    )
    found = interpret(blood.model, config)
    table = found.phenotypes.table.set_index("input")
    images = table[table["kind"] == "images"]
    assert {"images: DAPI measured", "images: CD3 predicted", "images: CD3 reconstructed"} <= set(
        images.index
    )
    assert "images: DAPI predicted" not in images.index
    assert images["accuracy"].between(0, 1).all()
    assert images["p"].isna().all()
    assert table.loc["latents: shared", "p"] > 0
    assert found.phenotypes.any_sure() == (table["q"] <= 0.05).any()
    assert ("beyond chance" in found.in_words()) == (not found.phenotypes.any_sure())


def test_evaluation_as_a_report(blood: SimpleNamespace, tmp_path: Path) -> None:
    arguments = ["evaluate", str(blood.store.path), "--model", str(blood.model), "--device", "cpu"]
    arguments += [
        "--features",
        "--baselines",
        "neighbour",
        "--parts",
        "train",
        "--output",
        str(tmp_path / "scores"),
    ]
    result = CliRunner().invoke(app, arguments)
    assert result.exit_code == 0, result.output
    html = (tmp_path / "scores" / "evaluation.html").read_text("utf-8")
    assert "no better than the mean image" in html
    assert "nearest chromatin" in html
    assert "never learnt from" not in html
    assert "Scores on train cells (the model knows train cells)" in html
    table = pd.read_csv(tmp_path / "scores" / "evaluation.csv")
    assert {"neighbour_mae", "mae_low", "published_l1"} <= set(table.columns)
    intervals = pd.read_csv(tmp_path / "scores" / "feature_intervals.csv")
    made = intervals[intervals["note"].isna()]
    assert made["coverage"].mean() == pytest.approx(0.9, abs=0.06)
    assert CliRunner().invoke(app, ["evaluate", str(blood.store.path)]).exit_code == 2


def test_the_command(blood: SimpleNamespace) -> None:
    arguments = ["interpret", str(blood.model), "--store", str(blood.store.path), "--json", "--no-phenotypes"]
    arguments += ["--permutations", "10", "--directions", "1", "--probe", "linear", "--walks", "0"]
    result = CliRunner().invoke(app, arguments)
    assert result.exit_code == 0, result.output
    assert json.loads(result.stdout)["directions"][0]["block"] == "shared"


def test_what_is_refused(blood: SimpleNamespace, written: SimpleNamespace, tmp_path: Path) -> None:
    with pytest.raises(FileError, match="does not exist"):
        interpret(tmp_path / "no")
    with pytest.raises(ConfigError, match="say by store"):
        interpret(blood.model)
    with pytest.raises(FileError, match="exists already"):
        interpret(blood.model, written.config)
    with pytest.raises(Cancelled):
        interpret(
            blood.model,
            InterpretConfig(store=blood.store.path, output=tmp_path / "out"),
            should_stop=lambda: True,
        )
    assert not list(tmp_path.iterdir())
    with pytest.raises(DataError, match=r"no cell of the parts validation \(it has \d+ train, 0 validation"):
        interpret(blood.model, InterpretConfig(store=blood.store.path, parts=("validation",), **QUICK))


def test_a_store_without_its_model_does_not_know_what_was_learnt_from(blood: SimpleNamespace) -> None:
    for source in (blood.store, blood.store.path):
        with pytest.raises(ConfigError, match="does not say which of its cells a model learnt from"):
            interpret(source, InterpretConfig(parts=("test",)))
        with pytest.raises(ConfigError, match="are both cell stores"):
            interpret(source, InterpretConfig(store=blood.store.path))


def test_one_donor_of_one_condition_gets_what_can_be_had(blood: SimpleNamespace) -> None:
    table = blood.store.table.copy()
    kept = blood.store.obs["donor"].astype(str) == "D01"
    table.obs["qc"] = kept.to_numpy()
    original = blood.store.table.copy()
    blood.store.write_table(table)
    try:
        found = interpret(blood.model, InterpretConfig(store=blood.store.path, **QUICK))
    finally:
        blood.store.write_table(original)
    assert found.shares is not None
    assert any("1 donor" in note for note in found.notes)
    assert any("too few" in note for note in found.notes)


def test_latents_with_places_are_said_to_be_hard_to_read(blood: SimpleNamespace) -> None:
    plain = Apollo.load(blood.model)
    whole = plain.card.architecture
    placed = replace(whole, spatial=1, shared=whole.shared + whole.grid**2)
    card = plain.card.model_copy(update={"architecture": placed})
    doubts = Source(blood.store, Apollo(Network(placed), card), "").doubts()
    (doubt,) = set(doubts) - set(Source(blood.store, plain, "").doubts())
    assert "where in the cell" in doubt
    assert "agreement" in doubt
