"""Which channel of a file shows which stain: a table with suggestions."""

from __future__ import annotations

from collections.abc import Sequence

from qtpy.QtCore import Qt, Signal
from qtpy.QtWidgets import QCheckBox, QComboBox, QCompleter, QGridLayout, QLabel, QVBoxLayout, QWidget

from napari_apollo.panels import UNUSED
from napari_apollo.viewer.drafting import DraftRow, stains_to_offer
from napari_apollo.viewer.parts import note, say

_NOT_USED = "not used"


class ChannelTable(QWidget):
    """The channels of a field, each with the stain that it shows."""

    assigned = Signal(list, bool)
    """Stains in the order of the channels, and whether they are meant for all files that are alike."""

    def __init__(self) -> None:
        super().__init__()
        self.boxes: list[QComboBox] = []
        self.hint = note()
        self._grid = QGridLayout()
        self._grid.setContentsMargins(0, 0, 0, 0)
        self._grid.setSpacing(3)
        self._grid.setColumnStretch(1, 1)
        self.alike = QCheckBox("Also for files with the same channels")
        self.alike.setToolTip(
            "Give these stains to all files whose channels have the same names, and the same stains so far"
        )
        self.alike.setChecked(True)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.setSpacing(3)
        layout.addWidget(self.hint)
        layout.addLayout(self._grid)
        layout.addWidget(self.alike)
        self.show_row(None, ())

    def show_row(self, chosen: DraftRow | None, rows: Sequence[DraftRow]) -> None:
        """Show the channels of a row."""
        while self._grid.count():
            item = self._grid.takeAt(0)
            widget = item.widget() if item is not None else None
            if widget is not None:
                widget.hide()
                widget.deleteLater()
        self.boxes = []
        self.alike.setVisible(chosen is not None)
        if chosen is None:
            say(self.hint, "Select a field to see its channels.")
            return
        say(self.hint, "")
        offered = stains_to_offer(rows)
        for number, stain in enumerate(chosen.stains):
            named = chosen.names[number] if number < len(chosen.names) else ""
            box = self._box(stain, offered, number)
            label = QLabel(f"{number + 1}  {named}" if named else f"Channel {number + 1}")
            label.setBuddy(box)
            label.setToolTip(f"Channel {number + 1} of the file" + (f", called {named}" if named else ""))
            self._grid.addWidget(label, number, 0)
            self._grid.addWidget(box, number, 1)
            self.boxes.append(box)

    @property
    def stains(self) -> list[str]:
        """What is chosen, in the order of the channels."""
        texts = (box.currentText().strip() for box in self.boxes)
        return [UNUSED if text == _NOT_USED else text for text in texts]

    def _box(self, stain: str, offered: Sequence[str], number: int) -> QComboBox:
        box = QComboBox()
        box.setEditable(True)
        box.setInsertPolicy(QComboBox.InsertPolicy.NoInsert)
        box.addItems([_NOT_USED, *offered])
        box.setToolTip("Stain that this channel shows: choose one, or write its name")
        box.setAccessibleName(f"Stain of channel {number + 1}")
        box.setSizeAdjustPolicy(QComboBox.SizeAdjustPolicy.AdjustToMinimumContentsLengthWithIcon)
        line, completer = box.lineEdit(), QCompleter(list(offered), box)
        completer.setCaseSensitivity(Qt.CaseSensitivity.CaseInsensitive)
        box.setCompleter(completer)
        box.setCurrentText(_NOT_USED if stain == UNUSED else stain)
        if line is not None:
            line.setPlaceholderText("which stain?")
            line.editingFinished.connect(self._tell)
        box.activated.connect(lambda _: self._tell())
        box.setProperty("apolloStain", box.currentText())
        return box

    def _tell(self) -> None:
        changed = [box for box in self.boxes if box.property("apolloStain") != box.currentText()]
        if changed:
            for box in changed:
                box.setProperty("apolloStain", box.currentText())
            self.assigned.emit(self.stains, self.alike.isChecked())
