from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from napari.components import ViewerModel

from napari_apollo.errors import StoreError
from napari_apollo.viewer import find_layers, open_study, show_results
from napari_apollo.viewer.adopting import adopt, take_up
from napari_apollo.viewer.compare import (
    ROLES,
    flip,
    images_of,
    roles_of,
    set_visible,
    short_names,
    show_overlay,
    side_by_side,
)
from napari_apollo.viewer.overlay import BEYOND
from napari_apollo.viewer.state import Session

KNOWN = [role for role in ROLES if role not in (BEYOND, "uncertainty")]
"""Roles of predictions that say nothing about trust."""


@pytest.fixture
def viewer(small: SimpleNamespace) -> ViewerModel:
    viewer = ViewerModel()
    (image,) = images_of(small.store)
    show_overlay(viewer, small.predictions, small.store, image, roles=ROLES, study=small.study)
    return viewer


def seen(viewer: ViewerModel) -> set[tuple[str, str]]:
    metadata = [layer.metadata["napari_apollo"] for layer in viewer.layers if layer.visible]
    return {(known["role"], known["stain"]) for known in metadata if known["stain"]}


def test_measured_and_predicted_are_seen_at_first(viewer: ViewerModel) -> None:
    assert {role for role, _ in seen(viewer)} == {"measured", "predicted"}
    assert roles_of(viewer, "CD4") == KNOWN


def test_showing_again_adds_nothing_twice(viewer: ViewerModel, small: SimpleNamespace) -> None:
    before = len(viewer.layers)
    (image,) = images_of(small.store)
    assert show_overlay(viewer, small.predictions, small.store, image, roles=ROLES, study=small.study) == []
    assert len(viewer.layers) == before


def test_layers_lie_in_the_same_place(viewer: ViewerModel) -> None:
    frames = {
        (tuple(layer.scale), tuple(layer.translate), tuple(map(str, layer.units))) for layer in viewer.layers
    }
    assert len(frames) == 1


def test_the_error_is_the_difference(viewer: ViewerModel, small: SimpleNamespace) -> None:
    def pixels(role: str) -> np.ndarray:
        (layer,) = find_layers(viewer, role=role, stain="CD4")
        return np.asarray(layer.data[0] if layer.multiscale else layer.data, float)

    (cells,) = find_layers(viewer, role="cells")
    inside = np.asarray(cells.data[0] if cells.multiscale else cells.data) > 0
    with_cd4 = inside & (pixels("reconstructed") > 0) & (pixels("measured") > 0)
    assert with_cd4.sum() > 100
    expected = np.abs(pixels("measured") - pixels("reconstructed"))
    assert np.allclose(pixels("error")[with_cd4], expected[with_cd4], atol=1)


def test_flip_goes_round(viewer: ViewerModel) -> None:
    shown = [flip(viewer, "CD4") for _ in range(len(KNOWN) + 1)]
    assert shown == [*KNOWN, KNOWN[0]]
    assert seen(viewer) == {("measured", "CD4")}
    assert flip(viewer, "CD4", "predicted") == "predicted"
    assert flip(viewer, "CD99") == ""


def test_side_by_side_in_the_order_of_the_words(viewer: ViewerModel) -> None:
    assert side_by_side(viewer, "CD8") == len(KNOWN)
    assert viewer.canvas.grid.enabled
    visible = [layer.metadata["napari_apollo"]["role"] for layer in viewer.layers if layer.visible]
    assert visible == KNOWN
    side_by_side(viewer, "")
    assert not viewer.canvas.grid.enabled


def test_visible_by_role_and_stain(viewer: ViewerModel) -> None:
    set_visible(viewer, ["reconstructed"], ["CD8"])
    assert seen(viewer) == {("reconstructed", "CD8")}


def test_names_of_images_are_short_and_differ() -> None:
    assert short_names(["/a/b/x.tif", "/a/c/x.tif"]) == ["b/x.tif", "c/x.tif"]
    assert short_names(["/a/b/x.tif", "/a/c/y.tif"]) == ["x.tif", "y.tif"]


# --- what layers were opened from ------------------------------------------------------------------


def test_tools_find_what_layers_were_opened_from(small: SimpleNamespace) -> None:
    viewer, session = ViewerModel(), Session()
    open_study(viewer, small.study)
    adopt(session, viewer.layers)
    assert session.study == small.study
    kept = session.study
    adopt(session, viewer.layers)
    assert session.study is kept
    assert take_up(session, small.store.path) == "store"
    assert take_up(session, small.predictions.path) == "predictions"
    assert take_up(session, small.folder) == ""


def test_predictions_bring_their_cells(small: SimpleNamespace) -> None:
    """As in the window of the demonstration, where Explore would ask for cells that are there."""
    viewer, session = ViewerModel(), Session()
    show_results(viewer, small.study, small.predictions)
    adopt(session, viewer.layers)
    assert session.predictions is not None
    assert session.store is not None
    assert session.store.path == small.store.path


def test_what_cannot_be_opened_is_silent_for_layers_and_an_error_for_people(tmp_path: Path) -> None:
    (tmp_path / "a.cells.zarr").mkdir()
    session = Session()
    assert take_up(session, tmp_path / "a.cells.zarr", only_missing=True) == ""
    with pytest.raises(StoreError):
        take_up(session, tmp_path / "a.cells.zarr")
    assert session.store is None
