"""Columns, clouds of points, cells in label layers and their pictures: everything that needs no window."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from napari.components import ViewerModel

from napari_apollo.errors import DataError
from napari_apollo.viewer import add_predictions, find_layers, open_study, session_of
from napari_apollo.viewer.cellmaps import (
    FEATURE,
    SELECTED,
    cell_layers,
    hide_columns,
    show_column,
    show_selected,
)
from napari_apollo.viewer.columns import CellColumns as Columns
from napari_apollo.viewer.columns import Column, block_title, colours_of
from napari_apollo.viewer.crops import CropPainter, PictureCache, blend, portrait
from napari_apollo.viewer.decoding import decode_cell, images_of, model_of, request_for
from napari_apollo.viewer.linking import COLUMN, link_selection
from napari_apollo.viewer.scatter import draw_points, inside_outline, nearest_point, view_of


@pytest.fixture
def columns(small: SimpleNamespace) -> Columns:
    return Columns(small.store)


@pytest.fixture
def viewer(small: SimpleNamespace) -> Any:
    viewer = ViewerModel()
    open_study(viewer, small.study)
    session_of(viewer).store = small.store
    return viewer


# --- columns ---------------------------------------------------------------------------------------


def test_everything_known_has_a_name(columns: Columns, small: SimpleNamespace) -> None:
    assert columns.names[:3] == ("panel", "donor", "condition")
    assert "reconstruction_error CD4" in columns.numbers
    assert "cell_id" not in columns.names
    assert columns.blocks[0] == "shared"
    donor = columns.column("donor")
    assert [donor.groups[int(code)] for code in donor.values] == small.store.obs["donor"].tolist()
    np.testing.assert_array_equal(columns.column("y").values, small.store.obs["y"])
    assert columns.axes("shared") is columns.axes("shared")
    frame = columns.measurements()
    assert len(frame) == small.store.n_cells
    assert set(frame.columns) == set(columns.numbers)
    with pytest.raises(DataError, match="no column"):
        columns.column("weight")
    with pytest.raises(DataError, match="shared"):
        columns.latents("X_umap")


def test_colours_say_what_they_mean() -> None:
    groups = Column("donor", "groups", np.array([0.0, 1, -1]), ("one", "two"))
    colours, legend = colours_of(groups)
    assert [text for text, _ in legend] == ["one", "two"]
    assert "#{:02x}{:02x}{:02x}".format(*colours[1]) == legend[1][1]
    assert len({tuple(colour) for colour in colours.tolist()}) == 3
    numbers = Column("area", "number", np.array([1.0, 2, 3, np.nan]))
    colours, legend = colours_of(numbers)
    assert len({tuple(colour) for colour in colours.tolist()}) == 4
    assert len(legend) == 2
    colours_of(Column("none", "number", np.full(3, np.nan)))
    colours_of(Column("same", "number", np.ones(3)))


def test_blocks_in_words() -> None:
    assert block_title("shared") == "shared"
    assert block_title("chromatin_specific") == "chromatin specific"
    assert block_title("protein_specific_CD4") == "CD4 specific"
    assert block_title("shared_from_CD4") == "shared, told by CD4"


# --- clouds of points ----------------------------------------------------------------------------------


def test_points_lie_where_they_are_drawn() -> None:
    points = np.array([[0.0, 0.0], [10.0, 0.0], [10.0, 10.0], [np.nan, 1.0], [99.0, 99.0]])
    colours = np.array([[255, 0, 0], [0, 255, 0], [0, 0, 255], [9, 9, 9], [9, 9, 9]], np.uint8)
    picture = draw_points(points, colours, ((-1.0, 11.0), (-1.0, 11.0)), (120, 120))
    assert picture[110, 10].tolist() == [255, 0, 0, 255]  # y rises upwards
    assert picture[110, 110].tolist() == [0, 255, 0, 255]
    assert picture[10, 110].tolist() == [0, 0, 255, 255]
    assert picture[60, 60].tolist() == [0, 0, 0, 0]
    assert len(np.unique(picture.reshape(-1, 4), axis=0)) == 4


@pytest.mark.parametrize("scaling", [1.0, 1.25, 1.5, 1.75, 2.0, 3.0])
def test_points_are_round_at_every_scaling_of_the_screen(scaling: float) -> None:
    colour = np.full((1, 3), 200, np.uint8)
    picture = draw_points(
        np.zeros((1, 2)), colour, ((-1.0, 1.0), (-1.0, 1.0)), (60, 60), radius=2.3 * scaling
    )
    drawn = picture[..., 3] > 0
    rows, columns = np.nonzero(drawn)
    assert np.ptp(rows) == np.ptp(columns) >= 4
    assert not drawn[rows.min(), columns.min()], "no square"
    assert 0.6 < drawn.sum() / (np.ptp(rows) + 1) ** 2 < 0.9


def test_selected_points_stand_out() -> None:
    points = np.array([[0.0, 0.0], [0.0, 0.0], [10.0, 10.0], [10.0, 0.0]])
    colours = np.array([[200, 0, 0], [0, 200, 0], [0, 0, 200], [200, 200, 0]], np.uint8)
    view = ((-1.0, 11.0), (-1.0, 11.0))
    picture = draw_points(points, colours, view, (120, 120), chosen=np.array([0, 3]))
    assert picture[110, 10].tolist() == [200, 0, 0, 255]
    assert 0 < picture[10, 110, 2] < 120
    alone = draw_points(points, colours, view, (120, 120), chosen=np.array([0]))
    assert alone[110, 10].tolist() == [200, 0, 0, 255]
    assert alone[10, 110, 2] == 200
    assert (alone[100:120, :20] == 255).all(axis=-1).any()  # a white ring


@given(st.integers(0, 2**31), st.floats(0.2, 3))
def test_inside_an_outline(seed: int, radius: float) -> None:
    points = np.random.default_rng(seed).normal(size=(200, 2))
    angle = np.linspace(0, 2 * np.pi, 720)
    found = inside_outline(points, radius * np.column_stack([np.cos(angle), np.sin(angle)]))
    distance = np.hypot(*points.T)
    assert set(np.flatnonzero(distance < 0.999 * radius)) <= set(found)
    assert set(found) <= set(np.flatnonzero(distance <= radius))
    assert inside_outline(points, [[0, 0], [1, 1]]).tolist() == []


def test_the_point_under_the_mouse() -> None:
    points = np.array([[0.0, 0.0], [10.0, 0.0], [np.nan, 0.0]])
    assert nearest_point(points, (9.0, 1.0), (2.0, 2.0)) == 1
    assert nearest_point(points, (5.0, 5.0), (2.0, 2.0)) is None
    assert nearest_point(points[:0], (0.0, 0.0), (1.0, 1.0)) is None
    (x0, x1), (y0, y1) = view_of(points)
    assert x0 < 0.1
    assert x1 > 9.9
    assert y0 < 0 < y1


# --- cells in layers -------------------------------------------------------------------------------------


def test_cells_are_painted_by_a_column(viewer: Any, columns: Columns, small: SimpleNamespace) -> None:
    (cells,) = cell_layers(viewer, small.store)
    layer = show_column(viewer, cells, columns.column("y"))
    painted = np.asarray(layer.data)
    obs = small.store.obs
    for position in (0, 7, len(obs) - 1):
        y, x = round(obs["y"].iloc[position]), round(obs["x"].iloc[position])
        assert painted[y, x] == np.float32(obs["y"].iloc[position])
    assert np.isnan(painted[small.labels == 0]).all()
    np.testing.assert_allclose(layer.scale, cells.layer.scale)
    assert layer.units == cells.layer.units
    again = show_column(viewer, cells, columns.column("donor"))
    assert again is layer
    assert layer.name == "donor"
    assert set(np.unique(np.asarray(layer.data)[small.labels > 0])) == {0.0, 1.0}
    hide_columns(viewer)
    assert find_layers(viewer, role=FEATURE) == []


def test_labels_drawn_by_hand_do_no_harm(viewer: Any, columns: Columns, small: SimpleNamespace) -> None:
    (cells,) = cell_layers(viewer, small.store)
    edited = np.asarray(cells.layer.data).copy()
    edited[:3, :3] = 9999
    cells.layer.data = edited
    painted = np.asarray(show_column(viewer, cells, columns.column("y")).data)
    assert np.isnan(painted[:3, :3]).all()


def test_selected_cells_are_outlined(viewer: Any, small: SimpleNamespace) -> None:
    (cells,) = cell_layers(viewer, small.store)
    assert show_selected(viewer, cells, np.zeros(0, np.int64)) is None
    active = viewer.layers.selection.active
    layer = show_selected(viewer, cells, np.array([0, 3]))
    assert layer is not None
    labels = small.store.obs["label"].to_numpy()
    assert set(np.unique(np.asarray(layer.data))) == {0, labels[0], labels[3]}
    assert viewer.layers.selection.active is active
    assert show_selected(viewer, cells, np.zeros(0, np.int64)) is layer
    assert not layer.visible
    assert len(find_layers(viewer, role=SELECTED)) == 1


def test_the_selection_goes_both_ways(viewer: Any, small: SimpleNamespace) -> None:
    session, link = session_of(viewer), link_selection(viewer)
    assert link_selection(viewer) is link
    (cells,) = link.cells
    session.selection = [1, 4]
    features = cells.layer.features
    chosen = features["index"][features[COLUMN]].tolist()
    assert sorted(chosen) == sorted(small.store.obs["label"].iloc[[1, 4]])
    # another tool, or a person's script, writes the column
    cells.layer.features = features.assign(**{COLUMN: features["index"].isin(chosen[:1])})
    assert len(session.selection) == 1
    obs = small.store.obs
    link.pick(cells.layer.data_to_world((obs["y"].iloc[5], obs["x"].iloc[5])))
    assert session.selection.tolist() == [5]
    link.pick(cells.layer.data_to_world((obs["y"].iloc[8], obs["x"].iloc[8])), add=True)
    assert session.selection.tolist() == [5, 8]
    assert link.pick(cells.layer.data_to_world((0, 0))) is None
    assert link.pick(cells.layer.data_to_world((-50, 0))) is None
    assert session.selection.tolist() == [5, 8]


def test_a_click_on_the_image_and_not_a_drag(viewer: Any, small: SimpleNamespace) -> None:
    session, link = session_of(viewer), link_selection(viewer)
    layer, obs = link.cells[0].layer, small.store.obs
    press = viewer.mouse_drag_callbacks[-1]

    def drag(cell: int, moved: float = 0.0, modifiers: tuple[str, ...] = ()) -> None:
        place = layer.data_to_world((obs["y"].iloc[cell], obs["x"].iloc[cell]))
        event = SimpleNamespace(
            type="mouse_press", button=1, position=place, pos=np.array([50.0, 50.0]), modifiers=modifiers
        )
        steps = press(viewer, event)
        try:
            next(steps)
            event.type, event.pos = "mouse_move", np.array([50.0 + moved, 50.0])
            next(steps)
            event.type = "mouse_release"
            next(steps)
        except StopIteration:
            pass

    drag(4)
    assert session.selection.tolist() == [4]
    drag(6, modifiers=("Shift",))
    assert session.selection.tolist() == [4, 6]
    drag(2, moved=30)
    assert session.selection.tolist() == [4, 6]
    viewer.layers.selection.active = layer
    layer.mode = "paint"  # who draws does not select
    drag(2)
    assert session.selection.tolist() == [4, 6]


def test_a_lasso_on_the_image(viewer: Any, small: SimpleNamespace) -> None:
    session, link = session_of(viewer), link_selection(viewer)
    units = viewer.layers.units
    layer = link.lasso(True)
    assert viewer.layers.units == units
    outline = np.array([[0, 0], [0, 40], [45, 40], [45, 0]])
    world = np.array([link.cells[0].layer.data_to_world(vertex) for vertex in outline])
    layer.add_polygons(world)
    obs = small.store.obs
    inside = np.flatnonzero((obs["y"] < 45) & (obs["x"] < 40))
    assert session.selection.tolist() == inside.tolist()
    assert len(layer.data) == 0
    link.lasso(False)
    assert layer not in viewer.layers


def test_nuclei_found_anew_are_not_taken_for_the_cells(viewer: Any, small: SimpleNamespace) -> None:
    """Their numbers are those of others by now; a click would select a cell that lies elsewhere."""
    (nuclei,) = find_layers(viewer, role="nuclei")
    labels = np.asarray(nuclei.data)
    assert [one.layer for one in cell_layers(viewer, small.store)] == [nuclei]
    nuclei.data = np.where(labels == labels.max(), 0, labels)  # one is gone, the others are what they were
    assert [one.layer for one in cell_layers(viewer, small.store)] == [nuclei]
    nuclei.data = np.where(labels > 0, labels + 1, 0)
    assert cell_layers(viewer, small.store) == []


def test_without_cells_there_is_nothing_to_select() -> None:
    viewer = ViewerModel()
    link = link_selection(viewer)
    assert link.cells == []
    assert link.lasso(True) is None
    assert link.enclose([[0, 0], [0, 1], [1, 1]]) == 0


def test_cells_of_predictions_have_their_table(small: SimpleNamespace) -> None:
    viewer = ViewerModel()
    open_study(viewer, small.study)
    add_predictions(viewer, small.predictions)
    session_of(viewer).store = small.store
    (cells,) = link_selection(viewer).cells
    assert cells.layer.name == "cells"
    assert "donor" in cells.layer.features
    assert COLUMN in cells.layer.features


# --- pictures ---


def test_pictures_in_the_colours_of_the_stains(small: SimpleNamespace) -> None:
    painter = CropPainter(small.store)
    order = [5, 0, small.store.n_cells - 1]
    pictures = painter.paint(order)
    assert pictures.shape == (3, 16, 16, 3)
    np.testing.assert_array_equal(pictures[1], painter.paint([0])[0])
    assert not CropPainter(small.store, ["CD8"]).paint([0]).any()  # a cell of the other panel
    assert CropPainter(small.store, ["cd4"]).paint([0]).any()
    assert painter.paint([]).shape == (0, 16, 16, 3)


def test_blending_adds_up() -> None:
    images = np.zeros((1, 2, 1, 2), np.float32)
    images[0, 0, 0, 0], images[0, 1, 0, 1] = 1, 0.5
    mixed = blend(images, ["#ff0000", "#0000ff"])
    assert mixed[0, 0].tolist() == [[255, 0, 0], [0, 0, 127]]


@given(st.lists(st.integers(0, 20), max_size=60))
def test_the_cache_keeps_what_was_wanted_last(wanted: list[int]) -> None:
    cache = PictureCache(5)
    order: list[int] = []
    for cell in wanted:
        if cache.get(cell) is None:
            cache.put([cell], np.full((1, 2, 2, 3), cell, np.uint8))
        order = [one for one in order if one != cell] + [cell]
        assert len(cache) <= 5
        found = cache.get(cell)
        assert found is not None
        assert found[0, 0, 0] == cell
    assert cache.missing(order[-5:]).tolist() == []


def test_a_portrait_has_every_picture_there_is(small: SimpleNamespace) -> None:
    found = portrait(small.store, 0, small.predictions)
    assert list(found) == ["DAPI", "CD4", "CD8"]
    assert list(found["CD4"]) == ["measured", "reconstructed"]
    assert list(found["CD8"]) == ["predicted"]
    for roles in found.values():
        for image in roles.values():
            assert image.shape == (16, 16)
            assert 0 <= image.min() <= image.max() <= 1
    assert list(portrait(small.store, 0)) == ["DAPI", "CD4"]


# --- the slider along a direction ---


def test_where_the_cell_stands_the_slider_shows_its_reconstruction(
    columns: Columns, small: SimpleNamespace
) -> None:
    axes = columns.axes("chromatin_specific")
    now = float(axes.scores[0, 0] / axes.spread[0])
    model = model_of(small.predictions)
    assert model is not None
    request = request_for(columns, "chromatin_specific", 0, now, 0, model, ("CD4", "CD8"))
    assert list(request["parts"]) == ["chromatin"]
    there = images_of(decode_cell(**request))["chromatin"]
    measured = portrait(small.store, 0, small.predictions)["DAPI"]["reconstructed"]
    np.testing.assert_allclose(there, measured, atol=0.02)
    away = images_of(decode_cell(**request_for(columns, "chromatin_specific", 0, now + 8, 0, model, ())))
    assert np.abs(away["chromatin"] - there).max() > 0


def test_what_is_shared_moves_every_stain(columns: Columns, small: SimpleNamespace) -> None:
    model = small.model
    request = request_for(columns, "shared", 0, 1.0, 0, model, ("CD4", "CD8"))
    assert list(request["parts"]) == ["chromatin", "CD4", "CD8"]
    assert request["parts"]["CD4"][1] is not None
    assert request["parts"]["CD8"][1] is None  # never measured in this cell: the shared decoder
    assert list(request_for(columns, "protein_specific_CD4", 0, 1.0, 0, model, ("CD4", "CD8"))["parts"]) == [
        "CD4"
    ]
    mean = request_for(columns, "shared", 0, 0.0, None, model, ("CD4",))
    assert images_of(decode_cell(**mean))["CD4"].shape == (16, 16)


def test_a_model_that_is_gone_is_not_there(small: SimpleNamespace) -> None:
    assert model_of(None) is None
    card = small.predictions.card.model_copy(update={"model": {"path": "nowhere/at/all"}})
    moved = SimpleNamespace(card=card, path=small.folder / "elsewhere" / "x.predictions.zarr")
    assert model_of(moved) is None


def test_frames_are_not_changed(columns: Columns, small: SimpleNamespace) -> None:
    before = small.store.obs.copy()
    columns.measurements()
    pd.testing.assert_frame_equal(before, small.store.obs)
