"""Every tool docked in a real window: what its buttons do, and that nothing of it stays behind."""

from __future__ import annotations

import shutil
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import tifffile

from napari_apollo.errors import InputError
from napari_apollo.study import Study
from napari_apollo.viewer import dock, find_layers, open_study, session_of

pytestmark = [pytest.mark.gui, pytest.mark.usefixtures("nothing_stays")]

OURS = ("Study", "Segment and crop", "Train", "Overlay")


@pytest.fixture
def viewer(window: Any) -> Any:
    return window


@pytest.fixture
def work(viewer: Any, small: SimpleNamespace, tmp_path: Path) -> SimpleNamespace:
    """The small study with nuclei that can be seen, in a folder of its own, known to the session."""
    session = session_of(viewer)
    image = small.image // 50
    image[0] += (3000 * (small.labels > 0)).astype(np.uint16)
    tifffile.imwrite(tmp_path / "image.tif", image, photometric="minisblack")
    fields = []
    for field in small.study:
        labels = shutil.copy(field.labels, tmp_path / f"labels_{field.field}.tif")
        fields.append(field.model_copy(update={"image": tmp_path / "image.tif", "labels": Path(labels)}))
    session.study = Study(fields).to_csv(tmp_path / "study.csv")
    return SimpleNamespace(session=session, folder=tmp_path)


@pytest.mark.parametrize("name", OURS)
def test_a_tool_is_complete_and_reachable_by_key(viewer: Any, name: str, qtbot: Any) -> None:
    from qtpy.QtCore import Qt
    from qtpy.QtWidgets import QAbstractButton, QComboBox, QLineEdit, QScrollBar, QSpinBox

    tool = dock(viewer, name)[name]
    assert dock(viewer, name.upper())[name] is tool
    assert tool.sizeHint().width() <= 360
    for kind in (QAbstractButton, QComboBox, QLineEdit, QSpinBox):
        for control in tool.findChildren(kind):
            inside = isinstance(control.parent(), (QComboBox, QSpinBox, QScrollBar))
            inside = inside or control.metaObject().className().startswith("QLineEdit")
            if inside or control.objectName() == "qt_toolbar_ext_button" or not control.isVisibleTo(tool):
                continue
            if control.parent().metaObject().className() in ("QTableView", "QTableWidget", "QLineEdit"):
                continue
            owner = control.parent()
            assert control.toolTip() or owner.toolTip(), (name, control, control.objectName())
            assert control.focusPolicy() & Qt.FocusPolicy.TabFocus, (name, control.toolTip())


@pytest.mark.parametrize("name", OURS)
def test_themes_and_small_windows(viewer: Any, name: str) -> None:
    tool = dock(viewer, name)[name]
    viewer.window.resize(1366, 700)
    for theme in ("light", "dark"):
        viewer.theme = theme
        assert tool.styleSheet()
    assert tool.minimumSizeHint().width() <= 340


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_a_ticked_box_has_a_tick(viewer: Any, theme: str) -> None:
    from qtpy.QtWidgets import QStyle, QStyleOptionViewItem

    tool = dock(viewer, "Train")["Train"]
    viewer.theme = theme
    tool.form.offer("held_out", ["ada", "bea", "a donor whose name is longer than any dock is wide"])
    tool.form.set(held_out=("bea",))
    listed = tool.form.editors["held_out"].widget
    colours = []
    for row in range(2):
        option = QStyleOptionViewItem()
        option.rect = listed.visualRect(listed.model().index(row, 0))
        option.features |= QStyleOptionViewItem.ViewItemFeature.HasCheckIndicator
        option.widget = listed
        box = (
            listed.style()
            .subElementRect(QStyle.SubElement.SE_ItemViewItemCheckIndicator, option, listed)
            .adjusted(2, 2, -2, -2)
        )
        picture = listed.viewport().grab(box).toImage()
        colours.append({picture.pixel(x, y) for x in range(box.width()) for y in range(box.height())})
    assert len(colours[0]) == 1  # an empty box
    assert len(colours[1]) > 4  # a ground, and the soft edges of a tick
    assert listed.item(2).toolTip() == listed.item(2).text()  # the dock is too narrow for it


def test_preferences_are_read_from_napari() -> None:
    from napari_apollo.viewer.preferences import DEVICES, preferences

    assert preferences().device in DEVICES
    assert preferences().workers is None or preferences().workers > 0


