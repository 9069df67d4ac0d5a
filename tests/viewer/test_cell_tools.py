"""Explore, Annotate and Measure in a real window: what people do there, and that nothing stays behind."""

from __future__ import annotations

import shutil
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import pytest

from napari_apollo.annotate import read_annotations
from napari_apollo.cells import CellStore
from napari_apollo.errors import DataError
from napari_apollo.predict import PredictionStore
from napari_apollo.viewer import dock, find_layers, open_study, session_of
from napari_apollo.viewer.exploring import has_umap
from napari_apollo.viewer.linking import COLUMN

pytestmark = [pytest.mark.gui, pytest.mark.usefixtures("no_threads_stay")]

OURS = ("Explore", "Annotate", "Measure")


@pytest.fixture
def no_threads_stay() -> Iterator[None]:
    yield
    end = time.monotonic() + 40
    while time.monotonic() < end and _our_threads():
        time.sleep(0.05)
    assert _our_threads() == []


def _our_threads() -> list[str]:
    return [one.name for one in threading.enumerate() if one.name.startswith("apollo")]


@pytest.fixture
def work(window: Any, small: SimpleNamespace, tmp_path: Path) -> SimpleNamespace:
    """Cells and predictions that may be changed, and their image in the window."""
    for name in ("small.cells.zarr", "small.predictions.zarr"):
        shutil.copytree(small.folder / name, tmp_path / name)
    open_study(window, small.study)
    session = session_of(window)
    session.store = CellStore.open(tmp_path / "small.cells.zarr")
    session.predictions = PredictionStore.open(tmp_path / "small.predictions.zarr")
    return SimpleNamespace(viewer=window, session=session, folder=tmp_path, small=small)


@pytest.mark.parametrize("name", OURS)
def test_a_tool_is_complete_and_reachable_by_key(work: SimpleNamespace, name: str) -> None:
    from qtpy.QtCore import Qt
    from qtpy.QtWidgets import QAbstractButton, QAbstractItemView, QComboBox, QLineEdit, QSlider, QSpinBox

    tool = dock(work.viewer, name)[name]
    work.viewer.window.resize(1366, 700)
    for theme in ("light", "dark"):
        work.viewer.theme = theme
        assert tool.styleSheet()
    assert tool.sizeHint().width() <= 360
    assert tool.minimumSizeHint().width() <= 345
    for kind in (QAbstractButton, QComboBox, QLineEdit, QSpinBox, QSlider, QAbstractItemView):
        for control in tool.findChildren(kind):
            owner = control.parent()
            inside = isinstance(owner, (QComboBox, QSpinBox, QLineEdit)) or "Popup" in type(owner).__name__
            inside = inside or owner.metaObject().className() in ("QTableView", "QTableWidget", "QListView")
            if inside or not control.isVisibleTo(tool):
                continue
            assert control.toolTip() or owner.toolTip(), (name, control, control.objectName())
            assert control.focusPolicy() & Qt.FocusPolicy.TabFocus, (name, control.toolTip())
    work.session.jobs.wait(60)


@pytest.mark.parametrize("name", OURS)
def test_without_cells_a_tool_says_what_to_do(window: Any, name: str) -> None:
    tool = dock(window, name)[name]
    words = " ".join(label.text() for label in tool.findChildren(_label()) if label.isVisibleTo(tool))
    assert "Cut cells first" in words


def _label() -> Any:
    from qtpy.QtWidgets import QLabel

    return QLabel


# --- Measure ---


def test_measure_paint_and_export(work: SimpleNamespace, qtbot: Any) -> None:
    tool = dock(work.viewer, "Measure")["Measure"]
    tool.form.set(families=("shape",), workers=1)
    tool.start.click()
    assert not tool.start.isEnabled()
    assert work.session.jobs.wait(200)
    store = work.session.store
    assert store.table.n_vars > 5
    assert tool.start.isEnabled()
    assert str(store.table.n_vars) in tool.known.text()
    name = str(store.table.var_names[0])
    tool.show_feature(name)
    tool.paint.click()
    (layer,) = find_layers(work.viewer, role="feature")
    assert layer.name == name
    tool.next.click()
    assert layer.name == tool.feature.name != name
    tool.clear.click()
    assert find_layers(work.viewer, role="feature") == []
    work.session.selection = [0, 1]
    assert "Selected" in tool.words.text()
    for suffix in (".csv", ".h5ad"):
        tool.export(work.folder / f"out{suffix}")
        assert work.session.jobs.wait(60)
        assert (work.folder / f"out{suffix}").is_file()
    assert name in pd.read_csv(work.folder / "out.csv").columns


