"""Presets, and what settings refuse; the preset ``paper`` pinned to the facts on the reference."""

from __future__ import annotations

import pytest

from napari_apollo.errors import ConfigError
from napari_apollo.train import TrainConfig
from napari_apollo.train.build import image_architecture, seeded_network
from napari_apollo.train.presets import PAPER, PRESETS

VARIANTS = {
    "bce": {},
    "mse": {"loss": "mse"},
    "no shared decoders": {"shared_decoders": False},
    "fully joint": {"specific": 0, "specific_maps": 0, "loss": "mse"},
}
"""What each of the paper's variants changes in the preset."""


@pytest.mark.parametrize("variant", VARIANTS)
def test_paper_settings(variant: str) -> None:
    """Every setting of the method, number for number; those of ``agreement`` play no part in it."""
    expected = {
        "objective": "two-step",
        "shared": 1024,
        "spatial": 0,
        "protein_spatial": 0,
        "specific": 200,
        "embedding": 64,
        "width": 64,
        "head": 96,
        "specific_maps": 16,
        "anchor_conditional": True,
        "shared_decoders": True,
        "loss": "bce",
        "noise": 1.0,
        "penalty": 0.001,
        "decoder_rate": 1e-4,
        "latent_rate": 1e-3,
        "encoder_rate": 1e-3,
        "schedule": "constant",
        "batch_size": 256,
        "latent_epochs": 5001,
        "encoder_epochs": 5001,
        "latent_patience": 0,
        # Its rule looks back 200 epochs and waits for 100 more; here, 200 without a better one.
        "encoder_patience": 200,
        "fixed_order": True,
        "dense_latents": True,
        "regression_weight": 1.0,
        "reconstruction_weight": 0.0,
        "tune_decoders": False,
        "turn_cells": False,
    }
    changes = VARIANTS[variant]
    values = TrainConfig(preset="paper", **changes).model_dump()
    assert {name: values[name] for name in expected} == {**expected, **changes}
    assert values["seed"] == 3
    apart = {"beta", "gamma", "eta", "opening", "sharpening", "follow", "shared_cost", "cross_weight"}
    apart |= {"product_weight", "unused_below", "told_above", "tuning_rate", "unwound_after"}
    assert set(PAPER) == set(expected) | apart


def test_paper_network() -> None:
    config = TrainConfig(preset="paper")
    stains = ("CD16", "CD3", "CD4", "CD8", "gammaH2AX", "lamin")
    architecture = image_architecture(config, stains, 128)
    assert architecture.widths == (64, 128, 256, 256, 96)
    assert architecture.bottom == 4
    assert all(modality.conditional for modality in architecture.modalities)
    assert all(modality.specific == 200 for modality in architecture.modalities)
    assert all(modality.activation == "sigmoid" for modality in architecture.modalities)
    network = seeded_network(architecture, 3)
    counts = [sum(p.numel() for p in module.parameters()) for module in network.decoding_modules()]
    assert counts == [4_079_488, 4_079_488, 3_772_288, 3_772_288]


def test_presets_name_settings_that_exist_and_give_way() -> None:
    for name, values in PRESETS.items():
        config = TrainConfig(preset=name)
        assert {key: getattr(config, key) for key in values} == values
    config = TrainConfig(preset="paper", batch_size=32)
    assert config.batch_size == 32
    assert config.shared == PAPER["shared"]


def test_settings_survive_json() -> None:
    config = TrainConfig(preset="paper", noise=0.5, held_out=("d1",))
    assert TrainConfig(**config.model_dump(mode="json")) == config


@pytest.mark.parametrize(
    "values",
    [
        {"specific": 0},
        {"specific_maps": 0},
        {"preset": "huge"},
        {"noise": -1},
        {"batch_size": 1},
        {"reconstruction_weight": 0, "tune_decoders": True, "turn_cells": False},
        {"reconstruction_weight": 0, "tune_decoders": False, "turn_cells": True},
        {"preset": "paper", "regression_weight": 0},
        {"learning_rate": 1},
        {"test_fraction": 0.6},
    ],
)
def test_settings_that_cannot_be_are_refused(values: dict) -> None:
    with pytest.raises(ConfigError):
        TrainConfig(**values)


def test_every_setting_has_help() -> None:
    assert [name for name, field in TrainConfig.model_fields.items() if not field.description] == []
