"""Heavy work in a process of its own, so that the window never waits for Python.

``ChildProcess`` starts ``python -m napari_apollo.viewer.child`` and talks to it in lines of JSON: a
function of napari-apollo by name, its arguments, then steps, and what came out. The process ends when
its input closes, so it never outlives the window. Results and arguments are plain values: paths,
numbers, texts; arrays travel as ``.npy`` files.
"""

from __future__ import annotations

import contextlib
import json
import os
import queue
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict
from importlib import import_module
from pathlib import Path
from typing import IO, Any

from napari_apollo import errors
from napari_apollo.errors import ApolloError, Cancelled
from napari_apollo.progress import Progress, ShouldStop, Step

_PACKAGE = "napari_apollo."
_PATIENCE = 3.0  # seconds that a process has to stop by itself
_POLL = 0.05
_TAIL = 4000  # characters of its last words that are kept


class WorkFailed(ApolloError):
    """A working process ended without a result; ``report`` has its last words."""

    def __init__(self, message: str, report: str = "") -> None:
        self.report = report
        super().__init__(message)


def in_child(function: str, **arguments: Any) -> Callable[[Progress, ShouldStop], Any]:
    """A job that runs in a process of its own.

    Parameters
    ----------
    function
        ``module:name`` inside napari_apollo. It is called with ``arguments`` and ``progress``,
        ``should_stop``, and returns plain values.
    **arguments
        Plain values; paths become text.

    Returns
    -------
    callable
        ``call(progress, should_stop)``, as ``Jobs.run`` takes it.

    Examples
    --------
    >>> in_child("napari_apollo.viewer.work:measure_store", store="a.cells.zarr", settings={})
    ... # doctest: +SKIP
    """

    def call(progress: Progress, should_stop: ShouldStop) -> Any:
        child = ChildProcess()
        try:
            return child.call(function, arguments, progress, should_stop)
        finally:
            child.close()

    return call


