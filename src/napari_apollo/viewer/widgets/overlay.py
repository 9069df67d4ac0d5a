"""The overlay tool: predict, lay it over the image, compare."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, ClassVar

from qtpy.compat import isalive
from qtpy.QtCore import Qt, QTimer
from qtpy.QtWidgets import QCheckBox, QComboBox, QListWidget, QListWidgetItem

from napari_apollo.cells import CellStore
from napari_apollo.predict import PredictConfig, PredictionStore
from napari_apollo.progress import Progress, ShouldStop, Step, stop_if_asked
from napari_apollo.viewer import compare, training
from napari_apollo.viewer.adopting import adopt
from napari_apollo.viewer.child import in_child
from napari_apollo.viewer.forms import ConfigForm
from napari_apollo.viewer.layers import LayerSpec, about, find_layers
from napari_apollo.viewer.overlay import BEYOND, cell_store_of
from napari_apollo.viewer.overviews import OVERVIEW, fill_beside, with_overview
from napari_apollo.viewer.parts import Fold, button, column, heading, note, row, say, small_button
from napari_apollo.viewer.preferences import DEVICES, preferences
from napari_apollo.viewer.tool import Tool, short
from napari_apollo.viewer.trusting import fit_in_words, support_in_words

_TICK = "Which layers are added; when they are there, whether they are seen"
_UNDRAWN = "These predictions were made without it; predict with an uncertainty above 0, in More settings"


class OverlayTool(Tool):
    """Show, over the image, the stains that a model reconstructs and predicts."""

    job_keys: ClassVar[tuple[str, ...]] = ("predict", "overlay", "layers")

    def build(self) -> None:
        """Add the parts."""
        self.missing = note("Cut cells and train a model first, or drop predictions on the window.")
        self.run_box = QComboBox()
        self.run_box.setToolTip("Run whose model predicts")
        self.run_box.setAccessibleName("Run")
        self.run_box.setPlaceholderText("No finished run beside the study")
        self.run_box.setSizeAdjustPolicy(QComboBox.SizeAdjustPolicy.AdjustToMinimumContentsLengthWithIcon)
        refresh = small_button("refresh", "Look for finished runs again", self.refresh_runs)
        self.form = ConfigForm(
            PredictConfig, (), ["uncertainty", "output", "device", "normalisation", "also_measured",
                                "skip_unknown", "other_anchor", "batch_size"],
            modes={"output": "save"}, choices={"device": DEVICES},
            titles={"also_measured": "Also measured stains"},
        )  # fmt: skip
        self.predict_button = button(
            "Predict", "Place every cell, rebuild what was measured, predict what was not", self.predict,
            main=True, name="start",
        )  # fmt: skip
        self.fit = note()
        self.run_box.currentIndexChanged.connect(lambda _: self._judge())
        self.about = note()
        self.image = QComboBox()
        self.image.setToolTip("Image that is shown")
        self.image.setAccessibleName("Image")
        self.image.setSizeAdjustPolicy(QComboBox.SizeAdjustPolicy.AdjustToMinimumContentsLengthWithIcon)
        self.roles = {}
        for role in compare.ROLES:
            box = self.roles[role] = QCheckBox(compare.ROLE_WORDS[role])
            box.setChecked(role in compare.FIRST)
            box.setToolTip(_TICK)
            box.toggled.connect(partial(self._toggled, role))
        self.stains = QListWidget()
        self.stains.setToolTip("Stains to show")
        self.stains.setAccessibleName("Stains")
        self.show_button = button(
            "Show layers", "Open the image with the chosen layers", self.show_layers, main=True, name="eye"
        )
        self.stain = QComboBox()
        self.stain.setToolTip("Stain to compare")
        self.stain.activated.connect(lambda _: self._compare_again())
        self.stain.setAccessibleName("Stain to compare")
        flip_button = button(
            "Flip", "Show the next of measured, reconstructed, predicted", self.flip, name="flip"
        )
        self.grid = button(
            "Side by side", "Show all of them in napari's grid", self.side_by_side, name="grid"
        )
        self.grid.setCheckable(True)
        self.own_contrast = QCheckBox("Side by side, each in its own contrast")
        self.own_contrast.setToolTip(
            "Predictions are fainter than what is measured: show each from its own dark to its own bright. "
            "Without the tick all have the contrast of the measured stain"
        )
        self.own_contrast.setChecked(True)
        self.own_contrast.toggled.connect(lambda _: self._set_contrast())
        self._limits_before: list[tuple[Any, tuple[float, float]]] = []
        self.shown = note()
        self.add(
            self.missing,
            heading("Model"),
            row(self.run_box, refresh, stretch=0),
            self.fit,
            self.form,
            self.predict_button,
            self.about,
            heading("Image"),
            self.image,
            heading("Layers"),
            column(*self.roles.values()),
            Fold("Stains", self.stains),
            self.show_button,
            heading("Compare"),
            row(self.stain, flip_button, self.grid, stretch=0),
            self.own_contrast,
            self.shown,
        )
        self.follow(self.session.store_changed, self._store_changed)
        self.follow(self.session.run_changed, self._run_changed)
        self.follow(self.session.predictions_changed, self._predictions_changed)
        self.follow(self.viewer.layers.events.inserted, self._layers_changed)
        adopt(self.session, self.viewer.layers)
        self._store_changed(self.session.store)
        self._predictions_changed(self.session.predictions)

    # --- what people do -----------------------------------------------------------------------

    def refresh_runs(self) -> None:
        """Offer the finished runs beside the study, and the one that is watched."""
        run = self.session.run
        entries = [entry for entry in training.find_runs(self.session.place) if entry.state == "done"]
        folders = [entry.folder for entry in entries]
        if run is not None and run.folder not in folders and (run.folder / "model").is_dir():
            folders.insert(0, run.folder)
        chosen = self.run_box.currentData() or (None if run is None else str(run.folder))
        self.run_box.clear()
        for folder in folders:
            self.run_box.addItem(folder.name, str(folder))
        self.run_box.setCurrentIndex(max(0, self.run_box.findData(chosen)))
        self._able()
        self._judge()

    def predict(self) -> None:
        """Predict for all cells of the store with the chosen run's model."""
        store, folder = self.session.store, self.run_box.currentData()
        if store is None or not folder:
            self.say("Choose a finished run, and open a cell store.", "problem")
            return
        config = self.attempt("Predicting", lambda: self.form.config(overwrite=True))
        if config is None:
            return
        call = in_child(
            "napari_apollo.viewer.work:predict_store",
            store=str(store.path), model=folder, settings=config.model_dump(mode="json"),
        )  # fmt: skip

        def share(path: str) -> bool:
            # its table has latents and scores now
            if not self.session.renew("store", CellStore.open(store.path), store):
                return False
            # Layers read from the folder while they are looked at, and that has other cells in it now.
            compare.clear_said(self.viewer, Path(path))
            self.session.predictions = PredictionStore.open(path)
            return True

        self.run("Predicting stains", call, key="predict", then=self._predicted, share=share)

    def show_layers(self) -> None:
        """Open the image with the chosen layers."""
        predictions, store = self.session.predictions, self.session.store
        image = self.image.currentData()
        if predictions is None or store is None or image is None:
            self.say("Predict first, or drop predictions on the window.", "problem")
            return
        roles, stains = self.chosen_roles, self.chosen_stains
        compare.clear_others(self.viewer, predictions, image)
        study = self.session.study

        def over_them() -> None:
            specs = self.attempt(
                "Showing the overlay",
                lambda: compare.model_specs(self.viewer, predictions, store, image, stains, roles),
            )
            if specs is not None:
                compare.make_way(self.viewer, specs)
                new = compare.missing(self.viewer, specs)
                self.run(
                    "Computing the overlay",
                    lambda progress, should_stop: _computed(new, progress, should_stop),
                    key="overlay",
                    then=lambda computed: self._add(computed, done),
                )

        def done() -> None:
            compare.show_first(self.viewer, predictions, roles, stains)
            if stains and self.stain.currentText() not in stains:
                proteins = (stain for stain in stains if stain != predictions.anchor)
                self.stain.setCurrentText(next(proteins, predictions.anchor))
            words = [self._trust(predictions, store, roles)]
            words.append("Scores of each cell are features of the layer “cells”, which is hidden.")
            self.say(" ".join(word for word in words if word))

        self.grid.setChecked(False)
        self._set_contrast()
        self.viewer.canvas.grid.enabled = False
        self.run(
            "Reading the image",
            lambda progress, should_stop: compare.measured_specs(predictions, image, stains, study),
            key="overlay",
            then=lambda specs: self._add(compare.missing(self.viewer, specs), over_them),
        )

    def flip(self) -> None:
        """Show the next of measured, reconstructed, predicted."""
        if self.grid.isChecked():
            self.grid.click()
        role = compare.flip(self.viewer, self.stain.currentText())
        self._say_shown(compare.ROLE_WORDS.get(role, "Show layers first."))

    def side_by_side(self) -> None:
        """Show all roles of the stain in napari's grid, or end that."""
        if self.grid.isChecked():
            number = compare.side_by_side(self.viewer, self.stain.currentText())
            if not number:
                self.grid.setChecked(False)
                self._say_shown("Show layers first.")
                return
            self.viewer.reset_view()
            roles = compare.roles_of(self.viewer, self.stain.currentText())
            words = ", ".join(compare.ROLE_WORDS[role] for role in roles)
            self._set_contrast()
            if self._limits_before:
                words += "; each in its own contrast"
            self._say_shown(f"In reading order: {words}.")
        else:
            compare.side_by_side(self.viewer, "")
            self._set_contrast()
            say(self.shown, "")
            if self.session.predictions is not None:
                chosen = (self.chosen_roles, self.chosen_stains)
                compare.show_first(self.viewer, self.session.predictions, *chosen)
            self.viewer.reset_view()

    # --- how it is shown ------------------------------------------------------------------------

    @property
    def chosen_roles(self) -> list[str]:
        """Roles that are ticked."""
        return [role for role, box in self.roles.items() if box.isChecked()]

    @property
    def chosen_stains(self) -> list[str]:
        """Stains that are ticked; none where all are."""
        items = [self.stains.item(number) for number in range(self.stains.count())]
        ticked = [item.text() for item in items if item and item.checkState() == Qt.CheckState.Checked]
        return [] if len(ticked) == len(items) else ticked

    def _add(self, specs: list[LayerSpec], then: Callable[[], None]) -> None:
        """Add layers one after the other, the window alive in between."""
        empty = len(self.viewer.layers) == 0

        prepared = [with_overview(spec) for spec in specs]

        def finish() -> None:
            if empty:
                self.viewer.reset_view()
            fill_beside(self.viewer, [overview for _, overview in prepared if overview is not None])
            then()

        steps = [partial(spec.add, self.viewer) for spec, _ in prepared]
        self.session.jobs.step_by_step("Adding layers", [*steps, finish], key="layers")

    def _predicted(self, path: str) -> None:
        self.say(f"Predictions are in {short(path)}.", "good")

    def _store_changed(self, store: CellStore | None) -> None:
        self.image.clear()
        if store is not None:
            images = compare.images_of(store)
            for image, name in zip(images, compare.short_names(images), strict=True):
                self.image.addItem(name, image)
            self.form.suggest(device=preferences().device)
        self.refresh_runs()

    def _run_changed(self, run: Any) -> None:
        self.refresh_runs()
        if run is not None:
            self.run_box.setCurrentIndex(max(0, self.run_box.findData(str(run.folder))))

    def _predictions_changed(self, predictions: PredictionStore | None) -> None:
        self._able()
        unsure = self.roles["uncertainty"]
        drawn = predictions is None or any(
            predictions.stains(panel, "uncertainty") for panel in predictions.card.panels
        )
        unsure.setEnabled(drawn)
        unsure.setToolTip(_TICK if drawn else _UNDRAWN)
        if predictions is None:
            say(self.about, "")
            return
        if self.session.store is None:
            self.session.store = self.attempt("Opening the cells", lambda: cell_store_of(predictions))
        vocabulary = predictions.card.vocabulary
        say(
            self.about,
            f"Predictions by {Path(predictions.model_name).name or 'a model'}: {', '.join(vocabulary)}.",
        )
        stains = [predictions.anchor, *vocabulary]
        self.stains.clear()
        for stain in stains:
            item = QListWidgetItem(stain)
            item.setFlags(item.flags() | Qt.ItemFlag.ItemIsUserCheckable)
            item.setCheckState(Qt.CheckState.Checked)
            self.stains.addItem(item)
        self.stains.setFixedHeight(8 + 20 * min(6, len(stains)))
        self.stain.clear()
        self.stain.addItems([*vocabulary, predictions.anchor])

    def _compare_again(self) -> None:
        """Show another stain side by side, where one is."""
        if self.grid.isChecked():
            self.side_by_side()

    def _say_shown(self, words: str) -> None:
        """Say what is compared, in sight also where the tool is longer than the window."""
        say(self.shown, words, "plain")
        QTimer.singleShot(0, self._reveal_shown)  # it has its size by then

    def _reveal_shown(self) -> None:
        if isalive(self):
            self.reveal(self.shown)

    def _set_contrast(self) -> None:
        """Side by side, give each picture its own contrast where that is wanted; else that of the stain."""
        for layer, limits in self._limits_before:
            if layer in self.viewer.layers:
                compare.set_limits(layer, limits)
        self._limits_before = []
        if self.grid.isChecked() and self.own_contrast.isChecked():
            self._limits_before = compare.own_contrast(self.viewer, self.stain.currentText())

    def _toggled(self, role: str, shown: bool) -> None:
        """Show or hide the layers of a role that are open."""
        stains = self.chosen_stains
        for layer in find_layers(self.viewer, role=role):
            known = about(layer)
            layer.visible = shown and known is not None and (not stains or known.stain in stains)

    def _judge(self) -> None:
        """Say what the chosen run would predict, or why it does not fit and what would."""
        store, folder = self.session.store, self.run_box.currentData()
        if store is None or not folder:
            say(self.fit, "")
            return
        others = [self.run_box.itemData(number) for number in range(self.run_box.count())]
        words, fits = fit_in_words(folder, store, [other for other in others if other != folder])
        say(self.fit, words, "hint" if fits else "problem")

    def _trust(self, predictions: PredictionStore, store: CellStore, roles: list[str]) -> str:
        """What is to be known of the predictions that are shown."""
        if "uncertainty" in roles and not find_layers(self.viewer, role="uncertainty"):
            return "Uncertainty was not computed: set its draws under More settings, and predict again."
        return support_in_words(store, predictions.card.vocabulary) if BEYOND in roles else ""

    def _able(self) -> None:
        ready = self.session.store is not None
        self.predict_button.setEnabled(ready and self.run_box.count() > 0)
        self.show_button.setEnabled(ready and self.session.predictions is not None)
        has_model = self.run_box.count() > 0 or self.session.predictions is not None
        self.missing.setVisible(not (ready and has_model))

    def _layers_changed(self, event: object = None) -> None:
        adopt(self.session, self.viewer.layers)


def _computed(specs: list[LayerSpec], progress: Progress, should_stop: ShouldStop) -> list[LayerSpec]:
    """Layers with their data computed, where they are small enough."""
    computed = []
    for done, spec in enumerate(specs):
        stop_if_asked(should_stop)
        progress(Step("Computing the overlay", done, len(specs), str(spec.kwargs["name"])))
        computed.append(spec.realised(compare.MOST, OVERVIEW))
    return computed
