"""What the tools Explore, Annotate and Measure stand on, without a window."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import pytest

from napari_apollo.cells import CellStore
from napari_apollo.errors import DataError, InputError
from napari_apollo.viewer import exploring
from napari_apollo.viewer.annotating import AnnotationSession, default_annotator, suggestions_in_words
from napari_apollo.viewer.columns import CellColumns, Column
from napari_apollo.viewer.exploring import TWO_COLUMNS, Explorer, cell_in_words, umap_of
from napari_apollo.viewer.histograms import count_column, summary
from napari_apollo.viewer.sorting import UNCERTAIN, orders


@pytest.fixture
def store(small: SimpleNamespace, tmp_path: Path) -> CellStore:
    shutil.copytree(small.folder / "small.cells.zarr", tmp_path / "small.cells.zarr")
    return CellStore.open(tmp_path / "small.cells.zarr")


def test_which_cells_are_shown_and_in_which_order(store: CellStore) -> None:
    with AnnotationSession(store, "ada") as session:
        session.label([0, 1, 2], "a")
        session.label([3, 4, 5], "b")
        session.exclude([5, 6])
        everything = session.shown()
        assert everything.tolist() == list(range(store.n_cells))
        assert session.shown("annotated").tolist() == [0, 1, 2, 3, 4]
        assert session.shown("excluded").tolist() == [5, 6]
        assert session.shown("not annotated").tolist() == list(range(7, store.n_cells))
        assert session.shown("selected", selection=[9, 2]).tolist() == [2, 9]
        y = store.obs["y"].to_numpy()
        assert (np.diff(y[session.shown(order="y")]) <= 0).all()
        assert (np.diff(y[session.shown(order="y", rising=True)]) >= 0).all()
        error = session.columns.column("reconstruction_error CD4").values
        shown = error[session.shown(order="reconstruction_error CD4")]
        assert np.isnan(shown[np.isfinite(error).sum() :]).all()  # what is not known comes last
        assert session.shown("disagreeing").tolist() == []

        session.use(session.suggest())
        assert session.suggestions is not None
        assert session.suggestions.examples == 5  # an excluded cell teaches nothing
        likely = session.shown(order="Likely: a")
        assert (np.diff(session.suggestions.probability[likely, 0]) <= 0).all()
        assert UNCERTAIN in orders(session.columns, session.suggestions)
        assert UNCERTAIN not in orders(session.columns, None)
        wrong = session.shown("disagreeing").tolist()
        codes = session.suggested
        assert wrong == [cell for cell in range(5) if codes[cell] != session.codes[cell]]


def test_excluding_again_takes_in_again(store: CellStore) -> None:
    with AnnotationSession(store, "ada") as session:
        session.exclude([0, 1])
        session.exclude([1, 2])
        assert np.flatnonzero(session.excluded).tolist() == [0, 1, 2]
        session.exclude([1, 2])
        assert np.flatnonzero(session.excluded).tolist() == [0]


def test_suggestions_are_taken_over_where_nothing_was_said(store: CellStore) -> None:
    with AnnotationSession(store, "ada") as session:
        assert session.accept([0]) == 0
        with pytest.raises(DataError, match="two classes"):
            session.suggest()
        session.label(range(4), "a")
        session.label(range(20, 24), "b")
        session.exclude([10])
        session.use(session.suggest())
        before = session.codes[:4].copy()
        assert session.accept([0, 1, 9, 10, 11]) == 2
        assert (session.codes[:4] == before).all()
        assert session.codes[10] == -1
        assert session.codes[9] == session.suggested[9]
        session.annotations.remove_class("b")
        assert set(session.suggested) <= {-1, 0}
        assert session.class_of_key(1) == "a"
        assert session.class_of_key(0) == ""
        with pytest.raises(InputError, match="no class 2"):
            session.class_of_key(2)
        assert session.suggestions is not None
        assert "8 cells" in suggestions_in_words(session.suggestions)
        assert session.column.groups == ("a",)
    assert default_annotator()


def test_maps_of_cells(store: CellStore) -> None:
    explorer = Explorer(CellColumns(store))
    title = next(iter(explorer.maps))
    assert title == "PCA of shared"
    assert explorer.is_ready(title)
    placed = explorer.map(title)
    np.testing.assert_array_equal(placed.points, explorer.columns.axes("shared").scores[:, :2])
    second = explorer.map(title, *reversed(explorer.axis_names(title)[:2]))
    np.testing.assert_array_equal(second.points, placed.points[:, ::-1])
    one = explorer.map("PCA of CD4 specific")
    assert np.isnan(one.points).any()  # cells that were not given CD4
    both = explorer.map(TWO_COLUMNS, "x", "y")
    np.testing.assert_array_equal(both.points, store.obs[["x", "y"]])
    assert explorer.block_of(TWO_COLUMNS) == "shared"
    near = explorer.neighbours("shared", 3)
    assert len(near) == 8
    assert 3 not in near
    assert explorer.neighbours("protein_specific_CD8", 0).tolist() == []
    tied = explorer.tied("shared", 0)
    assert (np.diff(tied["rho"].abs()) <= 0).all()
    assert store.obs["cell_id"].iloc[0] in cell_in_words(explorer.columns, 0)


def test_without_umap_learn_there_is_no_umap(store: CellStore, monkeypatch: pytest.MonkeyPatch) -> None:
    columns = CellColumns(store)
    monkeypatch.setattr(exploring, "has_umap", lambda: False)
    with pytest.raises(DataError, match=r'needs the package umap-learn: pip install "napari-apollo\[umap\]"'):
        umap_of(columns.latents("shared"))
    assert not any(title.startswith("UMAP") for title in Explorer(columns).maps)


def test_umap_as_it_is_asked_for(store: CellStore, monkeypatch: pytest.MonkeyPatch) -> None:
    columns = CellColumns(store)

    class Flat:
        def __init__(self, n_neighbors: int, random_state: int) -> None:
            assert n_neighbors == 15

        def fit_transform(self, latents: np.ndarray) -> np.ndarray:
            assert np.isfinite(latents).all()
            return latents[:, :2]

    module = ModuleType("umap")
    module.UMAP = Flat  # type: ignore[attr-defined]
    module.__spec__ = SimpleNamespace(name="umap", origin="umap.py")  # type: ignore[assignment]
    monkeypatch.setitem(sys.modules, "umap", module)
    explorer = Explorer(columns)
    title = "UMAP of CD4 specific"
    assert not explorer.is_ready(title)
    explorer.make(title)
    assert explorer.is_ready(title)
    placed = explorer.map(title)
    assert (placed.x, placed.y) == ("UMAP 1", "UMAP 2")
    known = np.isfinite(columns.latents("protein_specific_CD4")).all(axis=1)
    assert (np.isfinite(placed.points).all(axis=1) == known).all()
    with pytest.raises(DataError, match="ten"):
        umap_of(np.zeros((3, 2)))


def test_histograms_count_every_cell() -> None:
    rng = np.random.default_rng(0)
    values = np.append(rng.normal(size=500), [np.nan, 1e9])
    column = Column("area", "number", values)
    x, counts, some, width = count_column(column, np.arange(40))
    assert counts.sum() == 501
    assert some.sum() == 40
    np.testing.assert_allclose(np.diff(x), width)
    assert "501 of 502 cells" in summary(column, np.zeros(0, np.int64))
    assert "Selected: median" in summary(column, np.arange(3))
    assert summary(column, np.array([2])).endswith(f"\nSelected: {values[2]:.4g}")
    groups = Column("donor", "groups", np.array([0.0, 1, 1, -1]), ("one", "two"))
    assert count_column(groups, np.array([1]))[1].tolist() == [1, 2]
    assert count_column(groups, np.array([1]))[2].tolist() == [0, 1]
    assert summary(groups, np.zeros(0, np.int64)) == "two 2, one 1"
    nothing = Column("none", "number", np.full(3, np.nan))
    assert len(count_column(nothing, np.zeros(0, np.int64))[0]) == 0
    assert summary(nothing, np.zeros(0, np.int64)) == "no values"
    same: Any = Column("same", "number", np.ones(3))
    assert count_column(same, np.zeros(0, np.int64))[1].sum() == 3
