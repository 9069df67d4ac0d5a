"""The run folder: what a training writes and everybody else only watches.

``config.json`` (settings and store), ``status.json`` (replaced whole, a few times a second at most),
``metrics.jsonl`` (a line an epoch), ``previews/``, ``checkpoints/{last,best}``, ``model/``,
``worker.log`` (what the process had to say) and, while somebody asks it to end, ``stop``.
"""

from __future__ import annotations

import json
import os
import shutil
import time
from pathlib import Path
from typing import Any, Literal

import pandas as pd
from pydantic import BaseModel, ConfigDict, ValidationError

from napari_apollo.errors import ConfigError, RunError
from napari_apollo.storage import disk_full_named, place_named, whole_file, write_json
from napari_apollo.train.config import TrainConfig
from napari_apollo.train.tableconfig import TableTrainConfig

State = Literal["starting", "running", "done", "stopped", "failed"]
FINAL: tuple[State, ...] = ("done", "stopped", "failed")

SILENCE = 300.0
"""Seconds without a heartbeat after which a process of this number is taken to be another one. It shows
life every second, but a machine that is overloaded, or was asleep, may hold it up for minutes."""

Source = Path | tuple[Path, ...]
"""A cell store, or files of tables."""

AnyConfig = TrainConfig | TableTrainConfig


class RunStatus(BaseModel):
    """Where a run stands.

    Attributes
    ----------
    state
        ``starting``, ``running``, or how it ended: ``done``, ``stopped`` (asked to), ``failed``.
    pid
        Process that trains.
    stage, title
        Name and words of the stage at hand.
    epoch, epochs
        Epochs of it that are done, and the most there can be.
    detail
        Last losses, in words.
    device
        Where it computes, in words.
    started, heartbeat
        Seconds since 1970: when it began, and when it last showed life.
    error, error_values
        Type of the error that ended it, and its attributes.
    message
        What went wrong, in words.
    """

    model_config = ConfigDict(frozen=True)

    state: State = "starting"
    pid: int = 0
    stage: str = ""
    title: str = ""
    epoch: int = 0
    epochs: int = 0
    detail: str = ""
    device: str = ""
    started: float = 0.0
    heartbeat: float = 0.0
    error: str = ""
    error_values: dict[str, Any] = {}
    message: str = ""

    @property
    def over(self) -> bool:
        """Whether it came to an end, a good one or not."""
        return self.state in FINAL


