"""Measuring a cell store: the same values as in the field, written whole, replaced exactly."""

from __future__ import annotations

import errno
import json
import os
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from napari_apollo.cells import CellStore
from napari_apollo.errors import Cancelled, DataError, FileError
from napari_apollo.measure import MeasureConfig, measure, measure_field
from napari_apollo.measure.table import MEASURE_VERSION
from napari_apollo.panels import Panel
from napari_apollo.progress import Step


@pytest.fixture
def store(tmp_path, field, forms):
    return forms.write_store(tmp_path / "a.cells.zarr", field)


def as_frame(store):
    table = store.table
    return pd.DataFrame(table.X, index=table.obs["label"].to_numpy(int), columns=table.var_names)


def test_equals_the_field(store, field):
    config = MeasureConfig(workers=1, batch=7)
    measure(store, config)
    found = as_frame(CellStore.open(store.path))
    wanted = measure_field(field.image, field.labels, field.cells, field.stains, 0.5, config)
    inside = (wanted["cell_at_edge"] == 0).to_numpy()
    assert inside.sum() > 10
    assert list(found.columns) == list(wanted.columns)
    for name in wanted:
        if name.endswith("_contact"):
            assert found[name].isna().all()
            continue
        np.testing.assert_allclose(
            found[name].to_numpy()[inside],
            wanted[name].to_numpy()[inside],
            rtol=2e-6,
            atol=1e-7,
            err_msg=name,
        )


def test_table_says_what_was_measured(store):
    config = MeasureConfig(families=("shape", "intensity"), workers=1)
    measure(store, config)
    table = CellStore.open(store.path).table
    var = table.var
    assert table.X.dtype == np.float32
    assert {"family", "region", "stain", "unit", "description"} <= set(var.columns)
    assert set(var["family"]) == {"shape", "intensity"}
    assert var.at["nucleus_area", "unit"] == "µm²"
    assert var.at["cell_mean_CD3", "stain"] == "CD3"
    record = table.uns["measure"]
    assert record["measure_version"] == MEASURE_VERSION
    assert record["pixel_size_um"] == 0.5
    assert json.loads(record["parameters"])["families"] == ["shape", "intensity"]


def test_panels_without_a_stain_have_nan_and_say_why(tmp_path, field, forms):
    panels = [Panel(name="a", stains=("DAPI", "CD3")), Panel(name="b", stains=("DAPI", "gammaH2AX"))]
    store = forms.write_store(tmp_path / "b.cells.zarr", field, panels=panels)
    measure(store, MeasureConfig(workers=1))
    table = store.table
    frame = pd.DataFrame(table.X, columns=table.var_names)
    of_a = (table.obs["panel"] == "a").to_numpy()
    assert frame["nucleus_mean_CD3"][of_a].notna().all()
    assert frame["nucleus_mean_CD3"][~of_a].isna().all()
    assert frame["nucleus_mean_DAPI"].notna().all()
    assert table.uns["measure"]["missing"]["the cell's panel does not have this stain"] > 0
    # Neighbours are those in the image, whichever panel they were given.
    wanted = measure_field(
        field.image, field.labels, field.cells, field.stains, 0.5, MeasureConfig(families=("neighbours",))
    )
    found = as_frame(store)["neighbour_nearest"].loc[wanted.index]
    np.testing.assert_allclose(found, wanted["neighbour_nearest"], rtol=1e-6)


