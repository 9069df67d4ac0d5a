"""Training on tables: the whole way, cells that lack a modality, more than two of them, what is refused."""

from __future__ import annotations

from dataclasses import fields

import numpy as np
import pytest
import torch

from napari_apollo.errors import Cancelled, ConfigError, DataError
from napari_apollo.model import Architecture, Modality, Network
from napari_apollo.simulate import simulate_tables
from napari_apollo.train.presets import TABLES
from napari_apollo.train.tables import TableModel, TableSettings, train_tables


def quick(objective: str = "agreement", names: str = "xy", **changes: object) -> TableSettings:
    chosen = {
        "shared": 3,
        "specific": dict.fromkeys(names, 2),
        "hidden": 24,
        "batch_size": 64,
        "latent_epochs": 6,
        "encoder_epochs": 3,
    }
    return TableSettings.preset(objective, **{**chosen, **changes})


def toy(n: int = 400, seed: int = 0) -> tuple[dict[str, np.ndarray], np.ndarray]:
    """Two tables that share one binary factor; each has a binary factor of its own."""
    rng = np.random.default_rng(seed)
    factors = rng.integers(0, 2, (n, 3)).astype(float) + 0.1 * rng.normal(size=(n, 3))
    loadings = rng.normal(size=(3, 12))
    x = np.concatenate([factors[:, [0]] * loadings[0], factors[:, [1]] * loadings[1]], 1)
    y = np.concatenate([factors[:, [0]] * loadings[2], factors[:, [2]] * loadings[1][::-1]], 1)
    return {"x": x, "y": y}, factors


def correlation(first: np.ndarray, second: np.ndarray) -> float:
    return abs(float(np.corrcoef(first, second)[0, 1]))


@pytest.fixture(scope="module")
def generous() -> tuple[TableModel, np.ndarray]:
    tables, factors = toy()
    held = np.arange(len(factors)) % 4 == 0
    settings = quick(specific={"x": 4, "y": 4}, shared=6, hidden=32, latent_epochs=150, encoder_epochs=20)
    return train_tables(tables, settings, validation=held), factors[~held]


def test_too_generous_sizes_are_pruned_to_the_truth(generous: tuple[TableModel, np.ndarray]) -> None:
    model, factors = generous
    assert model.sizes == {"shared": 1, "x": 1, "y": 1}
    for column, name in enumerate(("shared", "x", "y")):
        block = model.blocks[name]
        assert block.shape == (300, 1)
        for other in range(3):
            r = correlation(block[:, 0], factors[:, other])
            assert r > 0.9 if other == column else r < 0.25


def test_the_verdict_and_the_gap_say_what_was_found(generous: tuple[TableModel, np.ndarray]) -> None:
    model, _ = generous
    assert set(model.verdict.parts) == {"x", "y"}
    assert model.verdict.cells == 100
    for part in model.verdict.parts.values():
        assert sum(part.values()) == pytest.approx(1)
        assert part["shared"] > 0.2
        assert part["specific"] > 0.2
        assert part["unexplained"] < 0.1
    assert not model.verdict.warnings
    for gap in model.gap.values():
        assert gap["shared"] < 0.1
        assert gap["specific"] < 0.2
        assert gap["encoded"] < 0.2


@pytest.mark.parametrize("objective", ["two-step", "agreement"])
def test_the_same_seed_gives_the_same_bytes(objective: str) -> None:
    tables, _ = toy(120)
    first, again, other = (train_tables(tables, quick(objective, seed=seed)) for seed in (1, 1, 2))
    for name, block in first.blocks.items():
        assert np.array_equal(block, again.blocks[name])
    assert not np.array_equal(first.blocks["shared"], other.blocks["shared"])
    assert first.gap == again.gap
    assert first.verdict == again.verdict


def test_two_step_reports_its_gap_too() -> None:
    tables, _ = toy(150)
    model = train_tables(tables, quick("two-step"))
    assert model.sizes == {"shared": 3, "x": 2, "y": 2}
    assert {name: set(gap) for name, gap in model.gap.items()} == {
        name: {"shared", "specific", "optimised", "encoded"} for name in "xy"
    }
    assert len(model.network.shared_decoders) == 0  # the paper's simulations have none


