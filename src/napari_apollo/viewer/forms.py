"""Forms made from configs: labels, help, bounds and choices are those that the config states once."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Generic, TypeVar

from qtpy.QtCore import QObject, Qt, Signal
from qtpy.QtWidgets import (
    QCheckBox,
    QComboBox,
    QFormLayout,
    QLabel,
    QLineEdit,
    QListWidget,
    QListWidgetItem,
    QSizePolicy,
    QSpinBox,
    QVBoxLayout,
    QWidget,
)

from napari_apollo.config import OperationConfig
from napari_apollo.errors import ConfigError
from napari_apollo.viewer.fields import FieldSpec, describe, problems_of
from napari_apollo.viewer.parts import Fold, column, note, say
from napari_apollo.viewer.picking import PathMode, PathPicker

Config = TypeVar("Config", bound=OperationConfig)

_LARGEST = 2**31 - 1
_ROWS = 5


class Editor(QObject):
    """A control for one field: a widget, its value, and a signal when a person changes it.

    Parameters
    ----------
    spec
        The field.
    choices
        Values to choose from that the config cannot know, such as the stains of a study.
    empty
        What is shown while an optional value is empty.
    mode
        What a path is for.
    """

    changed = Signal()

    def __init__(
        self,
        spec: FieldSpec,
        choices: Sequence[str] | None = None,
        empty: str = "automatic",
        mode: PathMode = "folder",
    ) -> None:
        super().__init__()
        self.spec = spec
        self._open_choices = choices is not None
        self.widget = self._make(choices, empty, mode)
        self.widget.setToolTip(spec.tooltip)
        self.widget.setAccessibleName(spec.title)

    def _make(self, choices: Sequence[str] | None, empty: str, mode: PathMode) -> QWidget:
        spec = self.spec
        if spec.kind == "flag":
            check = QCheckBox()
            check.toggled.connect(lambda _: self.changed.emit())
            return check
        if spec.kind == "choices" or (spec.kind == "texts" and choices is not None):
            several = _Several(choices if choices is not None else spec.choices, spec)
            several.changed.connect(self.changed)
            return several
        if spec.kind == "choice" or choices is not None:
            combo = QComboBox()
            combo.setSizeAdjustPolicy(QComboBox.SizeAdjustPolicy.AdjustToMinimumContentsLengthWithIcon)
            combo.setMinimumContentsLength(8)
            combo.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Fixed)
            if spec.optional:
                combo.addItem(empty, None)
            for choice in choices if choices is not None else spec.choices:
                combo.addItem(choice, choice)
            combo.currentIndexChanged.connect(lambda _: self.changed.emit())
            return combo
        if spec.kind == "whole" and not spec.optional:
            spin = QSpinBox()
            spin.setRange(
                int(-_LARGEST if spec.low is None else spec.low),
                int(_LARGEST if spec.high is None else min(spec.high, _LARGEST)),
            )
            spin.setKeyboardTracking(False)
            spin.valueChanged.connect(lambda _: self.changed.emit())
            return spin
        if spec.kind == "path":
            picker = PathPicker(mode, spec.title)
            picker.changed.connect(self.changed)
            return picker
        line = QLineEdit()
        line.setPlaceholderText(empty if spec.optional or spec.kind == "texts" else "")
        line.textEdited.connect(lambda _: self.changed.emit())
        return line

    @property
    def value(self) -> Any:
        """What is chosen; a number that cannot be read comes as its text, for the config to refuse."""
        widget, kind = self.widget, self.spec.kind
        if isinstance(widget, QCheckBox):
            return widget.isChecked()
        if isinstance(widget, QComboBox):
            return widget.currentData()
        if isinstance(widget, QSpinBox):
            return widget.value()
        if isinstance(widget, PathPicker):
            return widget.path
        if isinstance(widget, _Several):
            return widget.chosen
        assert isinstance(widget, QLineEdit)
        text = widget.text().strip()
        if kind == "texts":
            return tuple(part.strip() for part in text.split(",") if part.strip())
        if kind == "text":
            return text if text or not self.spec.optional else None
        return _number(text, whole=kind == "whole")

    @value.setter
    def value(self, value: Any) -> None:
        widget = self.widget
        before = widget.blockSignals(True)
        if isinstance(widget, QCheckBox):
            widget.setChecked(bool(value))
        elif isinstance(widget, QComboBox):
            widget.setCurrentIndex(max(0, widget.findData(value)))
        elif isinstance(widget, QSpinBox):
            widget.setValue(int(value))
        elif isinstance(widget, PathPicker):
            widget.path = value
        elif isinstance(widget, _Several):
            widget.chosen = tuple(value)
        elif isinstance(widget, QLineEdit):
            widget.setText(_as_text(value))
        widget.blockSignals(before)

    def offer(self, choices: Sequence[str]) -> None:
        """Other values to choose from; what was chosen stays where it still is among them."""
        chosen = self.value
        if isinstance(self.widget, QComboBox):
            self.widget.blockSignals(True)
            kept = 1 if self.spec.optional else 0
            while self.widget.count() > kept:
                self.widget.removeItem(kept)
            for choice in choices:
                self.widget.addItem(choice, choice)
            self.widget.blockSignals(False)
        elif isinstance(self.widget, _Several):
            self.widget.offer(choices)
        self.value = chosen if not isinstance(chosen, tuple) else tuple(c for c in chosen if c in choices)


class _Several(QListWidget):
    """A list with boxes to tick, any number of them; a few rows are in sight."""

    changed = Signal()

    def __init__(self, choices: Sequence[str], spec: FieldSpec) -> None:
        super().__init__()
        self.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Fixed)
        self.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)  # it would hide a row
        self.offer(choices)
        self.itemChanged.connect(lambda _: self.changed.emit())

    def offer(self, choices: Sequence[str]) -> None:
        before = self.blockSignals(True)
        self.clear()
        for choice in choices:
            item = QListWidgetItem(choice)
            item.setFlags(item.flags() | Qt.ItemFlag.ItemIsUserCheckable)
            item.setCheckState(Qt.CheckState.Unchecked)
            item.setToolTip(choice)
            self.addItem(item)
        self.blockSignals(before)
        self.setFixedHeight(8 + 20 * min(max(len(choices), 1), _ROWS))

    @property
    def _items(self) -> list[QListWidgetItem]:
        items = (self.item(number) for number in range(self.count()))
        return [item for item in items if item is not None]

    @property
    def chosen(self) -> tuple[str, ...]:
        return tuple(item.text() for item in self._items if item.checkState() == Qt.CheckState.Checked)

    @chosen.setter
    def chosen(self, names: Sequence[str]) -> None:
        before = self.blockSignals(True)
        for item in self._items:
            ticked = item.text() in names
            item.setCheckState(Qt.CheckState.Checked if ticked else Qt.CheckState.Unchecked)
        self.blockSignals(before)


class ConfigForm(QWidget, Generic[Config]):
    """A form for some fields of a config.

    Parameters
    ----------
    config
        The config.
    main
        Fields that are always in sight, in their order.
    advanced
        Fields behind *More settings*.
    titles
        Other words for fields.
    choices
        Values to choose from that the config cannot know; see ``offer``.
    empty
        What is shown while an optional field is empty, by field.
    modes
        What paths are for, by field.

    Notes
    -----
    ``given`` are only the values that a person, or ``set``, changed: what a config fills in by itself
    (a preset, say) stays its own.
    """

    changed = Signal()

    def __init__(
        self,
        config: type[Config],
        main: Sequence[str],
        advanced: Sequence[str] = (),
        *,
        titles: Mapping[str, str] | None = None,
        choices: Mapping[str, Sequence[str]] | None = None,
        empty: Mapping[str, str] | None = None,
        modes: Mapping[str, PathMode] | None = None,
    ) -> None:
        super().__init__()
        self.config_type = config
        self._baseline: dict[str, Any] = {}
        self._suggested: dict[str, Any] = {}
        self._problems: dict[str, QLabel] = {}
        self.editors: dict[str, Editor] = {}
        specs = describe(config)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.setSpacing(4)
        for number, names in enumerate((main, advanced)):
            if not names:
                continue
            group = QWidget()
            rows = QFormLayout(group)
            rows.setContentsMargins(0, 0, 0, 0)
            rows.setVerticalSpacing(4)
            rows.setHorizontalSpacing(8)
            rows.setFieldGrowthPolicy(QFormLayout.FieldGrowthPolicy.ExpandingFieldsGrow)
            rows.setLabelAlignment(Qt.AlignmentFlag.AlignLeft)
            for name in names:
                editor = Editor(
                    specs[name],
                    (choices or {}).get(name),
                    (empty or {}).get(name, "automatic"),
                    (modes or {}).get(name, "folder"),
                )
                self._add(rows, name, editor, (titles or {}).get(name, specs[name].title))
            layout.addWidget(Fold("More settings", group) if number else group)
        self._problems[""] = note(tone="problem")
        layout.addWidget(self._problems[""])
        self.rebase({name: editor.spec.default for name, editor in self.editors.items()})

    def _add(self, rows: QFormLayout, name: str, editor: Editor, title: str) -> None:
        self.editors[name] = editor
        editor.setParent(self)
        problem = self._problems[name] = note(tone="problem")
        label = QLabel(title)
        label.setToolTip(editor.spec.tooltip)
        label.setBuddy(editor.widget)
        rows.addRow(label, column(editor.widget, problem))
        editor.changed.connect(self._edited)

    def rebase(self, values: Mapping[str, Any]) -> None:
        """Show other values as those that count where a person gives none; what a person gave stays."""
        given = self.given
        for name, editor in self.editors.items():
            if name in values:
                if name not in given:
                    editor.value = values[name]
                self._baseline[name] = values[name]
        self.check()

    @property
    def given(self) -> dict[str, Any]:
        """Values that differ from those that count where none is given."""
        return {
            name: editor.value
            for name, editor in self.editors.items()
            if name in self._baseline and not _alike(editor.value, self._baseline[name])
        }

    def set(self, **values: Any) -> None:
        """Enter values as a person would."""
        for name, value in values.items():
            self.editors[name].value = value
        self._edited()

    def suggest(self, **values: Any) -> None:
        """Enter values that hold until a person enters others."""
        for name, value in values.items():
            editor = self.editors[name]
            shown = self._suggested.get(name, self._baseline.get(name))
            if _alike(editor.value, shown):
                editor.value = value
                self._suggested[name] = value
        self._edited()

    def offer(self, name: str, choices: Sequence[str]) -> None:
        """Other values to choose from."""
        self.editors[name].offer(choices)
        self._edited()

    def config(self, **more: Any) -> Config:
        """The config.

        Parameters
        ----------
        **more
            Values that the form does not have.

        Raises
        ------
        ConfigError
            When values are wrong; they are marked in the form.
        """
        if not self.check(**more):
            words = "; ".join(label.text() for label in self._problems.values() if label.text())
            raise ConfigError(words)
        return self.config_type(**{**self.given, **more})

    def check(self, **more: Any) -> bool:
        """Mark what is wrong; whether nothing is."""
        found = problems_of(self.config_type, {**self.given, **more})
        for name, label in self._problems.items():
            say(label, found.pop(name, ""), "problem")
        if found:
            say(self._problems[""], " ".join(f"{name}: {text}" for name, text in found.items()), "problem")
        return not any(label.text() for label in self._problems.values())

    def _edited(self) -> None:
        self.check()
        self.changed.emit()


def _alike(first: Any, second: Any) -> bool:
    if isinstance(first, Path) or isinstance(second, Path):
        return str(first) == str(second)
    return bool(first == second)


def _as_text(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, tuple):
        return ", ".join(map(str, value))
    return f"{value:g}" if isinstance(value, float) else str(value)


def _number(text: str, *, whole: bool) -> Any:
    if not text:
        return None
    try:
        return int(text) if whole else float(text.replace(",", "."))
    except ValueError:
        return text
