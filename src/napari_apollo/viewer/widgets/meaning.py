"""What directions of latents mean: an interpretation made or opened, its directions, features and shares."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd
from qtpy.QtCore import QUrl
from qtpy.QtGui import QDesktopServices
from qtpy.QtWidgets import QVBoxLayout, QWidget

from napari_apollo.cells import CellStore
from napari_apollo.interpret.config import InterpretConfig
from napari_apollo.viewer.child import in_child
from napari_apollo.viewer.choosing import ask_folder
from napari_apollo.viewer.forms import ConfigForm
from napari_apollo.viewer.meaning import Meaning
from napari_apollo.viewer.parts import Fold, button, note, row, say
from napari_apollo.viewer.preferences import DEVICES, preferences
from napari_apollo.viewer.sharebars import ShareBars
from napari_apollo.viewer.tables_shown import fill_table, plain_table
from napari_apollo.viewer.tool import Tool, place_for

if TYPE_CHECKING:
    from napari_apollo.viewer.widgets.direction import DirectionPanel

_NAME = "interpretation"
_SETTINGS = (
    "directions", "permutations", "fdr", "least_effect", "probe", "label", "phenotypes", "ablation",
    "published", "most_cells", "device", "seed",
)  # fmt: skip


class MeaningPanel(Fold):
    """Part of the exploring tool.

    Parameters
    ----------
    tool
        The tool it is part of.
    direction
        Shows the direction that is chosen here.
    """

    def __init__(self, tool: Tool, direction: DirectionPanel) -> None:
        super().__init__("What the directions mean", QWidget())
        self._tool, self._direction = tool, direction
        self.meaning: Meaning | None = None
        self.form = ConfigForm(
            InterpretConfig, (), list(_SETTINGS), choices={"device": DEVICES},
            titles={
                "fdr": "False discoveries", "label": "Classified column", "published": "Published way, too",
            },
        )  # fmt: skip
        self.start = button(
            "Interpret", "Find out what the directions of the latents mean", self.interpret, name="suggest"
        )  # fmt: skip
        self.open_button = button("Open …", "Open an interpretation that was made before", self._ask)
        self.report = button("Report", "Open its page in the browser", self.open_report, name="eye")
        self.words = note()
        self.listed = plain_table("Directions by name; click one to try it on the cell above")
        self.listed.cellClicked.connect(lambda line, _: self.choose(line))
        self.listed.itemActivated.connect(lambda item: self.choose(item.row()))
        self.about = note()
        self.tied = plain_table(
            "Features that lie along the direction, within donors; q is the adjusted p-value"
        )
        self.shares = ShareBars()
        inside = QVBoxLayout(self.content)
        inside.setContentsMargins(0, 0, 0, 0)
        inside.setSpacing(4)
        parts = (
            self.form, row(self.start, self.open_button, self.report), self.words, self.listed, self.about,
            self.tied, self.shares,
        )  # fmt: skip
        for part in parts:
            inside.addWidget(part)
        self._fill()

    # --- what people do -----------------------------------------------------------------------

    def interpret(self) -> None:
        """Interpret the latents and measurements in the table of the store."""
        store = self._tool.session.store
        if store is None:
            return
        output = place_for(self._tool.session, _NAME)
        settings = self._tool.attempt(
            "Interpreting",
            lambda: self.form.config(output=output, overwrite=True).model_dump(mode="json"),
        )
        if settings is None:
            return
        call = in_child("napari_apollo.viewer.work:interpret_store", store=str(store.path), settings=settings)
        self._tool.run("Interpreting the latents", call, key="interpret", then=self.open)

    def open(self, folder: Path | str) -> None:
        """Show an interpretation that lies in a folder."""
        self.meaning = self._tool.attempt("Opening the interpretation", lambda: Meaning.open(folder))
        self._fill()
        if self.meaning is not None and len(self.meaning.directions):
            self.listed.selectRow(0)
            self.choose(0)

    def open_report(self) -> None:
        """Open the page of the interpretation in the browser."""
        if self.meaning is not None:
            QDesktopServices.openUrl(QUrl.fromLocalFile(str(self.meaning.report)))

    def choose(self, line: int) -> None:
        """Show what lies along a direction of the list, and put the slider on it."""
        meaning, columns = self.meaning, self._direction.columns
        if meaning is None or not 0 <= line < len(meaning.directions):
            return
        direction = meaning.directions.iloc[line]
        block, axis = str(direction["block"]), int(direction["axis"])
        tied = meaning.along(block, axis)
        fill_table(self.tied, tied)
        self.shares.show_shares(meaning.shared_out(tied["feature"].astype(str).tolist()))
        here = None if columns is None else meaning.axis_in(columns, block, axis)
        if here is None:
            say(self.about, "These are other cells than the interpreted ones; the slider stays where it is.")
            return
        number, likeness = here
        self._direction.choose(block, number)
        way = "the same way" if likeness > 0 else "the other way round"
        say(self.about, f"Above as axis {number + 1}, which runs {way} (r = {likeness:.2f}).")

    # --- how it is shown ------------------------------------------------------------------------

    def use(self, store: CellStore | None) -> None:
        """Other cells; an interpretation beside them is opened."""
        ready = store is not None and self._direction.columns is not None
        self.start.setEnabled(ready)
        self.form.suggest(device=preferences().device)
        beside = place_for(self._tool.session, _NAME)
        if self.meaning is None and ready and (beside / "interpretation.json").is_file():
            self.open(beside)

    def _fill(self) -> None:
        meaning = self.meaning
        there = meaning is not None and len(meaning.directions) > 0
        self.report.setEnabled(meaning is not None)
        for part in (self.listed, self.tied):
            part.setVisible(there)
        fill_table(self.listed, pd.DataFrame() if meaning is None else meaning.listed(), 6)
        if meaning is None:
            say(self.words, "Names every direction by the measurements that lie along it, donor by donor.")
            say(self.about, "")
            self.shares.show_shares(None)
            return
        notes = [str(meaning.facts.get("cells", "")), *(f"Note: {text}" for text in meaning.notes)]
        say(self.words, "\n".join(text for text in notes if text))

    def _ask(self, *_: Any) -> None:
        if chosen := ask_folder(self, "Open an interpretation", place_for(self._tool.session, "")):
            self.open(chosen)