@pytest.mark.parametrize("objective", ["two-step", "agreement"])
def test_cells_may_lack_modalities_and_there_may_be_three(objective: str) -> None:
    tables, factors = toy(200)
    rng = np.random.default_rng(3)
    tables["z"] = factors[:, [0]] * rng.normal(size=(1, 5)) + 0.01 * rng.normal(size=(200, 5))
    tables = {name: values.copy() for name, values in tables.items()}
    tables["x"][:40] = np.nan
    tables["y"][30:60] = np.nan  # ten cells have z alone
    tables["z"][150:] = np.nan
    # Small batches, so that some of them lack a modality altogether.
    model = train_tables(tables, quick(objective, names="xyz", batch_size=8))
    assert model.blocks["shared"].shape[0] == 200
    assert {name: len(model.blocks[name]) for name in "xyz"} == {"x": 160, "y": 170, "z": 150}
    assert all(np.isfinite(block).all() for block in model.blocks.values())
    assert set(model.verdict.parts) == {"x", "y", "z"}


def test_wrong_tables_are_refused() -> None:
    tables, _ = toy(60)
    with pytest.raises(DataError, match="do not go with"):
        train_tables({"x": tables["x"]}, quick())
    with pytest.raises(DataError, match="one number of cells"):
        train_tables({"x": tables["x"], "y": tables["y"][:50]}, quick())
    broken = {name: values.copy() for name, values in tables.items()}
    broken["y"][17, 3] = np.inf
    with pytest.raises(DataError, match=r"'y' is not finite in 1 cells, the first 17"):
        train_tables(broken, quick())
    broken["y"][17], broken["x"][17] = np.nan, np.nan
    with pytest.raises(DataError, match="lack every modality, the first 17"):
        train_tables(broken, quick())
    with pytest.raises(Cancelled):
        train_tables(tables, quick(), should_stop=lambda: True)


def test_presets_are_complete() -> None:
    given = {"objective", "shared", "specific", "seed"}
    for values in TABLES.values():
        assert set(values) == {each.name for each in fields(TableSettings)} - given


def test_networks_of_the_paper_have_no_biases_and_narrow_branches() -> None:
    architecture = Architecture(
        modalities=(Modality("x", "table", specific=2, features=40, activation="linear"),),
        vocabulary=(),
        shared=3,
        hidden=20,
        table_blocks="paper",
        shared_decoders=False,
    )
    network = Network(architecture)
    shapes = {name: tuple(p.shape) for name, p in network.named_parameters() if p.dim() == 2}
    assert [shape for name, shape in shapes.items() if "decoders.x" in name] == [
        (20, 5),
        (20, 20),
        (20, 20),
        (40, 20),
    ]
    assert [shape for name, shape in shapes.items() if "encoders.x" in name] == [
        (20, 40),
        (20, 20),
        (3, 20),
        (3, 3),
        (2, 20),
        (2, 2),
    ]
    normalised = {p.shape for n, p in network.named_parameters() if p.dim() == 1}
    assert normalised == {torch.Size([20]), torch.Size([3]), torch.Size([2])}  # of BatchNorm alone
    linear = [module for module in network.modules() if isinstance(module, torch.nn.Linear)]
    assert all(module.bias is None for module in linear)
    assert [m.p for m in network.modules() if isinstance(m, torch.nn.Dropout)] == [0.01] * 7


def test_tables_have_their_own_activation_and_sizes_that_must_fit() -> None:
    tables = (Modality("x", "table", specific=2, features=4, activation="linear"),)
    network = Network(Architecture(tables, (), shared=3, hidden=8)).eval()
    code = network.encode("x", torch.randn(5, 4), None)
    decoded = network.decode("x", code.shared, code.specific, None)
    assert decoded.shape == (5, 4)
    assert torch.equal(network.activate("x", decoded), decoded)
    with pytest.raises(ConfigError, match="hidden = 0"):
        Architecture(tables, (), shared=3)
    with pytest.raises(ConfigError, match="at least one feature"):
        Architecture((Modality("x", "table"),), (), shared=3, hidden=8)
    with pytest.raises(ConfigError, match="'shared'"):
        Architecture((Modality("shared", "table", features=3),), (), shared=3, hidden=8)


def test_simulated_tables_go_in_as_they_are() -> None:
    made = simulate_tables(2, cells=100, seed=1)
    model = train_tables({"x": made.x, "y": made.y}, quick("two-step"), validation=made.split() != "train")
    assert len(model.blocks["shared"]) == (made.split() == "train").sum()
    assert [epoch.stage for epoch in model.history] == ["latents"] * 6 + ["encoders"] * 3
