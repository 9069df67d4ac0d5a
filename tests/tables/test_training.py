"""Training on tables: from files and objects to a run, latents in obsm; resumed, refused, with cells that
lack some."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import anndata as ad
import numpy as np
import pytest
import torch
from scipy import sparse
from skimage.io import imread
from typer.testing import CliRunner

from napari_apollo.cli.app import app
from napari_apollo.errors import Cancelled, ConfigError, DataError, RunError
from napari_apollo.model import Apollo
from napari_apollo.predict import place_tables
from napari_apollo.progress import Step
from napari_apollo.train import Run, TableTrainConfig, start_run, train
from napari_apollo.train.tablepresets import TABLE_PRESETS

Make = Callable[..., dict[str, ad.AnnData]]
Quick = Callable[..., TableTrainConfig]
SHARED = "X_apollo_shared"


def written(tables: dict[str, ad.AnnData], folder: Path) -> list[Path]:
    paths = [folder / f"{name}.h5ad" for name in tables]
    for data, path in zip(tables.values(), paths, strict=True):
        data.write_h5ad(path)
    return paths


@pytest.mark.parametrize("objective", ["agreement", "two-step", "one-step"])
def test_objects_in_memory_get_latents(make_tables: Make, quick: Quick, objective: str) -> None:
    tables = make_tables()
    run = train(tables, quick(objective=objective))
    assert run.status().state == "done"
    for name, data in tables.items():
        assert data.obsm[SHARED].shape[0] == data.n_obs
        assert data.obsm[f"X_apollo_{name}"].shape[0] == data.n_obs
        assert np.isfinite(data.obsm[SHARED]).all()
    assert np.array_equal(tables["rna"].obsm[SHARED], tables["protein"].obsm[SHARED])
    card = run.model().card
    assert set(card.tables) == {"rna", "protein"}
    assert card.tables["rna"].features == tuple(tables["rna"].var_names)
    assert set(card.scores["rna"]) == {"cells", "reconstruction_pearson", "prediction_from_protein_pearson"}
    assert card.held_out.cells["test"] == 24
    assert set(card.verdict.parts) == {"rna", "protein"}


def test_mudata_gets_latents(make_tables: Make, quick: Quick, tmp_path: Path) -> None:
    mudata = pytest.importorskip("mudata")
    with mudata.set_options(pull_on_update=False):
        multi = mudata.MuData(make_tables(n=100))
    multi.write(tmp_path / "data.h5mu")
    train(multi, quick(latent_epochs=1, encoder_epochs=1))
    assert np.array_equal(multi.obsm[SHARED], multi["rna"].obsm[SHARED])
    config = quick(latent_epochs=1, encoder_epochs=1, latents="in-place", overwrite=True)
    train(tmp_path / "data.h5mu", config)
    again = mudata.read(tmp_path / "data.h5mu")
    assert np.array_equal(again.obsm[SHARED], multi.obsm[SHARED])
    assert np.array_equal(
        again["protein"].obsm["X_apollo_protein"], multi["protein"].obsm["X_apollo_protein"]
    )


def test_copies_and_files_in_place(make_tables: Make, quick: Quick, tmp_path: Path) -> None:
    tables = make_tables(n=100)
    paths = written(tables, tmp_path)
    before = [path.read_bytes() for path in paths]
    run = train(paths, quick(latent_epochs=1, encoder_epochs=1))
    assert [path.read_bytes() for path in paths] == before
    copy = ad.read_h5ad(run.folder / "latents" / "rna.h5ad")
    assert np.array_equal(copy.X.toarray(), tables["rna"].X.toarray())
    assert copy.obs.equals(ad.read_h5ad(paths[0]).obs)
    train(paths, quick(latent_epochs=1, encoder_epochs=1, latents="in-place", overwrite=True))
    changed = ad.read_h5ad(paths[0])
    assert np.array_equal(changed.obsm[SHARED], copy.obsm[SHARED])
    assert np.array_equal(changed.X.toarray(), tables["rna"].X.toarray())


def test_writing_latents_is_whole_or_not_at_all(
    make_tables: Make, quick: Quick, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    paths = written(make_tables(n=100), tmp_path)
    before = [path.read_bytes() for path in paths]
    import anndata.io

    def full(*_: Any, **__: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(anndata.io, "write_elem", full)
    with pytest.raises(Exception, match="no space left"):
        train(paths, quick(latent_epochs=1, encoder_epochs=1, latents="in-place"))
    assert [path.read_bytes() for path in paths] == before
    assert sorted(path.name for path in tmp_path.glob("*.h5ad*")) == ["protein.h5ad", "rna.h5ad"]


def test_cells_in_another_order_give_the_same_latents(make_tables: Make, quick: Quick) -> None:
    tables = make_tables(n=100)
    other = {name: data.copy() for name, data in tables.items()}
    other["protein"] = other["protein"][np.random.default_rng(1).permutation(100)].copy()
    train(tables, quick())
    train(other, quick(overwrite=True))
    assert np.array_equal(tables["rna"].obsm[SHARED], other["rna"].obsm[SHARED])
    aligned = other["protein"][tables["protein"].obs_names]
    assert np.array_equal(tables["protein"].obsm["X_apollo_protein"], aligned.obsm["X_apollo_protein"])


def test_three_tables_and_cells_that_lack_some(make_tables: Make, quick: Quick) -> None:
    tables = make_tables(n=200, names=("rna", "atac", "protein"))
    tables["rna"] = tables["rna"][40:].copy()
    tables["atac"] = tables["atac"][:150].copy()
    for objective in ("agreement", "two-step"):
        run = train(tables, quick(objective=objective, overwrite=True, batch_size=16))
        for name, data in tables.items():
            assert np.isfinite(data.obsm[SHARED]).all()
            assert np.isfinite(data.obsm[f"X_apollo_{name}"]).all()
        assert "prediction_from_atac_pearson" in run.model().card.scores["protein"]


def test_cells_that_were_left_out_have_no_latents(make_tables: Make, quick: Quick) -> None:
    tables = make_tables(n=120)
    thin = tables["rna"].X.toarray()
    thin[5] = 0
    tables["rna"].X = thin
    with pytest.raises(DataError, match=r"1 cells are 0 throughout: cell5"):
        train(tables, quick())
    # What failed before anything was learnt is in nobody's way.
    train(tables, quick(least_features=1))
    with pytest.raises(RunError, match="holds a run already"):
        train(tables, quick(least_features=1))
    for data in tables.values():
        lacking = ~np.isfinite(data.obsm[SHARED]).all(axis=1)
        assert list(np.flatnonzero(lacking)) == [5]


def test_whole_groups_are_held_out(make_tables: Make, quick: Quick) -> None:
    tables = make_tables()
    run = train(tables, quick(group="donor", held_out=("d3",), latent_epochs=1, encoder_epochs=1))
    held = run.model().card.held_out
    assert held.by == "donor"
    assert held.test == ("d3",)
    assert "d3" not in held.validation
    assert held.cells["test"] == 20
    with pytest.raises(ConfigError, match=r"held_out names d9; the groups are d0, d1"):
        train(tables, quick(group="donor", held_out=("d9",), overwrite=True))
    with pytest.raises(ConfigError, match=r"group = 'patient'.*there are kind, donor, batch"):
        train(tables, quick(group="patient", overwrite=True))
    with pytest.raises(ConfigError, match="say by group"):
        train(tables, quick(held_out=("d3",), overwrite=True))


@pytest.mark.parametrize(
    ("loss", "prepare"),
    [
        ("nb", "auto"),
        ("poisson", "auto"),
        ("bernoulli", "auto"),
        ("gaussian", "log-normalise"),
        ("mse", "clr"),
        ("bce", "paper"),
        ("mae", "auto"),
    ],
)
def test_every_loss_learns(make_tables: Make, quick: Quick, loss: str, prepare: str) -> None:
    # Decoders start at the mean: what is learnt in a second shows where information is cheap.
    cheap = {"beta": 0.01, "opening": 1, "eta": 0, "batch_size": 16}
    settings = quick(loss=(loss,), prepare=(prepare,), latent_epochs=8, encoder_epochs=1, **cheap)
    tables = make_tables(n=120)
    if loss == "bernoulli":  # nearly all counts are above 0, which says nothing
        for data in tables.values():
            data.X = np.maximum(data.X.toarray() > 4, np.eye(120, 24) > 0).astype(np.float32)
            data.X[:, 0], data.X[120 // 2 :, 1] = 1, 1
    totals = train(tables, settings).metrics().query("stage == 'agreement'")
    full = totals["training.rna_full"].to_numpy()
    assert np.isfinite(full).all()
    assert full[-1] < full[0]


def test_a_run_goes_on_to_the_same_bytes(make_tables: Make, quick: Quick, tmp_path: Path) -> None:
    paths = written(make_tables(), tmp_path)
    whole = train(paths, quick(output=tmp_path / "whole.run"))
    steps = 0

    def stop_after(step: Step) -> None:
        nonlocal steps
        steps += step.stage.startswith("Step")

    broken = quick(output=tmp_path / "broken.run", checkpoint_seconds=0)
    with pytest.raises(Cancelled):
        train(paths, broken, progress=stop_after, should_stop=lambda: steps >= 3)
    Run(broken.output).resume().wait()
    first, second = (torch_weights(run) for run in (whole, Run(broken.output)))
    assert all(torch.equal(first[name], second[name]) for name in first)


def torch_weights(run: Run) -> dict[str, torch.Tensor]:
    return run.model().network.state_dict()


def test_the_command_recognises_tables(make_tables: Make, tmp_path: Path) -> None:
    paths = [str(path) for path in written(make_tables(n=100), tmp_path)]
    options = [
        "--latent-epochs",
        "1",
        "--encoder-epochs",
        "1",
        "--hidden",
        "16",
        "--device",
        "cpu",
        "--threads",
        "1",
    ]
    output = str(tmp_path / "x.run")
    done = CliRunner().invoke(app, ["train", *paths, "--output", output, *options, "--json"])
    assert done.exit_code == 0, done.output
    assert json.loads(done.stdout)["state"] == "done"
    assert Run(output).tables == tuple(map(Path, paths))
    with pytest.raises(RunError, match="no cell store"):
        _ = Run(output).store
    told = CliRunner().invoke(app, ["info", paths[0], "--json"])
    assert json.loads(told.stdout)["tables"]["rna"]["suits"] == "nb"
    scored = CliRunner().invoke(
        app,
        [
            "evaluate",
            output,
            "--label",
            "kind",
            "--folds",
            "2",
            "--output",
            str(tmp_path / "scores"),
            "--json",
        ],
    )
    assert scored.exit_code == 0, scored.output
    assert {row["input"] for row in json.loads(scored.stdout)["classes"]} >= {"shared", "all latents"}
    assert (tmp_path / "scores" / "classes.csv").is_file()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["missing.h5ad", "rna.h5ad"], "does not exist"),
        (["rna.h5ad", "cells.tif"], "cannot go beside tables"),
        (["rna.h5ad", "protein.h5ad", "--crop-size", "3"], "No such option"),
        (["rna.h5ad", "protein.h5ad", "--embedding", "8"], "--embedding cannot go with tables"),
        (["rna.h5ad", "protein.h5ad", "--loss", "atac=nb"], "no modality 'atac'; there are rna, protein"),
        (["rna.h5ad", "protein.h5ad", "--loss", "l7"], "loss = 'l7'"),
        (["rna.h5ad"], "One table alone"),
        (["rna.h5ad", "rna.h5ad"], "both hold a table called 'rna'"),
        (["rna.h5ad", "protein.h5ad", "--modalities", "rna", "--modalities", "adt"], "no modality adt"),
        (["a.cells.zarr", "b.cells.zarr"], "2 cell stores"),
    ],
)
def test_wrong_commands_are_told(
    make_tables: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, arguments: list[str], message: str
) -> None:
    written(make_tables(n=60), tmp_path)
    monkeypatch.chdir(tmp_path)
    done = CliRunner().invoke(app, ["train", *arguments, "--output", "x.run"])
    assert done.exit_code == 2
    assert message in done.output


def test_a_declared_nuisance_must_be_there_and_vary(make_tables: Make, quick: Quick) -> None:
    tables = make_tables(n=100)
    with pytest.raises(ConfigError, match=r"nuisance = 'lane'"):
        train(tables, quick(nuisance="lane"))
    for data in tables.values():
        data.obs["lane"] = "one"
    with pytest.raises(ConfigError, match="nothing to keep out"):
        train(tables, quick(nuisance="lane", overwrite=True))


def test_settings_come_from_presets() -> None:
    for name, values in TABLE_PRESETS.items():
        config = TableTrainConfig(preset=name)
        assert {key: getattr(config, key) for key in values} == values
    assert TABLE_PRESETS["paper"].keys() == TABLE_PRESETS["agreement"].keys()
    given = TableTrainConfig(loss=("atac=bernoulli", "nb"))
    assert given.of("loss", ["rna", "atac"]) == {"rna": "nb", "atac": "bernoulli"}


def test_the_papers_preset_is_the_papers(make_tables: Make, quick: Quick) -> None:
    paper = TableTrainConfig(preset="paper")
    pinned = {
        "objective": "two-step", "loss": ("bce",), "prepare": ("paper",), "positive_weight": "sum",
        "least_cells": 300, "least_features": 300, "test_fraction": 0.10, "validation_fraction": 0.05,
        "shared": 50, "specific": 20, "hidden": 1024, "depth": 3, "table_blocks": "paper",
        "shared_decoders": True, "noise": 1.0, "penalty": 0.001, "decoder_rate": 1e-4, "latent_rate": 1e-3,
        "encoder_rate": 1e-4, "schedule": "constant", "batch_size": 512, "latent_epochs": 5000,
        "encoder_epochs": 10000, "fixed_order": True, "dense_latents": True, "seed": 3,
        "reconstruction_weight": 0.0, "regression_weight": 1.0, "tune_decoders": False,
    }  # fmt: skip
    assert {name: getattr(paper, name) for name in pinned} == pinned
    tables = make_tables(n=200)
    run = train(
        tables,
        TableTrainConfig(
            preset="paper", output=quick().output, hidden=32, latent_epochs=1, encoder_epochs=1,
            least_cells=0, least_features=0, threads=1, device="cpu", positive_weight="positives",
        ),
    )  # fmt: skip
    architecture = run.model().card.architecture
    counts = tables["rna"].X.toarray()
    rna = architecture.modality("rna")
    assert rna.positive_weight == pytest.approx((counts == 0).sum() / (counts > 0).sum(), rel=1e-5)
    assert rna.weight == 1
    network = run.model().network
    linear = [module for module in network.modules() if isinstance(module, torch.nn.Linear)]
    assert all(module.bias is None for module in linear)
    layers = [each for each in network.decoders["rna"].modules() if isinstance(each, torch.nn.Linear)]
    assert [tuple(each.weight.shape) for each in layers] == [(32, 70), (32, 32), (32, 32), (24, 32)]


def test_a_process_of_its_own_trains_on_tables_in_memory(make_tables: Make, quick: Quick) -> None:
    run = start_run(make_tables(n=100), quick(latent_epochs=1, encoder_epochs=1)).wait()
    assert {path.parent.name for path in run.tables} == {"tables"}
    assert SHARED in ad.read_h5ad(run.folder / "latents" / "rna.h5ad").obsm
    assert isinstance(run.model(), Apollo)


def test_new_cells_are_placed_by_name(make_tables: Make, quick: Quick) -> None:
    tables = make_tables()
    run = train(tables, quick(latent_epochs=2, encoder_epochs=1))
    new = {name: data[40:60].copy() for name, data in tables.items()}
    new["rna"] = new["rna"][:, ::-1].copy()
    cells, latents = place_tables(run, new)
    assert list(cells) == list(tables["rna"].obs_names[40:60])
    assert np.allclose(latents.shared, tables["rna"].obsm[SHARED][40:60], atol=1e-5)
    _, alone = place_tables(run.folder, {"rna": new["rna"]})
    assert np.allclose(alone.shared_by["rna"], latents.shared_by["rna"], atol=1e-5)
    assert np.isnan(alone.specific["protein"]).all()
    with pytest.raises(ConfigError, match="knows no table 'atac'; it knows rna, protein"):
        place_tables(run, {"atac": new["rna"]})
    with pytest.raises(DataError, match="lacks 1 of 24 features that the model knows: rna5"):
        place_tables(run, {"rna": tables["rna"][:, [i for i in range(24) if i != 5]].copy()})


def test_previews_are_drawn_while_a_model_of_tables_learns(make_tables: Make, quick: Quick) -> None:
    tables = make_tables()
    tables["protein"] = tables["protein"][:, :10].copy()
    run = train(tables, quick(previews_every=2))
    drawn = sorted(path.name for path in (run.folder / "previews").glob("*.png"))
    assert drawn == [
        "agreement_00000.png", "agreement_00002.png", "encoders_00000.png", "encoders_best.png",
    ]  # fmt: skip
    sheets = [imread(run.folder / "previews" / name) for name in drawn]
    assert len({sheet.shape for sheet in sheets}) == 1
    # Two rows of three parts; the first part is what was measured, whatever the model is.
    wide, high = 3 * (4 * 24 + 4), 2 * (sheets[0].shape[0] // 2)
    assert sheets[0].shape == (high, wide)
    measured = slice(0, high // 2), slice(0, wide // 3)
    assert np.array_equal(np.sort(sheets[0][measured], axis=0), np.sort(sheets[-1][measured], axis=0))
    assert not np.array_equal(sheets[0], sheets[-1])


def test_a_step_without_encoders_has_no_previews(make_tables: Make, quick: Quick) -> None:
    run = train(make_tables(n=100), quick(objective="two-step", previews_every=1, latent_epochs=2))
    drawn = {path.name.split("_")[0] for path in (run.folder / "previews").glob("*.png")}
    assert drawn == {"encoders"}


def test_several_processes_are_refused(
    make_tables: Make, quick: Quick, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.setenv("RANK", "0")
    with pytest.raises(ConfigError, match="one alone trains on tables"):
        train(make_tables(), quick())
    assert not quick().output.exists()


@pytest.mark.parametrize("thin", [True, False])
def test_features_have_units_of_their_own(make_tables: Make, quick: Quick, thin: bool) -> None:
    """Square micrometres beside parts of one: latents, and those of new cells, do not see the unit."""
    found = []
    for units in (np.ones(24), np.where(np.arange(24) % 2, 1000.0, 0.0625)):
        tables = make_tables(n=100)
        values = tables["protein"].X.toarray() * units
        tables["protein"].X = sparse.csr_matrix(values) if thin else values + 8 * units
        run = train(
            tables, quick(loss=("protein=gaussian",), prepare=("protein=standardise",), overwrite=True)
        )
        cells, latents = place_tables(run, {"protein": tables["protein"]})
        assert list(cells) == list(tables["protein"].obs_names)
        assert np.allclose(latents.specific["protein"], tables["protein"].obsm["X_apollo_protein"], atol=1e-4)
        found.append(latents.shared_by["protein"])
    assert np.allclose(*found, atol=1e-3)


def test_new_cells_are_placed_by_the_layer_that_was_learnt_from(make_tables: Make, quick: Quick) -> None:
    tables = make_tables(n=100)
    for data in tables.values():
        data.layers["scaled"] = data.X.toarray() * 2.5 - 1
    run = train(tables, quick(layer="scaled", latent_epochs=1, encoder_epochs=1))
    _, latents = place_tables(run, tables)
    assert np.allclose(latents.shared, tables["rna"].obsm[SHARED], atol=1e-6)
    _, others = place_tables(run, tables, layer="")
    assert not np.allclose(others.shared, latents.shared, atol=1e-3)
