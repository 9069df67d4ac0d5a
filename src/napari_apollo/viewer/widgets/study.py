"""The study tool: drop images, say what they show, save the manifest."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar

from qtpy.QtCore import Qt
from qtpy.QtGui import QDragEnterEvent, QDropEvent
from qtpy.QtWidgets import (
    QAbstractItemView,
    QComboBox,
    QHeaderView,
    QLineEdit,
    QTableWidget,
    QTableWidgetItem,
    QWidget,
)

from napari_apollo.study import Study
from napari_apollo.viewer.adopting import adopt
from napari_apollo.viewer.drafting import SPLITS, DraftRow, StudyDraft
from napari_apollo.viewer.layerfields import fields_from_layers
from napari_apollo.viewer.open import open_study
from napari_apollo.viewer.parts import button, heading, note, row, say, small_button
from napari_apollo.viewer.picking import DropArea, PathPicker, dropped_paths
from napari_apollo.viewer.tool import Tool, place_for, short
from napari_apollo.viewer.widgets.channels import ChannelTable

_COLUMNS = ("Field", "Panel", "Donor", "Condition", "Split", "Labels")
_EDITABLE = {0: "name", 2: "donor", 3: "condition"}
_SPLIT, _LABELS = 4, 5
_SHOWN_PROBLEMS = 6
_ROW, _ROWS_SEEN = 24, 7  # pixels, and rows that are in sight without scrolling


class StudyTool(Tool):
    """Put a study together: which images, whose cells, which stains."""

    job_keys: ClassVar[tuple[str, ...]] = ("study",)

    def build(self) -> None:
        """Add the parts."""
        self.draft = StudyDraft()
        self._filling = False
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
        self.table = self._make_table()
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
        known = len(self.draft.notes)
        draft = StudyDraft(list(self.draft.rows), list(self.draft.notes))

        def read(*_: Any) -> StudyDraft:
            draft.add(paths)
            return draft

        def take(found: StudyDraft) -> None:
            self.draft = found
            manifest = [path for path in paths if path.suffix.lower() == ".csv"]
            if manifest and self.path.path is None:
                self.path.path = manifest[0]
            self._fill()
            self._say_notes(found.notes[known:])

        self.run("Looking at images", read, key="study", then=take)

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
        self.draft.remove(self._selected())
        self._fill()

    def show_field(self) -> None:
        """Show the selected field in the viewer."""
        chosen = self._selected()
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
            key="study",
            then=told,
        )

    def save_study(self) -> None:
        """Write the manifest and hand the study to the other tools."""
        study = self.attempt("Saving the study", self._saved)
        if study is not None:
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
        return place_for(self.session, inside)

    def _open(self, chosen: DraftRow) -> None:
        open_study(self.viewer, Study([chosen.field()]))
        self.viewer.reset_view()

    def _study_changed(self, study: Study | None) -> None:
        if study is None:
            self._fill()
            return
        self.draft = StudyDraft.of(study)
        self.path.path = study.path
        self._fill()

    def _layers_changed(self, event: object = None) -> None:
        adopt(self.session, self.viewer.layers)

    def _make_table(self) -> QTableWidget:
        table = QTableWidget(0, len(_COLUMNS))
        table.setHorizontalHeaderLabels(list(_COLUMNS))
        table.setSelectionBehavior(QAbstractItemView.SelectionBehavior.SelectRows)
        table.setToolTip("One row a field of view; double-click a cell to change it")
        table.setAccessibleName("Fields")
        table.setWordWrap(False)
        header = table.horizontalHeader()
        assert header is not None
        header.setSectionResizeMode(QHeaderView.ResizeMode.Interactive)
        header.setDefaultSectionSize(78)
        header.setMinimumSectionSize(44)
        rows = table.verticalHeader()
        assert rows is not None
        rows.setVisible(False)
        rows.setDefaultSectionSize(_ROW)
        table.itemChanged.connect(self._edited)
        table.itemSelectionChanged.connect(self._selection_changed)
        return table

    def _fill(self) -> None:
        """Show the draft."""
        selected = self._selected()
        self._filling = True
        self.table.setRowCount(len(self.draft.rows))
        for number, one in enumerate(self.draft.rows):
            texts = (one.name, one.panel_name, one.donor, one.condition, "", "yes" if one.labels else "no")
            for place, text in enumerate(texts):
                if place == _SPLIT:
                    self.table.setCellWidget(number, place, self._split_box(number, one.split))
                    continue
                item = QTableWidgetItem(text)
                if place not in _EDITABLE:
                    item.setFlags(item.flags() & ~Qt.ItemFlag.ItemIsEditable)
                item.setToolTip(
                    one.problem
                    or (str(one.labels or "no labels yet") if place == _LABELS else str(one.image))
                )
                self.table.setItem(number, place, item)
            if one.problem:
                self.table.item(number, 1).setText("⚠ " + one.panel_name)
        self._filling = False
        self.table.setFixedHeight(48 + _ROW * min(max(len(self.draft.rows), 2), _ROWS_SEEN))
        if self.draft.rows and not selected:
            self.table.selectRow(0)
        self._selection_changed()
        self._show_problems([text for _, text in self.draft.problems()])
        if self.draft.rows and self.path.path is None:
            self.path.path = self._default_path()

    def _split_box(self, number: int, split: str) -> QWidget:
        box = QComboBox()
        box.addItems(["auto", *SPLITS[1:]])
        box.setCurrentIndex(SPLITS.index(split))
        box.setToolTip("Part of the data that this field belongs to; auto leaves the choice to training")
        box.currentIndexChanged.connect(lambda chosen: self.draft.change([number], split=SPLITS[chosen]))
        return box

    def _selected(self) -> list[int]:
        return sorted({index.row() for index in self.table.selectedIndexes()})

    def _selection_changed(self) -> None:
        chosen = self._selected()
        if self._filling or not chosen or chosen[0] >= len(self.draft.rows):
            self.channels.show_row(None, ())
            return
        self.channels.show_row(self.draft.rows[chosen[0]], self.draft.rows)

    def _edited(self, item: QTableWidgetItem) -> None:
        name = _EDITABLE.get(item.column())
        if not self._filling and name is not None:
            self.draft.change([item.row()], **{name: item.text().strip()})
            self._fill()

    def _set_bulk(self) -> None:
        self.draft.change(
            self._selected(), **{self.bulk_column.currentData(): self.bulk_value.text().strip()}
        )
        self._fill()

    def _assign(self, stains: list[str], all_alike: bool) -> None:
        chosen = self._selected()
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
