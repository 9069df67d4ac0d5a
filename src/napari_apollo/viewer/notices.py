"""What people are told: errors in words, with a report that can be copied."""

from __future__ import annotations

import platform
import traceback
from importlib import metadata
from typing import Any

from napari_apollo.errors import ApolloError

_PACKAGES = ("napari-apollo", "napari", "torch", "numpy", "zarr", "qtpy", "PyQt6", "PySide6")


def error_in_words(error: BaseException, doing: str = "") -> str:
    """One message for people.

    Parameters
    ----------
    error
        What went wrong. Errors of napari-apollo say it themselves.
    doing
        What was being done, for example ``"Segmenting"``.
    """
    if isinstance(error, ApolloError):
        return str(error)
    what = f"{type(error).__name__}: {error}".rstrip(": ")
    return (
        f"{doing or 'The last step'} failed for a reason that was not foreseen ({what}). Layers and files "
        "stay as they were; Details has a report to pass on."
    )


def error_report(error: BaseException, doing: str = "") -> str:
    """Text to copy: what was done, what went wrong and where, and the versions in use."""
    lines = [f"Doing: {doing}" if doing else "", "".join(traceback.format_exception(error)).rstrip()]
    elsewhere = getattr(error, "report", "")
    if elsewhere:
        lines += ["In the working process:", str(elsewhere).rstrip()]
    lines += ["", f"Python {platform.python_version()} on {platform.system()} {platform.machine()}"]
    for name in _PACKAGES:
        try:
            lines.append(f"{name} {metadata.version(name)}")
        except metadata.PackageNotFoundError:
            continue
    return "\n".join(lines).strip() + "\n"


def tell_error(error: BaseException, doing: str = "") -> None:
    """Show an error as napari's own notification, with a button for details."""
    from napari.utils.notifications import Notification, notification_manager

    report = error_report(error, doing)

    def details(dialog: Any) -> None:
        from napari_apollo.viewer.jobbar import ReportDialog

        ReportDialog(error_in_words(error, doing), report, parent=dialog.parent()).show()

    class Told(Notification):
        source = "Apollo"  # under the message; napari would put the address of an object there

    notification_manager.dispatch(
        Told(error_in_words(error, doing), "error", actions=(("Details", details),))
    )


def tell(message: str) -> None:
    """Show a message as napari's own notification."""
    from napari.utils.notifications import show_info

    show_info(message)
