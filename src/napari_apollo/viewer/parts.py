"""Small parts that all tools are made of; nothing here knows what a tool does."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Literal

from qtpy.QtCore import QEvent, QObject, Qt, Signal
from qtpy.QtWidgets import (
    QAbstractSpinBox,
    QComboBox,
    QHBoxLayout,
    QLabel,
    QPushButton,
    QSizePolicy,
    QToolButton,
    QVBoxLayout,
    QWidget,
)

from napari_apollo.viewer.icons import icon

if TYPE_CHECKING:
    from napari.utils.theme import Theme

Tone = Literal["plain", "hint", "problem", "good"]


def listen(owner: QWidget, signal: Any, slot: Callable[..., Any]) -> None:
    """Connect a signal of the session, a job or napari for as long as a widget lives.

    Parameters
    ----------
    owner
        When Qt destroys it, the connection ends.
    signal
        Anything with ``connect`` and ``disconnect``.
    slot
        What is called.
    """
    signal.connect(slot)

    def leave(*_: object) -> None:
        with contextlib.suppress(ValueError):
            signal.disconnect(slot)

    owner.destroyed.connect(leave)


def heading(text: str) -> QLabel:
    """A line above a group of controls."""
    label = QLabel(text)
    label.setProperty("apolloHeading", True)
    return label


def note(text: str = "", tone: Tone = "hint") -> QLabel:
    """A text that wraps; hidden while it is empty."""
    label = QLabel()
    label.setWordWrap(True)
    label.setTextInteractionFlags(Qt.TextInteractionFlag.TextSelectableByMouse)
    policy = QSizePolicy(QSizePolicy.Policy.Ignored, QSizePolicy.Policy.Fixed)
    policy.setHeightForWidth(True)
    label.setSizePolicy(policy)
    say(label, text, tone)
    return label


def say(label: QLabel, text: str, tone: Tone = "hint") -> None:
    """Give a note another text and tone."""
    label.setText(text)
    label.setVisible(bool(text))
    if label.property("apolloTone") != tone:
        label.setProperty("apolloTone", tone)
        label.style().unpolish(label)
        label.style().polish(label)


def style_sheet(theme: Theme) -> str:
    """What napari's own style sheet leaves open, for all parts under a tool."""
    dark = theme.type == "dark"
    problem, good, hint = ("#ff8a80", "#7ed491", "#a9b0b8") if dark else ("#b3261e", "#1b6e2d", "#5a6068")
    accent, on_accent = ("#4560c4", "#ffffff")
    return f"""
        QLabel[apolloHeading="true"] {{ font-weight: bold; margin-top: 4px; }}
        QLabel[apolloTone="hint"] {{ color: {hint}; }}
        QLabel[apolloTone="problem"] {{ color: {problem}; }}
        QLabel[apolloTone="good"] {{ color: {good}; }}
        QPushButton[apolloMain="true"] {{
            background-color: {accent}; color: {on_accent}; font-weight: bold;
        }}
        QPushButton[apolloMain="true"]:disabled {{ background-color: transparent; color: {hint}; }}
        QPushButton:focus, QToolButton:focus, QComboBox:focus, QCheckBox:focus,
        QAbstractSpinBox:focus, QLineEdit:focus {{ border: 1px solid {accent}; }}
        QListView::indicator {{ width: 11px; height: 11px; border: 1px solid {hint}; border-radius: 2px; }}
        QListView::indicator:checked {{
            image: url("theme_{theme.id}:/check.svg"); background-color: {theme.current.as_hex()};
        }}
        QListView::item {{ min-height: 18px; }}
        QToolButton[apolloFold="true"] {{ border: 0px; text-align: left; padding: 2px; }}
        QLabel[apolloDrop="true"] {{
            border: 1px dashed {hint}; border-radius: 3px; padding: 8px; color: {hint};
        }}
    """


def button(
    text: str, tooltip: str, clicked: Callable[[], Any], *, main: bool = False, name: str = ""
) -> QPushButton:
    """A button with a text; ``main`` marks the one that the tool is there for, ``name`` adds an icon."""
    made = QPushButton(text)
    made.setToolTip(tooltip)
    made.setAccessibleName(text)
    made.clicked.connect(lambda *_: clicked())
    made.setProperty("apolloMain", main)
    if name:
        made.setProperty("apolloIcon", name)
    return made