def test_measuring_is_cancelled_and_the_table_stays(work: SimpleNamespace) -> None:
    tool = dock(work.viewer, "Measure")["Measure"]
    tool.start.click()
    begun = time.monotonic()
    tool.job_bar.cancel.click()
    assert tool.start.isEnabled()
    assert time.monotonic() - begun < 1
    assert work.session.jobs.wait(60)
    assert CellStore.open(work.session.store.path).table.n_vars == 0


# --- Annotate ---


@pytest.fixture
def annotate(work: SimpleNamespace) -> Any:
    tool = dock(work.viewer, "Annotate")["Annotate"]
    tool.annotate_as("ada")
    return tool


def test_pictures_come_for_what_is_in_sight(annotate: Any, work: SimpleNamespace, qtbot: Any) -> None:
    gallery = annotate.gallery
    first, last = gallery.rows_in_sight
    assert (first, len(gallery.cells.cells)) == (0, work.session.store.n_cells)
    seen = gallery.cells.cells[first : last + 1]
    qtbot.waitUntil(lambda: not len(gallery.cells.pictures.missing(seen)), timeout=60_000)
    assert gallery.grab().toImage().width() > 0
    gallery.resize_pictures(128)
    assert gallery.delegate.sizeHint(None, None).width() > 128


def test_number_keys_undo_and_the_journal(annotate: Any, work: SimpleNamespace, qtbot: Any) -> None:
    from qtpy.QtCore import Qt

    said = annotate.annotation.annotations
    said.add_class("round")
    said.add_class("flat")
    gallery = annotate.gallery
    gallery.setFocus()
    gallery.go_to(0)
    qtbot.keyClick(gallery, "1")
    qtbot.keyClick(gallery, "2")
    qtbot.keyClick(gallery, "X")
    cells = work.session.store.obs["cell_id"].to_list()
    assert said.labels == {cells[0]: "round", cells[1]: "flat"}  # after each the next one is chosen
    assert said.excluded == {cells[2]}
    qtbot.keyClick(annotate, "z", Qt.KeyboardModifier.ControlModifier)
    assert annotate.undo_button.isEnabled()
    annotate.undo()
    if said.excluded:
        annotate.undo()
    assert said.excluded == set()
    annotate.redo()
    written = read_annotations(work.session.store)["ada"]
    assert written.labels == said.labels
    assert written.excluded == said.excluded
    qtbot.keyClick(gallery, "7")
    assert "no class 7" in annotate.status.text()


