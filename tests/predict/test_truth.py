"""Truth that was measured elsewhere is held against the same pixels, or refused."""

from __future__ import annotations

import shutil
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from napari_apollo.cells import CellStore
from napari_apollo.errors import DataError
from napari_apollo.predict.truth import StoreTruth


def test_truth_in_another_store_is_of_the_same_cells(made: SimpleNamespace) -> None:
    obs = made.store.obs
    crops, found = StoreTruth(made.store).read(obs, "CD3", made.store.crop_size)
    rows = made.store.rows("right")
    np.testing.assert_array_equal(np.flatnonzero(found), rows)
    np.testing.assert_array_equal(crops, made.store.read_images("right", np.arange(len(rows)))[:, 2])


def test_truth_of_another_magnification_is_refused(made: SimpleNamespace, tmp_path: Path) -> None:
    shutil.copytree(made.store.path, tmp_path / "finer.cells.zarr")
    finer = CellStore.open(tmp_path / "finer.cells.zarr")
    table = finer.table.copy()
    table.obs["scale"] = 0.5
    finer.write_table(table)
    with pytest.raises(DataError, match=r"another magnification: 0.5 .* cells 1;"):
        StoreTruth(finer).read(made.store.obs, "CD3", made.store.crop_size)
