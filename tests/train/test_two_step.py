"""The two-step objective against a plain writing-down of the facts on the reference."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch.nn import functional

from napari_apollo.model import Network
from napari_apollo.train.build import image_architecture, seeded_network
from napari_apollo.train.data import CellData, Crops, Observed
from napari_apollo.train.objectives import TwoStep, get_objective
from napari_apollo.train.presets import PAPER

CPU = torch.device("cpu")
N = 12


def settings(**changes: object) -> SimpleNamespace:
    sizes = {"shared": 10, "specific": 6, "embedding": 4, "width": 8, "head": 12, "specific_maps": 4}
    return SimpleNamespace(**{**PAPER, **sizes, **changes})


def cell_data(seed: int = 0) -> CellData:
    rng = np.random.default_rng(seed)
    crops = [rng.integers(0, 256, (N, 16, 16), dtype=np.uint8) for _ in range(2)]
    stain = rng.integers(0, 3, N)

    def observed(images: np.ndarray) -> Observed:
        made = Crops(lambda rows: images[rows], np.zeros(N), np.full(N, 255), images.dtype)
        made.to_device(CPU)
        return Observed(made, np.arange(N)[:, None], stain)

    return CellData({"chromatin": observed(crops[0]), "protein": observed(crops[1])}, CPU)


def start(**changes: object) -> tuple[Network, CellData, TwoStep]:
    own = settings(**changes)
    data = cell_data()
    network = seeded_network(image_architecture(own, ("a", "b", "c"), 16), 0)
    torch.manual_seed(5)
    return network, data, get_objective("two-step", network, data, own)


def one_batch(data: CellData, cells: list[int]):
    (batch,) = data.batches([np.array(cells)])
    return batch


@pytest.mark.parametrize("loss", ["bce", "mse"])
def test_step_one_is_the_sum_that_the_facts_state(loss: str) -> None:
    _, data, objective = start(loss=loss)
    batch = one_batch(data, [4, 1, 7, 2])
    stage = objective.stages[0]
    stage.prepare()
    torch.manual_seed(11)
    losses = dict(zip(stage.losses, stage.step(batch, 1.0).tolist(), strict=True))

    twin, _, other = start(loss=loss)
    twin.train().requires_grad_(False)
    shared = other.shared.values[[4, 1, 7, 2]]
    own = {name: table.values[[4, 1, 7, 2]] for name, table in other.specific.items()}
    torch.manual_seed(11)
    noisy = shared + torch.randn_like(shared)  # unit variance, one draw a block
    expected = {}
    for name in ("chromatin", "protein"):
        view = batch.views[name]
        noisy_own = own[name] + torch.randn_like(own[name])
        condition = twin.stains.weight[view.stain]
        full = twin.decoders[name](torch.cat([noisy, noisy_own], 1), condition)
        expected[f"{name}_full"] = full, view.values
    for name in ("chromatin", "protein"):
        view = batch.views[name]
        alone = twin.shared_decoders[name](noisy, twin.stains.weight[view.stain])
        expected[f"{name}_shared"] = alone, view.values
    for name, (logits, target) in expected.items():
        wanted = (
            functional.binary_cross_entropy_with_logits(logits, target)
            if loss == "bce"
            else functional.mse_loss(logits.sigmoid(), target)
        )
        assert losses[name] == pytest.approx(float(wanted), rel=1e-5)
    norms = [block.norm(dim=1).mean() / block.shape[1] for block in (shared, *own.values())]
    assert losses["penalty"] == pytest.approx(0.001 * float(sum(norms)), rel=1e-5)
    parts = [value for name, value in losses.items() if name != "total"]
    assert len(parts) == 5
    assert losses["total"] == pytest.approx(sum(parts), rel=1e-6)


def test_step_one_moves_what_the_facts_say_at_their_rates() -> None:
    network, data, objective = start()
    before = {name: value.clone() for name, value in network.state_dict().items()}
    latents = objective.shared.values.clone()
    stage = objective.stages[0]
    stage.prepare()
    stage.step(one_batch(data, [0, 1, 2, 3]), 1.0)
    after = network.state_dict()
    moved = {name for name in before if not torch.equal(before[name], after[name])}
    assert not any(name.startswith("encoders") for name in moved)
    for name in ("decoders.protein.from_latent.weight", "shared_decoders.chromatin.from_latent.weight"):
        # The first step of Adam is as long as the rate wherever there is a gradient.
        assert float((after[name] - before[name]).abs().max()) == pytest.approx(1e-4, rel=1e-2)
    assert float((after["stains.weight"] - before["stains.weight"]).abs().max()) == pytest.approx(
        1e-3, rel=1e-2
    )
    moved_rows = (objective.shared.values - latents).abs()
    assert float(moved_rows[:4].max()) == pytest.approx(1e-3, rel=1e-2)
    assert torch.equal(objective.shared.values[4:], latents[4:])


def test_latents_start_from_the_standard_normal() -> None:
    data = cell_data()
    network = seeded_network(image_architecture(settings(shared=500, specific=300), ("a", "b", "c"), 16), 0)
    objective = TwoStep(network, data, settings(shared=500, specific=300))
    for table in (objective.shared, *objective.specific.values()):
        assert abs(float(table.values.mean())) < 0.05
        assert float(table.values.std()) == pytest.approx(1, abs=0.05)


def test_step_two_regresses_on_latents_without_noise_and_leaves_the_rest() -> None:
    network, data, objective = start()
    stage = objective.stages[1]
    before = {name: value.clone() for name, value in network.state_dict().items()}
    stage.prepare()
    batch = one_batch(data, [5, 3, 8])
    losses = dict(zip(stage.losses, stage.step(batch, 1.0).tolist(), strict=True))

    twin, _, other = start()
    twin.requires_grad_(False).encoders.train()
    total = 0.0
    for name in ("chromatin", "protein"):
        view = batch.views[name]
        shared, own = twin.encoders[name](view.values, view.stain)
        wanted = functional.mse_loss(shared, other.shared.values[[5, 3, 8]]) + functional.mse_loss(
            own, other.specific[name].values[[5, 3, 8]]
        )
        assert losses[f"{name}_regression"] == pytest.approx(float(wanted), rel=1e-5)
        total += float(wanted)
    assert losses["total"] == pytest.approx(total, rel=1e-5)
    after = network.state_dict()
    moved = {name for name in before if not torch.equal(before[name], after[name])}
    assert moved
    assert all(name.startswith("encoders") for name in moved)
    assert torch.equal(objective.shared.values, other.shared.values)
    step = (after["encoders.protein.to_shared.weight"] - before["encoders.protein.to_shared.weight"]).abs()
    assert float(step.max()) == pytest.approx(1e-3, rel=1e-2)


@pytest.mark.parametrize(
    ("changes", "losses"),
    [
        ({"shared_decoders": False}, {"total", "chromatin_full", "protein_full", "penalty"}),
        (
            {"specific": 0, "specific_maps": 0},
            {"total", "chromatin_shared", "protein_shared", "penalty"},
        ),
    ],
)
def test_variants_have_two_reconstruction_losses(changes: dict, losses: set[str]) -> None:
    _, data, objective = start(**changes)
    stage = objective.stages[0]
    assert set(stage.losses) == losses
    stage.prepare()
    stage.step(one_batch(data, [0, 1, 2]), 1.0)
    second = objective.stages[1]
    second.prepare()
    second.step(one_batch(data, [0, 1, 2]), 1.0)
    values = second.validate(data.batches([np.arange(6), np.arange(6, 12)]))
    assert np.isfinite(values["criterion"])


def test_validation_reconstructs_through_the_encoders_in_evaluation_mode() -> None:
    network, data, objective = start()
    stage = objective.stages[1]
    values = stage.validate(data.batches([np.arange(5), np.arange(5, 12)]))
    network.eval().requires_grad_(False)
    batch = one_batch(data, list(range(12)))
    view = batch.views["protein"]
    code = network.encode("protein", view.values, view.stain)
    full = network.decode("protein", code.shared, code.specific, view.stain)
    expected = functional.binary_cross_entropy_with_logits(full, view.values)
    assert values["protein_full"] == pytest.approx(float(expected), rel=1e-5)
    source = batch.views["chromatin"]
    code = network.encode("chromatin", source.values, source.stain)
    across = network.decode("protein", code.shared, None, view.stain)
    expected = functional.binary_cross_entropy_with_logits(across, view.values)
    assert values["chromatin_to_protein"] == pytest.approx(float(expected), rel=1e-5)
