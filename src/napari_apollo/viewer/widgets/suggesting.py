"""Suggested classes: learnt beside the window from what was annotated, and accepted for chosen cells."""

from __future__ import annotations

from typing import Any

from qtpy.QtCore import QTimer, Signal
from qtpy.QtWidgets import QCheckBox, QVBoxLayout, QWidget

from napari_apollo.annotate import Suggestions
from napari_apollo.viewer.annotating import AnnotationSession, suggestions_in_words
from napari_apollo.viewer.parts import button, note, row, say
from napari_apollo.viewer.tool import Tool

_QUIET = 900  # milliseconds after the last action until suggestions are made anew


class Suggesting(QWidget):
    """Part of the annotation tool.

    Parameters
    ----------
    tool
        The tool it is part of.
    """

    found = Signal()
    """New suggestions were taken up."""

    def __init__(self, tool: Tool) -> None:
        super().__init__()
        self._tool = tool
        self._annotation: AnnotationSession | None = None
        self.suggest_button = button(
            "Suggest", "Learn from the annotated cells and mark what the others may be", self.suggest,
            main=True, name="suggest",
        )  # fmt: skip
        self.accept_button = button(
            "Accept for selected",
            "Give the selected cells without a class the suggested one",
            self.accept,
            name="check",
        )
        self.automatic = QCheckBox("Learn as I annotate")
        self.automatic.setToolTip("Make suggestions anew shortly after every action")
        self.quality = note()
        self._quiet = QTimer(self)
        self._quiet.setSingleShot(True)
        self._quiet.setInterval(_QUIET)
        self._quiet.timeout.connect(self.suggest)
        self.automatic.toggled.connect(lambda on: self._quiet.start() if on else self._quiet.stop())
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.setSpacing(6)
        for part in (row(self.suggest_button, self.accept_button), self.automatic, self.quality):
            layout.addWidget(part)

    def use(self, annotation: AnnotationSession | None) -> None:
        """Annotations of another person, or none."""
        self._tool.session.jobs.cancel("suggest")
        self._annotation = annotation
        say(self.quality, "")

    def show_state(self) -> None:
        """Show what can be done as things stand."""
        annotation = self._annotation
        self.suggest_button.setEnabled(annotation is not None)
        self.accept_button.setEnabled(annotation is not None and annotation.suggestions is not None)

    def annotated(self) -> None:
        """A person annotated; where wanted, suggestions are made anew once there is a pause."""
        if self.automatic.isChecked():
            self._quiet.start()

    def suggest(self) -> None:
        """Learn from the annotated cells beside the window."""
        annotation = self._annotation
        if annotation is None:
            return
        self._quiet.stop()
        if len(set(annotation.annotations.labels.values())) < 2:
            say(self.quality, "Annotate cells of two classes at least; then the others are suggested.")
            return

        def call(progress: Any, should_stop: Any) -> Suggestions:
            return annotation.suggest(progress=progress, should_stop=should_stop)

        def take(suggestions: Suggestions) -> None:
            if annotation is self._annotation:
                annotation.use(suggestions)
                say(self.quality, suggestions_in_words(suggestions))
                self.found.emit()

        self._tool.run("Suggesting classes", call, key="suggest", then=take)

    def accept(self) -> None:
        """Give the selected cells without a class the suggested one."""
        annotation, cells = self._annotation, self._tool.session.selection
        if annotation is not None:
            self._tool.attempt("Accepting suggestions", lambda: annotation.accept(cells))
