"""Forms, parts and jobs in threads, in a real window."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from qtpy.QtCore import QTimer
from qtpy.QtGui import QCloseEvent
from qtpy.QtWidgets import QApplication, QLabel, QMainWindow

from napari_apollo.cells import CropConfig, SegmentConfig
from napari_apollo.errors import ConfigError, DataError
from napari_apollo.progress import Progress, ShouldStop, Step, stop_if_asked
from napari_apollo.viewer import session_of

pytestmark = pytest.mark.gui


@pytest.fixture
def app(screen: str, qtbot: Any) -> Any:
    return qtbot


@pytest.fixture
def form(app: Any) -> Iterator[Any]:
    from napari_apollo.viewer.forms import ConfigForm

    form = ConfigForm(
        CropConfig,
        ["output", "size", "unit", "neighbours"],
        ["checks", "deviations", "tile", "overwrite"],
        modes={"output": "save"},
    )
    app.addWidget(form)
    yield form
    form.close()


def test_nothing_given_is_the_config_s_own(form: Any) -> None:
    assert form.given == {}
    assert form.config() == CropConfig()


def test_what_is_entered_reaches_the_config(form: Any) -> None:
    form.set(size=64, unit="um", tile=512, overwrite=True, checks=("border",), output=Path("a.cells.zarr"))
    assert form.config() == CropConfig(
        size=64, unit="um", tile=512, overwrite=True, checks=("border",), output=Path("a.cells.zarr")
    )
    form.set(size=None)
    assert "size" not in form.given


def test_keys_and_mouse_do_the_same(form: Any, app: Any) -> None:
    line = form.editors["size"].widget
    app.keyClicks(line, "48,5")
    assert form.given == {"size": 48.5}


def test_wrong_values_are_marked_where_they_stand(form: Any) -> None:
    form.set(size="wide")
    with pytest.raises(ConfigError, match="number"):
        form.config()
    assert "number" in form._problems["size"].text()
    form.set(size=20)
    assert form._problems["size"].text() == ""


def test_every_control_has_a_tooltip_and_a_name(form: Any) -> None:
    for editor in form.editors.values():
        assert editor.widget.toolTip()
        assert editor.widget.accessibleName()


def test_what_a_preset_fills_in_stays_its_own(app: Any) -> None:
    from napari_apollo.train import TrainConfig
    from napari_apollo.viewer.forms import ConfigForm

    form = ConfigForm(TrainConfig, ["preset", "shared", "width"])
    app.addWidget(form)
    form.set(width=8)
    form.set(preset="paper")
    form.rebase(TrainConfig(preset="paper").model_dump())
    assert form.editors["shared"].value == 1024
    assert form.editors["width"].value == 8
    assert form.given == {"width": 8}


def test_choices_that_come_later(app: Any) -> None:
    from napari_apollo.viewer.forms import ConfigForm

    form = ConfigForm(SegmentConfig, ["stain", "engine"], choices={"stain": ["DAPI", "Hoechst"]})
    app.addWidget(form)
    form.set(stain="Hoechst")
    form.offer("stain", ["Hoechst", "DNA"])
    assert form.config().stain == "Hoechst"
    form.offer("stain", ["DAPI"])
    assert form.config().stain is None


# --- jobs in threads -----------------------------------------------------------------------------


@pytest.fixture
def jobs(app: Any, make_napari_viewer_proxy: Callable[..., Any]) -> Iterator[Any]:
    from napari_apollo.viewer.state import session_of

    jobs = session_of(make_napari_viewer_proxy()).jobs
    yield jobs
    jobs.cancel()
    assert jobs.wait(60)


def counts(progress: Progress, should_stop: ShouldStop) -> int:
    for done in range(1000):
        progress(Step("Counting", done, 1000))
        stop_if_asked(should_stop)
        time.sleep(0.01)
    return 1000


def test_progress_is_shown_and_cancel_works_within_a_second(jobs: Any, app: Any) -> None:
    from napari_apollo.viewer.jobbar import JobBar

    bar = JobBar(jobs, ["count"])
    app.addWidget(bar)
    bar.show()
    results: list[int] = []
    job = jobs.run("Counting", counts, key="count", then=results.append)
    app.waitUntil(lambda: bar.bar.value() > 5, timeout=60_000)
    assert bar.isVisible()
    assert "Counting" in bar.text.text()
    bar.cancel.click()
    assert job.state == "cancelled"
    assert jobs.wait(60)
    assert not bar.isVisible()
    assert results == []


def test_results_come_to_the_window_s_thread(jobs: Any) -> None:
    import threading

    where: list[Any] = []
    jobs.run(
        "Adding", lambda progress, should_stop: 3, then=lambda _: where.append(threading.current_thread())
    )
    assert jobs.wait(60)
    assert where == [threading.main_thread()]


def test_errors_are_told_once_with_a_report(jobs: Any) -> None:
    from napari.utils.notifications import notification_manager

    def broken(progress: Progress, should_stop: ShouldStop) -> None:
        raise DataError("There are no cells.")

    def fault(progress: Progress, should_stop: ShouldStop) -> None:
        raise ZeroDivisionError("by zero")

    before = len(notification_manager.records)
    jobs.run("Adding", broken)
    assert jobs.wait(60)
    jobs.run("Dividing", fault)
    assert jobs.wait(60)
    told = list(notification_manager.records)[before:]
    assert told[0].message == "There are no cells."
    assert "Dividing failed for a reason that was not foreseen" in told[1].message
    assert [[text for text, _ in note.actions] for note in told] == [["Details"], ["Details"]]


def test_a_report_names_versions_and_can_be_copied(app: Any) -> None:
    from qtpy.QtGui import QGuiApplication

    from napari_apollo.viewer.jobbar import ReportDialog
    from napari_apollo.viewer.notices import error_report

    report = error_report(DataError("There are no cells."), "Adding")
    assert "DataError: There are no cells." in report
    assert "napari-apollo" in report
    dialog = ReportDialog("There are no cells.", report)
    app.addWidget(dialog)
    dialog.copy.click()
    assert QGuiApplication.clipboard().text() == report


class _CrossPressed(QCloseEvent):
    """What the system sends when somebody presses the cross of the window."""

    def spontaneous(self) -> bool:
        return True


def test_napari_asks_before_it_closes_over_work(window: Any, qtbot: Any) -> None:
    """The window's own cross is pressed while a job goes on; the person thinks better of it."""
    jobs, go, asked = session_of(window).jobs, threading.Event(), []
    jobs.run("Counting nuclei", lambda progress, should_stop: go.wait(30))
    main = next(
        each for each in QApplication.topLevelWidgets() if isinstance(each, QMainWindow) and each.isVisible()
    )

    def answer() -> None:
        dialog = QApplication.activeModalWidget()
        if dialog is None:
            QTimer.singleShot(50, answer)
            return
        asked.append(" ".join(label.text() for label in dialog.findChildren(QLabel)))
        dialog.reject()

    QTimer.singleShot(50, answer)
    QApplication.sendEvent(main, _CrossPressed())
    assert len(asked) == 1
    assert "Counting nuclei" in asked[0]
    assert main.isVisible()
    assert len(jobs.active) == 1
    go.set()
    assert jobs.wait(60)
