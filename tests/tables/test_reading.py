"""Reading and matching: files, objects, MuData; names and never positions; what is refused, and in which
words."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import anndata as ad
import h5py
import numpy as np
import pandas as pd
import pytest
from anndata.io import write_elem
from hypothesis import given
from hypothesis import strategies as st
from scipy import sparse

from napari_apollo.errors import ConfigError, DataError, FileError
from napari_apollo.tables import Table, match_cells, open_tables

Make = Callable[..., dict[str, ad.AnnData]]


def dense(table: Table) -> np.ndarray:
    return table.values.toarray() if sparse.issparse(table.values) else table.values


def write_h5mu(path: Path, tables: dict[str, ad.AnnData]) -> Path:
    with h5py.File(path, "w") as file:
        for name, data in tables.items():
            write_elem(file, f"mod/{name}", data)
        write_elem(file, "obs", tables["rna"].obs)
    return path


def test_files_objects_and_mudata_hold_the_same(make_tables: Make, tmp_path: Path) -> None:
    mudata = pytest.importorskip("mudata")
    tables = make_tables()
    for name, data in tables.items():
        data.write_h5ad(tmp_path / f"{name}.h5ad")
    multi = mudata.MuData({name: data.copy() for name, data in tables.items()})
    multi.write(tmp_path / "data.h5mu")
    paths = [tmp_path / f"{name}.h5ad" for name in tables]
    backed = {name: ad.read_h5ad(path, backed="r") for name, path in zip(tables, paths, strict=True)}
    for source in (
        paths,
        tables,
        multi,
        tmp_path / "data.h5mu",
        backed,
        dict(zip(tables, paths, strict=True)),
    ):
        found = open_tables(source)
        assert list(found) == ["rna", "protein"]
        for name, data in tables.items():
            assert np.array_equal(dense(found[name]), data.X.toarray())
            assert list(found[name].cells) == list(data.obs_names)
            assert list(found[name].features) == list(data.var_names)


@pytest.mark.parametrize("kind", ["dense", "csc", "csr"])
def test_every_storage_gives_the_same_values(make_tables: Make, tmp_path: Path, kind: str) -> None:
    data = make_tables(n=50)["rna"]
    wanted = data.X.toarray()
    data.X = {"dense": np.asarray, "csc": sparse.csc_matrix, "csr": sparse.csr_matrix}[kind](wanted)
    data.write_h5ad(tmp_path / "rna.h5ad")
    assert np.array_equal(dense(open_tables(tmp_path / "rna.h5ad")["rna"]), wanted)


def test_sparse_tables_stay_sparse_and_layers_are_read(make_tables: Make, tmp_path: Path) -> None:
    data = make_tables(n=60)["rna"]
    thin = sparse.random(60, 24, density=0.1, format="csr", rng=np.random.default_rng(1))
    data.layers["thin"] = thin
    data.write_h5ad(tmp_path / "rna.h5ad")
    table = open_tables(tmp_path / "rna.h5ad", layer="thin")["rna"]
    assert sparse.issparse(table.values)
    assert np.allclose(table.values.toarray(), thin.toarray())
    with pytest.raises(ConfigError, match=r"layers/raw; its layers are thin"):
        open_tables(tmp_path / "rna.h5ad", layer="raw")


def test_cells_are_matched_by_name(make_tables: Make) -> None:
    tables = make_tables(n=80)
    shuffled = np.random.default_rng(0).permutation(80)[:60]
    tables["protein"] = tables["protein"][shuffled].copy()
    found = open_tables(tables)
    matched = match_cells(found)
    assert list(matched.cells) == list(tables["rna"].obs_names)
    assert int(matched.complete.sum()) == 60
    for cell in range(80):
        row = matched.rows["protein"][cell]
        if row >= 0:
            assert found["protein"].cells[row] == matched.cells[cell]
        else:
            assert matched.cells[cell] not in set(tables["protein"].obs_names)


@given(st.permutations(list(range(40))), st.integers(32, 40))
def test_matching_does_not_depend_on_the_order_of_other_tables(order: list[int], kept: int) -> None:
    def table(name: str, rows: list[int]) -> Table:
        cells = np.array([f"c{i}" for i in rows], object)
        values = np.array(rows, np.float32)[:, None] + np.zeros((1, 3), np.float32)
        return Table(name, values, cells, np.array(list("xyz"), object), pd.DataFrame(index=cells), name)

    tables = {"a": table("a", list(range(40))), "b": table("b", order[:kept])}
    matched = match_cells(tables)
    for name, rows in matched.rows.items():
        there = rows >= 0
        assert np.array_equal(
            tables[name].values[rows[there], 0], [int(str(cell)[1:]) for cell in matched.cells[there]]
        )
    assert (matched.rows["b"] >= 0).sum() == kept


def test_wrong_files_are_named(make_tables: Make, tmp_path: Path) -> None:
    with pytest.raises(FileError, match=r"nothing\.h5ad: does not exist"):
        open_tables(tmp_path / "nothing.h5ad")
    (tmp_path / "broken.h5ad").write_bytes(b"no table at all")
    with pytest.raises(FileError, match=r"broken\.h5ad: cannot be read as HDF5"):
        open_tables(tmp_path / "broken.h5ad")
    with h5py.File(tmp_path / "empty.h5mu", "w"):
        pass
    with pytest.raises(FileError, match="holds no group 'mod'"):
        open_tables(tmp_path / "empty.h5mu")
    with h5py.File(tmp_path / "bare.h5ad", "w") as file:
        file["X"] = np.ones((3, 3))
    with pytest.raises(FileError, match="holds no obs and no var"):
        open_tables(tmp_path / "bare.h5ad")
    (tmp_path / "cells.csv").write_text("a,b\n")
    with pytest.raises(FileError, match="is no table"):
        open_tables(tmp_path / "cells.csv")
    path = write_h5mu(tmp_path / "two.h5mu", make_tables(n=40))
    with pytest.raises(ConfigError, match="no modality atac; the tables hold protein, rna"):
        open_tables(path, names=["rna", "atac"])
    with pytest.raises(ConfigError, match=r"AnnData needs a name"):
        open_tables(make_tables(n=40)["rna"])


def test_names_that_stand_twice_are_refused(make_tables: Make) -> None:
    tables = make_tables(n=40)
    tables["rna"].obs_names = ["same", "same", *tables["rna"].obs_names[2:]]
    with pytest.raises(DataError, match=r"1 names stand twice among the cells of AnnData 'rna': same"):
        open_tables(tables)
    tables = make_tables(n=40)
    tables["protein"].var_names = ["CD3", "CD3", *tables["protein"].var_names[2:]]
    with pytest.raises(DataError, match=r"features of AnnData 'protein': CD3"):
        open_tables(tables)


def test_tables_of_other_cells_are_refused(make_tables: Make) -> None:
    tables = make_tables(n=60)
    tables["protein"].obs_names = [f"{name}-1" for name in tables["protein"].obs_names]
    with pytest.raises(DataError, match=r"Only 0 cells.*rna: cell0, cell1; protein: cell0-1, cell1-1"):
        match_cells(open_tables(tables))


def test_memory_is_bounded(make_tables: Make, tmp_path: Path) -> None:
    make_tables(n=100)["rna"].write_h5ad(tmp_path / "rna.h5ad")
    with pytest.raises(ConfigError, match=r"rna\.h5ad takes .* GB in memory"):
        open_tables(tmp_path / "rna.h5ad", memory=100)
