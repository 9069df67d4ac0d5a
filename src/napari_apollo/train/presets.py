"""Sets of settings that belong together; plain values, so that nothing but Python is needed to read them.

``paper`` is the reference's image model (section 1.1, 2.1, 3 and 4 of the facts on it). ``small`` is for
crops of 32 to 64 pixels on a processor.
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

PRESETS: dict[str, dict[str, Any]] = {"small": SMALL, "paper": PAPER}
