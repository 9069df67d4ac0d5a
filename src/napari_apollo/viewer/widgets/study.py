"""The study tool: drop images, say what they show, save the manifest."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import chain, count
from pathlib import Path
from typing import Any, ClassVar

from qtpy.QtGui import QDragEnterEvent, QDropEvent
from qtpy.QtWidgets import QComboBox, QLineEdit

from napari_apollo.progress import Progress, ShouldStop, Step, stop_if_asked
from napari_apollo.study import Study
from napari_apollo.viewer.adopting import adopt
from napari_apollo.viewer.drafting import DraftRow, StudyDraft
from napari_apollo.viewer.layerfields import fields_from_layers
from napari_apollo.viewer.open import open_study
from napari_apollo.viewer.parts import button, heading, note, row, say, small_button
from napari_apollo.viewer.picking import DropArea, PathPicker, dropped_paths
from napari_apollo.viewer.tool import Tool, place_for, short
from napari_apollo.viewer.widgets.channels import ChannelTable
from napari_apollo.viewer.widgets.fieldtable import FieldTable

_SHOWN_PROBLEMS = 6


class StudyTool(Tool):
    """Put a study together: which images, whose cells, which stains."""

    job_keys: ClassVar[tuple[str, ...]] = ("read", "check")

    def build(self) -> None:
        """Add the parts."""
        self.draft = StudyDraft()
        self._known: list[DraftRow] = []  # as the session's study has them
        self._unread: list[Path] = []
        self.setAcceptDrops(True)
        self.drop = DropArea(
            "Drop folders, images or a manifest here", "Folders, image files, or a CSV that lists them"
        )
        self.drop.dropped.connect(self.add_paths)
        folder = button("Add folder", "Add the images of a folder", self._browse_folder, name="folder")
        files = button("Add files", "Add image files, or a manifest", self._browse_files, name="file")
        layers = button(
            "Use open layers", "Add the images that are open in the viewer", self.add_layers, name="plus"
        )
        self.table = FieldTable()
        self.table.changed.connect(self._changed)
        self.table.chosen.connect(self._selection_changed)
        show = small_button("eye", "Show the selected field in the viewer", self.show_field)
        remove = small_button("delete", "Take the selected fields out of the study", self.remove_selected)
        self.bulk_column = QComboBox()
        for title, name in (("Donor", "donor"), ("Condition", "condition")):
            self.bulk_column.addItem(title, name)
        self.bulk_column.setToolTip("What to set for all selected fields")
        self.bulk_value = QLineEdit()
        self.bulk_value.setPlaceholderText("for selected fields")
        self.bulk_value.setToolTip("Value for all selected fields; press Enter")
        self.bulk_value.returnPressed.connect(self._set_bulk)
        self.channels = ChannelTable()
        self.channels.assigned.connect(self._assign)
        self.problems = note(tone="problem")
        self.path = PathPicker("save", "Where the manifest is saved", "Manifest (*.csv)")
        self.path.setToolTip("The CSV file that lists the fields; results go beside it")
        self.save = button(
            "Save study", "Write the manifest; the other tools then work on it", self.save_study,
            main=True, name="save",
        )  # fmt: skip
        check = button("Check files", "Open every file and look for what is wrong", self.check, name="check")
        self.add(
            heading("Images"),
            self.drop,
            row(folder, files),
            layers,
            heading("Fields"),
            self.table,
            row(self.bulk_column, self.bulk_value, show, remove, stretch=1),
            heading("Stains of the selected field"),
            self.channels,
            self.problems,
            heading("Manifest"),
            self.path,
            row(check, self.save, stretch=1),
        )
        self.follow(self.session.study_changed, self._study_changed)
        self.follow(self.viewer.layers.events.inserted, self._layers_changed)
        adopt(self.session, self.viewer.layers)
        self._study_changed(self.session.study)

    # --- what people do -----------------------------------------------------------------------

    def add_paths(self, paths: Sequence[Path]) -> None:
        """Add manifests, folders and images; the files are looked at beside the window."""
        wanted = [*self._unread, *paths]  # what is still being read is read anew, with the rest

        def read(progress: Progress, should_stop: ShouldStop) -> StudyDraft:
            found = StudyDraft()
            for number, path in enumerate(wanted):
                stop_if_asked(should_stop)
                progress(Step("Looking at images", number, len(wanted), path.name))
                found.add([path])
            return found

        def take(found: StudyDraft) -> None:
            self.draft.join(found)
            manifest = [path for path in wanted if path.suffix.lower() == ".csv"]
            if manifest and self.path.path is None:
                self.path.path = manifest[0]
            self._fill()
            self._say_notes(found.notes)

        def over(*_: object) -> None:
            self._unread = []

        job = self.run("Looking at images", read, key="read", then=take)
        if job.running:
            self._unread = wanted
            job.ended.connect(over, check_nargs=False)

    def add_layers(self) -> None:
        """Add the images that are open in the viewer."""
        fields = self.attempt(
            "Using open layers",
            lambda: fields_from_layers(self.viewer.layers, place_for(self.session, "apollo")),
        )
        if fields is not None:
            self.draft.add_fields(fields)
            self._fill()

    def remove_selected(self) -> None:
        """Take the selected fields out of the study; files stay."""
        self.draft.remove(self.table.selected)
        self._fill()

    def show_field(self) -> None:
        """Show the selected field in the viewer."""
        chosen = self.table.selected
        if chosen:
            self.attempt("Opening the field", lambda: self._open(self.draft.rows[chosen[0]]))

    def check(self) -> None:
        """Open every file and look for what is wrong."""
        study = self.attempt("Checking the study", self.draft.study)
        if study is None:
            return

        def told(found: Any) -> None:
            self._show_problems(list(found.problems))
            if not found.problems:
                self.say(" ".join(["Nothing is wrong.", *found.notes]), "good")

        self.run(
            "Checking the study",
            lambda progress, should_stop: study.examine(progress=progress, should_stop=should_stop),
            key="check",
            then=told,
        )

    def save_study(self) -> None:
        """Write the manifest and hand the study to the other tools."""
        study = self.attempt("Saving the study", self._saved)
        if study is not None:
            self._known = list(self.draft.rows)
            self.session.study = study
            self.say(f"Saved {len(study)} fields to {short(study.path or '')}.", "good")

    def dragEnterEvent(self, event: QDragEnterEvent | None) -> None:
        """Take files and folders anywhere on the tool."""
        if event is not None and dropped_paths(event):
            event.acceptProposedAction()

    def dropEvent(self, event: QDropEvent | None) -> None:
        """Add what was dropped."""
        if event is not None:
            event.acceptProposedAction()
            self.add_paths(dropped_paths(event))

    # --- how it is shown ------------------------------------------------------------------------

    def _saved(self) -> Any:
        study = self.draft.study()
        return study.to_csv(self.path.path or self._default_path())

    def _default_path(self) -> Path:
        inside = "study.csv" if self.session.place is not None else "apollo/study.csv"
        path = place_for(self.session, inside)
        # Another study that lies there was perhaps put together by hand, and is not offered for replacement.
        numbered = (path.with_stem(f"{path.stem}_{number}") for number in count(2))
        return next(free for free in chain([path], numbered) if not free.exists())

    def _open(self, chosen: DraftRow) -> None:
        open_study(self.viewer, Study([chosen.field()]))
        self.viewer.reset_view()

    def _study_changed(self, study: Study | None) -> None:
        if study is None:
            self._fill()
            return
        given = StudyDraft.of(study)
        if self.draft.rows and self.draft.rows != self._known:
            # Somebody is still at work here; what was segmented meanwhile is no reason to forget that.
            self.draft.take_labels(given)
            self.say("What was changed here is not saved yet, and is kept: press Save study to use it.")
        else:
            self.draft = given
            self.path.path = study.path
        self._known = list(given.rows)
        self._fill()

    def _layers_changed(self, event: object = None) -> None:
        adopt(self.session, self.viewer.layers)

    def _fill(self) -> None:
        """Show the draft."""
        self.table.show_rows(self.draft.rows)
        self._selection_changed()
        self._show_problems([text for _, text in self.draft.problems()])
        if self.draft.rows and self.path.path is None:
            self.path.path = self._default_path()

    def _selection_changed(self) -> None:
        chosen = self.table.selected
        if not chosen or chosen[0] >= len(self.draft.rows):
            self.channels.show_row(None, ())
            return
        self.channels.show_row(self.draft.rows[chosen[0]], self.draft.rows)

    def _changed(self, number: int, name: str, value: str) -> None:
        self.draft.change([number], **{name: value})
        if name != "split":  # its box must outlive its own signal
            self._fill()

    def _set_bulk(self) -> None:
        self.draft.change(
            self.table.selected, **{self.bulk_column.currentData(): self.bulk_value.text().strip()}
        )
        self._fill()

    def _assign(self, stains: list[str], all_alike: bool) -> None:
        chosen = self.table.selected
        if chosen:
            rows = self.draft.alike(chosen[0]) if all_alike else chosen
            self.draft.assign(rows, stains)
            self._fill()

    def _show_problems(self, problems: Sequence[str]) -> None:
        shown = [f"• {text}" for text in problems[:_SHOWN_PROBLEMS]]
        if len(problems) > _SHOWN_PROBLEMS:
            shown.append(f"and {len(problems) - _SHOWN_PROBLEMS} more.")
        say(self.problems, "\n".join(shown), "problem")
        self.save.setEnabled(bool(self.draft.rows) and not problems)

    def _say_notes(self, notes: Sequence[str]) -> None:
        if notes:
            self.say("\n".join(notes[:_SHOWN_PROBLEMS]))

    def _browse_folder(self) -> None:
        from qtpy.QtWidgets import QFileDialog

        chosen = QFileDialog.getExistingDirectory(self, "Folder of images")
        if chosen:
            self.add_paths([Path(chosen)])

    def _browse_files(self) -> None:
        from qtpy.QtWidgets import QFileDialog

        pattern = "Images and manifests (*.tif *.tiff *.btf *.csv);;All files (*)"
        chosen, _ = QFileDialog.getOpenFileNames(self, "Images or a manifest", "", pattern)
        if chosen:
            self.add_paths([Path(path) for path in chosen])