def test_tools_share_one_place(viewer: Any, qtbot: Any) -> None:
    from qtpy.QtWidgets import QDockWidget, QMainWindow

    def own_dock(tool: Any) -> Any:
        while not isinstance(tool, QDockWidget):
            tool = tool.parentWidget()
        return tool

    _, first = viewer.window.add_plugin_dock_widget("napari-apollo", "Study")
    _, second = viewer.window.add_plugin_dock_widget("napari-apollo", "Train")
    window = own_dock(first).parentWidget()
    assert isinstance(window, QMainWindow)
    qtbot.waitUntil(lambda: own_dock(second) in window.tabifiedDockWidgets(own_dock(first)), timeout=60_000)


def test_names_that_are_no_tool(viewer: Any) -> None:
    with pytest.raises(InputError, match="Study"):
        dock(viewer, "Colour")


# --- Study -----------------------------------------------------------------------------------------


def test_study_from_layers_to_manifest(viewer: Any, small: SimpleNamespace, tmp_path: Path) -> None:
    open_study(viewer, small.study)
    session = session_of(viewer)
    tool = dock(viewer, "Study")["Study"]
    assert session.study == small.study  # taken up from the layers
    assert tool.table.rowCount() == 2
    tool.table.item(0, 3).setText("glioma")
    assert tool.draft.rows[0].condition == "glioma"
    tool.path.path = tmp_path / "mine.csv"
    tool.save.click()
    assert session.study.path == tmp_path / "mine.csv"
    assert session.study.fields[0].condition == "glioma"
    assert small.study.fields[0].condition == "c"


def test_study_marks_what_is_missing_where_it_is_missing(viewer: Any, tmp_path: Path, qtbot: Any) -> None:
    tifffile.imwrite(tmp_path / "a.tif", np.ones((2, 40, 40), np.uint16), photometric="minisblack")
    tool = dock(viewer, "Study")["Study"]
    tool.add_paths([tmp_path])
    assert tool.session.jobs.wait(60)
    assert "which stain" in tool.problems.text()
    assert not tool.save.isEnabled()
    for box, stain in zip(list(tool.channels.boxes), ("DAPI", "CD4"), strict=True):
        box.setCurrentText(stain)
        box.lineEdit().editingFinished.emit()
    # the table was made anew after the first choice
    tool.channels.boxes[1].setCurrentText("CD4")
    tool.channels.boxes[1].lineEdit().editingFinished.emit()
    assert tool.problems.text() == ""
    assert tool.save.isEnabled()


def test_a_study_of_another_is_not_offered_for_replacement(
    viewer: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "apollo").mkdir()
    (tmp_path / "apollo" / "study.csv").write_text("by hand")
    tifffile.imwrite(tmp_path / "a.tif", np.ones((2, 40, 40), np.uint16), photometric="minisblack")
    tool = dock(viewer, "Study")["Study"]
    tool.add_paths([tmp_path / "a.tif"])
    assert tool.session.jobs.wait(60)
    assert tool.path.path.name == "study_2.csv"


def test_study_takes_what_is_dropped(viewer: Any, small: SimpleNamespace) -> None:
    from qtpy.QtCore import QMimeData, QPointF, Qt, QUrl
    from qtpy.QtGui import QDropEvent

    tool = dock(viewer, "Study")["Study"]
    data = QMimeData()
    data.setUrls([QUrl.fromLocalFile(str(small.study.path))])
    event = QDropEvent(
        QPointF(5, 5),
        Qt.DropAction.CopyAction,
        data,
        Qt.MouseButton.LeftButton,
        Qt.KeyboardModifier.NoModifier,
    )
    tool.dropEvent(event)
    assert tool.session.jobs.wait(60)
    assert tool.table.rowCount() == 2
    assert tool.path.path == small.study.path


def test_images_dropped_while_others_are_read_are_all_there(viewer: Any, tmp_path: Path) -> None:
    for name in "abc":
        tifffile.imwrite(tmp_path / f"{name}.tif", np.ones((2, 40, 40), np.uint16), photometric="minisblack")
    tool = dock(viewer, "Study")["Study"]
    for name in "ab":
        tool.add_paths([tmp_path / f"{name}.tif"])
    assert tool.session.jobs.wait(60)
    assert [row.image.name for row in tool.draft.rows] == ["a.tif", "b.tif"]
    tool.add_paths([tmp_path / "c.tif"])
    tool.table.item(0, 2).setText("ada")  # while the third is read
    tool.check()
    assert tool.session.jobs.wait(60)
    assert [row.image.name for row in tool.draft.rows] == ["a.tif", "b.tif", "c.tif"]
    assert tool.draft.rows[0].donor == "ada"


