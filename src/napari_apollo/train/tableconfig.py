"""Settings of a training on tables of cells."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Literal

from pydantic import Field, model_validator

from napari_apollo.errors import ConfigError
from napari_apollo.model.modality import LOSSES
from napari_apollo.tables.preparing import PREPARATIONS
from napari_apollo.train.common import CommonTrainConfig
from napari_apollo.train.tablepresets import TABLE_PRESETS

_DEFAULTS = TABLE_PRESETS["agreement"]


def _table(name: str, **bounds: Any) -> Any:
    return Field(default=_DEFAULTS[name], **bounds)


class TableTrainConfig(CommonTrainConfig):
    """How a model of tables is trained: RNA, accessibility, protein counts, features of one cell.

    Settings that are not given are those of the preset. The words *reference* and *paper* mean
    Zhang, Shivashankar and Uhler (Nature Computational Science, 2025).
    """

    preset: Literal["agreement", "paper"] = "agreement"
    """Where settings that are not given come from: 'agreement' takes the losses that suit the data, 'paper'
    is the reference's model of paired RNA and ATAC."""

    modalities: tuple[str, ...] = ()
    """Names of the tables to use; all that are given where none is named."""

    layer: str = ""
    """Layer of the tables that holds the counts; X where none is named."""

    loss: tuple[str, ...] = _table("loss")
    """Loss of all tables (nb), or of one (rna=nb): nb or poisson for counts, bernoulli for what is there or
    not, gaussian for features, bce, mse, mae; auto goes by the values."""

    prepare: tuple[str, ...] = _table("prepare")
    """Preparation of all tables, or of one (rna=paper): none, paper (log, each cell onto 0 to 1), binarise,
    log-normalise, clr, standardise (each feature by its own mean and spread), centre (one spread for all);
    auto goes by the loss, and centres tables that are mostly 0."""

    positive_weight: Literal["none", "sum", "positives"] = _table("positive_weight")
    """Weight of what is there in the loss bce: none; as the reference weighs RNA and ATAC, by the sum of raw
    counts; as it weighs proteins, by how many are above 0."""

    least_cells: int = _table("least_cells", ge=0)
    """Features that fewer cells have are left out; done twice, with least_features, as in the reference."""

    least_features: int = _table("least_features", ge=0)
    """Cells that have fewer features in one of their tables are left out."""

    group: str = ""
    """Column of obs that says what cells come from (donor, sample): whole groups are held out. Single cells
    where there is none."""

    held_out: tuple[str, ...] = ()
    """Groups kept for the final test; a choice by hash of seed and name where none are named."""

    test_fraction: float = _table("test_fraction", gt=0, lt=0.5)
    """Part of the cells to hold out for the final test."""

    validation_fraction: float = _table("validation_fraction", gt=0, lt=0.5)
    """Part of the remaining cells that decides when to stop."""

    nuisance: str = ""
    """Column of obs, such as a batch, that is to be kept out of the shared latent; where it went is said at
    the end."""

    nuisance_weight: float = Field(default=100.0, ge=0)
    """Price in nats of a shared latent that depends on the nuisance entirely (HSIC, from 0 to 1)."""

    shared: int = _table("shared", ge=1, le=8192)
    """Length of the shared latent."""

    specific: int = _table("specific", ge=0, le=8192)
    """Length of each table's own latent; 0 makes the model fully joint."""

    hidden: int = _table("hidden", ge=1, le=8192)
    """Width of the hidden layers."""

    depth: int = _table("depth", ge=2, le=8)
    """Hidden layers of a decoder; an encoder has one less before its branches."""

    width: int = _table("width", ge=4, le=256)
    """Of images beside tables: channels after the first block; doubled in the second and third, then kept."""

    head: int = _table("head", ge=4, le=512)
    """Of images beside tables: channels after the last block of an encoder."""

    specific_maps: int = _table("specific_maps", ge=1, le=256)
    """Of images beside tables: how many of the head's channels feed the specific latent."""

    table_blocks: Literal["plain", "paper"] = _table("table_blocks")
    """Hidden layers: 'paper' has dropout on what enters, no bias, BatchNorm and LeakyReLU; 'plain' is linear
    and GELU."""

    start_at_factors: bool = _table("start_at_factors")
    """Start latents at what two tables or more agree on and at what each holds beside it, instead of random
    numbers: canonical and principal components that stand out from noise."""

    latents: Literal["copy", "in-place", "none"] = "copy"
    """Where the latents of all cells go, as obsm of their tables: into copies in the run folder, into the
    files that were given, or nowhere. Tables in memory are given them unless it is none."""

    memory_gb: float = Field(default=0, ge=0)
    """GB that the tables may take, compressed; 0 allows half of what is free."""

    @model_validator(mode="before")
    @classmethod
    def _fill_from_preset(cls, values: Any) -> Any:
        if isinstance(values, dict):
            preset = values.get("preset", "agreement")
            return {**TABLE_PRESETS.get(preset, {}), **values}
        return values

    @model_validator(mode="after")
    def _check(self) -> TableTrainConfig:
        for setting, known in (("loss", LOSSES), ("prepare", PREPARATIONS)):
            for word in getattr(self, setting):
                if word.rpartition("=")[2] not in (*known, "auto"):
                    raise ValueError(
                        f"{setting} = {word!r}: auto, {', '.join(known)} would do, or NAME=one of them"
                    )
        if self.tune_decoders and not self.reconstruction_weight:
            raise ValueError("tune_decoders needs a reconstruction_weight: nothing else moves decoders")
        if not self.regression_weight and not self.reconstruction_weight:
            raise ValueError("step 2 has nothing to learn: both its weights are 0")
        return self

    @property
    def turn_cells(self) -> bool:
        """Tables have no directions."""
        return False

    def of(self, setting: str, names: Iterable[str]) -> dict[str, str]:
        """``loss`` or ``prepare`` of each modality.

        Raises
        ------
        ConfigError
            When a word names a modality that is not there.
        """
        names = list(names)
        words = dict.fromkeys(names, "auto")
        # What is said of all tables comes before what is said of one.
        for word in sorted(getattr(self, setting), key=lambda word: "=" in word):
            name, _, value = word.rpartition("=")
            if name and name not in words:
                raise ConfigError(
                    f"{setting} = {word!r}: there is no modality {name!r}; there are {', '.join(names)}."
                )
            words.update(dict.fromkeys([name] if name else names, value))
        return words
