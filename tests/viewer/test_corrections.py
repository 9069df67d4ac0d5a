from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
import tifffile
from hypothesis import given
from hypothesis.extra.numpy import arrays
from napari.layers import Labels

from napari_apollo.errors import DataError, LabelsError
from napari_apollo.viewer.corrections import (
    Correction,
    cut_in_two,
    delete,
    in_memory,
    is_by_hand,
    merge,
    split,
)
from napari_apollo.viewer.writing import save_labels


@pytest.fixture
def layer() -> Labels:
    yy, xx = np.indices((40, 60))
    labels = np.zeros((40, 60), np.int32)
    labels[np.hypot(yy - 12, xx - 12) < 6] = 1
    labels[np.hypot(yy - 12, xx - 24) < 6] = 2
    labels[(np.hypot(yy - 30, xx - 20) < 6) | (np.hypot(yy - 30, xx - 30) < 6)] = 5
    return Labels(labels)


def test_merge_keeps_the_lowest_number_and_is_undone(layer: Labels) -> None:
    before = layer.data.copy()
    assert merge(layer, [2, 1]) == 1
    assert set(np.unique(layer.data)) == {0, 1, 5}
    assert ((layer.data > 0) == (before > 0)).all()
    layer.undo()
    assert (layer.data == before).all()
    layer.redo()
    assert set(np.unique(layer.data)) == {0, 1, 5}


def test_split_cuts_two_that_touch_at_their_neck(layer: Labels) -> None:
    before = layer.data.copy()
    fresh = split(layer, 5)
    assert fresh == 6
    assert ((layer.data > 0) == (before > 0)).all()
    sizes = [(layer.data == number).sum() for number in (5, fresh)]
    assert min(sizes) > 0.4 * sum(sizes)
    assert {layer.data[30, 16], layer.data[30, 34]} == {5, fresh}
    layer.undo()
    assert (layer.data == before).all()


def test_delete(layer: Labels) -> None:
    delete(layer, [1, 5])
    assert set(np.unique(layer.data)) == {0, 2}
    layer.undo()
    assert set(np.unique(layer.data)) == {0, 1, 2, 5}


def test_what_is_not_there_is_refused_and_nothing_changes(layer: Labels) -> None:
    before = layer.data.copy()
    for change in (lambda: merge(layer, [1]), lambda: merge(layer, [1, 9]), lambda: split(layer, 9)):
        with pytest.raises(DataError):
            change()
    with pytest.raises(DataError):
        delete(layer, [])
    assert (layer.data == before).all()


@given(arrays(bool, (9, 11)))
def test_the_two_parts_are_the_object(mask: np.ndarray) -> None:
    if mask.sum() < 4:
        with pytest.raises(DataError):
            cut_in_two(mask)
        return
    second = cut_in_two(mask)
    assert second.any()
    assert (mask & ~second).any()
    assert not (second & ~mask).any()


def test_saved_nuclei_keep_their_numbers(tmp_path: Path) -> None:
    """Cells that were cut, and annotations, know them by these."""
    labels = np.zeros((12, 12), np.int32)
    labels[1:4, 1:4], labels[6:9, 1:4], labels[6:9, 6:9] = 1, 2, 3
    path = tmp_path / "field.tif"
    save_labels(path, labels)
    assert not is_by_hand(path)
    correction = Correction(path, labels.shape)
    assert not correction.unsaved
    assert not correction.keep()
    correction.data[correction.data == 1] = 0
    assert correction.unsaved
    assert correction.save() == 2
    assert np.unique(tifffile.imread(path)).tolist() == [0, 2, 3]
    assert is_by_hand(path)
    assert not correction.unsaved
    assert not is_by_hand(tmp_path / "absent.tif")


def test_what_was_kept_before_the_nuclei_were_found_anew_does_not_come_back(tmp_path: Path) -> None:
    path = tmp_path / "field.tif"
    save_labels(path, np.ones((8, 8), np.int32))
    correction = Correction(path, (8, 8))
    correction.data[:4] = 0
    assert correction.keep()
    assert Correction(path, (8, 8)).restored
    correction.data[:4] = 1  # undone
    assert not correction.keep()
    assert not Correction(path, (8, 8)).restored
    correction.data[:4] = 0
    assert correction.keep()
    later = correction.aside.stat().st_mtime_ns + 10**9
    os.utime(path, ns=(later, later))
    assert not Correction(path, (8, 8)).restored


def test_labels_that_are_gone_are_named_whatever_was_kept_beside_them(tmp_path: Path) -> None:
    path = tmp_path / "nuclei.tif"
    save_labels(path.with_name("nuclei.unsaved.tif"), np.ones((8, 8), np.int32), None)
    with pytest.raises(LabelsError, match="no such file"):
        Correction(path, (8, 8))


def test_what_is_too_large_is_refused() -> None:
    import dask.array as da

    with pytest.raises(DataError, match="million"):
        in_memory(da.zeros((20_000, 20_000), dtype=np.int32))