def test_a_study_segmented_meanwhile_does_not_undo_what_is_typed(viewer: Any, work: SimpleNamespace) -> None:
    tool = dock(viewer, "Study")["Study"]
    tool.table.item(0, 2).setText("ada")
    labels = work.folder / "new.tif"
    tifffile.imwrite(labels, np.zeros((90, 120), np.int32))
    before = work.session.study
    names = [field.field for field in before]
    work.session.study = before.with_labels({names[0]: labels}).to_csv(work.folder / "segmented.csv")
    assert tool.draft.rows[0].donor == "ada"
    assert tool.draft.rows[0].labels == labels
    assert "not saved yet" in tool.status.text()
    tool.save.click()
    assert work.session.study.fields[0].donor == "ada"
    assert work.session.study.fields[0].labels == labels
    work.session.study = before  # nothing is unsaved now
    assert tool.draft.rows[0].donor == before.fields[0].donor


def test_study_shows_a_field_and_checks_files(viewer: Any, work: SimpleNamespace) -> None:
    tool = dock(viewer, "Study")["Study"]
    tool.table.selectRow(1)
    tool.show_field()
    assert find_layers(viewer, role="measured", stain="CD8")
    tool.check()
    assert work.session.jobs.wait(60)
    assert "Nothing is wrong" in tool.status.text()


# --- Segment and crop ------------------------------------------------------------------------------


def test_segment_preview_correct_and_crop(viewer: Any, work: SimpleNamespace) -> None:
    tool = dock(viewer, "Segment and crop")["Segment and crop"]
    jobs = work.session.jobs
    tool.form.set(engine="threshold", diameter=9)
    tool.field.setCurrentText("half_CD4")
    tool.show_button.click()
    tool.preview_button.click()
    assert jobs.wait(200)
    assert find_layers(viewer, role="nuclei preview"), tool.status.text()

    tool.scope.setCurrentText("Field shown")
    tool.start.click()
    assert jobs.wait(200)
    field = work.session.study["half_CD4"]
    assert field.labels is not None, tool.status.text()
    assert field.labels.is_relative_to(work.folder)
    assert work.session.study["half_CD8"].labels is not None  # kept as it was

    tool.correct_field()
    layer = tool.correct.layer
    before = len(np.unique(layer.data))
    numbers = [int(number) for number in np.unique(layer.data)[1:3]]
    tool.correct.pick_at(numbers[0])
    tool.correct.pick_at(numbers[1], add=True)
    tool.correct.merge()
    assert len(np.unique(layer.data)) == before - 1
    tool.correct.undo()
    assert len(np.unique(layer.data)) == before
    tool.correct.pick_at(numbers[0])
    tool.correct.delete()
    tool.correct.save_labels()
    assert len(np.unique(tifffile.imread(field.labels))) == before - 1

    tool.crop.form.set(size=16)
    tool.crop.start.click()
    assert jobs.wait(200)
    store = work.session.store
    assert store is not None, tool.status.text()
    assert store.path == work.folder / "segmentation" / "study.cells.zarr"
    passed = int(store.obs["qc"].sum())
    assert f"{passed} of {store.n_cells} cells pass" in tool.crop.counts.text()
    plot = tool.crop.plots["area"]
    plot.set_limit("low", plot.limit("high"))  # which lies beyond every cell
    assert tool.crop.moved == {"area_min"}  # the others stay what they are, also beyond their plots
    assert "0 of" in tool.crop.counts.text()


def one_nucleus_deleted(tool: Any) -> int:
    """Delete the first nucleus of the field that is corrected; its number."""
    number = int(np.unique(tool.correct.layer.data)[1])
    tool.correct.pick_at(number)
    tool.correct.delete()
    return number


