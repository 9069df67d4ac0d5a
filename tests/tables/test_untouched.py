"""What people give stays as it was: objects in memory, backed files, files that latents are written into."""

from __future__ import annotations

import stat
from collections.abc import Callable
from pathlib import Path

import anndata as ad
import h5py
import numpy as np
import pandas as pd
import pytest

from napari_apollo.errors import ConfigError, FileError
from napari_apollo.predict import TableEvaluateConfig, evaluate_tables
from napari_apollo.tables import open_tables
from napari_apollo.train import TableTrainConfig, train

Make = Callable[..., dict[str, ad.AnnData]]
Quick = Callable[..., TableTrainConfig]
SHARED = "X_apollo_shared"
FAST = {"latent_epochs": 1, "encoder_epochs": 1}


def test_tables_that_are_not_asked_for_stay_as_they_are(make_tables: Make, quick: Quick) -> None:
    tables = make_tables(n=80, names=("rna", "protein", "atac"))
    tables["atac"].obsm["X_apollo_shared"] = np.ones((80, 2))
    train(tables, quick(modalities=("rna", "protein"), **FAST))
    assert np.isfinite(tables["rna"].obsm[SHARED]).all()
    assert list(tables["atac"].obsm) == [SHARED]
    assert (tables["atac"].obsm[SHARED] == 1).all()


def test_backed_tables_stay_tied_to_their_files(make_tables: Make, quick: Quick, tmp_path: Path) -> None:
    backed = {}
    for name, data in make_tables(n=80).items():
        data.write_h5ad(tmp_path / f"{name}.h5ad")
        backed[name] = ad.read_h5ad(tmp_path / f"{name}.h5ad", backed="r")
    train(backed, quick(**FAST))
    for name, data in backed.items():
        assert data.filename == tmp_path / f"{name}.h5ad"
        assert np.isfinite(data.obsm[SHARED]).all()


def test_what_cannot_be_stored_does_not_keep_tables_from_being_learnt_from(
    make_tables: Make, quick: Quick
) -> None:
    tables = make_tables(n=80)
    rna = tables["rna"]
    rna.obs["odd"] = [1, "a", None, 2.5] * 20
    rna.obs["empty"] = None
    rna.obs["counts/cell"] = 1e300
    rna.obs["when"] = pd.Timestamp("2020-01-01")
    rna.obs["depth"] = pd.cut(np.asarray(rna.X.sum(axis=1)).ravel(), 3)
    rna.obs["name"] = ["not the name"] * 80
    rna.obs.index.name = "name"
    rna.uns["thing"] = object()
    before = rna.obs.copy()
    run = train(tables, quick(nuisance="depth", **FAST))
    pd.testing.assert_frame_equal(rna.obs, before)
    found = evaluate_tables(run, TableEvaluateConfig(label=("kind",), components=False, directions=1))
    assert set(found.nuisance["input"]) >= {"shared"}


def test_layers_and_raw_of_objects_are_what_is_learnt_from(make_tables: Make, quick: Quick) -> None:
    plain, layered, raw = make_tables(n=80), make_tables(n=80), make_tables(n=80)
    for data in layered.values():
        data.layers["counts"] = data.X.copy()
        data.X = np.full(data.shape, 0.5, np.float32)
    for name, data in raw.items():
        whole = data.copy()
        raw[name] = data[:, :20].copy()
        raw[name].raw = whole
    fingerprints = {
        train(tables, quick(layer=layer, overwrite=True, **FAST)).model().card.fingerprint
        for tables, layer in ((plain, ""), (layered, "counts"), (raw, "raw"))
    }
    assert len(fingerprints) == 1


def written(tables: dict[str, ad.AnnData], folder: Path, *, mode: int) -> list[Path]:
    """Tables as files with these permissions."""
    paths = [folder / f"{name}.h5ad" for name in tables]
    for path, data in zip(paths, tables.values(), strict=True):
        data.write_h5ad(path)
        path.chmod(mode)
    return paths


def test_nobody_else_may_read_what_nobody_else_could_read(
    make_tables: Make, quick: Quick, tmp_path: Path
) -> None:
    paths = written(make_tables(n=80), tmp_path, mode=0o600)
    train(paths, quick(latents="in-place", **FAST))
    assert all(SHARED in ad.read_h5ad(path).obsm for path in paths)
    assert {stat.S_IMODE(path.stat().st_mode) for path in paths} == {0o600}


def test_files_that_cannot_be_changed_have_copies_that_can(
    make_tables: Make, quick: Quick, tmp_path: Path
) -> None:
    paths = written(make_tables(n=80), tmp_path, mode=0o440)
    run = train(paths, quick(**FAST))
    for path in paths:
        copy = run.folder / "latents" / path.name
        assert SHARED in ad.read_h5ad(copy).obsm
        assert stat.S_IMODE(copy.stat().st_mode) == 0o640


def test_files_of_early_anndata_are_refused_with_what_to_do(tmp_path: Path) -> None:
    path = tmp_path / "rna.h5ad"
    with h5py.File(path, "w") as file:
        file["X"] = np.ones((3, 2), np.float32)
        for name, names in (("obs", [b"a", b"b", b"c"]), ("var", [b"g", b"h"])):
            file[name] = np.array([(each,) for each in names], dtype=[("index", "S5")])
    assert ad.read_h5ad(path).shape == (3, 2)
    with pytest.raises(FileError, match=r"rna\.h5ad: was written by an anndata before 0\.7.*write_h5ad"):
        open_tables(path)


def test_copies_of_two_files_never_lie_in_one_place(make_tables: Make, quick: Quick, tmp_path: Path) -> None:
    paths = []
    for name, data in make_tables(n=60).items():
        paths.append(tmp_path / name / "data.h5mu")
        paths[-1].parent.mkdir()
        with h5py.File(paths[-1], "w") as file:
            ad.io.write_elem(file, f"mod/{name}", data)
            ad.io.write_elem(file, "obs", data.obs)
    with pytest.raises(ConfigError, match=r"data\.h5mu are files of one name.*in-place"):
        train(paths, quick(**FAST))
    assert train(paths, quick(latents="none", **FAST)).status().state == "done"
