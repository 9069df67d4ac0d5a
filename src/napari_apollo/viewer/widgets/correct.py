"""Correcting nuclei by hand: a part of the segmentation tool."""

from __future__ import annotations

from contextlib import suppress
from functools import partial
from typing import Any

import numpy as np
from qtpy.QtCore import QEvent, QObject
from qtpy.QtWidgets import QVBoxLayout, QWidget

from napari_apollo.errors import ApolloError, DataError
from napari_apollo.study import StudyField, open_field
from napari_apollo.viewer import corrections
from napari_apollo.viewer.layers import About, Frame, find_layers, labels_layer
from napari_apollo.viewer.parts import button, listen, main_window, note, row, say, small_button
from napari_apollo.viewer.tool import Tool

ROLE = "nuclei to correct"
_PLAIN = (0.85, 0.85, 0.85, 1.0)
_PICKED = (1.0, 0.55, 0.1, 1.0)


class CorrectPart(QWidget):
    """Buttons over a labels layer: pick nuclei, merge, split, delete, undo, save.

    Parameters
    ----------
    tool
        The tool that it is a part of.
    """

    def __init__(self, tool: Tool) -> None:
        super().__init__()
        self.tool = tool
        self.field: StudyField | None = None
        self.picked: list[int] = []
        self._work = _Work()
        self.destroyed.connect(partial(_leave, self._work))
        self.hint = note(
            "Pick nuclei with the arrow, then merge, split or delete them. To paint and fill, use "
            "napari's own tools in the layer controls."
        )
        self.pick = small_button("pick", "Pick nuclei by clicking; Shift adds", self._toggle, checkable=True)
        buttons = [
            self.pick,
            small_button("merge", "Merge the picked nuclei into one", self.merge),
            small_button("split", "Split the picked nuclei in two", self.split),
            small_button("delete", "Delete the picked nuclei", self.delete),
            small_button("undo", "Undo the last change", self.undo),
            small_button("redo", "Redo what was undone", self.redo),
        ]
        words = "Write the corrected nuclei into the study's label image"
        self.save = button("Save", words, self.save_labels, name="save")
        self.count = note()
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.setSpacing(4)
        layout.addWidget(self.hint)
        layout.addWidget(row(*buttons, None, self.save))
        layout.addWidget(self.count)
        listen(self, tool.viewer.layers.events.removed, self._removed)

    @property
    def layer(self) -> Any:
        """The layer that is corrected, or None."""
        return self._work.layer

    def open(self, field: StudyField) -> Any:
        """Bring the nuclei of a field into memory and show them for correction.

        Raises
        ------
        DataError
            When the field has no labels, or too many pixels.
        """
        if field.labels is None:
            raise DataError(f"{field.field} has no nuclei yet; segment it first.")
        viewer = self.tool.viewer
        image = open_field(field)
        before, given_up = self._work.current, False
        if before is not None and before.path == field.labels and before.restored and not before.touched:
            before.give_up()  # they came back, were looked at, and the saved ones are asked for
            self._work.end()
            given_up = True
        # The layer of a tool that was closed meanwhile may have been painted on.
        left = find_layers(viewer, role=ROLE, opened=str(field.labels))
        left_data = np.asarray(left[-1].data) if left and self._work.layer is None and not given_up else None
        for role in (ROLE, "nuclei", "nuclei preview"):
            for old in find_layers(viewer, role=role):
                viewer.layers.remove(old)
        correction = corrections.Correction(field.labels, image.shape, image.pixel_size_um, left_data)
        measured = find_layers(viewer, role="measured", image=str(field.image))
        frame = Frame.of(measured[0]) if measured else Frame.from_pixel_size(image.pixel_size_um)
        about = About(ROLE, str(field.image), panel=field.panel.name, opened=str(field.labels))
        name = f"nuclei of {field.field}"
        layer = labels_layer(correction.data, about, frame, contour=1, name=name).add(viewer)
        layer.opacity = 0.7
        self.field = field
        self._work.begin(layer, correction, self._clicked)
        self._pick([])
        viewer.layers.selection = {layer}
        if correction.restored:
            self.tool.say(
                f"Corrections of {field.field} that were not saved are back. Save keeps them; press Correct "
                "the field shown again for the nuclei as they were saved."
            )
        return layer

    def merge(self) -> None:
        """Merge the picked nuclei."""
        self._change("Merging nuclei", lambda layer: [corrections.merge(layer, self.picked)])

    def split(self) -> None:
        """Split the picked nuclei, each in two."""
        self._change(
            "Splitting nuclei",
            lambda layer: [*self.picked, *(corrections.split(layer, number) for number in self.picked)],
        )

    def delete(self) -> None:
        """Delete the picked nuclei."""

        def gone(layer: Any) -> list[int]:
            corrections.delete(layer, self.picked)
            return []

        self._change("Deleting nuclei", gone)

    def undo(self) -> None:
        """Take back the last change, by hand or here."""
        if self.layer is not None:
            self.layer.undo()
            self._pick([])

    def redo(self) -> None:
        """Do again what was undone."""
        if self.layer is not None:
            self.layer.redo()
            self._pick([])

    def save_labels(self) -> None:
        """Write the nuclei to the label image of the field; each keeps its number."""
        field = self.field
        if self._work.layer is None or field is None:
            self.tool.say("Open a field for correction first.", "problem")
            return
        count = self.tool.attempt("Saving corrections", self._work.save)
        if count is not None:
            self.tool.say(f"Saved {count} nuclei of {field.field}; cut the cells again to use them.", "good")

    @property
    def unsaved(self) -> str:
        """Name of the field whose corrections are not saved; empty where there is none."""
        return self.field.field if self.field is not None and self._work.unsaved else ""

    def forget(self) -> None:
        """Give up what is not saved, as the nuclei were found anew."""
        self._work.forget()

    def showEvent(self, event: object) -> None:
        """Listen to the window, which may be closed before corrections are saved."""
        window = main_window(self)
        window.removeEventFilter(self)
        window.installEventFilter(self)

    def eventFilter(self, watched: QObject | None, event: QEvent | None) -> bool:
        """Keep what is not saved when the window closes."""
        if event is not None and event.type() == QEvent.Type.Close:
            self.tool.attempt("Keeping corrections", self._work.keep)
        return False

    def _change(self, doing: str, change: Any) -> None:
        layer = self.layer
        if layer is None:
            self.tool.say("Open a field for correction first.", "problem")
            return
        picked = self.tool.attempt(doing, lambda: change(layer))
        if picked is not None:
            self._pick(picked)

    def _toggle(self) -> None:
        layer = self.layer
        if layer is None:
            self.pick.setChecked(False)
            self.tool.say("Open a field for correction first.", "problem")
            return
        layer.mode = "pan_zoom"
        self.tool.viewer.layers.selection = {layer}

    def _clicked(self, layer: Any, event: Any) -> Any:
        """Pick the nucleus under a click that is no drag."""
        if not self.pick.isChecked() or layer.mode != "pan_zoom":
            return
        yield
        dragged = False
        while event.type == "mouse_move":
            dragged = True
            yield
        if dragged:
            return
        number = layer.get_value(event.position, view_direction=event.view_direction, world=True)
        self.pick_at(int(number or 0), add="Shift" in event.modifiers)

    def pick_at(self, number: int, *, add: bool = False) -> None:
        """Pick a nucleus; picking it again with ``add`` lets it go."""
        picked = list(self.picked) if add else []
        if number in picked:
            picked.remove(number)
        elif number:
            picked.append(number)
        self._pick(picked)

    def _pick(self, picked: list[int]) -> None:
        from napari.utils.colormaps import DirectLabelColormap

        self.picked = list(dict.fromkeys(picked))
        layer = self.layer
        if layer is None:
            return
        colours: dict[int | None, Any] = {None: np.array(_PLAIN), 0: np.zeros(4)}
        layer.colormap = DirectLabelColormap(
            color_dict=colours | {number: np.array(_PICKED) for number in self.picked}
        )
        words = f"{len(self.picked)} picked" if self.picked else "None picked"
        say(self.count, words)

    def _removed(self, event: Any) -> None:
        if self._work.layer is None or event.value.unique_id != self._work.layer.unique_id:
            return
        field = self.field
        kept = self.tool.attempt("Keeping corrections", self._work.keep)
        self._work.end()
        self.field, self.picked = None, []
        self.pick.setChecked(False)
        say(self.count, "")
        if kept and field is not None:
            self.tool.say(
                f"Corrections of {field.field} were not saved; they are kept and come back when the field "
                "is corrected again."
            )


