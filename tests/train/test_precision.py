"""Numbers of 16 bits inside the networks: near to those of 32, and nowhere else."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from napari_apollo.cells import CellStore
from napari_apollo.errors import ConfigError
from napari_apollo.model import Architecture, Modality, Network
from napari_apollo.model import precision as precisions
from napari_apollo.model.modality import paper_widths
from napari_apollo.model.precision import Mixed, pick_precision, set_precision
from napari_apollo.train import TrainConfig, machine, train
from napari_apollo.train.machine import place_network

Make = Callable[..., CellStore]


@pytest.fixture
def quick(quick: dict[str, Any]) -> dict[str, Any]:
    return {**quick, "latent_epochs": 4, "encoder_epochs": 4}


def network() -> Network:
    torch.manual_seed(0)
    modalities = (Modality("chromatin", specific=4), Modality("protein", specific=4, conditional=True))
    return Network(
        Architecture(
            modalities,
            ("CD3", "CD4"),
            shared=8,
            embedding=4,
            crop_size=32,
            widths=paper_widths(32, 16, 24),
            specific_maps=8,
        )
    )


def test_values_are_near_and_gradients_have_32_bits() -> None:
    made = network().eval()
    values, stain = torch.rand(6, 1, 32, 32), torch.tensor([0, 1, 0, 1, 0, 1])
    wide = made.encode("protein", values, stain)
    set_precision(made, torch.bfloat16)
    narrow = made.encode("protein", values, stain)
    assert narrow.shared.dtype == torch.float32
    assert not torch.equal(narrow.shared, wide.shared)
    torch.testing.assert_close(narrow.shared, wide.shared, atol=0.02, rtol=0.02)
    decoded = made.decode("protein", narrow.shared, narrow.specific, stain)
    assert decoded.dtype == torch.float32
    decoded.square().mean().backward()
    gradients = [p.grad for p in made.decoders["protein"].parameters()]
    assert all(gradient is not None and gradient.dtype == torch.float32 for gradient in gradients)


def test_the_choice(monkeypatch: pytest.MonkeyPatch) -> None:
    cpu = torch.device("cpu")
    for has, wanted in ((True, torch.bfloat16), (False, torch.float32)):
        monkeypatch.setattr(precisions, "processor_has_bfloat16", lambda has=has: has)
        assert pick_precision(cpu, width=64) is wanted
        assert pick_precision(cpu, width=precisions.NARROW - 1) is torch.float32
        assert pick_precision(cpu, "bfloat16") is torch.bfloat16
        assert pick_precision(cpu, "float32") is torch.float32
    assert pick_precision(torch.device("mps")) is torch.float32
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: (7, 5))
    assert pick_precision(torch.device("cuda")) is torch.float32
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: (9, 0))
    assert pick_precision(torch.device("cuda")) is torch.bfloat16


def test_placing_keeps_names_and_values() -> None:
    before = {name: value.clone() for name, value in network().state_dict().items()}
    placed = place_network(network(), torch.device("cpu"), precision="bfloat16", compiled=True)
    after = placed.state_dict()
    assert list(after) == list(before)
    assert all(torch.equal(after[name], value) for name, value in before.items())
    assert {part.precision for part in placed.modules() if isinstance(part, Mixed)} == {torch.bfloat16}
    assert all(part._compiled_call_impl is not None for part in placed.decoding_modules())


def test_a_gpu_without_triton_cannot_compile(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(machine, "find_spec", lambda name: None)
    monkeypatch.setattr(Network, "to", lambda self, *a, **k: self)
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: (9, 0))
    with pytest.raises(ConfigError, match="Triton"):
        place_network(network(), torch.device("cuda"), compiled=True)


def test_training_ends_where_it_does_with_32_bits(
    make_store: Make, tmp_path: Path, quick: dict[str, Any]
) -> None:
    """Losses within 2 %; the same bytes from the same seed; a model of 32 bits."""
    store = make_store()
    runs = {
        name: train(store, TrainConfig(output=tmp_path / name, **quick, precision=precision))
        for name, precision in (("wide", "float32"), ("narrow", "bfloat16"), ("again", "bfloat16"))
    }
    wide, narrow = (runs[name].metrics() for name in ("wide", "narrow"))
    np.testing.assert_allclose(narrow["training.total"], wide["training.total"], rtol=0.02)
    assert (narrow["training.total"] != wide["training.total"]).any()
    files = {name: run.folder / "model" / "weights.safetensors" for name, run in runs.items()}
    assert files["narrow"].read_bytes() == files["again"].read_bytes()
    assert {value.dtype for value in load_file(files["narrow"]).values()} <= {torch.float32, torch.int64}
    loaded = runs["narrow"].model().network
    assert {part.precision for part in loaded.modules() if isinstance(part, Mixed)} == {torch.float32}