class ChildProcess:
    """A process that works for this one; started by the first call, kept until ``close``."""

    def __init__(self) -> None:
        self._process: subprocess.Popen[str] | None = None
        self._words: IO[bytes] | None = None
        self._lines: queue.Queue[str | None] = queue.Queue()
        self._lock = threading.Lock()
        self._closed = False

    @property
    def alive(self) -> bool:
        """Whether the process is there."""
        return self._process is not None and self._process.poll() is None

    def start(self) -> None:
        """Start the process, so that the first call need not wait for it."""
        with self._lock:
            self._ensure()

    def call(
        self, function: str, arguments: dict[str, Any], progress: Progress, should_stop: ShouldStop
    ) -> Any:
        """Call a function there and wait for what it returns; one call at a time.

        Raises
        ------
        ApolloError
            The error that the function met, of its own type; ``WorkFailed`` where the process died.
        Cancelled
            When ``should_stop`` said so, or the process was closed.
        """
        with self._lock:
            self._ensure()
            self._tell({"function": function, "arguments": arguments})
            asked = 0.0
            while True:
                if self._closed:  # perhaps while the process was only just starting
                    self._end()
                    raise Cancelled("The working process was closed.")
                if not asked and should_stop():
                    asked = time.monotonic()
                    self._tell({"stop": True})
                if asked and time.monotonic() - asked > _PATIENCE:
                    self._end()
                    raise Cancelled("Stopped on request.")
                try:
                    line = self._lines.get(timeout=_POLL)
                except queue.Empty:
                    continue
                if line is None:
                    words = self._last_words()
                    self._end()
                    raise WorkFailed("The working process ended before its work was done.", words)
                told = json.loads(line)
                if "step" in told:
                    progress(Step(**told["step"]))
                elif "error" in told:
                    raise _restored(told["error"])
                else:
                    return told["result"]

    def close(self) -> None:
        """End the process for good; one that is only just starting, too."""
        self._closed = True
        process = self._process
        if process is not None:
            with contextlib.suppress(OSError):
                if process.stdin is not None:
                    process.stdin.close()
            try:
                process.wait(0.2)
            except subprocess.TimeoutExpired:
                process.kill()
        if self._lock.acquire(timeout=_PATIENCE):  # a call under way hears that it is gone, and tidies up
            try:
                self._end()
            finally:
                self._lock.release()

    def _ensure(self) -> None:
        if self._closed:
            raise Cancelled("The working process was closed.")
        if self.alive:
            return
        self._words = tempfile.TemporaryFile()  # noqa: SIM115 - closed by ``_end``
        self._lines = queue.Queue()
        self._process = subprocess.Popen(
            [sys.executable, "-m", "napari_apollo.viewer.child"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._words,
            text=True,
            encoding="utf-8",
            creationflags=getattr(subprocess, "CREATE_NO_WINDOW", 0),
        )
        threading.Thread(
            target=_gather, args=(self._process.stdout, self._lines), name="apollo-child", daemon=True
        ).start()

    def _tell(self, message: dict[str, Any]) -> None:
        if self._process is None or self._process.stdin is None:
            return
        with contextlib.suppress(OSError, ValueError):  # it is gone, or closed; its silence says so
            self._process.stdin.write(json.dumps(message, default=str) + "\n")
            self._process.stdin.flush()

    def _last_words(self) -> str:
        if self._words is None:
            return ""
        if self._process is not None:
            self._process.wait()
        size = self._words.seek(0, os.SEEK_END)
        self._words.seek(max(0, size - _TAIL))
        return self._words.read().decode("utf-8", "replace")

    def _end(self) -> None:
        process, self._process = self._process, None
        if process is not None:
            process.kill()
            process.wait()
            for pipe in (process.stdin, process.stdout):
                if pipe is not None:
                    with contextlib.suppress(OSError):
                        pipe.close()
        if self._words is not None:
            self._words.close()
            self._words = None


def _gather(stream: IO[str], lines: queue.Queue[str | None]) -> None:
    with contextlib.suppress(ValueError):  # closed by ``_end``
        for line in stream:
            lines.put(line)
    lines.put(None)


def _restored(told: dict[str, Any]) -> ApolloError:
    """The error that the child met, as the type it had there."""
    kind = getattr(errors, told["kind"], WorkFailed)
    error: ApolloError = kind.__new__(kind)
    Exception.__init__(error, told["message"])
    for name, value in told["values"].items():
        setattr(error, name, Path(value) if name == "path" else value)
    return error


# --- in the child --------------------------------------------------------------------------------


class _Asked:
    """What the parent asks for, read beside the work."""

    def __init__(self, stream: IO[str]) -> None:
        self.stop = threading.Event()
        self.gone = threading.Event()
        self._requests: queue.Queue[dict[str, Any] | None] = queue.Queue()
        threading.Thread(target=self._read, args=(stream,), daemon=True).start()

    def __iter__(self) -> Iterator[dict[str, Any]]:
        while (request := self._requests.get()) is not None:
            yield request

    def _read(self, stream: IO[str]) -> None:
        for line in stream:
            message = json.loads(line)
            if "stop" in message:
                self.stop.set()
            else:
                self.stop.clear()
                self._requests.put(message)
        self.stop.set()
        self.gone.set()
        self._requests.put(None)
        time.sleep(_PATIENCE)
        os._exit(0)  # the parent is gone, and the work did not stop when asked


def _serve(asked: _Asked, out: IO[str]) -> None:
    def tell(message: dict[str, Any]) -> None:
        if not asked.gone.is_set():
            out.write(json.dumps(message, default=str) + "\n")
            out.flush()

    def progress(step: Step) -> None:
        tell({"step": asdict(step)})

    for request in asked:
        module, _, name = request["function"].partition(":")
        if not module.startswith(_PACKAGE):
            raise ValueError(f"{request['function']} is not a function of napari-apollo")
        function = getattr(import_module(module), name)
        try:
            result = function(**request["arguments"], progress=progress, should_stop=asked.stop.is_set)
        except ApolloError as error:
            values = {key: value for key, value in vars(error).items() if not key.startswith("_")}
            tell({"error": {"kind": type(error).__name__, "message": str(error), "values": values}})
        else:
            tell({"result": result})


def main() -> int:
    """Work until the parent closes our input."""
    # What libraries print must not come between the lines of JSON.
    out = os.fdopen(os.dup(sys.stdout.fileno()), "w", encoding="utf-8")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
    if hasattr(os, "nice"):
        os.nice(5)  # the window comes first
    _serve(_Asked(sys.stdin), out)
    return 0


if __name__ == "__main__":
    sys.exit(main())