def test_corrections_that_nobody_saved_come_back(viewer: Any, work: SimpleNamespace) -> None:
    tool = dock(viewer, "Segment and crop")["Segment and crop"]
    tool.field.setCurrentText("half_CD4")
    field = work.session.study["half_CD4"]
    before = tifffile.imread(field.labels)
    tool.correct_field()
    number = one_nucleus_deleted(tool)
    tool.show_button.click()  # the layer goes
    assert "were not saved; they are kept" in tool.status.text()
    assert np.array_equal(tifffile.imread(field.labels), before)
    tool.correct_field()
    assert "are back" in tool.status.text()
    assert number not in tool.correct.layer.data
    tool.correct_field()  # the saved ones are asked for
    assert np.array_equal(tool.correct.layer.data, before)
    one_nucleus_deleted(tool)
    viewer.layers.clear()
    tool.correct_field()
    assert number not in tool.correct.layer.data
    tool.correct.save_labels()
    assert len(np.unique(tifffile.imread(field.labels))) == len(np.unique(before)) - 1
    assert not list(field.labels.parent.glob("*unsaved*"))
    tool.correct_field()
    assert "are back" not in tool.status.text()


def test_corrections_outlive_the_tool_and_the_window(viewer: Any, work: SimpleNamespace, qtbot: Any) -> None:
    from qtpy.QtGui import QCloseEvent

    from napari_apollo.viewer.parts import main_window

    tool = dock(viewer, "Segment and crop")["Segment and crop"]
    field = work.session.study["half_CD4"]
    tool.correct_field()
    tool.correct.setVisible(True)
    layer = tool.correct.layer
    number = one_nucleus_deleted(tool)
    tool.correct.showEvent(None)
    tool.correct.eventFilter(main_window(tool), QCloseEvent())
    (kept,) = field.labels.parent.glob("*unsaved*")
    assert number not in tifffile.imread(kept)
    viewer.window.remove_dock_widget(tool)
    qtbot.waitUntil(
        lambda: not any("CorrectPart" in repr(each) for each in layer.mouse_drag_callbacks), timeout=60_000
    )
    assert layer in viewer.layers
    second = int(np.unique(layer.data)[1])
    layer.data_setitem(np.nonzero(layer.data == second), 0)  # painted on with no tool there
    tool = dock(viewer, "Segment and crop")["Segment and crop"]
    tool.correct_field()
    assert second not in tool.correct.layer.data
    assert number not in tool.correct.layer.data


def test_segmenting_over_corrections_asks_first(viewer: Any, work: SimpleNamespace) -> None:
    tool = dock(viewer, "Segment and crop")["Segment and crop"]
    tool.form.set(engine="threshold", diameter=9)
    tool.field.setCurrentText("half_CD4")
    tool.scope.setCurrentText("Field shown")
    tool.correct_field()
    one_nucleus_deleted(tool)
    tool.correct.save_labels()
    tool.start.click()
    assert not list(work.session.jobs.of("segment"))
    assert "half_CD4 were corrected by hand" in tool.status.text()
    tool.field.setCurrentText("half_CD8")
    tool.start.click()
    assert list(work.session.jobs.of("segment"))
    work.session.jobs.cancel("segment")
    tool.field.setCurrentText("half_CD4")
    tool.start.click()
    tool.start.click()
    assert list(work.session.jobs.of("segment"))
    work.session.jobs.cancel("segment")
    assert work.session.jobs.wait(60)


def test_an_error_stands_in_the_tool_and_harms_nothing(viewer: Any, work: SimpleNamespace) -> None:
    tool = dock(viewer, "Segment and crop")["Segment and crop"]
    tool.form.set(engine="threshold", diameter=9, diameter_unit="um", stain="CD8")
    before = work.session.study
    tool.start.click()
    assert work.session.jobs.wait(200)
    assert "CD8" in tool.status.text()
    assert work.session.study is before
    assert not (work.folder / "segmentation" / "study.csv").exists()


# --- Overlay ---------------------------------------------------------------------------------------


