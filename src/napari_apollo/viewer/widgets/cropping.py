"""Cutting cells and looking at their quality: a part of the segmentation tool."""

from __future__ import annotations

from typing import Any

from qtpy.QtWidgets import QVBoxLayout, QWidget

from napari_apollo.cells import CellStore, CropConfig
from napari_apollo.viewer.child import in_child
from napari_apollo.viewer.forms import ConfigForm
from napari_apollo.viewer.parts import Fold, button, listen, note, say
from napari_apollo.viewer.plots import LimitsPlot
from napari_apollo.viewer.quality import MEASURES, count_with, in_words, limits_in_force
from napari_apollo.viewer.tool import Tool, place_for, short

_MAIN = ("output", "size", "expand", "unit", "neighbours")
_MORE = (
    "checks", "deviations", "normalise_by", "normalise", "low_percentile", "high_percentile",
    "constant_stains", "pixel_size_um", "workers",
)  # fmt: skip


class CropPart(QWidget):
    """Cut the cells of the study; drag limits of quality and cut again.

    Parameters
    ----------
    tool
        The tool that it is a part of.
    """

    def __init__(self, tool: Tool) -> None:
        super().__init__()
        self.tool = tool
        self.moved: set[str] = set()
        self._stood: dict[str, float] = {}
        self._filling = False
        self.form = ConfigForm(
            CropConfig, _MAIN, _MORE,
            titles={"output": "Cell store", "size": "Crop size", "expand": "Cell beyond nucleus"},
            empty={"workers": "one for every core"}, modes={"output": "save"},
        )  # fmt: skip
        self.start = button(
            "Crop cells", "Cut every cell of the study, check its quality and store it", self.crop,
            main=True, name="start",
        )  # fmt: skip
        self.counts = note(tone="plain")
        self.plots = {
            measure.reason: LimitsPlot(measure.title, low=bool(measure.low), high=bool(measure.high))
            for measure in MEASURES
        }
        quality = QWidget()
        inside = QVBoxLayout(quality)
        inside.setContentsMargins(0, 0, 0, 0)
        inside.setSpacing(2)
        inside.addWidget(note("Drag the limits, then crop again to apply them."))
        for plot in self.plots.values():
            plot.changed.connect(self._dragged)
            inside.addWidget(plot)
        self.quality = Fold("Quality of the cells", quality, is_open=True)
        self.quality.setVisible(False)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.setSpacing(4)
        for part in (self.form, self.start, self.counts, self.quality):
            layout.addWidget(part)
        listen(self, tool.session.store_changed, self._store_changed)
        listen(self, tool.session.study_changed, self._study_changed)
        self._study_changed(tool.session.study)
        self._store_changed(tool.session.store)

    @property
    def limits(self) -> dict[str, float]:
        """Limits as the lines stand, by setting of ``CropConfig``."""
        standing = {}
        for measure in MEASURES:
            plot = self.plots[measure.reason]
            for name, setting in (("low", measure.low), ("high", measure.high)):
                if setting:
                    standing[setting] = plot.limit(name)
        return standing

    def crop(self) -> None:
        """Cut the cells of the study; limits that were dragged are applied."""
        study = self.tool.session.study
        if study is None or study.path is None:
            self.tool.say("Save a study first, in the Study tool.", "problem")
            return
        path = study.path
        given = {name: value for name, value in self.limits.items() if name in self.moved}
        config = self.tool.attempt("Cropping", lambda: self.form.config(**given, overwrite=True))
        if config is None:
            return
        if config.unit == "um" and self.tool.session.store is not None:
            size = self.tool.session.store.pixel_size_um or 1.0
            areas = {name: given[name] * size**2 for name in ("area_min", "area_max") if name in given}
            config = config.model_copy(update=areas)
        call = in_child(
            "napari_apollo.viewer.work:crop_study", study=str(path), settings=config.model_dump(mode="json")
        )
        session = self.tool.session

        def share(path: str) -> bool:
            if session.study is not study:
                return False
            session.store = CellStore.open(path)
            return True

        self.tool.run("Cropping cells", call, key="crop", then=self._cropped, share=share)

    def colour(self, *, dark: bool) -> None:
        """Take the colours of the theme."""
        for plot in self.plots.values():
            plot.colour(dark=dark)

    def _cropped(self, path: str) -> None:
        self.tool.say(f"The cells are in {short(path)}.", "good")

    def _study_changed(self, study: Any) -> None:
        self.start.setEnabled(study is not None)
        if study is not None:
            self.form.suggest(output=place_for(self.tool.session, "study.cells.zarr"))

    def _store_changed(self, store: CellStore | None) -> None:
        self.quality.setVisible(store is not None)
        self.moved = set()
        if store is None:
            say(self.counts, "")
            return
        self._filling = True
        found = limits_in_force(store)
        for measure in MEASURES:
            plot = self.plots[measure.reason]
            plot.show_values(measure.values(store.obs))
            for name, setting in (("low", measure.low), ("high", measure.high)):
                if setting in found:
                    plot.set_limit(name, found[setting])
        self._filling = False
        self._stood = self.limits  # lines keep to the plot, where limits in force may lie beyond it
        self._count(store)

    def _dragged(self) -> None:
        store = self.tool.session.store
        if self._filling or store is None:
            return
        self.moved = {name for name, value in self.limits.items() if self._stood[name] != value}
        self._count(store)

    def _count(self, store: CellStore) -> None:
        dragged = {name: value for name, value in self.limits.items() if name in self.moved}
        limits = limits_in_force(store) | dragged
        say(self.counts, in_words(count_with(store.obs, limits)) + ".", "plain")
