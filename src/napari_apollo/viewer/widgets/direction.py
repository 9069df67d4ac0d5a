"""A latent direction: a slider whose images are decoded live, and the features most tied to it."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
from qtpy.QtCore import Qt
from qtpy.QtWidgets import QComboBox, QLabel, QSlider, QVBoxLayout, QWidget

from napari_apollo.progress import silent
from napari_apollo.viewer.background import Background
from napari_apollo.viewer.child import ChildProcess
from napari_apollo.viewer.columns import CellColumns, block_title
from napari_apollo.viewer.decoding import images_of, model_of, request_for
from napari_apollo.viewer.exploring import Explorer
from napari_apollo.viewer.parts import heading, note, row, say, small_button
from napari_apollo.viewer.picturegrid import PictureGrid, tinted
from napari_apollo.viewer.preferences import stain_colours
from napari_apollo.viewer.tables_shown import fill_table, plain_table

_STEPS = 20  # of the slider for one standard deviation
_REACH = 3  # standard deviations to each side
_CHROMATIN = "chromatin"


class DirectionPanel(QWidget):
    """Part of the exploring tool.

    Parameters
    ----------
    tool
        The tool it is part of.
    """

    def __init__(self, tool: Any) -> None:
        super().__init__()
        self._tool = tool
        self._explorer: Explorer | None = None
        self._cell: int | None = None
        self._child = ChildProcess()
        self._decoder = Background(self._decode, tool, close=self._child.close)
        self._decoder.answered.connect(self._decoded)
        self._decoder.failed.connect(self._failed)
        self.block = self._box("Block of latents", "Block of latents that is changed")
        self.block.activated.connect(lambda _: self._block_chosen())
        self.axis = self._box("Direction", "Principal axis of the block, most variance first")
        self.axis.activated.connect(lambda _: self.show_direction())
        self.slider = QSlider(Qt.Orientation.Horizontal)
        self.slider.setRange(-_REACH * _STEPS, _REACH * _STEPS)
        self.slider.setPageStep(_STEPS)
        self.slider.setToolTip(
            "Where along the direction, in standard deviations of the cells from their mean; the images are "
            "what the model makes of it"
        )
        self.slider.setAccessibleName("Position along the direction")
        self.slider.valueChanged.connect(lambda _: self.decode())
        self.place = QLabel("0.0 sd")
        self.place.setMinimumWidth(44)
        self.back = small_button("undo", "Back to where the cell is", self.back_to_cell)
        self.pictures = PictureGrid("What the model makes of the latents, and how far it differs from before")
        self.words = note()
        self.tied = plain_table(
            "Features most tied to the direction: Spearman's rank correlation over the cells"
        )
        self._parts = QWidget()
        inside = QVBoxLayout(self._parts)
        inside.setContentsMargins(0, 0, 0, 0)
        inside.setSpacing(4)
        for part in (
            row(self.block, self.axis),
            row(self.slider, self.place, self.back, stretch=0),
            self.pictures,
            self.words,
            self.tied,
        ):
            inside.addWidget(part)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.addWidget(heading("Direction"))
        layout.addWidget(self._parts)

    @property
    def columns(self) -> CellColumns | None:
        """The cells whose directions are shown."""
        return None if self._explorer is None else self._explorer.columns

    # --- what people do -----------------------------------------------------------------------

    def use(self, explorer: Explorer | None) -> None:
        """Directions of other cells."""
        self._explorer = explorer
        blocks = () if explorer is None else explorer.columns.blocks
        kept = self.block.currentData()
        self.block.clear()
        for block in blocks:
            if not block.startswith("shared_from"):
                self.block.addItem(block_title(block), block)
        self.block.setCurrentIndex(max(0, self.block.findData(kept)))
        self.setVisible(self.block.count() > 0)
        self._block_chosen()

    def choose(self, block: str, axis: int = 0, to: float | None = None) -> None:
        """Choose a direction and, where given, a place on it in standard deviations."""
        self.block.setCurrentIndex(max(0, self.block.findData(block)))
        self._block_chosen(axis)
        if to is not None:
            self.slider.setValue(round(to * _STEPS))

    def start_from(self, cell: int | None) -> None:
        """Change another cell; None is the mean of all."""
        if cell != self._cell:
            self._cell = cell
            self.back_to_cell()

    def back_to_cell(self) -> None:
        """Put the slider where the cell is."""
        explorer, block = self._explorer, self.block.currentData()
        if explorer is None or not block:
            return
        axes = explorer.columns.axes(block)
        number = max(0, self.axis.currentIndex())
        score = 0.0 if self._cell is None else float(axes.scores[self._cell, number] / axes.spread[number])
        value = round(np.clip(np.nan_to_num(score), -_REACH, _REACH) * _STEPS)
        if value == self.slider.value():
            self.decode()
        else:
            self.slider.setValue(value)

    def show_direction(self) -> None:
        """Show what is tied to the direction, and decode it."""
        explorer, block, number = self._explorer, self.block.currentData(), self.axis.currentIndex()
        if explorer is None or not block or number < 0:
            return

        def call(progress: Any, should_stop: Any) -> pd.DataFrame:
            return explorer.tied(block, number, progress=progress, should_stop=should_stop)

        self._tool.run("Comparing features with the direction", call, key="tied", then=self._show_tied)
        self.back_to_cell()

    def decode(self) -> None:
        """Have the images at the slider's place decoded; what was asked before is dropped."""
        at = self.slider.value() / _STEPS
        self.place.setText(f"{at:+.1f} sd")
        explorer, block, number = self._explorer, self.block.currentData(), self.axis.currentIndex()
        predictions = self._tool.session.predictions
        model = model_of(predictions)
        if explorer is None or not block or number < 0 or not self.isVisible():
            return
        if model is None:
            self.pictures.show_pictures((), (), {})
            say(self.words, "Open the predictions, and keep the model beside them, to see images change.")
            return
        if not self._child.alive:
            say(self.words, "Loading the model …")
        stains = predictions.card.vocabulary
        self._decoder.ask(request_for(explorer.columns, block, number, at, self._cell, model, stains))

    # --- how it is shown ------------------------------------------------------------------------

    def showEvent(self, event: object) -> None:
        """Decode once it can be seen."""
        self.decode()

    def _box(self, title: str, tooltip: str) -> QComboBox:
        box = QComboBox()
        box.setToolTip(tooltip)
        box.setAccessibleName(title)
        box.setSizeAdjustPolicy(QComboBox.SizeAdjustPolicy.AdjustToMinimumContentsLengthWithIcon)
        box.setMinimumContentsLength(8)
        return box

    def _block_chosen(self, axis: int = 0) -> None:
        explorer, block = self._explorer, self.block.currentData()
        self.axis.clear()
        if explorer is None or not block:
            return
        axes = self._tool.attempt("Finding directions", lambda: explorer.columns.axes(block))
        if axes is None:
            return
        for number, part in enumerate(axes.explained, start=1):
            self.axis.addItem(f"Axis {number} ({part:.0%})")
        self.axis.setCurrentIndex(min(axis, len(axes.explained) - 1))
        self.show_direction()

    def _show_tied(self, table: pd.DataFrame) -> None:
        fill_table(self.tied, table)

    def _decode(self, question: Any) -> Any:
        """In the thread: ask the working process."""
        return self._child.call(
            "napari_apollo.viewer.decoding:decode_cell", question, silent, lambda: self._decoder.closed
        )

    def _failed(self, question: Any, error: Exception) -> None:
        say(self.words, str(error), "problem")

    def _decoded(self, question: Any, told: Any) -> None:
        images = images_of(told)
        predictions = self._tool.session.predictions
        anchor = "" if predictions is None else predictions.anchor
        stains = [anchor if name == _CHROMATIN else name for name in images]
        colours = stain_colours(stains)
        pictures = {
            (0, number): tinted(image, colours[stain])
            for number, (stain, image) in enumerate(zip(stains, images.values(), strict=True))
        }
        self.pictures.show_pictures(("decoded",), stains, pictures)
        whose = "the mean of all cells" if self._cell is None else "the selected cell"
        say(self.words, f"Starts from {whose}.")
