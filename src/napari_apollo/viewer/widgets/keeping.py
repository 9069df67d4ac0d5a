"""Where annotations go: a table for other programs, and the table of the cells."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from qtpy.QtWidgets import QHBoxLayout, QWidget

from napari_apollo.annotate import annotation_folder
from napari_apollo.cells import CellStore
from napari_apollo.viewer.annotating import AnnotationSession
from napari_apollo.viewer.choosing import ask_where
from napari_apollo.viewer.parts import button
from napari_apollo.viewer.tool import Tool


class Keeping(QWidget):
    """Part of the annotation tool.

    Parameters
    ----------
    tool
        The tool it is part of.
    """

    def __init__(self, tool: Tool) -> None:
        super().__init__()
        self._tool = tool
        self._annotation: AnnotationSession | None = None
        self.csv = button("Export CSV", "Every cell with what everybody said", self._ask_csv, name="save")
        self.store_button = button(
            "Into the store",
            "Write everybody's classes into the table of the store; excluded cells fail the quality check",
            self.write, name="check",
        )  # fmt: skip
        layout = QHBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.setSpacing(4)
        layout.addWidget(self.csv)
        layout.addWidget(self.store_button)

    def use(self, annotation: AnnotationSession | None) -> None:
        """Annotations of another person, or none."""
        self._annotation = annotation

    def write(self) -> None:
        """Write everybody's annotations into the table of the store."""
        annotation, session = self._annotation, self._tool.session
        if annotation is None:
            return

        def share(path: Path) -> bool:
            return session.renew("store", CellStore.open(path), annotation.store)

        def written(path: Path) -> None:
            self._tool.say("The classes are in the table of the cell store.", "good")

        def call(progress: Any, should_stop: Any) -> Path:
            return annotation.write(progress=progress, should_stop=should_stop)

        self._tool.run("Writing annotations", call, key="write annotations", then=written, share=share)

    def export(self, path: Path | str) -> None:
        """Write everybody's annotations as CSV."""
        annotation, tool = self._annotation, self._tool
        if annotation is not None and tool.attempt("Exporting", lambda: annotation.export(path)) is not None:
            tool.say(f"Written: {path}", "good")

    def _ask_csv(self) -> None:
        store = self._tool.session.store
        if store is None:
            return
        start = store.path.with_name(f"{annotation_folder(store).name}.csv")
        if chosen := ask_where(self, "Export annotations", start, ".csv"):
            self.export(chosen)
