"""Rows of a table reach the labels they are about."""

from __future__ import annotations

import warnings

import dask.array as da
import numpy as np
import pandas as pd
import pytest
from napari.components import ViewerModel

from napari_apollo.errors import DataError
from napari_apollo.viewer import attach_table
from napari_apollo.viewer.tables import UnmatchedCells

LABELS = np.array([[0, 3, 3], [7, 0, 12], [7, 12, 12]])


def labels_layer(data: object = LABELS) -> object:
    return ViewerModel().add_labels(data)


def table(*labels: int) -> pd.DataFrame:
    return pd.DataFrame({"label": labels, "area": [label * 10.0 for label in labels]})


def test_a_click_on_a_cell_finds_its_row() -> None:
    layer = labels_layer()
    match = attach_table(layer, table(12, 3, 7))
    assert (match.matched, match.without_cell, match.without_row) == (3, (), ())
    for position in ((0, 1), (1, 0), (2, 2)):
        shown = layer.get_status(position, world=True)["value"]
        assert shown == f"{LABELS[position]}; label: {LABELS[position]}, area: {LABELS[position] * 10}"
    assert list(layer.features.columns[:2]) == ["index", "label"]


def test_a_table_with_an_index_of_its_own_is_not_misread() -> None:
    layer = labels_layer()
    odd = table(12, 3, 7).set_index(pd.Index([99, 98, 97]))
    odd["index"] = [1, 2, 3]
    attach_table(layer, odd)
    assert layer.features["index"].tolist() == [12, 3, 7]


@pytest.mark.parametrize("data", [LABELS, da.from_array(LABELS, chunks=2), [LABELS, LABELS[::2, ::2]]])
def test_what_does_not_match_is_counted(data: object) -> None:
    layer = labels_layer(data)
    with pytest.warns(UnmatchedCells, match=r"2 cells matched; 2 rows .* 1 cells of the image"):
        match = attach_table(layer, table(3, 12, 50, 51))
    assert match.without_cell == (50, 51)
    assert match.without_row == (7,)


def test_known_ids_spare_the_reading() -> None:
    def explode(block: np.ndarray) -> np.ndarray:
        raise AssertionError("read")

    lazy = da.from_array(LABELS, chunks=3).map_blocks(explode, dtype=int, meta=np.empty((0, 0), int))
    from napari_apollo.viewer.tables import as_features

    class Fake:
        name = "cells"
        multiscale = False
        data = lazy
        features: pd.DataFrame

    layer = Fake()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        match = attach_table(layer, table(3, 7, 12), ids=np.array([3, 7, 12]))
    assert match.matched == 3
    assert layer.features.equals(as_features(table(3, 7, 12)))


@pytest.mark.parametrize(
    ("bad", "words"),
    [
        (pd.DataFrame({"cell": [1]}), "no column 'label'"),
        (pd.DataFrame({"label": [1.5]}), "whole label numbers"),
        (pd.DataFrame({"label": [np.nan]}), "whole label numbers"),
        (pd.DataFrame({"label": ["a"]}), "whole label numbers"),
        (pd.DataFrame({"label": [3, 3, 7]}), "twice: 3"),
    ],
)
def test_tables_that_name_no_cells_are_refused(bad: pd.DataFrame, words: str) -> None:
    layer = labels_layer()
    before = layer.features.copy()
    with pytest.raises(DataError, match=words):
        attach_table(layer, bad)
    assert layer.features.equals(before)