def small_button(
    name: str, tooltip: str, clicked: Callable[[], Any], *, checkable: bool = False
) -> QToolButton:
    """A square button with an icon; its tooltip says what it does."""
    made = QToolButton()
    made.setToolTip(tooltip)
    made.setAccessibleName(tooltip)
    made.setCheckable(checkable)
    made.setFocusPolicy(Qt.FocusPolicy.StrongFocus)
    made.clicked.connect(lambda *_: clicked())
    made.setProperty("apolloIcon", name)
    return made


def paint_icons(root: QWidget, colour: str) -> None:
    """Give all buttons below a widget their icons in a colour."""
    for kind in (QPushButton, QToolButton):
        for each in root.findChildren(kind):
            name = each.property("apolloIcon")
            if name:
                # a main button is blue while it can be used, and has the ground of the theme while it cannot
                main = each.property("apolloMain")
                each.setIcon(icon(str(name), "#ffffff", colour) if main else icon(str(name), colour))


def row(*parts: QWidget | None, stretch: int | None = None) -> QWidget:
    """Widgets side by side; None is empty space that grows.

    Parameters
    ----------
    *parts
        From the left.
    stretch
        Which of them takes the room that is left; all share it where not given.
    """
    holder = QWidget()
    layout = QHBoxLayout(holder)
    layout.setContentsMargins(0, 0, 0, 0)
    layout.setSpacing(4)
    for position, part in enumerate(parts):
        if part is None:
            layout.addStretch(1)
        else:
            layout.addWidget(part, 1 if position == stretch else 0)
    return holder


def column(*parts: QWidget) -> QWidget:
    """Widgets below each other."""
    holder = QWidget()
    layout = QVBoxLayout(holder)
    layout.setContentsMargins(0, 0, 0, 0)
    layout.setSpacing(4)
    for part in parts:
        layout.addWidget(part)
    return holder


def main_window(part: QWidget) -> QWidget:
    """The window that a part of a tool belongs to; that of napari, also where the tool floats."""
    window = part
    while (above := window.parentWidget()) is not None:
        window = above
    return window


class Fold(QWidget):
    """A group of controls that opens and closes by click or key; closed at first.

    Parameters
    ----------
    title
        Text beside the arrow.
    content
        What is shown when it is open.
    """

    toggled = Signal(bool)

    def __init__(self, title: str, content: QWidget, *, is_open: bool = False) -> None:
        super().__init__()
        self.content = content
        self.header = QToolButton()
        self.header.setText(title)
        self.header.setProperty("apolloFold", True)
        self.header.setCheckable(True)
        self.header.setToolButtonStyle(Qt.ToolButtonStyle.ToolButtonTextBesideIcon)
        self.header.setFocusPolicy(Qt.FocusPolicy.StrongFocus)
        self.header.setToolTip(f"Show or hide: {title.lower()}")
        self.header.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Fixed)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.setSpacing(2)
        layout.addWidget(self.header)
        layout.addWidget(content)
        self.header.toggled.connect(self._show)
        self._show(is_open)
        self.header.setChecked(is_open)

    def _show(self, is_open: bool) -> None:
        self.header.setArrowType(Qt.ArrowType.DownArrow if is_open else Qt.ArrowType.RightArrow)
        self.content.setVisible(is_open)
        self.toggled.emit(is_open)


class CalmWheel(QObject):
    """Keeps the mouse wheel from changing values while somebody scrolls past them."""

    def eventFilter(self, watched: QObject | None, event: QEvent | None) -> bool:
        """Pass on wheels over a control that has no focus."""
        wheel = event is not None and event.type() == QEvent.Type.Wheel
        if event is not None and wheel and isinstance(watched, QWidget) and not watched.hasFocus():
            event.ignore()
            return True
        return False


def calm_wheel(root: QWidget) -> None:
    """Let the wheel scroll over all numbers and choices below a widget."""
    watcher = CalmWheel(root)
    for kind in (QAbstractSpinBox, QComboBox):
        for each in root.findChildren(kind):
            each.setFocusPolicy(Qt.FocusPolicy.StrongFocus)
            each.installEventFilter(watcher)
