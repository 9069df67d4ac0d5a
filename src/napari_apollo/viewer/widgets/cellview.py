"""One cell: what is known of it, its pictures, and the cells most like it."""

from __future__ import annotations

from typing import Any

import numpy as np
from qtpy.QtCore import Signal
from qtpy.QtGui import QColor
from qtpy.QtWidgets import QVBoxLayout, QWidget

from napari_apollo.viewer.background import Background
from napari_apollo.viewer.crops import CropPainter, portrait
from napari_apollo.viewer.exploring import Explorer, cell_in_words
from napari_apollo.viewer.parts import heading, note, say
from napari_apollo.viewer.picturegrid import PictureGrid, tinted
from napari_apollo.viewer.preferences import stain_colours

_ROLES = ("measured", "reconstructed", "predicted")
_NEIGHBOURS = 8


class CellPanel(QWidget):
    """Part of the exploring tool."""

    asked = Signal(int)
    """A person clicked a neighbour; its position in the table."""

    failed = Signal(object)
    """An error of napari-apollo in reading pictures."""

    def __init__(self) -> None:
        super().__init__()
        self._painter: CropPainter | None = None
        self.near = np.zeros(0, np.int64)
        """Positions of the neighbours that are shown."""
        self._looker = Background(_look, self)
        self._looker.answered.connect(self._looked)
        self._looker.failed.connect(lambda _, error: self.failed.emit(error))
        self.about = note("Click a cell in the scatter or in the image.")
        self.portrait = PictureGrid(
            "The selected cell: what was measured, rebuilt and predicted of each stain"
        )
        self.neighbour_words = note()
        self.neighbours = PictureGrid("Cells most like it; click one to go there", clickable=True)
        self.neighbours.clicked.connect(self._neighbour_clicked)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.setSpacing(6)
        for part in (heading("Cell"), self.about, self.portrait, self.neighbour_words, self.neighbours):
            layout.addWidget(part)

    def colour(self, ink: QColor) -> None:
        """Take the colour of a theme."""
        for grid in (self.portrait, self.neighbours):
            grid.ink = ink
            grid.update()

    def look_at(
        self, explorer: Explorer, painter: CropPainter, predictions: Any, cell: int, block: str
    ) -> None:
        """Show a cell, and its neighbours in a block of latents."""
        self._painter = painter
        say(self.about, cell_in_words(explorer.columns, cell), "plain")
        near = explorer.neighbours(block, cell, _NEIGHBOURS)
        self._looker.ask((painter, predictions, cell, near))

    def show_none(self, chosen: int) -> None:
        """Show that none, or several, of the cells are selected."""
        self._looker.forget()
        several = f"{chosen} cells are selected; click one to see it."
        say(self.about, several if chosen else "Click a cell in the scatter or in the image.")
        say(self.neighbour_words, "")
        self.portrait.show_pictures((), (), {})
        self.neighbours.show_pictures((), (), {})

    def _looked(self, question: Any, answer: Any) -> None:
        painter, _, _, near = question
        found, around = answer
        if painter is not self._painter:
            return
        stains = list(found)
        rows = [role for role in _ROLES if any(role in found[stain] for stain in stains)]
        colours = stain_colours(stains)
        pictures = {
            (rows.index(role), number): tinted(image, colours[stain])
            for number, stain in enumerate(stains)
            for role, image in found[stain].items()
            if role in rows
        }
        self.portrait.show_pictures(rows, stains, pictures)
        self.near = near
        say(self.neighbour_words, "Most like it by these latents:" if len(near) else "")
        self.neighbours.show_pictures(
            ("",), [""] * len(near), {(0, number): picture for number, picture in enumerate(around)}
        )

    def _neighbour_clicked(self, number: int) -> None:
        if number < len(self.near):
            self.asked.emit(int(self.near[number]))


def _look(question: Any) -> Any:
    """In the thread: all pictures of a cell, and its neighbours in colour."""
    painter, predictions, cell, near = question
    return portrait(painter.store, cell, predictions), painter.paint(near)
