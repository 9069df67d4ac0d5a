"""Settings of a training."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

from pydantic import Field, model_validator

from napari_apollo.config import OperationConfig
from napari_apollo.train.presets import PRESETS, SMALL


def _small(name: str, **bounds: Any) -> Any:
    return Field(default=SMALL[name], **bounds)


class TrainConfig(OperationConfig):
    """How a model is trained.

    Settings that are not given are those of the preset. The words *reference* and *paper* mean
    Zhang, Shivashankar and Uhler (Nature Computational Science, 2025).
    """

    output: Path = Path("apollo.run")
    """Run folder to write: settings, progress, previews, checkpoints and the model."""

    overwrite: bool = False
    """Replace a run folder that exists."""

    preset: Literal["small", "paper", "agreement"] = "small"
    """Where settings that are not given come from: 'small' suits crops of 32 to 64 pixels on a
    processor, 'agreement' is the same by that objective, 'paper' is the reference's image model."""

    objective: Literal["two-step", "agreement"] = _small("objective")
    """What is made smaller: 'two-step', the paper's, optimises latents and decoders, then trains
    encoders; 'agreement' keeps in the shared latent only what every modality would have said."""

    device: str = "auto"
    """Where to compute: auto, cpu, cuda or mps (Apple). Auto takes a GPU where there is one."""

    threads: int = Field(default=0, ge=0)
    """Processor threads; 0 takes what torch takes. Another number can change the last bits."""

    precision: Literal["auto", "float32", "bfloat16"] = "auto"
    """Numbers inside the image networks while they are trained: auto takes 16 bits where the machine is
    faster with them. Weights, latents and losses, and the finished model, keep 32 bits."""

    compiled: bool = False
    """Fuse the layers of image networks with torch.compile: a minute at the start, for a faster GPU."""

    seed: int = Field(default=3, ge=0)
    """Of every random choice. On a processor the same seed gives the same model, to the byte."""

    held_out: tuple[str, ...] = ()
    """Donors or fields (all of one kind) kept for the final test. Where none are named, the study's
    own split counts, else a choice by hash of seed and name."""

    test_fraction: float = Field(default=0.15, gt=0, lt=0.5)
    """Part of the cells to hold out for the final test where the choice is made here."""

    validation_fraction: float = Field(default=0.15, gt=0, lt=0.5)
    """Part of the training cells, whole donors or fields, that decides when to stop."""

    shared: int = _small("shared", ge=1, le=8192)
    """Length of the shared latent."""

    specific: int = _small("specific", ge=0, le=8192)
    """Length of each modality's own latent; 0 makes the model fully joint."""

    embedding: int = _small("embedding", ge=1, le=1024)
    """Length of a stain's embedding."""

    width: int = _small("width", ge=4, le=256)
    """Channels after the first block; doubled in the second and third, then kept."""

    head: int = _small("head", ge=4, le=512)
    """Channels after the last block of an encoder."""

    specific_maps: int = _small("specific_maps", ge=0, le=256)
    """How many of the head's channels feed the specific latent (0 with a fully joint model)."""

    anchor_conditional: bool = _small("anchor_conditional")
    """Tell the chromatin networks, too, which protein the cell is paired with, as the reference does."""

    shared_decoders: bool = _small("shared_decoders")
    """Decoders that see the shared latent alone; without them the prediction of a stain sets the
    specific latent to zero."""

    loss: Literal["bce", "mse", "mae"] = _small("loss")
    """Reconstruction loss: binary cross entropy on logits, mean squared or mean absolute error."""

    noise: float = _small("noise", ge=0, le=10)
    """Standard deviation of the noise added to latents at every use in step 1."""

    penalty: float = _small("penalty", ge=0)
    """Weight of the mean length of latents, divided by their dimension, in step 1."""

    decoder_rate: float = _small("decoder_rate", gt=0, le=1)
    """Learning rate of decoders."""

    latent_rate: float = _small("latent_rate", gt=0, le=1)
    """Learning rate of latents and of the decoders' stain embedding."""

    encoder_rate: float = _small("encoder_rate", gt=0, le=1)
    """Learning rate of encoders."""

    schedule: Literal["constant", "cosine"] = _small("schedule")
    """Learning rates over a step: kept, or brought to zero along a cosine."""

    batch_size: int = _small("batch_size", ge=2, le=65536)
    """Cells in a batch."""

    latent_epochs: int = _small("latent_epochs", ge=1)
    """Most epochs of step 1."""

    encoder_epochs: int = _small("encoder_epochs", ge=1)
    """Most epochs of step 2."""

    latent_patience: int = _small("latent_patience", ge=0)
    """Epochs without a lower training loss after which step 1 ends; 0 runs them all."""

    encoder_patience: int = _small("encoder_patience", ge=0)
    """Epochs without a better reconstruction of validation cells after which step 2 ends; 0 runs
    them all. The best epoch is kept either way."""

    fixed_order: bool = _small("fixed_order")
    """Visit cells in storage order in every epoch, as the reference does, instead of shuffled."""

    dense_latents: bool = _small("dense_latents")
    """Let Adam move the latents of all cells at every step, as the reference does, instead of those
    of the batch alone."""

    regression_weight: float = _small("regression_weight", ge=0)
    """Step 2: weight of the distance between encoded and optimised latents."""

    reconstruction_weight: float = _small("reconstruction_weight", ge=0)
    """Step 2: weight of the loss of images decoded from encoded latents; the reference has none."""

    tune_decoders: bool = _small("tune_decoders")
    """Step 2: let the decoders move, too; needs a reconstruction weight."""

    turn_cells: bool = _small("turn_cells")
    """Step 2: rotate and flip half of the cells at random; needs a reconstruction weight, as the
    latents of step 1 belong to the cells as they lay."""

    beta: float = _small("beta", ge=0)
    """Agreement: price of a nat of stored information, in units of the reconstruction loss."""

    gamma: float = _small("gamma", ge=0)
    """Agreement: how much dearer a nat of shared information is that a modality does not confirm."""

    eta: float = _small("eta", ge=0)
    """Agreement: weight of the dependence between shared and specific latents (HSIC, from 0 to 1);
    it comes in between 35 % and 65 % of the first step."""

    opening: float = _small("opening", ge=1, le=1e4)
    """Agreement: how many times dearer it is at first to store what is specific, or what a modality does
    not confirm, so that what is shared is found first; it falls to 1 over a quarter of step 1."""

    sharpening: float = _small("sharpening", gt=0, le=1)
    """Agreement: what 'beta' is multiplied by at the end; it falls between 40 % and 70 % of step 1."""

    follow: float = _small("follow", ge=0, lt=1)
    """Agreement: part of step 1 during which the latents of cells take over what encoders say of them,
    before they move freely: with few epochs they would not come far from where they start."""

    shared_cost: float = _small("shared_cost", ge=0, le=1)
    """Agreement: price of shared information that all modalities confirm, as a part of 'beta'."""

    cross_weight: float = _small("cross_weight", ge=0)
    """Agreement: weight of predicting each modality from the shared code of every other one."""

    product_weight: float = _small("product_weight", ge=0)
    """Agreement: weight of rebuilding each modality from the product of all encoders."""

    unused_below: float = _small("unused_below", ge=0)
    """Agreement: latent dimensions that hold fewer nats a cell are closed after the first step."""

    told_above: float = _small("told_above", gt=0, le=1)
    """Agreement: latent dimensions of which the others of their block tell a larger part (held-out R²)
    are closed after 45 %, 60 % and 80 % of the first step; 1 closes none."""

    memory_gb: float = Field(default=0, ge=0)
    """Crops are kept on the device up to this many GB, and read from the store batch by batch where
    there are more; 0 takes half of what is free."""

    previews_every: int = Field(default=10, ge=0)
    """Epochs between preview pictures; 0 makes none but the last."""

    checkpoint_seconds: float = Field(default=30, ge=0)
    """Least time between checkpoints; one is always written at the end of a step."""

    licence: str = ""
    """Licence of the model, written into its file, for example CC-BY-4.0."""

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