class _Work:
    """The layer under correction; outlives the part that shows it."""

    def __init__(self) -> None:
        self.layer: Any = None
        self.correction: corrections.Correction | None = None
        self._clicked: Any = None

    def begin(self, layer: Any, correction: corrections.Correction, clicked: Any) -> None:
        self.layer, self.correction, self._clicked = layer, correction, clicked
        layer.mouse_drag_callbacks.append(clicked)

    @property
    def unsaved(self) -> bool:
        return (current := self.current) is not None and current.unsaved

    def keep(self) -> bool:
        return (current := self.current) is not None and current.keep()

    def save(self) -> int | None:
        return None if (current := self.current) is None else current.save()

    def forget(self) -> None:
        if self.correction is not None:
            self.correction.give_up()
        self.end()

    @property
    def current(self) -> corrections.Correction | None:
        """The correction as its layer shows it, whose data others may have replaced."""
        if self.layer is None or self.correction is None:
            return None
        self.correction.data = np.asarray(self.layer.data)
        return self.correction

    def end(self) -> None:
        if self.layer is not None and self._clicked in self.layer.mouse_drag_callbacks:
            self.layer.mouse_drag_callbacks.remove(self._clicked)
        self.layer = self.correction = self._clicked = None


def _leave(work: _Work, *_: object) -> None:
    with suppress(ApolloError, OSError):  # nobody is there to be told
        work.keep()
    work.end()
