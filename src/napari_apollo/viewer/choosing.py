"""Choices: among hundreds of names, found by typing a part of them; where to write."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from qtpy.QtCore import Qt, Signal
from qtpy.QtWidgets import QComboBox, QCompleter, QFileDialog, QLabel, QSizePolicy, QWidget


def ask_where(parent: QWidget, title: str, start: Path, suffix: str) -> str:
    """Ask where a table is to be written; empty where the person thinks better of it."""
    chosen, _ = QFileDialog.getSaveFileName(parent, title, str(start), f"Table (*{suffix})")
    return chosen if not chosen or chosen.endswith(suffix) else chosen + suffix


def ask_folder(parent: QWidget, title: str, start: Path) -> str:
    """Ask for a folder; empty where the person thinks better of it."""
    return str(QFileDialog.getExistingDirectory(parent, title, str(start)))


def labelled(text: str, control: QWidget) -> QLabel:
    """A label for a control, with its tooltip."""
    label = QLabel(text)
    label.setBuddy(control)
    label.setToolTip(control.toolTip())
    return label


class NameBox(QComboBox):
    """A choice of one name; typing any part of it shows those that have it.

    Parameters
    ----------
    title
        Accessible name.
    tooltip
        What is chosen.
    """

    chosen = Signal(str)
    """A person chose another name."""

    def __init__(self, title: str, tooltip: str) -> None:
        super().__init__()
        self.setToolTip(f"{tooltip}. Type any part of a name to find it.")
        self.setAccessibleName(title)
        self.setEditable(True)
        self.setInsertPolicy(QComboBox.InsertPolicy.NoInsert)
        self.setSizeAdjustPolicy(QComboBox.SizeAdjustPolicy.AdjustToMinimumContentsLengthWithIcon)
        self.setMinimumContentsLength(6)
        self.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Fixed)
        self.setMaxVisibleItems(18)
        completer = self.completer()
        if completer is not None:
            completer.setFilterMode(Qt.MatchFlag.MatchContains)
            completer.setCaseSensitivity(Qt.CaseSensitivity.CaseInsensitive)
            completer.setCompletionMode(QCompleter.CompletionMode.PopupCompletion)
        self.activated.connect(lambda _: self.chosen.emit(self.name))
        line = self.lineEdit()
        if line is not None:
            line.editingFinished.connect(self._restore)

    @property
    def name(self) -> str:
        """The chosen name; empty where there is none."""
        return str(self.itemText(self.currentIndex())) if self.currentIndex() >= 0 else ""

    @name.setter
    def name(self, name: str) -> None:
        index = self.findText(name, Qt.MatchFlag.MatchExactly | Qt.MatchFlag.MatchCaseSensitive)
        if index >= 0:
            self.setCurrentIndex(index)

    def offer(self, names: Sequence[str], default: str = "") -> None:
        """Other names; what was chosen stays where it is still among them."""
        kept = self.name
        before = self.blockSignals(True)
        self.clear()
        self.addItems(list(names))
        self.name = kept if kept in names else default
        self.blockSignals(before)

    def _restore(self) -> None:
        index = self.findText(self.currentText(), Qt.MatchFlag.MatchExactly)
        if index < 0:
            self.setEditText(self.name)
