"""How long work tells what it is doing, and how it is told to stop.

Every long function takes ``progress`` and ``should_stop``: a command prints the steps, a widget
shows them, a test records them, and all three stop the work the same way.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from napari_apollo.errors import Cancelled


@dataclass(frozen=True)
class Step:
    """Where a job stands.

    Attributes
    ----------
    stage
        What is being done, in the user's words, for example ``"Segmenting"``.
    done, total
        Units of work finished and in all; ``total`` 0 means that it is not known.
    detail
        A short addition, for example the field at hand.
    """

    stage: str
    done: int = 0
    total: int = 0
    detail: str = ""


Progress = Callable[[Step], None]
ShouldStop = Callable[[], bool]


def silent(step: Step) -> None:
    """Take a step and tell nobody."""


def never() -> bool:
    """Go on for ever."""
    return False


def stop_if_asked(should_stop: ShouldStop) -> None:
    """Raise when the user asked to stop.

    Raises
    ------
    Cancelled
        When ``should_stop()`` is true.
    """
    if should_stop():
        raise Cancelled("Stopped on request; nothing half-written was left behind.")
