"""The writer of tensors makes the very bytes that the library makes."""

from __future__ import annotations

from pathlib import Path

import torch
from safetensors.torch import save

from napari_apollo.model.files import file_sha256, read_tensors, write_tensors


def test_bytes_are_those_of_the_library(tmp_path: Path) -> None:
    torch.manual_seed(0)
    tensors = {
        "b": torch.randn(3, 4),
        "a": torch.randn(2, 2, 4, 4).to(memory_format=torch.channels_last),
        "count": torch.tensor(5),
        "kept": torch.tensor([True, False]),
        "none": torch.zeros(0, 3),
        "every second é": torch.randn(5)[::2],
        "narrow": torch.randn(3).bfloat16(),
    }
    path = tmp_path / "some.safetensors"
    assert write_tensors(path, tensors) == file_sha256(path)
    assert path.read_bytes() == save({name: value.contiguous().clone() for name, value in tensors.items()})
    read = read_tensors(path)
    assert all(torch.equal(read[name], value) for name, value in tensors.items())
