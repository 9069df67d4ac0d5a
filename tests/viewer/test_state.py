from __future__ import annotations

import gc
import weakref
from types import SimpleNamespace

import numpy as np
from napari.components import ViewerModel

from napari_apollo.viewer.state import Session, session_of


def test_every_viewer_has_one_session_of_its_own() -> None:
    first, second = ViewerModel(), ViewerModel()
    assert session_of(first) is session_of(first)
    assert session_of(first) is not session_of(second)


def test_a_session_goes_with_its_viewer() -> None:
    viewer = ViewerModel()
    session = weakref.ref(session_of(viewer))
    del viewer
    gc.collect()
    assert session() is None


def test_listeners_hear_of_new_values_once(small: SimpleNamespace) -> None:
    session = Session()
    heard: list[object] = []
    session.study_changed.connect(heard.append)
    session.study = small.study
    session.study = small.study
    session.study = None
    assert heard == [small.study, None]


def test_the_selection_is_sorted_and_goes_with_its_store(small: SimpleNamespace) -> None:
    session = Session()
    heard: list[np.ndarray] = []
    session.selection_changed.connect(heard.append)
    session.store = small.store
    session.selection = [5, 2, 5]
    session.selection = np.array([2, 5])
    assert session.selection.tolist() == [2, 5]
    assert len(heard) == 1
    session.store = None
    assert session.selection.tolist() == []


def test_results_go_beside_the_study(small: SimpleNamespace, tmp_path: object) -> None:
    session = Session()
    assert session.place is None
    session.store = small.store
    assert session.place == small.store.path.parent
    session.study = small.study
    assert session.place == small.folder
    session.folder = tmp_path
    assert session.place == tmp_path
