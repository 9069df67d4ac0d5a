"""The selected cells in the image: shown as outlines and in the features, chosen by click or lasso.

One link belongs to one viewer. The session's ``selection`` is what counts; the link shows it in the label
layers (outlines, and the column ``selected`` of ``features``) and takes up what is chosen there.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary, ref

import numpy as np
import pandas as pd

from napari_apollo.viewer.cellmaps import FEATURE, LASSO, SELECTED, CellLayer, cell_layers, show_selected
from napari_apollo.viewer.layers import KEY, About, Frame, about
from napari_apollo.viewer.state import Session, session_of, weak_call

if TYPE_CHECKING:
    from napari_apollo.cells import CellStore

COLUMN = "selected"
"""Column of ``labels.features`` with the selection."""

NO_CELLS = "Cut cells first, in the tool Segment and crop, or drop a cell store on the window."
"""What to tell people where the session has no cells."""

NO_IMAGE = (
    "Open the image with its cells first: drop the study, or show an overlay. Nuclei that were found anew "
    "since the cells were cut are not theirs; crop the cells again, then."
)
"""What to tell people where no layer has cells."""

CALM_MODES = ("pan_zoom", "transform", "pick", "select")
"""Modes of a layer in which clicks and keys over the image do not draw."""

_STILL = 3.0  # pixels of the screen within which a press is a click


class SelectionLink:
    """Keeps the selection of a session and the layers of its viewer together.

    Made by ``link_selection``.
    """

    def __init__(self, viewer: Any) -> None:
        self._viewer = ref(viewer)
        self.session: Session = session_of(viewer)
        self._busy = False
        self._cells: list[CellLayer] | None = None
        self._followed: list[Any] = []
        self.session.selection_changed.connect(self.show)
        self.session.store_changed.connect(self._forget)
        viewer.layers.events.inserted.connect(weak_call(self, "_forget"))
        viewer.layers.events.removed.connect(weak_call(self, "_forget"))
        viewer.mouse_drag_callbacks.append(_click_for(self))

    @property
    def cells(self) -> list[CellLayer]:
        """Label layers with cells of the session's store."""
        viewer = self._viewer()
        if viewer is None or self.session.store is None:
            return []
        if self._cells is None:
            self._cells = cell_layers(viewer, self.session.store)
            for one in self._cells:
                self._follow(one.layer, self.session.store)
        return self._cells

    def show(self, selection: Any = None) -> None:
        """Show the session's selection in the layers."""
        viewer = self._viewer()
        if viewer is None or self._busy:
            return
        chosen = self.session.selection
        self._busy = True
        try:
            for one in list(self.cells):
                show_selected(viewer, one, chosen)
                features = one.layer.features
                if COLUMN in features:
                    self._write(one, features, chosen)
        finally:
            self._busy = False

    def pick(self, world: Any, *, add: bool = False) -> int | None:
        """Select the cell at a place in the world; its position in the table, or None where none is."""
        for one in self.cells:
            cell = one.at(world)
            if cell is not None:
                before = self.session.selection if add else np.zeros(0, np.int64)
                self.session.selection = np.append(before, cell)
                return cell
        return None

    def enclose(self, outline: Any, *, add: bool = False) -> int:
        """Select the cells within an outline in the world, (vertex, 2); how many there are."""
        inside = [one.inside(outline) for one in self.cells]
        found = np.concatenate([*inside, np.zeros(0, np.int64)])
        before = self.session.selection if add else np.zeros(0, np.int64)
        self.session.selection = np.concatenate([before, found])
        return len(found)

    def lasso(self, wanted: bool) -> Any:
        """Have the next outlines that are drawn on the image select cells, or no longer.

        Returns
        -------
        napari.layers.Shapes or None
            The layer that is drawn on.
        """
        viewer = self._viewer()
        if viewer is None:
            return None
        for layer in [layer for layer in viewer.layers if _is_lasso(layer)]:
            viewer.layers.remove(layer)
        if not wanted or not self.cells:
            return None
        frame = dict(Frame.of(self.cells[0].layer).values)
        layer = viewer.add_shapes(
            ndim=2, name=LASSO, scale=(1.0, 1.0), units=frame["units"], axis_labels=frame["axis_labels"],
            edge_color="yellow", face_color="transparent",
            metadata={KEY: About(LASSO).as_metadata()},
        )  # fmt: skip
        layer.mode = "add_polygon_lasso"
        layer.events.data.connect(weak_call(self, "_drawn"))
        return layer

    # --- how it is kept ----------------------------------------------------------------------------

    def _drawn(self, event: Any) -> None:
        if str(getattr(event, "action", "")).rpartition(".")[2].lower() != "added" or self._busy:
            return
        layer = event.source
        outlines = [np.asarray(outline)[:, -2:] for outline in layer.data]
        if not outlines or len(outlines[-1]) < 3:
            return
        self.enclose(outlines[-1])
        self._busy = True
        try:
            layer.data = []
        finally:
            self._busy = False

    def _follow(self, layer: Any, store: CellStore) -> None:
        """Give a layer's features the column of the selection, and listen to it."""
        if COLUMN not in layer.features:
            one = next(one for one in self._cells or () if one.layer is layer)
            features = layer.features
            if "index" not in features:
                cells = store.obs["cell_id"].to_numpy()[one.positions]
                features = pd.DataFrame({"index": one.ids, "cell_id": cells})
            busy, self._busy = self._busy, True
            self._write(one, features, self.session.selection)
            self._busy = busy
        if not any(known() is layer for known in self._followed):
            self._followed.append(ref(layer))
            layer.events.features.connect(weak_call(self, "_features_changed"))

    def _write(self, one: CellLayer, features: pd.DataFrame, chosen: np.ndarray) -> None:
        index = features["index"].to_numpy(np.int64)
        by_label = np.zeros(max(int(one.ids.max(initial=0)), int(index.max(initial=0))) + 1, bool)
        by_label[one.ids] = one.among(chosen)
        selected = by_label[index]
        if COLUMN not in features or not np.array_equal(features[COLUMN].to_numpy(), selected):
            one.layer.features = features.assign(**{COLUMN: selected})

    def _features_changed(self, event: Any) -> None:
        if self._busy:
            return
        for one in self.cells:
            features = one.layer.features
            if one.layer is event.source and {COLUMN, "index"} <= set(features.columns):
                labels = features["index"].to_numpy()[features[COLUMN].to_numpy(bool)]
                here = one.positions[np.isin(one.ids, labels)]
                elsewhere = np.setdiff1d(self.session.selection, one.positions)
                self.session.selection = np.concatenate([elsewhere, here])

    def _forget(self, event: Any = None) -> None:
        shown = about(event.value) if hasattr(event, "value") and hasattr(event.value, "metadata") else None
        if shown is None or shown.role not in (SELECTED, FEATURE, LASSO):
            self._cells = None


