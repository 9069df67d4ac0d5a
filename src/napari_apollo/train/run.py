"""A training that goes on in another process, watched through its folder."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd

from napari_apollo import errors
from napari_apollo.cells import CellStore
from napari_apollo.errors import ApolloError, Cancelled, RunError, TrainingFailed
from napari_apollo.progress import Progress, ShouldStop, Step, never, silent
from napari_apollo.storage import place_named
from napari_apollo.train.folder import (
    SILENCE,
    AnyConfig,
    RunFolder,
    RunStatus,
    now,
    prepare_folder,
    process_lives,
)
from napari_apollo.train.tableconfig import TableTrainConfig

if TYPE_CHECKING:
    from napari_apollo.model.apollo import Apollo

_POLL = 0.2  # seconds between two looks at the folder

# Children of this process, so that they are waited for and do not stay as zombies.
_children: dict[Path, subprocess.Popen[bytes]] = {}


class Run:
    """A training, under way or over, known by its folder alone.

    Any process can open it: the one that started it, a napari opened later, a notebook.

    Parameters
    ----------
    folder
        The run folder.

    Raises
    ------
    RunError
        When it is no run folder.

    Examples
    --------
    >>> run = start_run("lymph.cells.zarr", TrainConfig(output="lymph.run"))  # doctest: +SKIP
    >>> run.wait(print)  # doctest: +SKIP
    >>> run.model().card.scores  # doctest: +SKIP
    """

    def __init__(self, folder: Path | str) -> None:
        self._folder = RunFolder(folder)
        self.source, self.config = self._folder.read_config()

    @property
    def folder(self) -> Path:
        """Where the run is kept."""
        return self._folder.path

    @property
    def store(self) -> Path:
        """The cell store that it learns from.

        Raises
        ------
        RunError
            When it learns from tables.
        """
        if isinstance(self.source, tuple):
            raise RunError(
                self.folder, "is a run on tables; it has no cell store.", "Score it: napari-apollo evaluate."
            )
        return self.source

    def store_there(self, remedy: str) -> Path:
        """The cell store, if it still lies where it was.

        Parameters
        ----------
        remedy
            What to do where it does not.

        Raises
        ------
        RunError
            When it is gone, or the run came here from elsewhere.
        """
        if not self.store.exists():
            raise RunError(self.folder, f"learnt from {self.store}, which is not there.", remedy)
        return self.store

    @property
    def tables(self) -> tuple[Path, ...]:
        """The files of tables that it learns from; none where it learns from a cell store."""
        return self.source if isinstance(self.source, tuple) else ()

    def status(self) -> RunStatus:
        """Where it stands; a process that died without a word is ``failed``, with its last words."""
        status = self._folder.read_status()
        if status.over or self._lives(status):
            return status
        status = self._folder.read_status()  # it may have ended between the two looks
        if status.over:
            return status
        words = self._folder.last_words()
        return status.model_copy(
            update={
                "state": "failed",
                "error": TrainingFailed.__name__,
                "message": f"The training process ({status.pid}) died without ending the run."
                + (f" Its last words:\n{words}" if words else " It left no words."),
            }
        )

    @property
    def alive(self) -> bool:
        """Whether its process is at work."""
        status = self._folder.read_status()
        return not status.over and self._lives(status)

    def metrics(self) -> pd.DataFrame:
        """One row an epoch: ``stage, epoch, seconds, cells, training.*, validation.*, improved``."""
        return self._folder.read_metrics()

    def model(self, device: str = "cpu") -> Apollo:
        """The trained model.

        Raises
        ------
        RunError
            When the run has not come to its end.
        """
        from napari_apollo.model.apollo import Apollo

        if not self._folder.model.exists():
            state = self.status().state
            raise RunError(self.folder, f"holds no model yet: the run is {state}.", "Wait for its end.")
        return Apollo.load(self._folder.model, device)

    def wait(self, progress: Progress = silent, should_stop: ShouldStop = never) -> Run:
        """Watch until it is over.

        Returns
        -------
        Run
            Itself, done.

        Raises
        ------
        ApolloError
            The error that ended the run, of its own type.
        Cancelled
            When ``should_stop`` said so, or the run was stopped by somebody else.
        """
        told: Step | None = None
        while True:
            status = self.status()
            step = Step(status.title or "Training", status.epoch, status.epochs, status.detail)
            if step != told:
                progress(step)
                told = step
            if status.over:
                break
            if should_stop():
                self.stop()
            time.sleep(_POLL)
        if status.state == "failed":
            raise _typed(status)
        if status.state == "stopped":
            raise Cancelled(status.message or "The training was stopped.")
        return self

    def resume(self) -> Run:
        """Go on with a run that was stopped, failed or was killed, in a process of its own.

        It goes on from its last checkpoint; on a processor it ends with the model, to the byte, that
        it would have given had nothing happened.

        Raises
        ------
        RunError
            When it is still going on, or done.
        FileError
            When nothing may be written there.
        """
        if self.alive:
            raise RunError(
                self.folder, "holds a run that is still going on.", "Wait for its end, or stop it."
            )
        if self._folder.read_status().state == "done":
            raise RunError(self.folder, "holds a run that is done.", "Train anew for another model.")
        with place_named(self.folder, "Allow writing there, or copy the run to where you may write."):
            self._folder.stop_file.unlink(missing_ok=True)
            _launch(self._folder)
        return self

    def stop(self, grace: float = 20.0) -> None:
        """Ask it to end, and end it if it does not within ``grace`` seconds.

        A run that is over stays as it is. One whose process is still loading, and hears nothing, has nothing
        to lose: it gets a second.
        """
        status = self._folder.read_status()
        if status.over or not self._lives(status):
            return
        self._folder.stop_file.touch()
        limit = time.monotonic() + (min(grace, 1.0) if status.state == "starting" else grace)
        while self.alive and time.monotonic() < limit:
            time.sleep(_POLL / 4)
        if self.alive:
            self._end()
            stopped = self._folder.read_status().model_copy(
                update={"state": "stopped", "message": "The training was ended from outside."}
            )
            self._folder.write_status(stopped)

    def _lives(self, status: RunStatus) -> bool:
        child = _children.get(self.folder.absolute())
        if child is not None and child.pid == status.pid:
            return child.poll() is None  # our own child: a busy machine may delay its heartbeat for long
        return process_lives(status.pid) and now() - status.heartbeat < SILENCE

    def _end(self) -> None:
        child = _children.get(self.folder.absolute())
        if child is not None:
            child.kill()
            child.wait()
            return
        os.kill(self._folder.read_status().pid, getattr(signal, "SIGKILL", signal.SIGTERM))


def start_run(source: Any, config: AnyConfig) -> Run:
    """Begin a training in a process of its own, which goes on when this one ends.

    Parameters
    ----------
    source
        A cell store, or its path. With a ``TableTrainConfig``, tables: files of AnnData or MuData, a MuData,
        or a mapping of names to AnnData; those in memory are written into the run folder, where their latents
        are found afterwards.
    config
        Settings; ``config.output`` is the run folder.

    Raises
    ------
    RunError
        When the run folder exists and ``overwrite`` is not set.
    StoreError
        When there is no cell store at the path.
    """
    if isinstance(config, TableTrainConfig):
        prepare = _table_preparer(source, config)
    else:
        path = source.path if isinstance(source, CellStore) else CellStore.open(source).path
        prepare = lambda: prepare_folder(path, config)  # noqa: E731
    child = _children.get(Path(config.output).absolute())
    if child is not None and child.poll() is None and Run(config.output).alive:
        # However long a busy machine has held up its heartbeat, by which others go.
        raise RunError(config.output, "holds a run that is still going on.", "Wait for its end, or stop it.")
    folder = prepare()
    _launch(folder)
    return Run(folder.path)


def _table_preparer(source: Any, config: TableTrainConfig) -> Callable[[], RunFolder]:
    """What makes the run folder of tables, once nothing speaks against it."""
    from napari_apollo.train.tablesources import check_files, prepare_table_folder, table_sources

    files = table_sources(source)
    if files is not None:
        check_files(files, config)
    return lambda: prepare_table_folder(source, config)


def _launch(folder: RunFolder) -> None:
    """Begin the process that trains into a folder."""
    with folder.log_file.open("ab") as log:
        child = subprocess.Popen(
            [sys.executable, "-m", "napari_apollo.train.worker", str(folder.path.absolute())],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,  # a Ctrl-C meant for us does not reach it
            # What Apple's GPU cannot do is done by the processor, instead of failing.
            env={**os.environ, "PYTORCH_ENABLE_MPS_FALLBACK": "1"},
        )
    _children[folder.path.absolute()] = child
    folder.write_status(RunStatus(pid=child.pid, started=now(), heartbeat=now()))


def _typed(status: RunStatus) -> ApolloError:
    """The error that the process met, as the type it had there."""
    kind: Any = getattr(errors, status.error, TrainingFailed)
    if not (isinstance(kind, type) and issubclass(kind, ApolloError)):
        kind = TrainingFailed
    error: ApolloError = kind.__new__(kind)
    Exception.__init__(error, status.message)
    for name, value in status.error_values.items():
        setattr(error, name, Path(value) if name == "path" else value)
    return error
