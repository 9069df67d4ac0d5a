"""The agreement objective against a plain writing-down of its formula, and what it does with dimensions."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch.distributions import Normal, kl_divergence
from torch.nn import functional

from napari_apollo.errors import ConfigError
from napari_apollo.model import Apollo, ModelCard, Network
from napari_apollo.train.build import image_architecture, seeded_network
from napari_apollo.train.data import Batch, CellData, Crops, Observed
from napari_apollo.train.objectives import Agreement, get_objective
from napari_apollo.train.objectives import agreement as formula
from napari_apollo.train.objectives.posteriors import sensitivity
from napari_apollo.train.objectives.pruning import distinct_dimensions, wound_dimension
from napari_apollo.train.presets import AGREEMENT

CPU = torch.device("cpu")
N = 16
NAMES = ("chromatin", "protein")


def settings(**changes: object) -> SimpleNamespace:
    sizes = {"shared": 5, "specific": 3, "embedding": 4, "width": 8, "head": 12, "specific_maps": 4}
    chosen = {**AGREEMENT, **sizes, "loss": "mse", "turn_cells": False, "follow": 0.0}
    chosen |= {"beta": 0.02, "gamma": 3.0, "eta": 0.1, "opening": 10.0}
    return SimpleNamespace(**{**chosen, **changes})


def cell_data(proteins: int = 2, lacking: tuple[int, ...] = ()) -> CellData:
    """Cells with chromatin and some proteins each; those that lack proteins have none."""
    rng = np.random.default_rng(0)

    def observed(rows: np.ndarray, stain: np.ndarray) -> Observed:
        images = rng.integers(0, 256, (len(stain), 16, 16), dtype=np.uint8)
        made = Crops(lambda wanted: images[wanted], np.zeros(len(stain)), np.full(len(stain), 255), np.uint8)
        made.to_device(CPU)
        return Observed(made, rows, stain)

    rows = np.full((N, proteins), -1, np.int64)
    has = [cell for cell in range(N) if cell not in lacking]
    rows[has] = np.arange(len(has) * proteins).reshape(-1, proteins)
    stain = np.tile(np.arange(proteins), len(has))
    chromatin = observed(np.arange(N)[:, None], np.zeros(N, np.int64))
    return CellData({"chromatin": chromatin, "protein": observed(rows, stain)}, CPU)


def start(data: CellData | None = None, **changes: object) -> tuple[Network, CellData, Agreement]:
    own = settings(**changes)
    data = data or cell_data()
    network = seeded_network(image_architecture(own, ("a", "b", "c"), 16), 0)
    torch.manual_seed(5)
    return network, data, get_objective("agreement", network, data, own)


def one_batch(data: CellData, cells: list[int]) -> Batch:
    (batch,) = data.batches([np.array(cells)])
    return batch


def normal(mean: torch.Tensor, log_variance: torch.Tensor) -> Normal:
    return Normal(mean, torch.exp(0.5 * log_variance))


def kl(first: tuple, second: tuple) -> torch.Tensor:
    return kl_divergence(normal(*first), normal(*second)).sum(1).mean()


@pytest.mark.parametrize("done", [0.0, 0.2, 0.5, 0.95])
def test_the_loss_is_the_formula(done: float, monkeypatch: pytest.MonkeyPatch) -> None:
    # Without noise the formula can be written down value by value; closings are looked at elsewhere.
    draw = formula.sample
    monkeypatch.setattr(formula, "sample", lambda mean, log_variance: mean)
    monkeypatch.setattr(formula, "CLOSINGS", ())
    _, data, objective = start()
    cells = [4, 1, 7, 2, 9, 12]
    batch = one_batch(data, cells)
    stage = objective.stages[0]
    stage.prepare()
    losses = dict(zip(stage.losses, stage.step(batch, 1.0, done).tolist(), strict=True))
    assert draw is not formula.sample

    twin, _, other = start()
    twin.train().requires_grad_(False)
    own = settings()
    table = other.posteriors.shared.values[cells]
    s = (table[:, :5], table[:, 5:])
    q, code, where = {}, {}, {}
    for name in NAMES:
        view = batch.views[name]
        where[name] = view.cell
        values = other.posteriors.specific[name].values[view.row]
        q[name] = (values[:, :3], values[:, 3:])
        shared, specific = twin.encoders[name](view.values, view.stain)
        code[name] = ((shared[:, :5], shared[:, 5:]), (specific[:, :3], specific[:, 3:]))
    precision, weighted = torch.ones(6, 5), torch.zeros(6, 5)
    for name in NAMES:
        (mean, log_variance), _ = code[name]
        for row, cell in enumerate(where[name].tolist()):
            precision[cell] += torch.exp(-log_variance[row])
            weighted[cell] += torch.exp(-log_variance[row]) * mean[row]
    joint = weighted / precision

    def condition(name: str) -> list[torch.Tensor]:
        return [twin.stains.weight[batch.views[name].stain]] if name == "protein" else []

    for name in NAMES:
        view = batch.views[name]
        # Both in one pass, as batch normalisation sees them.
        both = torch.cat(
            [
                torch.cat([s[0][where[name]], q[name][0]], 1),
                torch.cat([joint[where[name]], code[name][1][0]], 1),
            ]
        )
        told = [torch.cat([part, part]) for part in condition(name)]
        decoded = twin.decoders[name](both, *told or [None]).sigmoid()
        full, product = decoded.chunk(2)
        assert losses[f"{name}_full"] == pytest.approx(
            float(functional.mse_loss(full, view.values)), rel=1e-4
        )
        through = functional.mse_loss(product, view.values)
        assert losses[f"{name}_product"] == pytest.approx(float(through), rel=1e-4)
    # Each cell has one chromatin image and two proteins: two pairs a cell.
    protein, chromatin = batch.views["protein"], batch.views["chromatin"]
    by_chromatin = code["chromatin"][0][0][protein.cell]
    cross = twin.shared_decoders["protein"](by_chromatin, *condition("protein")).sigmoid()
    assert losses["protein_cross"] == pytest.approx(
        float(functional.mse_loss(cross, protein.values)), rel=1e-4
    )
    back = twin.shared_decoders["chromatin"](code["protein"][0][0], None).sigmoid()
    wanted = functional.mse_loss(back, chromatin.values[protein.cell])
    assert losses["chromatin_cross"] == pytest.approx(float(wanted), rel=1e-4)

    standard = (torch.zeros(1), torch.zeros(1))
    opening = 10 ** (1 - min(1, max(0, done / 0.25)))
    beta = own.beta * own.sharpening ** min(1, max(0, (done - 0.4) / 0.3))
    cost = 0.1 * kl(s, standard) + opening * sum(kl(q[name], standard) for name in NAMES)
    assert losses["information"] == pytest.approx(float(beta * cost), rel=1e-4)
    apart = sum(kl(tuple(part[where[name]] for part in s), code[name][0]) for name in NAMES)
    assert losses["agreement"] == pytest.approx(float(beta * own.gamma * opening * apart), rel=1e-4)
    encoding = sum(kl(q[name], code[name][1]) for name in NAMES)
    assert losses["encoding"] == pytest.approx(float(beta * encoding), rel=1e-4)
    parts = [value for name, value in losses.items() if name != "total"]
    assert losses["total"] == pytest.approx(sum(parts), rel=1e-5)
    assert (losses["dependence"] > 0) == (done > 0.35)


def test_encoders_do_not_move_what_is_specific() -> None:
    network, data, objective = start(
        cross_weight=0.0, product_weight=0.0, beta=1.0, opening=1.0, gamma=0.0, eta=0.0, shared_cost=0.0
    )
    stage = objective.stages[0]
    stage.prepare()
    batch = one_batch(data, [0, 1, 2, 3])
    own = {name: objective.posteriors.specific[name].gather(view.row) for name, view in batch.views.items()}
    torch.manual_seed(0)
    codes = {name: network.encode(name, view.values, view.stain) for name, view in batch.views.items()}
    shared = objective.posteriors.shared.gather(batch.cells)
    losses = stage._losses(batch, formula._Seen(batch, None, codes), shared, own, 0.0)
    encoding = losses[stage.losses.index("encoding") - 1]
    leaves = [*own.values(), *network.encoders.parameters()]
    gradients = torch.autograd.grad(encoding, leaves, allow_unused=True)
    assert gradients[0] is None
    assert gradients[1] is None
    assert any(gradient is not None and gradient.abs().sum() > 0 for gradient in gradients[2:])


def test_only_rows_of_the_batch_move_and_all_proteins_of_a_cell() -> None:
    _, data, objective = start()
    stage = objective.stages[0]
    stage.prepare()
    before = {name: table.values.clone() for name, table in objective.posteriors.tables.items()}
    stage.step(one_batch(data, [3, 5]), 1.0, 0.0)
    moved = {
        name: (table.values != before[name]).any(1).nonzero().flatten().tolist()
        for name, table in objective.posteriors.tables.items()
    }
    assert moved == {"shared": [3, 5], "chromatin": [3, 5], "protein": [6, 7, 10, 11]}


def test_at_first_latents_follow_the_encoders_and_do_not_move_freely() -> None:
    _, data, objective = start(follow=0.5)
    stage = objective.stages[0]
    stage.prepare()
    batch = one_batch(data, [3, 5, 8, 11])
    before = {name: table.values.clone() for name, table in objective.posteriors.tables.items()}
    twin, _, _ = start()
    twin.train()
    stage.step(batch, 1.0, 0.4)
    code = twin.encode("protein", batch.views["protein"].values, batch.views["protein"].stain)
    rows = batch.views["protein"].row
    assert torch.allclose(
        objective.posteriors.specific["protein"].values[rows], torch.cat(code.specific_normal, 1), atol=1e-6
    )
    assert not objective.posteriors.shared._steps.any()
    assert torch.equal(objective.posteriors.shared.values[:3], before["shared"][:3])
    followed = objective.posteriors.shared.values[batch.cells].clone()
    stage.step(batch, 1.0, 0.6)
    moved = (objective.posteriors.shared.values[batch.cells] - followed).abs().max()
    assert float(moved) == pytest.approx(settings().latent_rate, rel=1e-2)  # one step of Adam


@pytest.mark.parametrize("cells", [[0, 1, 2, 3, 4, 5], [0, 1, 2, 3]], ids=["some lack", "all lack"])
def test_cells_that_lack_a_modality_teach_what_they_have(cells: list[int]) -> None:
    _, data, objective = start(cell_data(lacking=(0, 1, 2, 3)))
    for stage in objective.stages:
        stage.prepare()
        losses = stage.step(one_batch(data, cells), 1.0, 0.9)
        assert len(losses) == len(stage.losses)
        assert torch.isfinite(losses).all()
    found = objective.stages[1].validate(data.batches([np.array(cells)]))
    assert np.isfinite(found["criterion"])


def test_pairs_are_all_combinations_within_a_cell() -> None:
    batch = one_batch(cell_data(3, lacking=(2,)), [5, 2, 9])
    own, other = batch.pairs("chromatin", "protein")
    assert own.tolist() == [0, 0, 0, 2, 2, 2]
    assert other.tolist() == [0, 1, 2, 3, 4, 5]
    other, own = batch.pairs("protein", "chromatin")
    assert own.tolist() == [0, 0, 0, 2, 2, 2]
    assert other.tolist() == [0, 1, 2, 3, 4, 5]
    left, right = batch.pairs("protein", "protein")
    assert len(left) == len(right) == 18


def test_points_are_refused() -> None:
    own = settings()
    plain = replace(image_architecture(own, ("a", "b", "c"), 16), normal_codes=False)
    with pytest.raises(ConfigError, match="distributions"):
        get_objective("agreement", Network(plain), cell_data(), own)
    with pytest.raises(ConfigError, match="distributions"):
        Network(plain).keep({"shared": torch.ones(5, dtype=torch.bool)})


def test_dimensions_that_hold_nothing_or_nothing_of_their_own_are_closed() -> None:
    rng = np.random.default_rng(1)
    truth = rng.normal(size=(1500, 2))
    means = np.column_stack([truth[:, 0], np.tanh(truth[:, 0]), truth[:, 1], truth[:, 0] + truth[:, 1]])
    held = np.array([1.5, 1.0, 1.2, 1.4])
    kept = distinct_dimensions(means, np.ones(4, bool), held, 0.97)
    assert kept.tolist() == [True, False, False, True]  # each time what holds least of what others tell
    assert distinct_dimensions(means, np.array([False, True, True, False]), held, 0.97).tolist() == [
        False,
        True,
        True,
        False,
    ]
    # Faint copies, each with noise, tell a strong dimension better than it tells them: it stays.
    faint = np.column_stack([truth[:, 0], *(0.3 * truth[:, [0]] + 0.15 * rng.normal(size=(1500, 3))).T])
    kept = distinct_dimensions(faint, np.ones(4, bool), np.array([1.5, 0.1, 0.1, 0.1]), 0.9)
    assert kept.all()
    even = distinct_dimensions(faint, np.ones(4, bool), np.ones(4), 0.9)
    assert even.tolist() == [False, True, True, True]

    network, _, objective = start()
    posteriors = objective.posteriors
    posteriors.shared.values[:, 5:] = 0.0  # as wide as the prior
    posteriors.shared.values[:, :5] = 0.0
    posteriors.shared.values[:, 1] = torch.linspace(-2, 2, N)
    posteriors.specific["protein"].values.zero_()
    posteriors.close(network, 0.1)
    assert network.sizes() == {"shared": 1, "chromatin": 3, "protein": 0}
    code = network.eval().encode("protein", torch.rand(4, 1, 16, 16), torch.zeros(4, dtype=torch.int64))
    assert not code.specific.any()
    assert not code.specific_log_variance.any()
    assert code.shared[:, 1].any()
    assert not code.shared[:, [0, 2, 3, 4]].any()
    shared, own = torch.randn(2, 4, 5), torch.randn(2, 4, 3)
    stain = torch.zeros(4, dtype=torch.int64)
    shared[1, :, 1] = shared[0, :, 1]  # decoders are given 0 where a dimension is closed
    decoded = [network.decode("protein", shared[i], own[i], stain) for i in range(2)]
    assert torch.equal(*decoded)


def test_dimensions_that_codes_only_wind_through_go() -> None:
    rng = np.random.default_rng(2)
    factor, shared = rng.uniform(-1, 1, 900), rng.integers(0, 2, 900).astype(float)
    # One factor, a half circle below for one value of the shared one, and above for the other.
    bow = (2 * shared - 1) * np.sqrt(1 - factor**2)
    means = np.column_stack([factor, bow]) + 0.1 * rng.normal(size=(900, 2))
    along = np.column_stack([np.ones(900), -(2 * shared - 1) * factor / np.sqrt(1.05 - factor**2)])
    along /= np.linalg.norm(along, axis=1, keepdims=True)
    moves = along[:, :, None] * along[:, None, :] + 0.02 * np.eye(2)
    held = np.array([1.3, 1.2])
    assert wound_dimension(means, shared[:, None], moves, held, 0.1) == 1
    # The other one is told by nothing: it lies twice above each place of the bow.
    assert wound_dimension(means, shared[:, None], moves, held[::-1], 0.1) == 1
    # Values that move as well across the bow need both dimensions.
    across = along[:, :, None] * along[:, None, :] + 0.2 * np.eye(2)
    assert wound_dimension(means, shared[:, None], across, held, 0.1) is None
    assert wound_dimension(means, shared[:, None], across, held, 0.25) == 1
    # A weak factor of its own depends on nothing.
    weak = np.broadcast_to(np.diag([1.0, 0.03]), (900, 2, 2))
    assert wound_dimension(rng.normal(size=(900, 2)), shared[:, None], weak, held, 0.1) is None
    assert wound_dimension(means[:, :1], shared[:, None], moves[:, :1, :1], held[:1], 0.1) is None


def test_sensitivity_is_that_of_the_decoders() -> None:
    network, _, _ = start()
    network.train()
    shared, own, stain = torch.randn(3, 5), torch.randn(3, 3), torch.tensor([0, 2, 1])
    with torch.no_grad():
        found = sensitivity(network, "protein", shared, own, stain, torch.tensor([0, 2]))
    assert network.training
    network.eval()
    for cell in range(3):
        one = slice(cell, cell + 1)
        jacobian = torch.autograd.functional.jacobian(
            lambda latent, one=one: network.decode("protein", shared[one], latent, stain[one]), own[one]
        )
        by = jacobian.reshape(-1, 3)[:, [0, 2]]
        wanted = by.T @ by
        torch.testing.assert_close(found[cell], wanted, rtol=0, atol=0.1 * float(wanted.max()))


def test_the_best_shared_dimension_stays() -> None:
    network, _, objective = start()
    objective.posteriors.close(network, 1e6)
    assert network.sizes() == {"shared": 1, "chromatin": 0, "protein": 0}


def test_everything_may_be_shared_and_such_a_model_is_saved(tmp_path: Path) -> None:
    network, data, objective = start(specific=0, specific_maps=0)
    for stage in objective.stages:
        stage.prepare()
        losses = stage.step(one_batch(data, [0, 1, 2, 3]), 1.0, 0.9)
        assert torch.isfinite(losses).all()
    assert network.sizes() == {"shared": 5, "chromatin": 0, "protein": 0}
    Apollo(network, ModelCard(architecture=network.architecture)).save(tmp_path / "model")
    again = Apollo.load(tmp_path / "model")
    image = np.random.default_rng(0).random((2, 1, 16, 16), dtype=np.float32)
    latents = again.encode(image, "protein", "b")
    assert latents.shared.shape == latents.shared_std.shape == (2, 5)
    assert again.decode(latents.shared, None, "chromatin").shape == (2, 16, 16)