def test_overlay_predicts_shows_and_compares(
    viewer: Any, work: SimpleNamespace, small: SimpleNamespace
) -> None:
    from qtpy.QtCore import Qt

    session = work.session
    session.study, session.store = small.study, small.store
    tool = dock(viewer, "Overlay")["Overlay"]
    assert tool.run_box.placeholderText(), "an empty box says why"
    assert not tool.predict_button.isEnabled()
    tool.run_box.addItem("tiny.run", str(small.folder / "tiny.run"))
    tool.run_box.setCurrentIndex(0)
    assert tool.fit.text().startswith("Predicts CD8 for the cells of DAPI/CD4")
    tool.form.set(output=work.folder / "a.predictions.zarr", device="cpu", uncertainty=2)
    tool.predict()
    assert session.jobs.wait(200)
    assert session.predictions is not None, tool.status.text()
    assert session.store is not small.store  # opened anew: its table has scores now
    tool.roles["reconstructed"].setChecked(True)
    assert tool.roles["uncertainty"].isEnabled()
    tool.roles["uncertainty"].setChecked(True)
    tool.show_button.click()
    assert session.jobs.wait(200)
    assert find_layers(viewer, role="predicted", stain="CD4")
    assert find_layers(viewer, role="reconstructed", stain="CD4")
    assert find_layers(viewer, role="uncertainty", stain="CD8")
    (cells,) = find_layers(viewer, role="cells")
    assert "index" in cells.features
    assert any(name.startswith("reconstruction_error") for name in cells.features)
    for number in range(tool.stains.count()):
        chosen = tool.stains.item(number).text() in ("DAPI", "CD8")
        tool.stains.item(number).setCheckState(Qt.CheckState.Checked if chosen else Qt.CheckState.Unchecked)
    tool.stain.setCurrentText("CD4")
    tool.show_button.click()
    assert session.jobs.wait(200)
    assert tool.stain.currentText() == "CD8", "one of those that are shown"
    tool.stain.setCurrentText("CD4")
    tool.flip()
    assert tool.shown.text() == "Measured"
    measured, predicted = (
        find_layers(viewer, role=role, stain="CD4")[0] for role in ("measured", "predicted")
    )
    shared = predicted.contrast_limits
    assert shared == measured.contrast_limits
    tool.grid.click()
    assert viewer.canvas.grid.enabled
    assert predicted.contrast_limits != shared
    assert measured.contrast_limits == shared
    assert "each in its own contrast" in tool.shown.text()
    tool.own_contrast.setChecked(False)
    assert predicted.contrast_limits == shared
    tool.own_contrast.setChecked(True)
    tool.grid.click()
    assert not viewer.canvas.grid.enabled
    assert predicted.contrast_limits == shared
    tool.run_box.addItem("tiny.run", str(small.folder / "tiny.run"))
    tool.run_box.setCurrentIndex(0)
    tool.predict()  # anew: what is shown was said of other cells, perhaps
    assert session.jobs.wait(200)
    assert not find_layers(viewer, role="predicted"), tool.status.text()
    assert not find_layers(viewer, role="cells")
    tool.form.set(uncertainty=0)
    tool.run_box.addItem("tiny.run", str(small.folder / "tiny.run"))
    tool.run_box.setCurrentIndex(0)
    tool.predict()
    assert session.jobs.wait(200)
    assert not tool.roles["uncertainty"].isEnabled(), tool.status.text()
    assert "uncertainty above 0" in tool.roles["uncertainty"].toolTip()
    assert find_layers(viewer, role="measured", stain="CD4")
    before = [layer.visible for layer in viewer.layers]
    tool.stain.setCurrentText("CD8")
    for layer in find_layers(viewer, stain="CD8"):
        viewer.layers.remove(layer)
    tool.grid.click()
    assert not tool.grid.isChecked()
    assert not viewer.canvas.grid.enabled
    assert tool.shown.text() == "Show layers first."
    assert any(before)


def test_a_model_that_does_not_fit_is_explained(
    viewer: Any, work: SimpleNamespace, small: SimpleNamespace, tmp_path: Path
) -> None:
    from napari_apollo.cells import CropConfig, crop

    work.session.store = crop(
        small.study, CropConfig(output=tmp_path / "other.cells.zarr", size=24, workers=1)
    )
    tool = dock(viewer, "Overlay")["Overlay"]
    tool.run_box.addItem("tiny.run", str(small.folder / "tiny.run"))
    tool.run_box.setCurrentIndex(0)
    assert "crops of 16 pixels" in tool.fit.text()  # before anything is started
    assert "No other run here fits" in tool.fit.text()
    tool.predict()
    assert work.session.jobs.wait(200)
    assert "crops of 16 pixels" in tool.status.text()
    assert work.session.predictions is None
