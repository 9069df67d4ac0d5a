"""The tools, docked by name."""

from __future__ import annotations

from typing import Any

from napari_apollo.errors import InputError

TOOLS = ("Study", "Segment and crop", "Train", "Overlay", "Explore", "Annotate", "Measure")
"""Names of the tools, as in napari's menus."""


def dock(viewer: Any, *names: str) -> dict[str, Any]:
    """Open tools in a viewer's window.

    Parameters
    ----------
    viewer
        A napari viewer with a window.
    *names
        Any of ``TOOLS``, in any case; all of them, as tabs, where none is given.

    Returns
    -------
    dict
        The widgets by name. A tool that is open already is returned as it is.

    Raises
    ------
    InputError
        When there is no tool of a name.

    Examples
    --------
    >>> dock(viewer, "Study", "Train")["Train"].start()  # doctest: +SKIP
    """
    by_name = {name.casefold(): name for name in TOOLS}
    unknown = [name for name in names if name.casefold() not in by_name]
    if unknown:
        raise InputError(f"There is no tool {', '.join(map(repr, unknown))}; there are {', '.join(TOOLS)}.")
    docked: dict[str, Any] = {}
    for name in names or TOOLS:
        title = by_name[name.casefold()]
        _, docked[title] = viewer.window.add_plugin_dock_widget("napari-apollo", title, tabify=bool(docked))
    return docked
