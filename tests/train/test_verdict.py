"""The verdict and the gap, worked out a second time from the network alone."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from napari_apollo.model.card import Verdict
from napari_apollo.train.data import CellData, Observed, Vectors
from napari_apollo.train.tables import TableModel, TableSettings, train_tables
from napari_apollo.train.verdict import judge

HELD = np.arange(300) % 3 == 0


def tables() -> dict[str, np.ndarray]:
    rng = np.random.default_rng(4)
    factors = rng.normal(size=(300, 3))
    x = np.concatenate([factors[:, :1] * [1.0, -1, 2], factors[:, 1:2] * [1.0, 1, -1]], 1)
    y = np.concatenate([factors[:, :1] * [-1.0, 1], factors[:, 2:] * [2.0, 1, 1]], 1)
    return {"x": x, "y": y}


@pytest.fixture(scope="module", params=["two-step", "agreement"])
def model(request: pytest.FixtureRequest) -> TableModel:
    settings = TableSettings.preset(
        request.param,
        shared=2,
        specific={"x": 2, "y": 2},
        hidden=16,
        latent_epochs=30,
        encoder_epochs=10,
        standardise=False,
    )
    return train_tables(tables(), settings, validation=HELD)


def encoded(model: TableModel, name: str, values: np.ndarray) -> tuple[torch.Tensor, torch.Tensor]:
    code = model.network.encode(name, torch.from_numpy(values).float(), None)
    return code.shared.detach(), code.specific.detach()


def test_parts_are_those_of_the_variance(model: TableModel) -> None:
    held = {name: values[HELD] for name, values in tables().items()}
    for name, other in (("x", "y"), ("y", "x")):
        own = encoded(model, name, held[name])
        total = ((held[name] - held[name].mean(0)) ** 2).sum()
        rebuilt = model.network.decode(name, *own, None).detach().numpy()
        explained = np.clip(1 - ((held[name] - rebuilt) ** 2).sum() / total, 0, 1)
        predicted = model.network.decode(name, encoded(model, other, held[other])[0], None, None)
        shared = 1 - ((held[name] - predicted.detach().numpy()) ** 2).sum() / total
        shared = np.clip(shared, 0, explained)
        part = model.verdict.parts[name]
        assert part["shared"] == pytest.approx(shared, abs=1e-5)
        assert part["specific"] == pytest.approx(explained - shared, abs=1e-5)
        assert part["unexplained"] == pytest.approx(1 - explained, abs=1e-5)


def test_the_gap_is_the_distance_of_encoded_from_optimised_latents(model: TableModel) -> None:
    values = tables()["x"][~HELD]
    shared, own = encoded(model, "x", values)
    for key, found in (("shared", shared), ("specific", own)):
        block = model.blocks["shared" if key == "shared" else "x"]
        used = found.numpy()[:, found.abs().sum(0).numpy() > 0] if block.shape[1] < 2 else found.numpy()
        if block.shape[1] != used.shape[1]:
            continue  # a closed dimension in the middle
        wanted = ((used - block) ** 2).sum() / ((block - block.mean(0)) ** 2).sum()
        assert model.gap["x"][key] == pytest.approx(wanted, rel=1e-4)


def test_a_modality_that_no_cell_shares_predicts_nothing(model: TableModel) -> None:
    values = tables()
    n = 120
    rows = np.where(np.arange(n) < 60, np.arange(n), -1)[:, None]
    others = np.where(np.arange(n) >= 60, np.arange(n) - 60, -1)[:, None]
    cells = CellData(
        {
            "x": Observed(Vectors(values["x"][:60]), rows, np.zeros(60, np.int64)),
            "y": Observed(Vectors(values["y"][:60]), others, np.zeros(60, np.int64)),
        },
        torch.device("cpu"),
    )
    cells.to_device()
    verdict = judge(model.network, cells)
    assert all(part["shared"] == 0 for part in verdict.parts.values())
    assert verdict.kinds == ("unknown",)
    assert "too few" in verdict.warnings[0]


def test_words() -> None:
    verdict = Verdict(
        cells=9,
        parts={"CD8": {"shared": 0.2, "specific": 0.5, "unexplained": 0.3}},
        warnings=("of doubt",),
        kinds=("contained",),
    )
    assert verdict.in_words() == [
        "CD8: 20% shared, 50% specific, 30% unexplained",
        "Warning: of doubt",
    ]


def test_a_copied_modality_is_entirely_shared() -> None:
    values = tables()["x"]
    settings = TableSettings.preset(
        "agreement",
        shared=3,
        specific={"x": 1, "z": 1},
        hidden=24,
        batch_size=64,
        latent_epochs=80,
        encoder_epochs=30,
    )
    model = train_tables({"x": values, "z": values @ np.diag([1, 2, 1, 1, 2, 1.0])}, settings)
    assert model.verdict.parts["x"]["shared"] > 0.8
    assert model.verdict.parts["x"]["specific"] < 0.15
