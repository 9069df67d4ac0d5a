"""Checkpoints: tensors as safetensors, the rest as JSON, each written whole or not at all."""

from __future__ import annotations

import json
from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from napari_apollo.errors import RunError
from napari_apollo.model.files import read_tensors, write_tensors
from napari_apollo.storage import recover_folder, whole_folder, write_json
from napari_apollo.train.team import Team

_TENSORS = "state.safetensors"
_POSITION = "state.json"


def write_checkpoint(
    folder: Path, tensors: Mapping[str, Tensor], values: dict[str, Any], team: Team | None = None
) -> None:
    """Replace a checkpoint; processes that train together each write a file of their own into it.

    Parameters
    ----------
    folder
        ``checkpoints/last`` or ``checkpoints/best``.
    tensors
        Weights, moments, latents.
    values
        Position and whatever else is no tensor.
    team
        The processes; all of them call this.
    """
    team = team or Team()
    with ExitStack() as stack:
        whole = stack.enter_context(whole_folder(folder, overwrite=True)) if team.leads else None
        partial = Path(team.share_value(str(whole)))
        with team.failing_together():
            checksum = write_tensors(partial / _tensors(team.rank), tensors)
        if team.leads:
            write_json(partial / _POSITION, {**values, "processes": team.ranks, "tensors_sha256": checksum})


def read_checkpoint(
    folder: Path, device: torch.device | str = "cpu", rank: int = 0
) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Tensors, those of one process, and values of a checkpoint.

    Raises
    ------
    RunError
        When there is none.
    ModelDamaged
        When its tensors were cut off.
    """
    values = _read_values(folder)
    if not values:
        raise RunError(folder, "holds no checkpoint.")
    return read_tensors(folder / _tensors(rank), device), values


def has_checkpoint(folder: Path) -> bool:
    """Whether there is a checkpoint, also where its writing was interrupted between two renames."""
    return bool(_read_values(folder))


def checkpoint_threads(folder: Path) -> int:
    """Processor threads that a checkpoint was made with, as sums depend on them; 0 without one."""
    return int(_read_values(folder).get("threads", 0))


def checkpoint_processes(folder: Path) -> int:
    """How many processes made a checkpoint together."""
    return int(_read_values(folder).get("processes", 1))


def _tensors(rank: int) -> str:
    return _TENSORS if rank == 0 else f"state.{rank}.safetensors"


def _read_values(folder: Path) -> dict[str, Any]:
    recover_folder(folder)
    path = folder / _POSITION
    if not path.is_file():
        return {}
    values: dict[str, Any] = json.loads(path.read_text("utf-8"))
    return values
