"""The one-step autoencoders against a plain writing-down of the facts on the reference."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch.nn import functional

from napari_apollo.cells import CellStore
from napari_apollo.errors import Cancelled, ConfigError
from napari_apollo.model import Network
from napari_apollo.progress import Step, never
from napari_apollo.train import TrainConfig, train
from napari_apollo.train.build import image_architecture, seeded_network
from napari_apollo.train.data import CellData, Crops, Observed
from napari_apollo.train.folder import RunFolder
from napari_apollo.train.objectives import OneStep, get_objective
from napari_apollo.train.presets import ONE_STEP
from napari_apollo.train.worker import execute

CPU = torch.device("cpu")
N, EPOCHS = 12, 4
SIZES = {"shared": 10, "specific": 6, "embedding": 4, "width": 8, "head": 12, "specific_maps": 4}


def cell_data() -> CellData:
    rng = np.random.default_rng(0)
    stain = rng.integers(0, 3, N)

    def observed(rows: np.ndarray) -> Observed:
        images = rng.integers(0, 256, (N, 16, 16), dtype=np.uint8)
        made = Crops(lambda wanted: images[wanted], np.zeros(N), np.full(N, 255), images.dtype)
        made.to_device(CPU)
        return Observed(made, rows[:, None], stain)

    # Proteins lie in another order than cells.
    return CellData({"chromatin": observed(np.arange(N)), "protein": observed(rng.permutation(N))}, CPU)


def start(**changes: object) -> tuple[Network, CellData, OneStep]:
    own = SimpleNamespace(**{**ONE_STEP, **SIZES, "encoder_epochs": EPOCHS, **changes})
    data = cell_data()
    network = seeded_network(image_architecture(own, ("a", "b", "c"), 16), 0)
    return network, data, get_objective("one-step", network, data, own)


def test_settings_of_the_reference() -> None:
    config = TrainConfig(preset="one-step")
    paper = TrainConfig(preset="paper").model_dump()
    changed = {name for name, value in config.model_dump().items() if value != paper[name]}
    assert changed == {"preset", "objective", "decoder_rate", "encoder_rate", "beta"}
    assert (config.objective, config.decoder_rate, config.encoder_rate) == ("one-step", 1e-5, 1e-5)
    assert config.beta == 1e-7


@pytest.mark.parametrize("turn", [0, 1])
def test_a_turn_is_the_sum_that_the_facts_state(turn: int) -> None:
    network, data, objective = start()
    (stage,) = objective.stages
    stage.prepare()
    name, other = ("chromatin", "protein") if turn == 0 else ("protein", "chromatin")
    (batch,) = data.batches([np.array([4, 1, 7, 2])])
    view = batch.views[name]
    before = {key: value.clone() for key, value in network.state_dict().items()}

    twin, _, _ = start()
    (whole,) = data.batches([np.arange(N)])
    twin.eval()
    said = twin.encode(other, whole.views[other].values, whole.views[other].stain).shared
    twin.train()
    torch.manual_seed(11)
    code = twin.encode(name, view.values, view.stain)
    shared = code.shared + torch.randn(4, 10) * torch.exp(0.5 * code.shared_log_variance)
    own = code.specific + torch.randn(4, 6) * torch.exp(0.5 * code.specific_log_variance)
    wanted = {
        f"{name}_full": functional.binary_cross_entropy(
            torch.sigmoid(twin.decode(name, shared, own, view.stain)), view.values
        ),
        f"{name}_shared": functional.binary_cross_entropy(
            torch.sigmoid(twin.decode(name, shared, None, view.stain)), view.values
        ),
        # In the very first turn, nobody has said anything yet.
        "match": (shared - said[[4, 1, 7, 2]]).square().mean() if turn else torch.zeros(()),
        "information": 1e-7
        * sum(
            (0.5 * (variance.exp() - variance + mean.square() - 1)).mean()
            for mean, variance in (code.shared_normal, code.specific_normal)
        ),
        f"{other}_full": torch.zeros(()),
        f"{other}_shared": torch.zeros(()),
    }

    torch.manual_seed(11)
    losses = dict(zip(stage.losses, stage.step(batch, 1.0, turn / EPOCHS).tolist(), strict=True))
    assert set(losses) == {"total", *wanted}
    for key, value in wanted.items():
        assert losses[key] == pytest.approx(value.item(), rel=1e-5, abs=1e-9)
    assert losses["total"] == pytest.approx(sum(value.item() for value in wanted.values()), rel=1e-5)

    after = network.state_dict()
    moved = {key for key in before if not torch.equal(before[key], after[key])}
    assert moved
    assert all(name in key or key.startswith("stains") for key in moved)
    assert all(
        p.requires_grad == (name in key) for key, p in network.named_parameters() if "stains" not in key
    )
    weight = f"encoders.{name}.to_shared.weight"
    assert float((after[weight] - before[weight]).abs().max()) == pytest.approx(1e-5, rel=0.05)


def test_what_was_said_is_of_the_end_of_the_turn_and_in_evaluation_mode() -> None:
    network, data, objective = start(encoder_rate=1e-2)
    (stage,) = objective.stages
    stage.prepare()
    (batch,) = data.batches([np.arange(N)])
    for step in range(3):
        stage.step(batch, 1.0, step / 3 / EPOCHS)
    network.eval()
    wanted = network.encode("chromatin", batch.views["chromatin"].values, batch.views["chromatin"].stain)
    stage.prepare()
    stage.step(batch, 1.0, 1 / EPOCHS)
    said = stage.tensors()["said.chromatin"]
    torch.testing.assert_close(said, wanted.shared.detach())
    assert stage.tensors()["said.protein"].isnan().all()


def test_optimised_latents_are_what_encoders_say() -> None:
    network, data, objective = start()
    network.eval()
    (batch,) = data.batches([np.arange(N)])
    codes = {name: network.encode(name, view.values, view.stain) for name, view in batch.views.items()}
    wanted = (codes["chromatin"].shared + codes["protein"].shared) / 2
    rows = torch.tensor([7, 0, 7, 3])
    torch.testing.assert_close(objective.optimised("shared", rows), wanted.detach()[rows])
    of_row = {int(row): cell for cell, row in enumerate(batch.views["protein"].row)}
    cells = [of_row[int(row)] for row in rows]
    torch.testing.assert_close(
        objective.optimised("protein", rows), codes["protein"].specific.detach()[cells]
    )
    assert not network.training


def test_points_are_refused() -> None:
    own = SimpleNamespace(**{**ONE_STEP, **SIZES, "objective": "two-step"})
    with pytest.raises(ConfigError, match="one-step"):
        get_objective("one-step", seeded_network(image_architecture(own, ("a",), 16), 0), cell_data(), own)


def test_a_stopped_training_ends_with_the_same_bytes(
    make_store: Callable[..., CellStore], tmp_path: Path
) -> None:
    store = make_store()
    quick = {**SIZES, "preset": "one-step", "batch_size": 32, "encoder_epochs": 4, "decoder_rate": 1e-3}
    config = TrainConfig(
        output=tmp_path / "run", device="cpu", threads=1, previews_every=0, checkpoint_seconds=0, **quick
    )
    whole = train(store, config.model_copy(update={"output": tmp_path / "whole"}))
    card = whole.model().card
    assert card.objective == "one-step"
    assert card.gap["chromatin"]["specific"] == pytest.approx(0, abs=1e-9)
    seen = 0

    def enough() -> bool:
        nonlocal seen
        seen += 1
        return seen > 8  # in the third epoch, after a turn of each

    with pytest.raises(Cancelled):
        train(store, config, progress=lambda step: None, should_stop=enough)
    steps: list[Step] = []
    execute(RunFolder(config.output), store, config, steps.append, never)
    first = next(step for step in steps if step.stage == "Encoders and decoders, in turns")
    assert first.done == 3
    files = [path / "model" / "weights.safetensors" for path in (whole.folder, config.output)]
    assert files[0].read_bytes() == files[1].read_bytes()
