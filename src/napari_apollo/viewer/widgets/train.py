"""The training tool: start a run, watch it, stop it, go on with it."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any, ClassVar

import pandas as pd
from qtpy.QtCore import QTimer
from qtpy.QtWidgets import QComboBox

from napari_apollo.errors import RunError
from napari_apollo.train import Run, TrainConfig, start_run
from napari_apollo.viewer import training
from napari_apollo.viewer.adopting import adopt
from napari_apollo.viewer.child import ChildProcess
from napari_apollo.viewer.forms import ConfigForm
from napari_apollo.viewer.jobs import Jobs
from napari_apollo.viewer.parts import Fold, button, column, heading, note, row, say, small_button
from napari_apollo.viewer.plots import CurvesPlot
from napari_apollo.viewer.preferences import DEVICES, preferences
from napari_apollo.viewer.tool import Tool
from napari_apollo.viewer.widgets.preview import Preview
from napari_apollo.viewer.widgets.runtable import RunTable

_LOOK = 700  # milliseconds between two looks at the run
_LOOK_AGAIN = 3000  # the same for a run that is over: another window may go on with it
_TWICE = 1500  # milliseconds in which a second click on Start is taken for a double click
_PAUSE = 800  # milliseconds of quiet before the estimate is made anew
_MAIN = ("output", "objective", "preset", "device", "held_out")
_HIDDEN = {*_MAIN, "overwrite", "licence"}


class TrainTool(Tool):
    """Train a model on the cells of the study, and watch it learn."""

    job_keys: ClassVar[tuple[str, ...]] = ("stop",)

    def build(self) -> None:
        """Add the parts."""
        self._helper = ChildProcess()
        self.destroyed.connect(partial(_close, self._helper, self.session.jobs))
        self._seen: tuple[Any, ...] = ()
        self.cells = note(
            "Cut cells first, in the tool Segment and crop, or drop a cell store on the window."
        )
        more = [name for name in TrainConfig.model_fields if name not in _HIDDEN]
        self.form = ConfigForm(
            TrainConfig, _MAIN, more,
            titles={"output": "Run folder", "held_out": "Held-out donors"},
            choices={"held_out": (), "device": DEVICES}, modes={"output": "save"},
        )  # fmt: skip
        self.words = note()
        self.estimate = note()
        self.start_button = button(
            "Start training", "Train in a process that goes on when napari is closed", self.start,
            main=True, name="start",
        )  # fmt: skip
        self.stop_button = button("Stop", "Stop after this batch; it can be resumed", self.stop, name="stop")
        self.resume_button = button("Resume", "Go on from the last checkpoint", self.resume, name="resume")
        self.state = note(tone="plain")
        self.stage = QComboBox()
        self.stage.setToolTip("Stage of the training whose losses are shown")
        self.stage.setAccessibleName("Stage")
        self.stage.currentIndexChanged.connect(lambda _: self._show_curves())
        self.curves = CurvesPlot(left="Loss")
        self.preview = Preview()
        self.runs = RunTable()
        self.runs.chosen.connect(self._run_selected)
        self.scores = note()
        self.watching = column(row(self.stage, None, self.stop_button, self.resume_button), self.curves)
        self.add(
            heading("Cells"),
            self.cells,
            heading("Training"),
            self.form,
            self.words,
            self.estimate,
            self.start_button,
            heading("Progress"),
            self.state,
            self.watching,
            Fold("Held-out cells, live", self.preview, is_open=True),
            row(heading("Runs"), None, small_button("refresh", "Look for runs again", self.refresh_runs)),
            self.runs,
            self.scores,
        )
        self._metrics = pd.DataFrame()
        self._timer = QTimer(self)
        self._timer.setInterval(_LOOK)
        self._timer.timeout.connect(self.look)
        self._clicked = QTimer(self)
        self._clicked.setSingleShot(True)
        self._clicked.setInterval(_TWICE)
        self._clicked.timeout.connect(self._able)
        self._quiet = QTimer(self)
        self._quiet.setSingleShot(True)
        self._quiet.setInterval(_PAUSE)
        self._quiet.timeout.connect(self._estimate)
        self.form.changed.connect(self._changed)
        self.follow(self.session.store_changed, self._store_changed)
        self.follow(self.session.run_changed, self._run_changed)
        self.follow(self.viewer.layers.events.inserted, self._layers_changed)
        adopt(self.session, self.viewer.layers)
        self._store_changed(self.session.store)
        self._run_changed(self.session.run)

    # --- what people do -----------------------------------------------------------------------

    def start(self) -> None:
        """Start a training of the settings in the form."""
        store = self.session.store
        if store is None:
            self.say("Cut cells first, in the tool Segment and crop.", "problem")
            return
        run = self.attempt("Starting the training", lambda: start_run(store, self.form.config()))
        if run is not None:
            self._clicked.start()
            self._able()
            self.session.run = run
            self.refresh_runs()
            self._suggest_place()  # the next run has a folder of its own
            self.reveal(self.preview)

    def stop(self) -> None:
        """Ask the run to stop; it keeps a checkpoint."""
        run = self.session.run
        if run is not None:
            self.run("Stopping the training", lambda progress, should_stop: run.stop(), key="stop")

    def resume(self) -> None:
        """Go on with a run that was stopped, failed or was killed."""
        run = self.session.run
        if run is not None:
            self.attempt("Resuming the training", run.resume)
            self.look()

    def choose_run(self, folder: Path | str) -> None:
        """Watch another run."""
        run = self.attempt("Opening the run", lambda: Run(folder))
        if run is not None:
            self.session.run = run

    def look(self) -> None:
        """Look at the run once: its status, its losses, its newest preview."""
        run = self.session.run
        if run is None:
            return
        try:
            status = run.status()
        except RunError as error:  # its folder was removed
            self._timer.stop()
            say(self.state, str(error), "problem")
            self.stop_button.setEnabled(False)
            self.resume_button.setEnabled(False)
            return
        seen = (run.folder, status.state, status.epoch, status.stage, status.title, status.detail)
        if seen == self._seen:
            return
        over = status.over and self._seen[:2] not in ((), (run.folder, status.state))
        self._seen = seen
        self._metrics = run.metrics()
        tone = {"failed": "problem", "done": "good"}.get(status.state, "plain")
        say(self.state, f"{run.folder.name}: {training.status_in_words(run, self._metrics)}", tone)  # type: ignore[arg-type]
        self._offer_stages(training.stages_of(self._metrics))
        self._show_curves()
        self.preview.show_file(training.last_preview(run), training.ROWS)
        self.stop_button.setEnabled(not status.over)
        self.resume_button.setEnabled(status.state in ("stopped", "failed"))
        say(self.scores, training.scores_in_words(run.folder))
        if over:
            self.refresh_runs()
        self._timer.start(_LOOK_AGAIN if status.over else _LOOK)

    def refresh_runs(self) -> None:
        """List the runs in the folder of results."""
        run = self.session.run
        self.runs.show_entries(training.find_runs(self._runs_folder()), None if run is None else run.folder)

    def themed(self, dark: bool) -> None:
        """Colour the plot."""
        self.curves.colour(dark=dark)

    # --- how it is shown ------------------------------------------------------------------------

    def _runs_folder(self) -> Path | None:
        run = self.session.run
        return self.session.place or (run.folder.absolute().parent if run is not None else None)

    def _run_selected(self, folder: Path) -> None:
        if self.session.run is None or self.session.run.folder != folder:
            self.choose_run(folder)

    def _store_changed(self, store: Any) -> None:
        self._able()
        if store is None:
            return
        say(self.cells, training.store_in_words(store))
        self.form.offer("held_out", training.donors_of(store))
        self._suggest_place()
        self.refresh_runs()
        self._reattach()
        self._quiet.start()

    def _able(self) -> None:
        """Whether a training can be started."""
        self.start_button.setEnabled(self.session.store is not None and not self._clicked.isActive())

    def _suggest_place(self) -> None:
        place = self.session.place or Path.cwd()
        self.form.suggest(output=training.free_name(place), device=preferences().device)

    def _reattach(self) -> None:
        """Watch a run that is still going on, as after napari was closed and opened again."""
        if self.session.run is not None:
            return
        for entry in training.find_runs(self._runs_folder()):
            if entry.state in ("starting", "running"):
                self.choose_run(entry.folder)
                return

    def _run_changed(self, run: Any) -> None:
        self._seen = ()
        self.watching.setVisible(run is not None)
        say(self.state, "" if run is not None else "No run yet.")
        if run is not None:
            self.look()
            self.refresh_runs()

    def _changed(self) -> None:
        preset = self.form.editors["preset"].value
        self.form.rebase(
            TrainConfig(preset=preset).model_dump(exclude={"output", "device", "held_out", "preset"})
        )
        objective = str(self.form.editors["objective"].value)
        words = [training.PRESET_WORDS.get(preset, ""), training.OBJECTIVE_WORDS.get(objective, "")]
        say(self.words, " ".join(filter(None, words)))
        self._quiet.start()

    def _estimate(self) -> None:
        """Say what the training would learn from, and its memory."""
        store = self.session.store
        if store is None or not self.form.check():
            say(self.estimate, "")
            return
        settings = self.form.config().model_dump(mode="json")
        arguments = {"store": str(store.path), "settings": settings}
        self.session.jobs.run(
            "Estimating the training",
            lambda progress, should_stop: self._helper.call(
                "napari_apollo.viewer.work:estimate_training", arguments, progress, should_stop
            ),
            key="estimate",
            then=lambda words: say(self.estimate, words),
            failed=lambda error: say(self.estimate, str(error), "problem"),
        )

    def _offer_stages(self, stages: list[str]) -> None:
        if [self.stage.itemText(number) for number in range(self.stage.count())] == stages:
            return
        self.stage.blockSignals(True)
        self.stage.clear()
        self.stage.addItems(stages)
        self.stage.setCurrentIndex(len(stages) - 1)
        self.stage.blockSignals(False)

    def _show_curves(self) -> None:
        self.curves.show_curves(training.loss_curves(self._metrics, self.stage.currentText()))

    def _layers_changed(self, event: object = None) -> None:
        adopt(self.session, self.viewer.layers)


def _close(helper: ChildProcess, jobs: Jobs, *_: object) -> None:
    jobs.cancel("estimate")
    helper.close()
