"""What every docked tool is: a scrolling body, a line of status, progress with a cancel button."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, ClassVar

from napari.utils.theme import get_theme
from qtpy.compat import isalive
from qtpy.QtCore import QEvent, QSize, Qt, QTimer
from qtpy.QtWidgets import QDockWidget, QFrame, QMainWindow, QScrollArea, QVBoxLayout, QWidget

from napari_apollo.errors import ApolloError
from napari_apollo.viewer.jobbar import JobBar
from napari_apollo.viewer.jobs import Call, Job
from napari_apollo.viewer.notices import error_in_words, tell, tell_error
from napari_apollo.viewer.parts import (
    Tone,
    calm_wheel,
    listen,
    main_window,
    note,
    paint_icons,
    say,
    style_sheet,
)
from napari_apollo.viewer.preferences import preferences
from napari_apollo.viewer.state import Session, session_of

_WIDTH = 340


class Tool(QWidget):
    """Base of the tools.

    A subclass adds its parts in ``build``, listens to the session with ``follow`` and starts work with
    ``run``. It holds nothing that a script could not call.

    Parameters
    ----------
    napari_viewer
        The viewer, as napari gives it to widgets.
    """

    job_keys: ClassVar[tuple[str, ...]] = ()
    """Keys of the jobs whose progress is shown here."""

    def __init__(self, napari_viewer: Any) -> None:
        super().__init__()
        self.viewer = napari_viewer
        self.session: Session = session_of(napari_viewer)
        self._placed = False
        self._body = QWidget()
        self._parts = QVBoxLayout(self._body)
        self._parts.setContentsMargins(6, 6, 6, 6)
        self._parts.setSpacing(6)
        scroll = QScrollArea()
        scroll.setWidget(self._body)
        scroll.setWidgetResizable(True)
        scroll.setFrameShape(QFrame.Shape.NoFrame)
        scroll.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
        self.status = note()
        self.job_bar = JobBar(self.session.jobs, self.job_keys)
        self._scroll = scroll
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.setSpacing(2)
        layout.addWidget(scroll, 1)
        foot = QVBoxLayout()
        foot.setContentsMargins(6, 0, 6, 4)
        foot.addWidget(self.status)
        foot.addWidget(self.job_bar)
        layout.addLayout(foot)
        self.build()
        self._parts.addStretch(1)
        calm_wheel(self)
        self._dress()
        self.follow(napari_viewer.events.theme, self._dress)

    def build(self) -> None:
        """Add the parts; subclasses do."""

    def add(self, *parts: QWidget) -> None:
        """Add parts below those that are there."""
        for part in parts:
            self._parts.addWidget(part)

    def reveal(self, part: QWidget) -> None:
        """Scroll until a part is in sight."""
        self._scroll.ensureWidgetVisible(part, 0, 40)

    def follow(self, signal: Any, slot: Callable[..., Any]) -> None:
        """Connect a signal for as long as the tool is there."""
        listen(self, signal, slot)

    def say(self, text: str, tone: Tone = "hint") -> None:
        """Write into the line of status, where the tool is still there."""
        if isalive(self):
            say(self.status, text, tone)

    def run(
        self,
        title: str,
        call: Call,
        *,
        key: str,
        then: Callable[[Any], None] | None = None,
        share: Callable[[Any], bool] | None = None,
    ) -> Job:
        """Start work beside the window; see ``Jobs.run``. An error is told and stands in the status.

        Parameters
        ----------
        title, call, key
            As of ``Jobs.run``.
        then
            Given what came out, where the tool is still there.
        share
            Given it before, also where the tool was closed meanwhile: puts it into the session, and says
            whether it did. It does not where people opened something else; they are told, then.
        """
        self.say("")

        def over(result: Any) -> None:
            if share is not None and not share(result):
                tell(f"{title} is done: {result}. As something else was opened meanwhile, it is not shown.")
            elif then is not None and isalive(self):
                then(result)

        return self.session.jobs.run(title, call, key=key, then=over, failed=self.failed)

    def attempt(self, doing: str, action: Callable[[], Any]) -> Any:
        """Do something short at once; an error of napari-apollo is told, and None comes back."""
        self.say("")
        try:
            return action()
        except ApolloError as error:
            self.failed(error)
            tell_error(error, doing)
        return None

    def failed(self, error: Exception) -> None:
        """Show an error in the status."""
        self.say(error_in_words(error), "problem")

    def event(self, event: QEvent | None) -> bool:
        """Go when the dock is closed: napari takes the tool out of it, and forgets it there."""
        if event is not None and event.type() == QEvent.Type.ParentChange and self.parentWidget() is None:
            QTimer.singleShot(0, self._leave)
        return super().event(event)

    def showEvent(self, event: object) -> None:
        """Share the place of the tools that are open: napari would give each a part of the height."""
        if not self._placed:
            self._placed = True
            QTimer.singleShot(0, self._join_others)

    def _join_others(self) -> None:
        own, window = _dock_of(self), main_window(self)
        if own is None or own.isFloating() or not isinstance(window, QMainWindow):
            return
        for tool in window.findChildren(Tool):
            other = _dock_of(tool)
            alike = other is not None and not other.isFloating() and not other.isHidden()
            if tool is not self and alike and window.dockWidgetArea(other) == window.dockWidgetArea(own):
                if own not in window.tabifiedDockWidgets(other):
                    window.tabifyDockWidget(other, own)
                    QTimer.singleShot(0, own.raise_)  # the tabs are there by then
                return

    def _leave(self) -> None:
        if self.parentWidget() is None:  # not docked elsewhere meanwhile
            self.deleteLater()

    def sizeHint(self) -> QSize:
        """Narrow enough for a small screen."""
        return QSize(_WIDTH, super().sizeHint().height())

    def _dress(self, event: object = None) -> None:
        """Take the colours of the theme."""
        theme = get_theme(self.viewer.theme)
        self.setStyleSheet(style_sheet(theme))
        paint_icons(self, theme.icon.as_hex())
        self.themed(theme.type == "dark")

    def themed(self, dark: bool) -> None:
        """Colour what no style sheet reaches; subclasses do."""


def _dock_of(tool: QWidget) -> QDockWidget | None:
    above = tool.parentWidget()
    while above is not None and not isinstance(above, QDockWidget):
        above = above.parentWidget()
    return above


def place_for(session: Session, name: str) -> Path:
    """A path for a result: in the session's place, else where the person prefers, else here."""
    return (session.place or preferences().folder or Path.cwd()) / name


def short(path: Path | str) -> str:
    """The end of a path, for a line of status."""
    parts = Path(path).parts
    return str(path) if len(parts) <= 2 else str(Path("…", *parts[-2:]))
