"""Progress of jobs, and reports of errors, as widgets."""

from __future__ import annotations

from collections.abc import Sequence

from qtpy.QtCore import Qt
from qtpy.QtGui import QGuiApplication
from qtpy.QtWidgets import QDialog, QPlainTextEdit, QProgressBar, QVBoxLayout, QWidget

from napari_apollo.progress import Step
from napari_apollo.viewer.jobs import Job, Jobs
from napari_apollo.viewer.parts import button, listen, note, row, say


class JobBar(QWidget):
    """Progress of jobs and the button that cancels them; hidden while none is under way.

    Parameters
    ----------
    jobs
        The work of the viewer.
    keys
        Keys of the jobs that are shown; all where none is given.
    """

    def __init__(self, jobs: Jobs, keys: Sequence[str] = ()) -> None:
        super().__init__()
        self._jobs, self._keys = jobs, tuple(keys)
        self._job: Job | None = None
        self.text = note()
        self.bar = QProgressBar()
        self.bar.setTextVisible(False)
        self.bar.setMaximumHeight(10)
        self.bar.setToolTip("How far the work is")
        self.cancel = button("Cancel", "Stop this work; nothing half-written is left behind", self._cancel)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.setSpacing(2)
        layout.addWidget(self.text)
        layout.addWidget(row(self.bar, self.cancel, stretch=0))
        self.setVisible(False)
        listen(self, jobs.started, self._started)
        listen(self, jobs.ended, self._ended)
        for job in jobs.of(*self._keys):
            self._started(job)

    def _started(self, job: Job) -> None:
        if self._keys and job.key not in self._keys:
            return
        self._job = job
        listen(self, job.stepped, self._stepped)
        say(self.text, job.title, "plain")
        self.bar.setRange(0, 0)
        self.cancel.setEnabled(True)
        self.setVisible(True)

    def _stepped(self, step: Step) -> None:
        if self._job is None:
            return
        words = step.stage + (f", {step.done} of {step.total}" if step.total else "")
        say(self.text, f"{words}: {step.detail}" if step.detail else words, "plain")
        self.bar.setRange(0, max(step.total, 0))
        self.bar.setValue(step.done)

    def _ended(self, job: Job) -> None:
        if job is not self._job:
            return
        self._job = next(self._jobs.of(*self._keys), None)
        self.setVisible(self._job is not None)

    def _cancel(self) -> None:
        if self._job is not None:
            self._job.cancel()


class ReportDialog(QDialog):
    """What went wrong, with a report to copy."""

    def __init__(self, message: str, report: str, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.setAttribute(Qt.WidgetAttribute.WA_DeleteOnClose)
        self.setWindowTitle("What went wrong")
        self.report = QPlainTextEdit(report)
        self.report.setReadOnly(True)
        self.report.setToolTip("The report, to be passed on")
        self.copy = button("Copy report", "Put the report on the clipboard", self._copy)
        close = button("Close", "Close this window", self.close)
        layout = QVBoxLayout(self)
        layout.addWidget(note(message, "plain"))
        layout.addWidget(self.report, 1)
        layout.addWidget(row(None, self.copy, close))
        self.resize(640, 380)

    def _copy(self) -> None:
        clipboard = QGuiApplication.clipboard()
        if clipboard is not None:
            clipboard.setText(self.report.toPlainText())
