"""The segmentation tool: find nuclei, look, correct, cut the cells."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any, ClassVar

from qtpy.QtWidgets import QCheckBox, QComboBox, QListWidget

from napari_apollo.cells import SegmentConfig
from napari_apollo.progress import never, silent
from napari_apollo.study import Study, StudyField
from napari_apollo.viewer.adopting import adopt
from napari_apollo.viewer.background import Background
from napari_apollo.viewer.child import ChildProcess, in_child
from napari_apollo.viewer.corrections import is_by_hand
from napari_apollo.viewer.forms import ConfigForm
from napari_apollo.viewer.jobs import Jobs
from napari_apollo.viewer.layerfields import is_two_panel_sample
from napari_apollo.viewer.layers import find_layers
from napari_apollo.viewer.open import open_study
from napari_apollo.viewer.parts import Fold, button, heading, note, row, say
from napari_apollo.viewer.preferences import preferences
from napari_apollo.viewer.previewing import nucleus_layer, preview_call, show_preview, side_for, visible_part
from napari_apollo.viewer.tool import Tool, place_for, short
from napari_apollo.viewer.widgets.correct import CorrectPart
from napari_apollo.viewer.widgets.cropping import CropPart

_ALL, _ONE, _SOME = "Whole study", "Field shown", "Chosen fields"
_NAMED = 5  # fields that are named where there are more
_SAMPLE = {"engine": "threshold", "diameter": 10.0}  # crowded and partly out of focus


class SegmentTool(Tool):
    """Find nuclei, correct them by hand, cut the cells and judge their quality."""

    job_keys: ClassVar[tuple[str, ...]] = ("segment", "preview", "crop")

    def build(self) -> None:
        """Add the parts."""
        self._helper = ChildProcess()
        self.destroyed.connect(partial(_close, self._helper, self.session.jobs))
        self._readying = Background(partial(_get_ready, self._helper), self)
        self._readying.answered.connect(self._got_ready)
        self._asked: dict[str, Any] = {}
        self._told: list[str] = []  # fields whose corrections would be lost, as was said
        self._diameters: dict[str, float] = {}
        self.missing = note("Put a study together first, in the Study tool.")
        self.field = QComboBox()
        self.field.setToolTip("Field that is shown, looked at and corrected")
        self.field.setAccessibleName("Field")
        self.field.setSizeAdjustPolicy(QComboBox.SizeAdjustPolicy.AdjustToMinimumContentsLengthWithIcon)
        self.show_button = button("Show", "Show the field in the viewer", self.show_field, name="eye")
        self.form = ConfigForm(
            SegmentConfig, ["stain", "engine", "diameter", "diameter_unit"], ["tile", "workers", "relabel"],
            titles={"stain": "Nuclei shown by", "engine": "Found by"},
            choices={"stain": ()},
            empty={"stain": "DNA stain", "diameter": "estimated", "workers": "one for every core"},
        )  # fmt: skip
        words = "Find the nuclei of the part of the field that is in view"
        self.preview_button = button("Preview in view", words, self.preview, name="eye")
        self.scope = QComboBox()
        self.scope.addItems([_ALL, _ONE, _SOME])
        self.scope.setToolTip("Which fields are segmented")
        self.scope.setAccessibleName("Which fields are segmented")
        self.chosen = QListWidget()
        self.chosen.setSelectionMode(QListWidget.SelectionMode.ExtendedSelection)
        self.chosen.setToolTip("Fields to segment; Shift and Ctrl choose several")
        self.chosen.setAccessibleName("Fields to segment")
        self.chosen.setFixedHeight(96)
        self.chosen.setVisible(False)
        self.scope.currentTextChanged.connect(lambda text: self.chosen.setVisible(text == _SOME))
        self.divide = QCheckBox("Divide the cells over two panels")
        self.divide.setToolTip(
            "Of the lymph node sample: give each cell one of two panels, by blocks, and hide its other stains"
        )
        self.divide.setChecked(True)
        self.start = button(
            "Segment", "Find the nuclei and write label images", self.segment, main=True, name="start"
        )
        self.correct = CorrectPart(self)
        self.correct_button = button(
            "Correct the field shown",
            "Bring its nuclei into memory to change them by hand",
            self.correct_field,
        )
        self.crop = CropPart(self)
        self.add(
            self.missing,
            heading("Field"),
            row(self.field, self.show_button, stretch=0),
            heading("Nuclei"),
            self.form,
            self.preview_button,
            row(self.scope, self.start, stretch=1),
            self.chosen,
            self.divide,
            Fold("Correct by hand", self._correction(), is_open=False),
            heading("Cells"),
            self.crop,
        )
        self.field.currentIndexChanged.connect(self._warm_up)
        for name in ("engine", "stain"):
            self.form.editors[name].changed.connect(self._warm_up)
        self.follow(self.session.study_changed, self._study_changed)
        self.follow(self.viewer.layers.events.inserted, self._layers_changed)
        adopt(self.session, self.viewer.layers)
        self._study_changed(self.session.study)

    @property
    def preparing(self) -> bool:
        """Whether the process of previews is still getting ready."""
        return self._readying.busy

    # --- what people do -----------------------------------------------------------------------

    def show_field(self) -> None:
        """Show the field in the viewer, in place of the one shown before."""
        field = self._field()
        if field is not None:
            self.attempt("Opening the field", lambda: self._show(field))

    def preview(self) -> None:
        """Find the nuclei of the part that is in view."""
        field = self._field()
        config = self.attempt("Preview", self.form.config)
        if field is None or config is None:
            return
        stain = config.stain or field.panel.anchor
        if not find_layers(self.viewer, role="measured", stain=stain):
            self.show_field()
        layer = self.attempt("Preview", lambda: nucleus_layer(self.viewer, str(field.image), stain))
        if layer is None:
            return
        name, pixel_size = _name(field, stain), _pixel_size(field)
        given = self.attempt("Preview", lambda: (config.diameter_px(pixel_size, field.field),))
        if given is None:
            return
        part = visible_part(layer, side_for(given[0] or self._diameters.get(name)))
        pixels = (layer.data[0] if layer.multiscale else layer.data)[part]
        settings = config.model_dump(mode="json", include={"engine", "diameter", "diameter_unit"})
        call = preview_call(self._helper, pixels, settings, pixel_size, name)
        self.run("Looking for nuclei", call, key="preview", then=partial(self._previewed, layer, part))

    def segment(self) -> None:
        """Find the nuclei of the study, or of the field shown, and write label images."""
        study, field = self.session.study, self._field()
        if study is None or study.path is None or field is None:
            self.say("Save a study first, in the Study tool.", "problem")
            return
        path = study.path
        output = place_for(self.session, "segmentation")
        config = self.attempt("Segmenting", lambda: self.form.config(output=output, overwrite=True))
        if config is None:
            return
        fields = self._fields_in_scope(field)
        if fields is None:
            self.say("Choose the fields to segment.", "problem")
            return
        if not self._may_replace(fields):
            return
        settings = config.model_dump(mode="json")
        if self.divide.isVisibleTo(self):
            call = in_child(
                "napari_apollo.viewer.work:segment_two_panels", study=str(path), settings=settings
            )
        else:
            call = in_child(
                "napari_apollo.viewer.work:segment_study", study=str(path), settings=settings, fields=fields
            )
        replaced = fields or [each.field for each in study]

        def share(path: str) -> bool:
            return self.session.renew("study", Study.from_csv(path), study)

        self.run("Segmenting", call, key="segment", then=partial(self._segmented, replaced), share=share)

    def correct_field(self) -> None:
        """Bring the nuclei of the field into memory to change them by hand."""
        field = self._field()
        if field is not None:
            self.attempt("Opening the nuclei", lambda: self.correct.open(field))

    def themed(self, dark: bool) -> None:
        """Colour the plots."""
        self.crop.colour(dark=dark)

    # --- how it is shown ------------------------------------------------------------------------

    def _correction(self) -> Any:
        from napari_apollo.viewer.parts import column

        return column(self.correct_button, self.correct)

    def _field(self) -> StudyField | None:
        study = self.session.study
        name = self.field.currentText()
        return study[name] if study is not None and name else None

    def _fields_in_scope(self, field: StudyField) -> list[str] | None:
        """Names of the fields to segment, none for all; None where none is chosen."""
        scope = self.scope.currentText()
        if scope == _ONE:
            return [field.field]
        if scope == _SOME:
            return [item.text() for item in self.chosen.selectedItems()] or None
        return []

    def _may_replace(self, fields: list[str]) -> bool:
        """Whether no work by hand would be lost, or its loss was told and the button pressed again."""
        own = [field for field in self.session.study or () if not fields or field.field in fields]
        by_hand = [field.field for field in own if field.labels is not None and is_by_hand(field.labels)]
        at_risk = sorted({*by_hand, self.correct.unsaved} & {field.field for field in own})
        if at_risk and at_risk != self._told:
            self._told = at_risk
            names = ", ".join(at_risk[:_NAMED]) + (
                f" and {len(at_risk) - _NAMED} more" if len(at_risk) > _NAMED else ""
            )
            self.say(
                f"The nuclei of {names} were corrected by hand, and segmenting replaces them. Press Segment "
                "again to do so, or choose other fields.",
                "problem",
            )
            return False
        self._told = []
        return True

    def _show(self, field: StudyField) -> None:
        for role in ("measured", "nuclei", "nuclei preview", "nuclei to correct"):
            for old in find_layers(self.viewer, role=role):
                self.viewer.layers.remove(old)
        study = self.session.study
        open_study(self.viewer, study or Study([field]), image=field.field)
        self.viewer.reset_view()

    def _previewed(self, layer: Any, part: tuple[slice, slice], labels: Any) -> None:
        if layer in self.viewer.layers:
            show_preview(self.viewer, layer, part, labels)
            self.say(f"{int(labels.max(initial=0))} nuclei in view.", "good")

    def _segmented(self, replaced: list[str], path: str) -> None:
        if self.correct.unsaved in replaced:
            self.correct.forget()
        self.show_field()
        self.say(f"Nuclei are in {short(Path(path).parent)}.", "good")

    def _study_changed(self, study: Study | None) -> None:
        say(self.missing, "" if study is not None else "Put a study together first, in the Study tool.")
        shown = self.field.currentText()
        self.field.clear()
        names = [field.field for field in study] if study is not None else []
        self.field.addItems(names)
        self.chosen.clear()
        self.chosen.addItems(names)
        if shown in names:
            self.field.setCurrentText(shown)
        stains = dict.fromkeys(stain for field in study or () for stain in field.panel.stains)
        self.form.offer("stain", list(stains))
        sample = is_two_panel_sample(study)
        self.divide.setVisible(sample)
        if sample:
            self.form.set(**_SAMPLE)
        if preferences().workers is not None:
            self.form.rebase({"workers": preferences().workers})
        self._warm_up()
        for part in (self.start, self.preview_button, self.show_button, self.correct_button):
            part.setEnabled(study is not None)

    def _warm_up(self, *_: object) -> None:
        """Let the process of previews do what the first one would otherwise wait for."""
        field, engine = self._field(), str(self.form.editors["engine"].value)
        if field is None or engine == "labels":
            return
        stain = str(self.form.editors["stain"].value or field.panel.anchor)
        asked = {
            "engine": engine,
            "field": field.model_dump(mode="json"),
            "stain": stain,
            "name": _name(field, stain),
        }
        if asked != self._asked:
            self._asked = asked
            self._readying.ask(asked)

    def _got_ready(self, asked: dict[str, Any], diameter: float | None) -> None:
        if diameter is not None:
            self._diameters[asked["name"]] = diameter

    def _layers_changed(self, event: object = None) -> None:
        adopt(self.session, self.viewer.layers)


def _pixel_size(field: StudyField) -> tuple[float, float] | None:
    from napari_apollo.study import open_field

    return open_field(field).pixel_size_um


def _name(field: StudyField, stain: str) -> str:
    """By which the process of previews remembers how large nuclei are."""
    return f"{field.image} {stain}"


def _get_ready(helper: ChildProcess, asked: dict[str, Any]) -> float | None:
    diameter: float | None = helper.call("napari_apollo.viewer.work:ready", asked, silent, never)
    return diameter


def _close(helper: ChildProcess, jobs: Jobs, *_: object) -> None:
    jobs.cancel("preview")
    helper.close()
