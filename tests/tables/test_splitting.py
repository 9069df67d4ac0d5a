"""Groups that are held out, and what tables say of them in different kinds of numbers."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import anndata as ad
import numpy as np
import pandas as pd
import pytest

from napari_apollo.errors import DataError
from napari_apollo.train import TableTrainConfig
from napari_apollo.train.split import TEST, TRAIN, VALIDATION
from napari_apollo.train.tabledataset import TableDataset, open_table_dataset

Make = Callable[..., dict[str, ad.AnnData]]
Quick = Callable[..., TableTrainConfig]


def grouped(tables: dict[str, ad.AnnData], groups: Any, config: TableTrainConfig) -> TableDataset:
    for data in tables.values():
        data.obs["group"] = groups
    return open_table_dataset(tables, config)


def test_a_group_of_most_cells_is_learnt_from(make_tables: Make, quick: Quick) -> None:
    groups = np.array(["big"] * 120 + ["s1"] * 20 + ["s2"] * 20)
    for seed in range(6):
        dataset = grouped(make_tables(), groups, quick(group="group", seed=seed))
        assert set(groups[dataset.split.cells(TRAIN)]) == {"big"}
        assert len(dataset.split.test) == len(dataset.split.validation) == 1


def test_groups_are_chosen_by_their_names_alone(make_tables: Make, quick: Quick) -> None:
    """What is held out of the test stays so where another group comes to the others."""
    few = np.array([f"d{i}" for i in range(20)])[np.arange(160) % 20]
    first = grouped(make_tables(), few, quick(group="group")).split
    more = np.concatenate([few, ["new"] * 8])
    second = grouped(make_tables(n=168), more, quick(group="group")).split
    assert len(set(first.test) & set(second.test)) >= len(first.test) - 1


def test_no_group_is_learnt_from_and_tested_on(make_tables: Make, quick: Quick) -> None:
    """A column that is of whole numbers in one table, and has gaps or fractions of none in another."""
    tables = make_tables()
    lane = np.arange(160) % 8
    tables["rna"].obs["lane"] = lane
    tables["protein"].obs["lane"] = lane.astype(float)
    tables["rna"], tables["protein"] = tables["rna"][:110].copy(), tables["protein"][50:].copy()
    tables["rna"].obs["huge"] = np.where(lane[:110] > 3, 1e300, np.inf)  # what no whole number holds stays
    tables["rna"].obs["a/b"] = 1.5
    dataset = open_table_dataset(tables, quick(group="lane"))
    said = dataset.matched.obs["lane"].astype(str)
    assert set(said) == {str(i) for i in range(8)}
    parts = pd.Series(dataset.split.part).groupby(said.to_numpy()).nunique()
    assert (parts == 1).all()


def test_one_group_that_is_left_is_told(make_tables: Make, quick: Quick) -> None:
    groups = np.array(["a"] * 60 + ["b"] * 50 + ["c"] * 50)
    with pytest.raises(DataError, match=rf"One group alone \(a\) is left for {TRAIN} and {VALIDATION}"):
        grouped(make_tables(), groups, quick(group="group", held_out=("b", "c")))
    found = grouped(make_tables(), groups, quick(group="group", held_out=("b",)))
    assert set(groups[found.split.cells(TEST)]) == {"b"}
