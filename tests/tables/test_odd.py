"""Tables as they come: what lies beside them in a MuData, raw counts, odd types, disputed columns."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import anndata as ad
import numpy as np
import pandas as pd
import pytest
from scipy import sparse
from typer.testing import CliRunner

from napari_apollo.cli.app import app
from napari_apollo.errors import ConfigError, DataError, FileError
from napari_apollo.predict import TableEvaluateConfig, evaluate_tables, place_tables
from napari_apollo.tables import match_cells, open_tables
from napari_apollo.train import Run, TableTrainConfig, train
from napari_apollo.train.tabledataset import open_table_dataset

Make = Callable[..., dict[str, ad.AnnData]]
Quick = Callable[..., TableTrainConfig]
SHARED = "X_apollo_shared"


@pytest.fixture
def multi(make_tables: Make, tmp_path: Path) -> Path:
    """A MuData whose donors and batches stand in its own obs alone, in another order than its tables."""
    mudata = pytest.importorskip("mudata")
    tables = make_tables(n=100)
    common = tables["rna"].obs.iloc[::-1].copy()
    for data in tables.values():
        del data.obs["donor"], data.obs["batch"]
    with mudata.set_options(pull_on_update=False):
        made = mudata.MuData(tables)
        for column in ("donor", "batch"):
            made.obs[column] = common[column].reindex(made.obs_names)
        made.obs["rna:kind"] = "a copy"
        made.write(tmp_path / "data.h5mu")
    return tmp_path / "data.h5mu"


def test_training_is_typed_on_a_mudata(multi: Path, tmp_path: Path) -> None:
    mudata = pytest.importorskip("mudata")
    before = mudata.read(multi)
    words = ["--latent-epochs", "3", "--encoder-epochs", "1", "--hidden", "16", "--shared", "3"]
    words += ["--specific", "2", "--device", "cpu", "--threads", "1", "--json"]
    words += ["--group", "donor", "--nuisance", "batch", "--output", str(tmp_path / "x.run")]
    done = CliRunner().invoke(app, ["train", str(multi), *words])
    assert done.exit_code == 0, done.output
    assert json.loads(done.stdout)["state"] == "done"
    assert Run(tmp_path / "x.run").model().card.held_out.by == "donor"
    written = mudata.read(tmp_path / "x.run" / "latents" / "data.h5mu")
    shared = written.obsm[SHARED]
    assert np.isfinite(shared).all()
    for name in ("rna", "protein"):
        assert np.array_equal(written[name].obsm[SHARED], shared)
        assert written[name].obsm[f"X_apollo_{name}"].shape == (100, 2)
        assert np.array_equal(written[name].X.toarray(), before[name].X.toarray())
    assert SHARED not in mudata.read(multi).obsm
    again = ["train", str(multi), *words, "--latents", "in-place", "--overwrite"]
    assert CliRunner().invoke(app, again).exit_code == 0
    assert np.array_equal(mudata.read(multi).obsm[SHARED], shared)


def test_what_a_mudata_says_of_all_cells_is_found_by_name(
    multi: Path, make_tables: Make, quick: Quick
) -> None:
    mudata = pytest.importorskip("mudata")
    wanted = make_tables(n=100)["rna"].obs
    for source in (multi, mudata.read(multi)):
        for table in open_tables(source).values():
            assert list(table.obs.columns) == ["kind", "donor", "batch"]
            assert (table.obs["donor"].astype(str) == wanted["donor"].reindex(table.cells)).all()
    run = train(mudata.read(multi), quick(group="donor", nuisance="batch", latent_epochs=1, encoder_epochs=1))
    assert run.model().card.held_out.by == "donor"
    found = evaluate_tables(run, TableEvaluateConfig(components=False, folds=2))
    assert set(found.nuisance["chance"]) == {0.5}


def test_raw_counts_lie_where_anndata_keeps_them(make_tables: Make, tmp_path: Path) -> None:
    data = make_tables(n=60)["rna"]
    counts, names = data.X.toarray(), list(data.var_names)
    data.raw = data.copy()
    data = data[:, :10].copy()
    data.X = np.asarray(data.X.toarray() - data.X.toarray().mean(axis=0), np.float32)
    data.write_h5ad(tmp_path / "rna.h5ad")
    for source in (tmp_path / "rna.h5ad", {"rna": data}):
        assert open_tables(source)["rna"].shape == (60, 10)
        table = open_tables(source, layer="raw")["rna"]
        values = table.values.toarray() if sparse.issparse(table.values) else table.values
        assert np.array_equal(values, counts)
        assert list(table.features) == names
        with pytest.raises(ConfigError, match="raw"):
            open_tables(source, layer="counts")


@pytest.mark.parametrize("kind", ["int64", "uint8", "float64", "bool", "csc64", "csr_array", "view"])
def test_the_type_of_counts_changes_nothing(make_tables: Make, tmp_path: Path, kind: str) -> None:
    data = make_tables(n=60)["rna"]
    wanted = data.X.toarray()
    if kind == "view":
        data = data[np.arange(60)]
    elif kind == "csc64":
        data.X = sparse.csc_matrix(wanted.astype(np.int64))
    elif kind == "csr_array":
        data.X = sparse.csr_array(wanted.astype(np.float64))
    elif kind == "bool":
        wanted = wanted > 4
        data.X = wanted
    else:
        data.X = wanted.astype(kind)
    found = [open_tables({"rna": data})]
    data.write_h5ad(tmp_path / "rna.h5ad", compression="gzip")
    found.append(open_tables(tmp_path / "rna.h5ad"))
    for tables in found:
        values = tables["rna"].values
        assert np.array_equal(values.toarray() if sparse.issparse(values) else values, wanted)
        assert values.dtype == np.float32


def test_features_of_one_name_in_two_tables_are_two(make_tables: Make, quick: Quick) -> None:
    tables = make_tables(n=100)
    for data in tables.values():
        data.var_names = [f"CD{i}" for i in range(data.n_vars)]
        data.obs["kind"] = data.obs["kind"].astype(pd.CategoricalDtype(["a", "b", "never"]))
        data.obsm[SHARED] = np.zeros((data.n_obs, 9), np.float32)
    views = {name: data[::-1] for name, data in tables.items()}
    run = train(views, quick(nuisance="kind", latent_epochs=2, encoder_epochs=1))
    assert run.model().card.tables["rna"].features == run.model().card.tables["protein"].features
    for data in views.values():
        assert data.obsm[SHARED].shape[1] <= 3
        assert np.isfinite(data.obsm[SHARED]).all()


def test_disputed_columns_decide_nothing(make_tables: Make, quick: Quick) -> None:
    tables = make_tables(n=100)
    other = tables["protein"].obs["donor"].to_numpy(object, copy=True)
    other[5] = "d99"
    tables["protein"].obs["donor"] = other
    matched = match_cells(open_tables(tables))
    assert list(matched.disputed) == ["donor"]
    with pytest.raises(DataError, match=r"differ in donor of 1 cells; of 'cell5' it is d5 in one, and d99"):
        open_table_dataset(tables, quick(group="donor"))
    run = train(tables, quick(latent_epochs=1, encoder_epochs=1))
    found = evaluate_tables(run, TableEvaluateConfig(batch="donor", components=False, folds=2))
    assert any("differ in donor" in note for note in found.notes)


def test_a_number_of_its_own_for_every_cell_is_no_nuisance(make_tables: Make, quick: Quick) -> None:
    tables = make_tables(n=100)
    for data in tables.values():
        data.obs["depth"] = np.arange(100) / 7
    with pytest.raises(ConfigError, match=r"nuisance = 'depth': 100 kinds among 100 cells.*qcut"):
        open_table_dataset(tables, quick(nuisance="depth"))


def test_a_cell_without_counts_lies_nowhere(make_tables: Make, quick: Quick) -> None:
    tables = make_tables(n=100)
    run = train(tables, quick(latent_epochs=1, encoder_epochs=1))
    thin = tables["rna"].X.toarray()
    thin[3] = 0
    tables["rna"].X = thin
    cells, latents = place_tables(run, {"rna": tables["rna"]})
    assert list(np.flatnonzero(np.isnan(latents.shared).any(axis=1))) == [3]
    assert np.isnan(latents.specific["rna"][3]).all()
    _, both = place_tables(run, tables)
    assert np.isfinite(both.shared).all()
    assert np.isnan(both.shared_by["rna"][3]).all()
    assert np.isfinite(both.specific["protein"]).all()
    assert len(cells) == 100


def test_names_that_become_one_and_packed_files_are_refused(make_tables: Make, tmp_path: Path) -> None:
    mudata = pytest.importorskip("mudata")
    tables = make_tables(n=50)
    with mudata.set_options(pull_on_update=False):
        made = mudata.MuData({"a-b": tables["rna"], "a b": tables["protein"]})
        made.write(tmp_path / "two.h5mu")
    with pytest.raises(ConfigError, match="both called 'a_b'"):
        open_tables(tmp_path / "two.h5mu")
    (tmp_path / "rna.h5ad.gz").write_bytes(b"\x1f\x8b")
    with pytest.raises(FileError, match="is packed"):
        open_tables(tmp_path / "rna.h5ad.gz")


def test_a_link_is_followed_when_latents_go_into_files(
    make_tables: Make, quick: Quick, tmp_path: Path
) -> None:
    (tmp_path / "there").mkdir()
    paths = []
    for name, data in make_tables(n=60).items():
        data.write_h5ad(tmp_path / "there" / f"{name}.h5ad")
        paths.append(tmp_path / f"{name}.h5ad")
        paths[-1].symlink_to(tmp_path / "there" / f"{name}.h5ad")
    train(paths, quick(latents="in-place", latent_epochs=1, encoder_epochs=1))
    for path in paths:
        assert path.is_symlink()
        assert SHARED in ad.read_h5ad(path).obsm


def test_a_table_that_is_too_large_is_refused_before_it_is_read(
    make_tables: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import anndata.io

    data = make_tables(n=60)["rna"]
    data.X = sparse.csc_matrix(data.X)
    data.write_h5ad(tmp_path / "rna.h5ad")
    read = anndata.io.read_elem

    def refuse(elem: object) -> object:
        assert not str(getattr(elem, "name", "")).endswith("/X"), "values were read"
        return read(elem)

    monkeypatch.setattr(anndata.io, "read_elem", refuse)
    with pytest.raises(ConfigError, match="GB in memory"):
        open_tables(tmp_path / "rna.h5ad", memory=1000)
