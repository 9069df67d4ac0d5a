"""The model folder: ``weights.safetensors`` and ``model.json``, and how they are checked.

A model may come from anybody. Nothing in it is executed; the sizes that the weights' header claims
are compared with the file before a byte is read, the checksum before a number is used, and the
shapes before a network is filled.
"""

from __future__ import annotations

import hashlib
import json
import struct
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from napari_apollo.errors import ModelDamaged
from napari_apollo.model.card import CARD, SCHEMA_VERSION, ModelCard, read_card
from napari_apollo.model.network import Network
from napari_apollo.storage import whole_folder, write_json

WEIGHTS = "weights.safetensors"

_DTYPES = {
    torch.float32: "F32",
    torch.float64: "F64",
    torch.bfloat16: "BF16",
    torch.float16: "F16",
    torch.int64: "I64",
    torch.int32: "I32",
    torch.uint8: "U8",
    torch.bool: "BOOL",
}

_HEADER_LIMIT = 16 * 2**20  # bytes; a header of ours is some kilobytes


def write_tensors(path: Path, tensors: Mapping[str, Tensor]) -> str:
    """Write tensors as safetensors and return the SHA-256 of the file.

    One tensor at a time, so that what is written may be as large as the memory; the bytes are those that
    the library's own writer makes. Format: https://github.com/huggingface/safetensors#format
    """
    header: dict[str, Any] = {}
    names = sorted(tensors, key=lambda name: (-tensors[name].element_size(), name))
    end = 0
    for name in names:
        tensor = tensors[name]
        start, end = end, end + tensor.numel() * tensor.element_size()
        header[name] = {
            "dtype": _DTYPES[tensor.dtype],
            "shape": list(tensor.shape),
            "data_offsets": [start, end],
        }
    raw = json.dumps(header, separators=(",", ":"), ensure_ascii=False).encode()
    raw += b" " * (-len(raw) % 8)
    digest = hashlib.sha256()
    with path.open("wb") as stream:
        for part in (struct.pack("<Q", len(raw)), raw):
            stream.write(part)
            digest.update(part)
        for name in names:
            values = tensors[name].detach().to("cpu").contiguous()
            data = values.reshape(-1).view(torch.uint8).numpy().data
            stream.write(data)
            digest.update(data)
    return digest.hexdigest()


def read_tensors(path: Path, device: torch.device | str = "cpu") -> dict[str, Tensor]:
    """Read a safetensors file whose header was checked against its length.

    Raises
    ------
    ModelDamaged
        When the file is cut off, longer than it says, or no safetensors file.
    """
    check_header(path)
    try:
        return load_file(path, device=str(device))
    except (SafetensorError, OSError, ValueError) as error:
        raise ModelDamaged(path, f"cannot be read: {error}") from error


def check_header(path: Path) -> dict[str, list[int]]:
    """Shapes of the tensors in a safetensors file, read from a header that fits the file.

    Raises
    ------
    ModelDamaged
        When header and length of the file contradict each other.
    """
    size = path.stat().st_size
    with path.open("rb") as stream:
        start = stream.read(8)
        length = struct.unpack("<Q", start)[0] if len(start) == 8 else 0
        if not 2 <= length <= min(_HEADER_LIMIT, size - 8):
            raise ModelDamaged(path, f"its {size} bytes do not begin with the header of a safetensors file.")
        raw = stream.read(length)
    try:
        header = json.loads(raw)
        entries = {name: entry for name, entry in header.items() if name != "__metadata__"}
        ends = [int(entry["data_offsets"][1]) for entry in entries.values()]
        shapes = {name: [int(n) for n in entry["shape"]] for name, entry in entries.items()}
    except (ValueError, TypeError, KeyError, AttributeError, IndexError) as error:
        raise ModelDamaged(path, f"its header is no safetensors header: {error}") from error
    expected = 8 + length + max(ends, default=0)
    if expected != size:
        raise ModelDamaged(path, f"is {size} bytes long where its header announces {expected}.")
    return shapes


def file_sha256(path: Path) -> str:
    """SHA-256 of a file, in hexadecimal digits."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def write_model(folder: Path, network: Network, card: ModelCard, *, overwrite: bool = False) -> ModelCard:
    """Write a model folder whole or not at all.

    Returns
    -------
    ModelCard
        The card with the checksum of the weights.

    Raises
    ------
    FileError
        When the folder exists and ``overwrite`` is not set.
    StorageFull
        When no space is left.
    """
    with whole_folder(Path(folder), overwrite=overwrite, mark=CARD) as partial:
        checksum = write_tensors(partial / WEIGHTS, network.state_dict())
        card = card.model_copy(update={"schema_version": SCHEMA_VERSION, "weights_sha256": checksum})
        write_json(partial / CARD, card.model_dump(mode="json"))
    return card


def read_model(folder: Path | str, device: torch.device | str = "cpu") -> tuple[Network, ModelCard]:
    """A network with its weights, in evaluation mode, and its card.

    Raises
    ------
    ModelError
        When the folder is no model folder.
    ModelTooNew
        When a newer version wrote it.
    ModelDamaged
        When weights were cut off, changed, do not fit the description, or are not finite.
    """
    card = read_card(folder)
    path = Path(folder) / WEIGHTS
    if not path.is_file():
        raise ModelDamaged(path, "is missing.", "Copy the whole model folder, not its description alone.")
    shapes = check_header(path)
    with torch.device("meta"):  # shapes alone: a description cannot make us reserve memory
        network = Network(card.architecture)
    wanted = {name: list(tensor.shape) for name, tensor in network.state_dict().items()}
    if shapes != wanted:
        wrong = sorted(name for name in shapes.keys() | wanted.keys() if shapes.get(name) != wanted.get(name))
        raise ModelDamaged(
            path, f"does not fit its description: {', '.join(wrong[:3])} ({len(wrong)} tensors in all)."
        )
    if file_sha256(path) != card.weights_sha256:
        raise ModelDamaged(path, "was changed since the model was saved (its SHA-256 is not the one stated).")
    tensors = read_tensors(path, device)
    for name, tensor in tensors.items():
        if tensor.is_floating_point() and not bool(torch.isfinite(tensor).all()):
            raise ModelDamaged(path, f"holds values that are not finite ({name}).")
    network.load_state_dict(tensors, assign=True)
    return network.eval().requires_grad_(False), card