class RunFolder:
    """Paths of a run folder, and its small files read and written."""

    def __init__(self, path: Path | str) -> None:
        self.path = Path(path)
        self.config_file = self.path / "config.json"
        self.status_file = self.path / "status.json"
        self.metrics_file = self.path / "metrics.jsonl"
        self.log_file = self.path / "worker.log"
        self.stop_file = self.path / "stop"
        self.previews = self.path / "previews"
        self.checkpoints = self.path / "checkpoints"
        self.model = self.path / "model"

    @property
    def before(self) -> Path:
        """Where the finished run is kept that this one is to replace."""
        return self.path.with_name(f"{self.path.name}.before")

    def put_aside(self) -> None:
        """Make room for another run; a model, which may have taken days, stays until that run has one.

        Raises
        ------
        RunError
            When something else bears the name that it would be kept under.
        """
        if self.path.is_symlink():
            self.path.unlink()  # what it leads to stays
        elif self.model.is_dir():
            self.forget_before()
            if self.before.exists():
                raise RunError(self.before, "is no run, and in the way of the one to be kept.", "Move it.")
            self.path.rename(self.before)
        else:
            shutil.rmtree(self.path)

    def forget_before(self) -> None:
        """Remove the run that was replaced."""
        if RunFolder(self.before).config_file.exists():
            shutil.rmtree(self.before)

    def write_config(self, source: Source, config: AnyConfig) -> None:
        """Write what is trained, and how."""
        named: dict[str, Any]
        if isinstance(source, tuple):
            named = {"tables": [str(path.absolute()) for path in source]}
        else:
            named = {"store": str(source.absolute())}
        write_json(self.config_file, {**named, "config": config.model_dump(mode="json")})

    def read_config(self) -> tuple[Source, AnyConfig]:
        """What is trained, and how: a cell store, or files of tables.

        Raises
        ------
        RunError
            When the folder is no run folder.
        """
        values = self._read(self.config_file)
        try:
            if "tables" in values:
                return tuple(map(Path, values["tables"])), TableTrainConfig(**values["config"])
            return Path(values["store"]), TrainConfig(**values["config"])
        except (KeyError, TypeError, ConfigError) as error:
            raise RunError(self.config_file, f"holds no settings of a training: {error}") from error

    def write_status(self, status: RunStatus) -> None:
        """Replace the status."""
        write_json(self.status_file, status.model_dump(mode="json"))

    def read_status(self) -> RunStatus:
        """The status as it was written last.

        Raises
        ------
        RunError
            When the folder is no run folder.
        """
        try:
            return RunStatus.model_validate(self._read(self.status_file))
        except ValidationError as error:
            raise RunError(self.status_file, f"holds no status of a training: {error}") from error

    def busy(self) -> bool:
        """Whether a process is at work in it; where the status cannot be read, none is."""
        try:
            status = self.read_status()
        except RunError:
            return False
        return not status.over and process_lives(status.pid) and now() - status.heartbeat < SILENCE

    def learnt_nothing(self) -> bool:
        """Whether it holds a run that failed before anything was learnt, as of tables that cannot be used."""
        if self.checkpoints.exists() or self.model.exists() or self.metrics_file.exists():
            return False
        try:
            return self.read_status().state == "failed"
        except RunError:
            return False

    def append_metrics(self, values: dict[str, Any]) -> None:
        """Add a line to the metrics.

        Raises
        ------
        StorageFull
            When no space is left.
        """
        with disk_full_named(self.metrics_file), self.metrics_file.open("a", encoding="utf-8") as stream:
            stream.write(json.dumps(values) + "\n")

    def read_metrics(self) -> pd.DataFrame:
        """One row an epoch; a line that is being written is left out."""
        if not self.metrics_file.exists():
            return pd.DataFrame()
        lines = []
        for line in self.metrics_file.read_text("utf-8").splitlines(keepends=True):
            if line.endswith("\n"):
                lines.append(json.loads(line))
        return pd.json_normalize(lines)

    def keep_metrics(self, lines: int) -> None:
        """Drop metrics after the first ``lines``: those of epochs that will be run again."""
        if self.metrics_file.exists():
            kept = self.metrics_file.read_text("utf-8").splitlines(keepends=True)[:lines]
            with whole_file(self.metrics_file) as partial:
                partial.write_text("".join(kept), "utf-8")

    def last_words(self, lines: int = 12) -> str:
        """End of what the process wrote to its log."""
        if not self.log_file.exists():
            return ""
        text = self.log_file.read_text("utf-8", errors="replace")
        return "\n".join(text.strip().splitlines()[-lines:])

    def _read(self, path: Path) -> dict[str, Any]:
        try:
            values = json.loads(path.read_text("utf-8"))
        except FileNotFoundError:
            raise RunError(
                self.path,
                f"is no run folder: it holds no {path.name}.",
                "Name the folder that a training wrote.",
            ) from None
        except ValueError as error:
            raise RunError(path, f"is not JSON: {error}") from error
        if not isinstance(values, dict):
            raise RunError(path, "is not a JSON object.")
        return values


def prepare_folder(source: Source, config: AnyConfig) -> RunFolder:
    """Make a run folder with its settings.

    Raises
    ------
    RunError
        When it exists and may not be replaced, is something else than a run folder, or holds a run that is
        still going on.
    FileError
        When nothing may be written there.
    """
    folder = RunFolder(config.output)
    if folder.busy():
        raise RunError(folder.path, "holds a run that is still going on.", "Wait for its end, or stop it.")
    if folder.path.exists():
        if any(folder.path.iterdir()) and not folder.config_file.exists():
            raise RunError(folder.path, "exists and is no run folder.", "Name another place.")
        if folder.config_file.exists() and not config.overwrite and not folder.learnt_nothing():
            raise RunError(
                folder.path, "holds a run already.", "Name another place, or allow to overwrite it."
            )
        with place_named(folder.path):
            folder.put_aside()
    with place_named(folder.path):
        folder.path.mkdir(parents=True)
    folder.write_config(source, config)
    return folder


def process_lives(pid: int) -> bool:
    """Whether a process of this number exists; unknown, and so taken to live, on Windows."""
    if pid <= 0:
        return False
    if os.name == "nt":
        return True
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return not _is_zombie(pid)


def _is_zombie(pid: int) -> bool:
    """Whether a process is dead but not yet waited for (told on Linux only)."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text("utf-8", errors="replace")
    except OSError:
        return False
    return stat.rpartition(")")[2].split()[0] == "Z"


def now() -> float:
    """Seconds since 1970, as the status counts time."""
    return time.time()
