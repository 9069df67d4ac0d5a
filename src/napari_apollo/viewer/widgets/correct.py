"""Correcting nuclei by hand: a part of the segmentation tool."""

from __future__ import annotations

from typing import Any

import numpy as np
from qtpy.QtWidgets import QVBoxLayout, QWidget

from napari_apollo.errors import DataError
from napari_apollo.study import StudyField, open_field, open_labels
from napari_apollo.viewer import corrections
from napari_apollo.viewer.layers import About, Frame, find_layers, labels_layer
from napari_apollo.viewer.parts import button, listen, note, row, say, small_button
from napari_apollo.viewer.tool import Tool
from napari_apollo.viewer.writing import save_labels

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
        found = find_layers(self.tool.viewer, role=ROLE)
        return found[-1] if found else None

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
        data = corrections.in_memory(open_labels(field.labels, image.shape).lazy())
        for role in (ROLE, "nuclei", "nuclei preview"):
            for old in find_layers(viewer, role=role):
                viewer.layers.remove(old)
        measured = find_layers(viewer, role="measured", image=str(field.image))
        frame = Frame.of(measured[0]) if measured else Frame.from_pixel_size(image.pixel_size_um)
        about = About(ROLE, str(field.image), panel=field.panel.name)
        layer = labels_layer(data, about, frame, contour=1, name=f"nuclei of {field.field}").add(viewer)
        layer.opacity = 0.7
        self.field = field
        self._pick([])
        layer.mouse_drag_callbacks.append(self._clicked)
        viewer.layers.selection = {layer}
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
        """Write the nuclei to the label image of the field, numbered without gaps."""
        layer, field = self.layer, self.field
        if layer is None or field is None or field.labels is None:
            self.tool.say("Open a field for correction first.", "problem")
            return
        tidy, path = corrections.without_gaps(layer.data), field.labels

        def written() -> int:
            save_labels(path, tidy, open_field(field).pixel_size_um)
            return int(tidy.max(initial=0))

        count = self.tool.attempt("Saving corrections", written)
        if count is not None:
            self.tool.say(f"Saved {count} nuclei of {field.field}; cut the cells again to use them.", "good")

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
        if self.layer is None:
            self.field, self.picked = None, []
            self.pick.setChecked(False)
            say(self.count, "")