def test_measuring_again_replaces_exactly_its_own_columns(store):
    import anndata

    measure(store, MeasureConfig(families=("shape", "radial"), workers=1))
    table = store.table
    extra = anndata.AnnData(
        X=np.arange(table.n_obs, dtype=np.float32)[:, None],
        obs=table.obs,
        var=pd.DataFrame({"family": ["mine"]}, index=["my_score"]),
    )
    joined = anndata.concat([extra, table], axis=1, merge="first", uns_merge="first")
    joined.obs, joined.uns = table.obs, {**table.uns, "note": "kept"}
    joined.obsm["shared"] = np.ones((table.n_obs, 3), np.float32)
    store.write_table(joined)
    measure(store, MeasureConfig(families=("shape",), workers=1))
    again = CellStore.open(store.path).table
    assert again.var_names[0] == "my_score"
    assert set(again.var["family"]) == {"mine", "shape"}
    np.testing.assert_array_equal(again[:, "my_score"].X[:, 0], np.arange(table.n_obs))
    assert again.uns["note"] == "kept"
    assert again.obsm["shared"].shape == (table.n_obs, 3)
    first = again.X.copy()
    measure(store, MeasureConfig(families=("shape",), workers=2, batch=3))
    np.testing.assert_array_equal(store.table.X, first)


def test_what_is_measured_again_is_not_held_beside_what_replaces_it(store):
    import weakref

    measure(store, MeasureConfig(families=("shape",), workers=1))
    old = weakref.ref(store.table.X)
    held = []
    measure(
        store,
        MeasureConfig(families=("shape",), batch=5, workers=1),
        progress=lambda step: held.append(old() is not None),
    )
    assert held
    assert not any(held)


def test_stopping_a_second_measurement_leaves_the_first(store):
    measure(store, MeasureConfig(families=("shape",), workers=1))
    first = store.table.copy()
    with pytest.raises(Cancelled):
        measure(store, MeasureConfig(families=("intensity",)), should_stop=lambda: True)
    for table in (store.table, CellStore.open(store.path).table):
        assert table.var_names.equals(first.var_names)
        np.testing.assert_array_equal(table.X, first.X)


def test_layers_of_other_columns_stay(store):
    import anndata

    table = store.table
    mine = anndata.AnnData(
        X=np.ones((table.n_obs, 1), np.float32), obs=table.obs, var=pd.DataFrame(index=["mine"])
    )
    mine.layers["raw"] = np.arange(table.n_obs, dtype=np.float32)[:, None]
    store.write_table(mine)
    for _ in range(2):
        measure(store, MeasureConfig(families=("shape",), workers=1))
        table = store.table
        np.testing.assert_array_equal(table[:, "mine"].layers["raw"][:, 0], np.arange(table.n_obs))
        assert np.isnan(table[:, "nucleus_area"].layers["raw"]).all()


def test_a_foreign_column_with_a_feature_s_name_is_not_touched(store):
    import anndata

    table = store.table
    mine = anndata.AnnData(
        X=np.ones((table.n_obs, 1), np.float32), obs=table.obs, var=pd.DataFrame(index=["nucleus_area"])
    )
    store.write_table(mine)
    steps = []
    with pytest.raises(DataError, match="nucleus_area"):
        measure(store, MeasureConfig(families=("shape",), workers=1), progress=steps.append)
    assert not steps
    assert CellStore.open(store.path).table.n_vars == 1


def test_stopping_leaves_the_table_as_it_was(store):
    with pytest.raises(Cancelled):
        measure(store, MeasureConfig(families=("shape",), batch=2), should_stop=lambda: True)
    assert CellStore.open(store.path).table.n_vars == 0


def test_progress_counts_cells(store):
    steps = []
    measure(store, MeasureConfig(families=("shape",), batch=10, workers=1), progress=steps.append)
    assert steps[-1].done == steps[-1].total == store.n_cells
    assert [step.done for step in steps] == sorted(step.done for step in steps)


def test_a_store_that_may_not_be_written_is_refused_before_the_work(store, monkeypatch):
    def refused(*_: object, **__: object) -> None:
        raise OSError(errno.EROFS, os.strerror(errno.EROFS))

    steps: list[Step] = []
    monkeypatch.setattr(Path, "touch", refused)
    with pytest.raises(FileError, match="cannot be written"):
        measure(store, MeasureConfig(families=("shape",)), progress=steps.append)
    assert steps == []
