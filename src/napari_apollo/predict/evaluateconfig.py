"""Settings of an evaluation."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import Field

from napari_apollo.config import OperationConfig
from napari_apollo.predict.baselines import BaselineName

Part = Literal["train", "validation", "test"]


class EvaluateConfig(OperationConfig):
    """Settings of an evaluation."""

    output: Path | None = None
    """Folder that gets evaluation.json and evaluation.csv; nothing is written where not given."""

    parts: tuple[Part, ...] = ("test",)
    """Parts of the data to score: test is what the model never saw; train and validation show how much
    worse it does on test."""

    truth: Path | None = None
    """Manifest or cell store with stains that were hidden from the model; predictions of stains that a
    cell's panel lacks are scored against it."""

    most_cells: int = Field(default=2000, ge=0)
    """Cells of each panel and part that are looked at, spread evenly; 0 looks at all."""

    features: bool = False
    """Also measure made and measured images and compare the features of every cell: correlations, and
    intervals that cover what they say on held-out donors."""

    baselines: tuple[BaselineName, ...] = ()
    """Baselines beside the mean image: neighbour (the training cell of most similar chromatin), unet (a
    conditional U-Net) and inpainting (paired cell inpainting); the networks are trained on the cells that the
    model learnt from, which takes minutes."""

    baseline_epochs: int = Field(default=15, ge=1, le=1000)
    """Epochs that networks among the baselines are trained for."""

    published: bool = False
    """Also score by the APOLLO study's protocol: mode subtraction batch by batch, means of batches, and
    predictions with what is specific to another protein of the cell."""

    level: float = Field(default=0.9, gt=0, lt=1)
    """Coverage that intervals of features are made for."""

    skip_unknown: bool = False
    """Work on panels that have stains the model never learnt, leaving those stains out."""

    normalisation: Literal["store", "model"] = "store"
    """Whose intensity constants are used: those of the cell store, or those the model was trained with."""

    device: str = "auto"
    """Where to compute: auto (an NVIDIA or Apple GPU where there is one), cpu, cuda or mps."""

    batch_size: int = Field(default=256, ge=1, le=16384)
    """Cells computed at once; memory grows with it."""