_links: WeakKeyDictionary[Any, SelectionLink] = WeakKeyDictionary()


def link_selection(viewer: Any) -> SelectionLink:
    """The link of a viewer, made when first asked for.

    Parameters
    ----------
    viewer
        A napari viewer, or the proxy that widgets are given, or a ``ViewerModel`` without a window.
    """
    viewer = getattr(viewer, "__wrapped__", viewer)
    if viewer not in _links:
        _links[viewer] = SelectionLink(viewer)
    return _links[viewer]


def _is_lasso(layer: Any) -> bool:
    shown = about(layer)
    return shown is not None and shown.role == LASSO


def _click_for(link: SelectionLink) -> Any:
    alive = ref(link)

    def click(viewer: Any, event: Any) -> Iterator[None]:
        """Select the cell under a click; Shift adds it."""
        link = alive()
        active = viewer.layers.selection.active
        drawing = active is not None and str(getattr(active, "mode", "pan_zoom")) not in CALM_MODES
        if link is None or drawing or event.button != 1:
            return
        start = np.asarray(event.pos, float) if getattr(event, "pos", None) is not None else None
        at = event.position
        yield
        while event.type == "mouse_move":
            yield
        if start is None or np.abs(np.asarray(event.pos, float) - start).max() <= _STILL:
            link.pick(at, add="Shift" in event.modifiers)

    return click
