"""Settings of a training."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field, model_validator

from napari_apollo.train.common import CommonTrainConfig, small
from napari_apollo.train.presets import PRESETS


class TrainConfig(CommonTrainConfig):
    """How a model is trained.

    Settings that are not given are those of the preset. The words *reference* and *paper* mean
    Zhang, Shivashankar and Uhler (Nature Computational Science, 2025).
    """

    preset: Literal["small", "paper", "agreement", "sharp", "one-step"] = "small"
    """Where settings that are not given come from: 'small' suits crops of 32 to 64 pixels on a
    processor, 'agreement' is the same by that objective, 'sharp' that with latents that say where things
    are, too, 'paper' is the reference's image model, 'one-step' its ablation without optimised latents."""

    held_out: tuple[str, ...] = ()
    """Donors or fields (all of one kind) kept for the final test. Where none are named, the study's
    own split counts, else a choice by hash of seed and name."""

    test_fraction: float = Field(default=0.15, gt=0, lt=0.5)
    """Part of the cells to hold out for the final test where the choice is made here."""

    validation_fraction: float = Field(default=0.15, gt=0, lt=0.5)
    """Part of the training cells, whole donors or fields, that decides when to stop."""

    shared: int = small("shared", ge=1, le=8192)
    """Length of the shared latent, but for its spatial part."""

    specific: int = small("specific", ge=0, le=8192)
    """Length of each modality's own latent, but for its spatial part; 0 makes the model fully joint."""

    spatial: int = small("spatial", ge=0, le=64)
    """Numbers that the shared latent has, besides, for each place of a coarse grid over the crop (8 x 8 for
    crops of 32, 64 and 128 pixels); 0, as the reference, for none."""

    protein_spatial: int = small("protein_spatial", ge=0, le=64)
    """The same of the proteins' own latent: how a protein lies beyond what chromatin says of it."""

    embedding: int = small("embedding", ge=1, le=1024)
    """Length of a stain's embedding."""

    width: int = small("width", ge=4, le=256)
    """Channels after the first block; doubled in the second and third, then kept."""

    head: int = small("head", ge=4, le=512)
    """Channels after the last block of an encoder."""

    specific_maps: int = small("specific_maps", ge=0, le=256)
    """How many of the head's channels feed the specific latent (0 with a fully joint model)."""

    anchor_conditional: bool = small("anchor_conditional")
    """Tell the chromatin networks, too, which protein the cell is paired with, as the reference does."""

    loss: Literal["bce", "mse", "mae"] = small("loss")
    """Reconstruction loss: binary cross entropy on logits, mean squared or mean absolute error."""

    turn_cells: bool = small("turn_cells")
    """Rotate and flip half of the cells at random: in step 2, and with the objective agreement in step 1
    as well, for what encoders alone say. Needs a reconstruction weight: latents that were learnt in step 1
    belong to the cells as they lay."""

    memory_gb: float = Field(default=0, ge=0)
    """Crops are kept on the device up to this many GB, and read from the store batch by batch where
    there are more; 0 takes half of what is free."""

    @model_validator(mode="before")
    @classmethod
    def _fill_from_preset(cls, values: Any) -> Any:
        if isinstance(values, dict):
            return {**PRESETS.get(values.get("preset", "small"), {}), **values}
        return values

    @model_validator(mode="after")
    def _check(self) -> TrainConfig:
        if (self.specific == 0) != (self.specific_maps == 0):
            raise ValueError("specific and specific_maps go together: both 0 (fully joint), or neither")
        if self.tune_decoders and not self.reconstruction_weight:
            raise ValueError("tune_decoders needs a reconstruction_weight: nothing else moves decoders")
        if self.turn_cells and not self.reconstruction_weight:
            raise ValueError("turn_cells needs a reconstruction_weight: turned cells have no latents")
        if not self.regression_weight and not self.reconstruction_weight:
            raise ValueError("step 2 has nothing to learn: both its weights are 0")
        return self
