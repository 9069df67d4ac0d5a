"""Checkpoints: tensors as safetensors, the rest as JSON, each written whole or not at all."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from napari_apollo.errors import RunError
from napari_apollo.model.files import read_tensors, write_tensors
from napari_apollo.storage import recover_folder, whole_folder, write_json

_TENSORS = "state.safetensors"
_POSITION = "state.json"


def write_checkpoint(folder: Path, tensors: Mapping[str, Tensor], values: dict[str, Any]) -> None:
    """Replace a checkpoint.

    Parameters
    ----------
    folder
        ``checkpoints/last`` or ``checkpoints/best``.
    tensors
        Weights, moments, latents.
    values
        Position and whatever else is no tensor.
    """
    with whole_folder(folder, overwrite=True) as partial:
        checksum = write_tensors(partial / _TENSORS, tensors)
        write_json(partial / _POSITION, {**values, "tensors_sha256": checksum})


def read_checkpoint(
    folder: Path, device: torch.device | str = "cpu"
) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Tensors and values of a checkpoint.

    Raises
    ------
    RunError
        When there is none.
    ModelDamaged
        When its tensors were cut off.
    """
    recover_folder(folder)
    if not (folder / _POSITION).is_file():
        raise RunError(folder, "holds no checkpoint.")
    values = json.loads((folder / _POSITION).read_text("utf-8"))
    return read_tensors(folder / _TENSORS, device), values
