"""The pages that were written, as a list to open them from."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
from qtpy.QtCore import QUrl
from qtpy.QtGui import QDesktopServices
from qtpy.QtWidgets import QVBoxLayout, QWidget

from napari_apollo.viewer.parts import Fold, button, note, row, say, small_button
from napari_apollo.viewer.results import Report, find_reports
from napari_apollo.viewer.state import Session
from napari_apollo.viewer.tables_shown import fill_table, plain_table


class ResultsFold(Fold):
    """Reports beside the study: of interpretations, evaluations, demonstrations.

    Parameters
    ----------
    session
        Whose place is looked at.
    """

    def __init__(self, session: Session) -> None:
        super().__init__("Results", QWidget())
        self._session = session
        self.reports: list[Report] = []
        self.listed = plain_table("Reports, the newest first; click one twice to open it")
        self.listed.cellDoubleClicked.connect(lambda line, _: self.open_report(line))
        self.words = note()
        self.open_button = button(
            "Open report", "Open the chosen report in the browser", lambda: self.open_report(), name="eye"
        )
        self.refresh_button = small_button("refresh", "Look for reports again", self.refresh)
        inside = QVBoxLayout(self.content)
        inside.setContentsMargins(0, 0, 0, 0)
        inside.setSpacing(4)
        for part in (self.words, self.listed, row(self.open_button, None, self.refresh_button)):
            inside.addWidget(part)
        self.toggled.connect(lambda is_open: self.refresh() if is_open else None)

    def refresh(self) -> None:
        """Look for reports in the place where results go."""
        self.reports = find_reports(self._session.place)
        names = [report.title for report in self.reports]
        folders = [report.path.parent.name for report in self.reports]
        fill_table(self.listed, pd.DataFrame({"Report": names, "In": folders}), 5)
        for line, report in enumerate(self.reports):
            self.listed.item(line, 0).setToolTip(f"{report.title}\n{report.path}")
        self.listed.setVisible(bool(names))
        self.open_button.setEnabled(bool(names))
        say(self.words, "" if names else "No report lies beside the study yet.")
        if names:
            self.listed.selectRow(0)

    def open_report(self, line: int | None = None) -> Path | None:
        """Open a report in the browser; the chosen one where none is named."""
        chosen = self.listed.currentRow() if line is None else line
        if not 0 <= chosen < len(self.reports):
            return None
        path = self.reports[chosen].path
        QDesktopServices.openUrl(QUrl.fromLocalFile(str(path.absolute())))
        return path
