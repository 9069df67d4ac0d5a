"""The process that trains: ``python -m napari_apollo.train.worker RUN_FOLDER``.

It writes the run folder and says nothing else; what it has to say goes to ``worker.log``. Where ``torchrun``
starts several, they train together.
"""

from __future__ import annotations

import os
import sys
import threading
import time
import traceback
from contextlib import suppress
from pathlib import Path
from typing import Any

from napari_apollo.cells import CellStore
from napari_apollo.errors import ApolloError, Cancelled, ConfigError, StorageFull
from napari_apollo.progress import Progress, ShouldStop, Step, never, silent
from napari_apollo.train.folder import AnyConfig, RunFolder, RunStatus, Source, now
from napari_apollo.train.tableconfig import TableTrainConfig
from napari_apollo.train.team import Team, joined

ObsmOf = dict[str, dict[str, Any]]
"""By table, arrays for its ``obsm``."""

_BEAT = 1.0  # seconds between signs of life
_LOOK = 0.2  # seconds between looks for the stop file


class Reporter:
    """Keeps ``status.json`` true: at every step, though not more often than it is looked at, and as
    a sign of life once a second.
    """

    def __init__(self, folder: RunFolder) -> None:
        self._folder = folder
        self._lock = threading.Lock()
        self._status = RunStatus(state="running", pid=os.getpid(), started=now(), heartbeat=now())
        self._written = 0.0
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._beat, name="heartbeat", daemon=True)
        folder.write_status(self._status)
        self._thread.start()

    def step(self, step: Step) -> None:
        """Take over a step."""
        values: dict[str, Any] = {
            "title": step.stage,
            "epoch": step.done,
            "epochs": step.total,
            "detail": step.detail,
        }
        if step.stage == "Device":
            values["device"] = step.detail
        self._update(**values)

    def end(self, **values: Any) -> None:
        """Write how it ended; nothing is written afterwards."""
        self._ended.set()
        self._thread.join()
        self._update(now_=True, **values)

    def _update(self, *, now_: bool = False, **values: Any) -> None:
        with self._lock:
            self._status = self._status.model_copy(update={**values, "heartbeat": now()})
            if now_ or time.monotonic() - self._written >= _LOOK:
                # A full disk ends a training where results are written, not where it shows life; and it
                # must not hide the error that is being told.
                with suppress(StorageFull):
                    self._folder.write_status(self._status)
                self._written = time.monotonic()

    def _beat(self) -> None:
        while not self._ended.wait(_BEAT):
            self._update(now_=True)


def execute(
    folder: RunFolder,
    source: CellStore | Source,
    config: AnyConfig,
    progress: Progress,
    should_stop: ShouldStop,
    team: Team | None = None,
) -> ObsmOf | None:
    """Train into a run folder, with its status and its stop file, and let the error pass on.

    Of the processes of a ``team`` the first one writes the status. Tables get their latents back.
    """
    if team is not None and not team.leads:
        return _train(folder, source, config, silent, never, team)
    reporter = Reporter(folder)
    looked = 0.0
    asked = False

    def stop() -> bool:
        nonlocal looked, asked
        if time.monotonic() - looked >= _LOOK:
            looked = time.monotonic()
            asked = folder.stop_file.exists()
        return asked or should_stop()

    def tell(step: Step) -> None:
        reporter.step(step)
        progress(step)

    try:
        latents = _train(folder, source, config, tell, stop, team)
    except Cancelled as error:
        reporter.end(state="stopped", message=str(error))
        raise
    except ApolloError as error:
        values = {name: _plain(value) for name, value in vars(error).items()}
        reporter.end(state="failed", error=type(error).__name__, error_values=values, message=str(error))
        raise
    except BaseException as error:
        reporter.end(
            state="failed", error="TrainingFailed", message="".join(traceback.format_exception(error)[-3:])
        )
        raise
    reporter.end(state="done", title="Done", detail="The model is written.")
    return latents


def _train(
    folder: RunFolder,
    source: CellStore | Source,
    config: AnyConfig,
    progress: Progress,
    should_stop: ShouldStop,
    team: Team | None,
) -> ObsmOf | None:
    if isinstance(config, TableTrainConfig):
        from napari_apollo.train.tableoperation import train_tables_into

        if team is not None and not team.alone:
            raise ConfigError("Tables are trained on by one process; begin it without torchrun.")
        assert isinstance(source, tuple)
        return train_tables_into(folder, source, config, progress=progress, should_stop=should_stop)
    from napari_apollo.train.operation import train_into

    assert not isinstance(source, tuple)
    cells = source if isinstance(source, CellStore) else CellStore.open(source)
    train_into(folder, cells, config, progress=progress, should_stop=should_stop, team=team)
    return None


def _plain(value: Any) -> Any:
    if isinstance(value, (tuple, list)):
        return [_plain(item) for item in value]
    return value if isinstance(value, (str, int, float, bool, type(None))) else str(value)


def main(arguments: list[str]) -> int:
    """Train what a run folder describes; the exit status is that of the error."""
    folder = RunFolder(Path(arguments[0]))
    source, config = folder.read_config()
    try:
        with joined() as team:
            execute(folder, source, config, silent, never, team)
    except ApolloError as error:
        sys.stderr.write(f"{type(error).__name__}: {error}\n")
        return error.exit_code
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
