"""Settings that every training has, whatever its cells are."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

from pydantic import Field

from napari_apollo.config import OperationConfig
from napari_apollo.train.presets import SMALL


def small(name: str, **bounds: Any) -> Any:
    """A field whose default is that of the preset ``small``."""
    return Field(default=SMALL[name], **bounds)


class CommonTrainConfig(OperationConfig):
    """Run folder, machine, objective and its weights. Presets give what is not given."""

    output: Path = Path("apollo.run")
    """Run folder to write: settings, progress, previews, checkpoints and the model."""

    overwrite: bool = False
    """Replace a run folder that exists; its model is kept in NAME.before until the new run has one."""

    objective: Literal["two-step", "agreement", "one-step"] = small("objective")
    """What is made smaller: 'two-step', the paper's, optimises latents and decoders, then trains
    encoders; 'agreement' keeps in the shared latent only what every modality would have said;
    'one-step', to compare with, are the paper's autoencoders without optimised latents."""

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

    shared_decoders: bool = small("shared_decoders")
    """Decoders that see the shared latent alone; without them the prediction of a stain sets the
    specific latent to zero."""

    noise: float = small("noise", ge=0, le=10)
    """Two-step: standard deviation of the noise added to latents at every use in step 1."""

    penalty: float = small("penalty", ge=0)
    """Two-step: weight of the mean length of latents, divided by their dimension, in step 1."""

    decoder_rate: float = small("decoder_rate", gt=0, le=1)
    """Learning rate of decoders."""

    latent_rate: float = small("latent_rate", gt=0, le=1)
    """Learning rate of latents and of the decoders' stain embedding."""

    encoder_rate: float = small("encoder_rate", gt=0, le=1)
    """Learning rate of encoders."""

    schedule: Literal["constant", "cosine"] = small("schedule")
    """Learning rates over a step: kept, or brought to zero along a cosine."""

    batch_size: int = small("batch_size", ge=2, le=65536)
    """Cells in a batch."""

    latent_epochs: int = small("latent_epochs", ge=1)
    """Most epochs of step 1."""

    encoder_epochs: int = small("encoder_epochs", ge=1)
    """Most epochs of step 2; of 'one-step', all there are."""

    latent_patience: int = small("latent_patience", ge=0)
    """Epochs without a lower training loss after which step 1 ends; 0 runs them all."""

    encoder_patience: int = small("encoder_patience", ge=0)
    """Epochs without a better reconstruction of validation cells after which step 2 ends; 0 runs
    them all. The best epoch is kept either way."""

    fixed_order: bool = small("fixed_order")
    """Visit cells in storage order in every epoch, as the reference does, instead of shuffled."""

    dense_latents: bool = small("dense_latents")
    """Let Adam move the latents of all cells at every step, as the reference does, instead of those
    of the batch alone."""

    regression_weight: float = small("regression_weight", ge=0)
    """Step 2: weight of the distance between encoded and optimised latents."""

    reconstruction_weight: float = small("reconstruction_weight", ge=0)
    """Step 2: weight of the loss of images decoded from encoded latents; the reference has none."""

    tune_decoders: bool = small("tune_decoders")
    """Step 2: let the decoders move, too; needs a reconstruction weight."""

    beta: float = small("beta", ge=0)
    """Agreement, one-step: price of a nat of stored information, in units of the reconstruction loss."""

    gamma: float = small("gamma", ge=0)
    """Agreement: how much dearer a nat of shared information is that a modality does not confirm."""

    eta: float = small("eta", ge=0)
    """Agreement: weight of the dependence between shared and specific latents (HSIC, from 0 to 1);
    it comes in between 35 % and 65 % of the first step. Of tables in nats a cell; where factors can bring but
    a part of that, so much of it is asked, and 'gamma' and 'opening' to the power of that part."""

    opening: float = small("opening", ge=1, le=1e4)
    """Agreement: how many times dearer it is at first to store what is specific, or what a modality does
    not confirm, so that what is shared is found first; it falls to 1 over a quarter of step 1."""

    sharpening: float = small("sharpening", gt=0, le=1)
    """Agreement: what 'beta' is multiplied by at the end; it falls between 40 % and 70 % of step 1."""

    follow: float = small("follow", ge=0, lt=1)
    """Agreement: part of step 1 during which the latents of cells take over what encoders say of them,
    before they move freely: with few epochs they would not come far from where they start."""

    tuning_rate: float = small("tuning_rate", gt=0, le=1)
    """Agreement: factor on learning rates in step 2. Encoders have learnt along in step 1; where step 2 is
    short beside it, full rates shake them more than they mend."""

    shared_cost: float = small("shared_cost", ge=0, le=1)
    """Agreement: price of shared information that all modalities confirm, as a part of 'beta'."""

    cross_weight: float = small("cross_weight", ge=0)
    """Agreement: weight of predicting each modality from the shared code of every other one."""

    product_weight: float = small("product_weight", ge=0)
    """Agreement: weight of rebuilding each modality from the product of all encoders."""

    unused_below: float = small("unused_below", ge=0)
    """Agreement: latent dimensions that hold fewer nats a cell are closed after the first step."""

    told_above: float = small("told_above", gt=0, le=1)
    """Agreement: latent dimensions of which the others of their block tell a larger part (held-out R²)
    are closed, from 45 % of the first step on; 1 closes none."""

    unwound_after: float = small("unwound_after", ge=0, le=1)
    """Agreement: part of step 1 after which such closings see to dimensions, too, that codes only wind
    through. What has yet to leave a block, before independence has come in, looks like winding."""

    previews_every: int = Field(default=10, ge=0)
    """Epochs between preview pictures; 0 makes none but the last."""

    checkpoint_seconds: float = Field(default=30, ge=0)
    """Least time between checkpoints; one is always written at the end of a step."""

    licence: str = ""
    """Licence of the model, written into its file, for example CC-BY-4.0."""
