"""The icons of the tools: one hand, drawn as strokes, in the colour of the theme."""

from __future__ import annotations

from qtpy.QtCore import QByteArray, Qt
from qtpy.QtGui import QIcon, QPainter, QPixmap
from qtpy.QtSvg import QSvgRenderer

_STROKES = {
    "folder": "M3 6h6l2 2h10v11H3z",
    "file": "M6 3h8l4 4v14H6z M14 3v4h4",
    "open": "M3 19V6h6l2 2h8v3 M3 19l3-8h15l-3 8z",
    "save": "M4 4h13l3 3v13H4z M8 4v6h8V4 M8 20v-6h8v6",
    "plus": "M12 5v14 M5 12h14",
    "minus": "M5 12h14",
    "start": "M7 4l13 8-13 8z",
    "stop": "M6 6h12v12H6z",
    "resume": "M5 4v16 M9 4l11 8-11 8z",
    "refresh": "M20 12a8 8 0 1 1-2.3-5.6 M20 3v5h-5",
    "undo": "M4 9h10a5 5 0 0 1 0 10H9 M8 5L4 9l4 4",
    "redo": "M20 9H10a5 5 0 0 0 0 10h5 M16 5l4 4-4 4",
    "merge": "M9 12a5 5 0 1 1 0-.1 M20 12a5 5 0 1 1 0-.1 M10 12h4",
    "split": "M12 4v16 M10 7a5 5 0 1 0 0 10 M14 7a5 5 0 1 1 0 10",
    "delete": "M5 7h14 M9 7V4h6v3 M7 7l1 13h8l1-13 M10 11v6 M14 11v6",
    "eye": "M2 12s4-7 10-7 10 7 10 7-4 7-10 7S2 12 2 12z M12 9a3 3 0 1 0 .1 0",
    "flip": "M4 8h14l-4-4 M20 16H6l4 4",
    "grid": "M4 4h7v7H4z M13 4h7v7h-7z M4 13h7v7H4z M13 13h7v7h-7z",
    "pick": "M5 3l13 9-6 1-3 6z",
    "lasso": "M12 4c6 0 9 3 9 6s-3 6-9 6-9-2-9-6 3-6 9-6z M7 15c-2 2-1 5 2 6",
    "measure": "M3 16L16 3l5 5L8 21z M8 11l2 2 M11 8l3 3 M14 5l2 2",
    "up": "M6 15l6-6 6 6",
    "down": "M6 9l6 6 6-6",
    "invert": "M4 4h10v10H4z M10 10h10v10H10z",
    "suggest": "M12 3l2 6 6 2-6 2-2 6-2-6-6-2 6-2z",
    "pen": "M4 20l1-4L16 5l3 3L8 19z M14 7l3 3",
    "colour": "M12 3c5 6 7 8 7 12a7 7 0 0 1-14 0c0-4 2-6 7-12z",
    "exclude": "M12 3a9 9 0 1 0 .1 0 M6 6l12 12",
    "people": "M9 11a3 3 0 1 1 .1 0 M3 20c0-4 2-6 6-6s6 2 6 6 M16 5a3 3 0 0 1 0 6 M17 14c3 0 4 2 4 6",
    "check": "M4 12l6 6L20 6",
    "warning": "M12 3l10 18H2z M12 9v6 M12 18v.5",
}
_SIDE = 48


def icon_names() -> tuple[str, ...]:
    """Names of the icons there are."""
    return tuple(_STROKES)


def icon(name: str, colour: str, disabled: str = "") -> QIcon:
    """An icon.

    Parameters
    ----------
    name
        One of ``icon_names()``.
    colour
        ``#rrggbb``, best that of the theme's icons.
    disabled
        Colour on controls that cannot be used; a paler one of ``colour`` where not given.
    """
    made = QIcon(_drawn(name, colour))
    if disabled:
        made.addPixmap(_drawn(name, disabled), QIcon.Mode.Disabled)
    return made


def _drawn(name: str, colour: str) -> QPixmap:
    svg = (
        '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 24 24" fill="none" '
        f'stroke="{colour}" stroke-width="2" stroke-linejoin="round" stroke-linecap="round">'
        f'<path d="{_STROKES[name]}"/></svg>'
    )
    picture = QPixmap(_SIDE, _SIDE)
    picture.fill(Qt.GlobalColor.transparent)
    painter = QPainter(picture)
    QSvgRenderer(QByteArray(svg.encode())).render(painter)
    painter.end()
    return picture
