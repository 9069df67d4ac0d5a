"""Sets of settings that belong together; plain values, so that nothing but Python is needed to read them.

``paper`` is the reference's image model (section 1.1, 2.1, 3 and 4 of the facts on it). ``small`` and
``agreement`` are for crops of 32 to 64 pixels on a processor, by the one objective and by the other.
"""

from __future__ import annotations

from typing import Any

PAPER: dict[str, Any] = {
    "objective": "two-step",
    "shared": 1024,
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
    "encoder_patience": 200,
    "fixed_order": False,
    "dense_latents": False,
    "regression_weight": 1.0,
    "reconstruction_weight": 0.0,
    "tune_decoders": False,
    "turn_cells": False,
    "beta": 1e-4,
    "gamma": 1.0,
    "eta": 0.0,
    "opening": 1.0,
    "shared_cost": 0.1,
    "cross_weight": 1.0,
    "product_weight": 1.0,
    "unused_below": 0.02,
}

SMALL: dict[str, Any] = {
    **PAPER,
    "shared": 64,
    "specific": 96,
    "embedding": 8,
    "width": 16,
    "head": 64,
    "specific_maps": 16,
    "anchor_conditional": False,
    "noise": 0.1,
    "decoder_rate": 5e-3,
    "latent_rate": 1e-2,
    "encoder_rate": 5e-3,
    "schedule": "cosine",
    "batch_size": 32,
    "latent_epochs": 10,
    "encoder_epochs": 25,
    "latent_patience": 10,
    "encoder_patience": 15,
    "regression_weight": 0.01,
    "reconstruction_weight": 1.0,
    "tune_decoders": True,
    "turn_cells": True,
}

AGREEMENT: dict[str, Any] = {
    **SMALL,
    "objective": "agreement",
    "loss": "mae",
    "decoder_rate": 2e-3,
    "encoder_rate": 2e-3,
    "latent_rate": 2e-2,
    "latent_epochs": 15,
    "latent_patience": 0,
    "encoder_epochs": 20,
    "regression_weight": 0.1,
}

PRESETS: dict[str, dict[str, Any]] = {"small": SMALL, "paper": PAPER, "agreement": AGREEMENT}
