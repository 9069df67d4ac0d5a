"""What a command shows: progress on stderr, the result on stdout, and how it ends."""

from __future__ import annotations

import json
import logging
import math
import signal
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from types import FrameType
from typing import Any

import numpy as np
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeElapsedColumn

from napari_apollo.errors import ApolloError, FileError
from napari_apollo.progress import Step

_PLACES = (PermissionError, FileNotFoundError, FileExistsError, IsADirectoryError, NotADirectoryError)

QUIET_SECONDS = 5.0
"""Where stderr is no terminal, a running stage says how far it is no more often than this."""


class StepPrinter:
    """Shows steps on stderr: bars on a terminal, plain lines in a log file."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._bars: Progress | None = None
        self._task: TaskID | None = None
        self._stage = ""
        self._last_line = 0.0

    def __call__(self, step: Step) -> None:
        """Take one step."""
        if self._console.is_terminal:
            self._draw(step)
        else:
            self._write(step)

    def close(self) -> None:
        """Leave the last bar as it stands."""
        if self._bars is not None:
            self._bars.stop()

    def _draw(self, step: Step) -> None:
        if self._bars is None:
            self._bars = Progress(
                TextColumn("{task.description:<28}"),
                BarColumn(bar_width=28),
                MofNCompleteColumn(),
                TimeElapsedColumn(),
                TextColumn("{task.fields[detail]}", style="dim"),
                console=self._console,
            )
            self._bars.start()
        if step.stage != self._stage or self._task is None:
            if self._task is not None:
                self._bars.stop_task(self._task)
            self._stage = step.stage
            self._task = self._bars.add_task(step.stage, total=step.total or None, detail=step.detail)
        self._bars.update(self._task, completed=step.done, total=step.total or None, detail=step.detail)

    def _write(self, step: Step) -> None:
        now = time.monotonic()
        finished = step.total > 0 and step.done >= step.total
        if step.stage == self._stage and not finished and now - self._last_line < QUIET_SECONDS:
            return
        self._stage = step.stage
        self._last_line = now
        count = f" {step.done}/{step.total}" if step.total else ""
        detail = f" ({step.detail})" if step.detail else ""
        self._console.print(f"{step.stage}{count}{detail}", highlight=False, markup=False, soft_wrap=True)


class Session:
    """One command at work.

    Attributes
    ----------
    progress
        Where the operation reports its steps.
    """

    def __init__(self, *, as_json: bool) -> None:
        self.as_json = as_json
        self.progress = StepPrinter(Console(stderr=True))
        self._asked = False

    def should_stop(self) -> bool:
        """Whether Ctrl-C was pressed (a second Ctrl-C ends the program at once)."""
        return self._asked

    def finish(self, result: Mapping[str, Any], summary: str) -> None:
        """Print the result: one JSON object, or the summary for people."""
        self.progress.close()
        _print(in_json(result) if self.as_json else summary)

    def interrupt(self, _number: int, _frame: FrameType | None) -> None:
        """Note the first Ctrl-C; end at the second."""
        if self._asked:
            raise KeyboardInterrupt
        self._asked = True
        sys.stderr.write("Stopping; press Ctrl-C again to end at once.\n")


def in_json(result: Mapping[str, Any]) -> str:
    """One JSON object; a number that is none (a correlation of a constant) is null, as JSON knows no NaN."""

    def plain(value: Any) -> Any:
        if isinstance(value, Mapping):
            return {str(key): plain(item) for key, item in value.items()}
        if isinstance(value, (list, tuple)):
            return [plain(item) for item in value]
        if isinstance(value, np.generic):
            value = value.item()
        return None if isinstance(value, float) and not math.isfinite(value) else value

    # What the terminal or file cannot write (as on Windows, where it is not UTF-8) is escaped.
    ascii_alone = _encoding().replace("-", "") != "utf8"
    return json.dumps(plain(result), ensure_ascii=ascii_alone, default=str, allow_nan=False)


def _encoding() -> str:
    return (getattr(sys.stdout, "encoding", None) or "utf-8").lower()


def _print(text: str) -> None:
    """A line on stdout, whatever it can write: letters that it cannot are written by their number."""
    encoding = _encoding()
    sys.stdout.write(text.encode(encoding, "backslashreplace").decode(encoding) + "\n")
    sys.stdout.flush()


@contextmanager
def session(*, as_json: bool) -> Iterator[Session]:
    """Run a command: Ctrl-C asks it to stop, errors become words and an exit status.

    Raises
    ------
    SystemExit
        With the status of the error (2 wrong input, 1 fault, 130 cancelled).
    """
    current = Session(as_json=as_json)
    logging.basicConfig(
        level=logging.WARNING, format="%(levelname)s %(name)s: %(message)s", stream=sys.stderr
    )
    before = signal.signal(signal.SIGINT, current.interrupt)
    try:
        with errors_in_words(as_json=as_json):
            yield current
    finally:
        current.progress.close()
        signal.signal(signal.SIGINT, before)


@contextmanager
def errors_in_words(*, as_json: bool) -> Iterator[None]:
    """Turn our errors into words on stderr (as JSON also on stdout) and an exit status.

    Raises
    ------
    SystemExit
        With the status of the error.
    """
    try:
        yield
    except ApolloError as error:
        _tell(type(error).__name__, str(error), as_json)
        raise SystemExit(error.exit_code) from error
    except OSError as error:
        # A place that may not be read or written is the user's to change; a traceback explains nothing.
        if error.filename is None or not isinstance(error, _PLACES):
            raise
        _tell("FileError", f"{error.filename}: {error.strerror}. Name another place.", as_json)
        raise SystemExit(FileError.exit_code) from error
    except KeyboardInterrupt:
        raise SystemExit(130) from None


def _tell(kind: str, message: str, as_json: bool) -> None:
    if as_json:
        _print(in_json({"error": {"kind": kind, "message": message}}))
    sys.stderr.write(f"{kind}: {message}\n")