def test_a_box_and_a_lasso_name_many_at_once(annotate: Any, work: SimpleNamespace, qtbot: Any) -> None:
    from qtpy.QtCore import QPoint, Qt

    gallery = annotate.gallery
    qtbot.waitUntil(lambda: gallery.viewport().width() > 100, timeout=60_000)
    port = gallery.viewport()
    side = gallery.delegate.sizeHint(None, None).width()
    qtbot.mousePress(port, Qt.MouseButton.LeftButton, pos=QPoint(port.width() - 3, side // 2))
    qtbot.mouseMove(port, QPoint(side + 9, side + 9))
    qtbot.mouseMove(port, QPoint(side // 2, side + 9))
    qtbot.mouseRelease(port, Qt.MouseButton.LeftButton, pos=QPoint(side // 2, side + 9))
    assert len(work.session.selection) >= 2
    annotate.label("boxed")
    assert set(annotate.annotation.annotations.labels.values()) == {"boxed"}
    work.session.selection = []
    annotate.label("boxed")
    assert "Select cells first" in annotate.status.text()
    annotate.lasso.click()
    (shapes,) = find_layers(work.viewer, role="lasso")
    (cells,) = annotate.link.cells
    outline = [(0, 0), (0, 60), (45, 60), (45, 0)]
    shapes.add_polygons(np.array([cells.layer.data_to_world(vertex) for vertex in outline]))
    assert len(work.session.selection) > 3
    annotate.label("corner")
    assert annotate.annotation.counts().loc["corner", "all"] == len(work.session.selection)
    annotate.paint_classes()
    assert [layer.name for layer in find_layers(work.viewer, role="feature")] == ["annotation"]
    annotate.lasso.click()
    assert find_layers(work.viewer, role="lasso") == []


def test_suggestions_and_the_way_into_the_store(annotate: Any, work: SimpleNamespace) -> None:
    session, annotation = work.session, annotate.annotation
    annotate.suggesting.suggest()
    assert "two classes" in annotate.suggesting.quality.text()
    store = session.store
    left = np.flatnonzero(store.obs["donor"] == "CD4")
    right = np.flatnonzero(store.obs["donor"] == "CD8")
    annotation.label(left[:6], "left")
    annotation.label(right[:6], "right")
    annotate.suggesting.suggest()
    assert session.jobs.wait(60)
    assert annotation.suggestions.classes == ("left", "right")
    assert "Learnt from 12 cells" in annotate.suggesting.quality.text()
    annotate.order.name = "Most uncertain first"
    annotate.shown.setCurrentIndex(annotate.shown.findData("not annotated"))
    annotate.refresh()
    order = annotate.gallery.cells.cells
    assert not set(order) & set(left[:6])
    assert (np.diff(annotation.suggestions.uncertainty[order]) <= 0).all()
    session.selection = [right[7]]
    annotate.suggesting.accept_button.click()
    assert len(annotation.annotations.labels) == 13
    annotate.keeping.export(work.folder / "said.csv")
    assert (pd.read_csv(work.folder / "said.csv")["annotation"].notna()).sum() == 13
    annotate.keeping.write()
    assert session.jobs.wait(60)
    obs = CellStore.open(store.path).obs
    assert (obs["annotation"] != "").sum() == 13
    assert (obs["annotation_ada"] != "").sum() == 13
    assert session.selection.tolist() == [right[7]]
    assert annotate.annotation is not annotation  # the same person, over the new table
    assert len(annotate.annotation.annotations.labels) == 13


def test_how_to_begin_is_said_where_there_is_no_class(annotate: Any, qtbot: Any) -> None:
    from qtpy.QtCore import Qt

    table = annotate.classes.table
    assert "Add a class" in table.item(0, 0).text()
    asked: list[str] = []
    annotate.classes.asked.connect(asked.append)
    middle = table.visualItemRect(table.item(0, 0)).center()
    qtbot.mouseClick(table.viewport(), Qt.MouseButton.LeftButton, pos=middle)
    assert asked == []
    annotate.annotation.annotations.add_class("round")
    assert [table.item(0, place).text() for place in range(3)] == ["1", "round", "0"]
    assert table.columnSpan(0, 0) == 1
    annotate.annotation.annotations.remove_class("round")
    assert "Add a class" in table.item(0, 0).text()


def test_two_people_are_kept_apart_and_compared(annotate: Any, work: SimpleNamespace) -> None:
    annotate.annotation.label([0, 1, 2, 3], "a")
    annotate.annotation.label([4, 5], "b")
    annotate.annotate_as("bob")
    assert annotate.annotation.annotations.labels == {}
    annotate.annotation.label([0, 1, 2], "a")
    annotate.annotation.label([3, 4, 5], "b")
    assert annotate.agreement.table.rowCount() == 0  # journals are compared once somebody looks
    annotate.agreement.header.click()
    assert annotate.agreement.table.rowCount() == 1
    shown = [annotate.agreement.table.item(0, place).text() for place in range(5)]
    assert shown[:3] == ["ada", "bob", "6"]
    assert float(shown[4]) == pytest.approx(2 / 3, abs=0.01)
    counted = annotate.counts
    assert [counted.item(0, place).text() for place in range(3)] == ["a", "3", "3"]


def test_a_journal_that_is_open_elsewhere_is_left_alone(annotate: Any, work: SimpleNamespace) -> None:
    from napari_apollo.annotate import open_annotations

    with open_annotations(work.session.store, "cyd") as other:
        other.label(["x"], "a")
        annotate.annotate_as("cyd")
        assert annotate.annotation is None
        assert "another window" in annotate.status.text()
        assert not annotate.suggesting.suggest_button.isEnabled()
    annotate.annotate_as("cyd")
    assert annotate.annotation.annotations.labels == {"x": "a"}


def test_number_keys_work_over_the_image_while_the_tool_is_in_sight(
    annotate: Any, work: SimpleNamespace, qtbot: Any
) -> None:
    from qtpy.QtCore import Qt
    from qtpy.QtOpenGLWidgets import QOpenGLWidget

    annotate.annotate_as("eve")
    annotate.annotation.annotations.add_class("a")
    said = annotate.annotation.annotations
    ids = annotate.annotation.cell_ids
    main = annotate.window()
    (canvas,) = main.findChildren(QOpenGLWidget)
    qtbot.waitUntil(lambda: annotate.keys._canvases == [canvas], timeout=60_000)
    qtbot.keyClick(canvas, Qt.Key.Key_1)
    assert "Select cells first" in annotate.status.text()
    assert said.labels == {}
    assert (
        work.viewer.layers.selection.active.mode == "pan_zoom"
    )  # not the eraser that napari has on this key
    work.session.selection = [4]
    qtbot.keyClick(canvas, Qt.Key.Key_1)
    assert said.labels == {ids[4]: "a"}
    work.session.selection = [6]
    qtbot.keyClick(canvas, Qt.Key.Key_X)
    assert said.excluded == {ids[6]}
    work.session.selection = [7]
    qtbot.keyClick(canvas, Qt.Key.Key_1, Qt.KeyboardModifier.ControlModifier)
    drawn = work.viewer.add_labels(np.zeros((8, 8), int))
    drawn.mode = "paint"
    qtbot.keyClick(canvas, Qt.Key.Key_1)  # somebody draws
    assert drawn.mode == "erase"
    work.viewer.layers.remove(drawn)
    dock(work.viewer, "Annotate", "Measure")
    annotate.parentWidget().hide()
    qtbot.keyClick(canvas, Qt.Key.Key_1)
    assert said.labels == {ids[4]: "a"}
    annotate.parentWidget().show()
    qtbot.waitUntil(lambda: annotate.keys._canvases == [canvas], timeout=60_000)
    qtbot.keyClick(canvas, Qt.Key.Key_1)
    assert said.labels == {ids[4]: "a", ids[7]: "a"}


def test_annotations_and_measurements_together_both_stay(annotate: Any, work: SimpleNamespace) -> None:
    jobs, go, store = work.session.jobs, threading.Event(), work.session.store
    annotate.annotate_as("ada")
    annotate.annotation.annotations.add_class("a")
    annotate.annotation.label([0, 1], "a")

    def measured(table: Any) -> Any:
        table = table.copy()
        table.obs["measured"] = 1.0
        return table

    def measure(progress: Any, should_stop: Any) -> None:
        CellStore.open(store.path).update_table(lambda table: go.wait(20) and measured(table))

    jobs.run("Measuring cells", measure, key="measure")
    annotate.keeping.write()
    assert len(jobs.active) == 2
    go.set()
    assert jobs.wait(60)
    obs = CellStore.open(store.path).obs
    assert sorted(obs["annotation"].unique()) == ["", "a"]
    assert (obs["measured"] == 1).all()


# --- Explore ---


@pytest.fixture
def explore(work: SimpleNamespace) -> Any:
    return dock(work.viewer, "Explore")["Explore"]


def test_umap_is_computed_beside_the_window(explore: Any, work: SimpleNamespace) -> None:
    if not has_umap():
        pytest.skip("umap-learn is not installed")
    assert "umap-learn" not in explore.map_box.toolTip()
    explore.show_map("UMAP of shared")
    assert [job.key for job in work.session.jobs.active] == ["map"]
    assert work.session.jobs.wait(200), explore.status.text()
    assert explore.x.name == "UMAP 1", explore.status.text()
    placed = explore.explorer.map("UMAP of shared")
    assert np.isfinite(placed.points).all()
    assert (np.ptp(placed.points, axis=0) > 0).all()


def test_a_lasso_in_the_scatter_selects_in_the_image_and_back(explore: Any, work: SimpleNamespace) -> None:
    explore.show_map("Two columns")
    for box, name in ((explore.x, "x"), (explore.y, "y")):
        box.name = name
        box.chosen.emit(name)
    np.testing.assert_array_equal(explore.cloud.points[:, 0], work.session.store.obs["x"])
    explore.cloud._drawn(np.array([[0, 0], [40.5, 0], [40.5, 45.5], [0, 45.5]]), False)
    obs = work.session.store.obs
    inside = np.flatnonzero((obs["x"] < 40.5) & (obs["y"] < 45.5))
    assert work.session.selection.tolist() == inside.tolist()
    (cells,) = explore.link.cells
    features = cells.layer.features
    assert sorted(features["index"][features[COLUMN]]) == sorted(obs["label"].iloc[inside])
    cells.layer.features = features.assign(**{COLUMN: False})
    assert explore.count.text() == ""
    explore.invert_selection()
    assert len(work.session.selection) == len(obs)
    explore.select_nothing()
    assert len(work.session.selection) == 0
    explore.recolour("donor")
    assert "CD4" in explore.legend.text()
    explore.cloud.draw()
    picture = explore.cloud.grab().toImage()
    assert picture.width() > 100
    explore.paint_cells()
    assert len(find_layers(work.viewer, role="feature")) == 1


def test_drawing_and_clicking_with_the_mouse(explore: Any, work: SimpleNamespace, qtbot: Any) -> None:
    from qtpy.QtCore import QEvent, QPoint, QPointF, Qt
    from qtpy.QtGui import QMouseEvent
    from qtpy.QtWidgets import QApplication

    explore.show_map("Two columns")
    explore.x.name, explore.y.name = "x", "y"
    explore._show_points()
    qtbot.waitUntil(
        lambda: 0 <= explore.cloud._box.sceneBoundingRect().top() < 20, timeout=60_000
    )  # laid out
    port = explore.cloud.viewport()

    def at(x: float, y: float) -> QPoint:
        return explore.cloud.mapFromScene(explore.cloud._box.mapViewToScene(QPointF(x, y)))

    left, none = Qt.MouseButton.LeftButton, Qt.MouseButton.NoButton
    outline = [at(*place) for place in ((8.0, 9.0), (40.5, 9.0), (40.5, 45.5), (8.0, 45.5))]
    steps = [(QEvent.Type.MouseButtonPress, outline[0], left, left)]
    steps += [(QEvent.Type.MouseMove, place, none, left) for place in outline]
    steps += [(QEvent.Type.MouseButtonRelease, outline[-1], left, none)]
    for kind, place, button, buttons in steps:
        screen = QPointF(port.mapToGlobal(place))
        modifiers = Qt.KeyboardModifier.NoModifier
        QApplication.sendEvent(port, QMouseEvent(kind, QPointF(place), screen, button, buttons, modifiers))
        qtbot.wait(20)
    obs = work.session.store.obs
    inside = np.flatnonzero((obs["x"] < 40.5) & (obs["y"] < 45.5))
    # the plot may still move by some pixels while its axes find their width
    assert len(np.intersect1d(work.session.selection, inside)) >= 4
    assert len(work.session.selection) <= 12
    explore.select_nothing()
    qtbot.mouseClick(port, left, pos=at(float(obs["x"].iloc[12]), float(obs["y"].iloc[12])))
    assert work.session.selection.tolist() == [12]
    before = explore.cloud._box.viewRange()
    qtbot.keyClick(explore.cloud, Qt.Key.Key_Plus)
    qtbot.keyClick(explore.cloud, Qt.Key.Key_Left)
    assert explore.cloud._box.viewRange() != before
    qtbot.keyClick(explore.cloud, Qt.Key.Key_Home)
    np.testing.assert_allclose(explore.cloud._box.viewRange(), before)


def test_a_cell_its_pictures_and_its_neighbours(explore: Any, work: SimpleNamespace, qtbot: Any) -> None:
    place = explore.cloud.points[4]
    explore.cloud._picked(tuple(place), False)
    assert work.session.selection.tolist() == [4]
    assert work.session.store.obs["cell_id"].iloc[4] in explore.cell_panel.about.text()
    qtbot.waitUntil(lambda: len(explore.cell_panel.neighbours._pictures) == 8, timeout=60_000)
    assert explore.cell_panel.portrait._rows == ("measured", "reconstructed", "predicted")
    near = explore.cell_panel.near
    explore.cell_panel.neighbours.clicked.emit(2)
    assert work.session.selection.tolist() == [near[2]]
    work.session.selection = [1, 2]
    assert "2 cells are selected" in explore.cell_panel.about.text()
    assert explore.cell_panel.portrait._pictures == {}


def test_the_slider_decodes_beside_the_window(explore: Any, work: SimpleNamespace, qtbot: Any) -> None:
    panel = explore.direction
    work.session.selection = [3]
    panel.choose("shared", 0)
    assert work.session.jobs.wait(60)
    assert panel.tied.rowCount() > 3
    told: list[Any] = []
    panel._decoder.answered.connect(lambda question, answer: told.append(question))
    for value in range(-60, 61, 3):
        panel.slider.setValue(value)
    qtbot.waitUntil(lambda: bool(told) and not panel._decoder.busy, timeout=120_000)
    assert len(told) < 10  # what was asked in between is dropped
    assert panel.pictures._columns == ("DAPI", "CD4", "CD8")
    axes = explore.explorer.columns.axes("shared")
    shared = np.array(told[-1]["parts"]["chromatin"][0])
    np.testing.assert_allclose((shared - axes.mean) @ axes.directions[0], 3 * axes.spread[0], rtol=1e-4)
    panel.back_to_cell()
    assert panel.slider.value() != 60
    panel.choose("protein_specific_CD4", 0, 1.0)
    qtbot.waitUntil(lambda: panel.pictures._columns == ("CD4",), timeout=60_000)


def test_without_latents_columns_can_still_be_plotted(work: SimpleNamespace) -> None:
    table = work.session.store.table.copy()
    for key in list(table.obsm):
        del table.obsm[key]
    work.session.store.write_table(table)
    work.session.store = CellStore.open(work.session.store.path)
    tool = dock(work.viewer, "Explore")["Explore"]
    assert tool.no_latents.isVisibleTo(tool)
    assert not tool.direction.isVisibleTo(tool)
    assert tool.map_box.currentText() == "Two columns"
    assert np.isfinite(tool.cloud.points).all()


# --- the thread behind ---


def test_only_the_newest_question_is_answered(qtbot: Any, screen: str) -> None:
    from qtpy.QtWidgets import QWidget

    from napari_apollo.viewer.background import Background

    go = threading.Event()
    asked: list[int] = []

    def work(question: int) -> int:
        asked.append(question)
        go.wait(5)
        if question == 99:
            raise DataError("no")
        return question * 2

    owner = QWidget()
    qtbot.addWidget(owner)
    background = Background(work, owner)
    answers: list[tuple[int, int]] = []
    errors: list[str] = []
    background.answered.connect(lambda question, answer: answers.append((question, answer)))
    background.failed.connect(lambda question, error: errors.append(str(error)))
    background.ask(1)
    qtbot.waitUntil(lambda: asked == [1], timeout=60_000)
    for question in range(2, 8):
        background.ask(question)
    go.set()
    qtbot.waitUntil(lambda: bool(answers), timeout=60_000)
    assert asked == [1, 7]
    assert answers == [(7, 14)]
    background.ask(99)
    qtbot.waitUntil(lambda: errors == ["no"], timeout=60_000)
    background.ask(5)
    background.forget()
    background.close()
    background.ask(6)
    qtbot.wait(50)
    assert answers == [(7, 14)]


@pytest.mark.parametrize("name", OURS)
def test_a_closed_tool_is_gone(work: SimpleNamespace, name: str, qtbot: Any) -> None:
    from qtpy.compat import isalive

    tool = dock(work.viewer, name)[name]
    work.viewer.window.remove_dock_widget(tool)
    qtbot.waitUntil(lambda: not isalive(tool), timeout=60_000)
    work.session.selection = [3]
    work.session.store = CellStore.open(work.session.store.path)
    assert dock(work.viewer, name)[name] is not tool
    assert work.session.jobs.wait(60)


def test_what_is_measured_is_there_though_the_tool_was_closed(work: SimpleNamespace, qtbot: Any) -> None:
    tool = dock(work.viewer, "Measure")["Measure"]
    tool.form.set(families=("shape",), workers=1)
    work.session.selection = [2, 5]
    tool.measure()
    work.viewer.window.remove_dock_widget(tool)
    assert work.session.jobs.wait(200)
    assert work.session.store.table.n_vars > 5
    assert work.session.selection.tolist() == [2, 5]


def test_what_was_opened_meanwhile_stays(
    work: SimpleNamespace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    told: list[str] = []
    monkeypatch.setattr("napari_apollo.viewer.tool.tell", told.append)
    tool = dock(work.viewer, "Measure")["Measure"]
    tool.form.set(families=("shape",), workers=1)
    measured = work.session.store.path
    tool.measure()
    shutil.copytree(work.small.folder / "small.cells.zarr", tmp_path / "other.cells.zarr")
    other = work.session.store = CellStore.open(tmp_path / "other.cells.zarr")
    assert work.session.jobs.wait(200)
    assert work.session.store is other
    assert len(told) == 1
    assert str(measured) in told[0]
    assert CellStore.open(measured).table.n_vars > 5
