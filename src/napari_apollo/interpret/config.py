"""Settings of an interpretation."""

from __future__ import annotations

from pathlib import Path
from typing import Literal, Self

from pydantic import Field, model_validator

from napari_apollo.config import OperationConfig

Part = Literal["train", "validation", "test"]


class InterpretConfig(OperationConfig):
    """Settings of an interpretation."""

    output: Path | None = None
    """Folder that gets the report (interpretation.html), tables as CSV, and interpretation.h5ad; nothing is
    written where not given."""

    overwrite: bool = False
    """Replace the folder where it exists."""

    keep_steps: bool = True
    """Keep finished steps beside the output, in NAME.steps: an interpretation that was stopped goes on, and
    what does not change is not done again. The folder may be removed."""

    store: Path | None = None
    """Cell store whose cells are interpreted; that of the training where not given."""

    parts: tuple[Part, ...] = ()
    """Parts of the data to interpret; all cells that passed the quality check where none is named."""

    directions: int = Field(default=6, ge=1, le=50)
    """Principal directions that are looked at of every block."""

    permutations: int = Field(default=100, ge=10, le=10_000)
    """Permutations of the cells within their donors."""

    fdr: float = Field(default=0.05, gt=0, lt=1)
    """False discovery rate that discoveries are held to."""

    least_effect: float = Field(default=0.1, ge=0, lt=1)
    """Rank correlation that a discovery needs at least, whatever its p-value."""

    probe: Literal["linear", "nonlinear"] = "nonlinear"
    """How features are read from latents to share them out over the blocks."""

    folds: int = Field(default=5, ge=2, le=50)
    """Folds of donors."""

    most_cells: int = Field(default=5000, ge=100)
    """Cells that features are shared out on, drawn evenly from the donors; directions use all."""

    published: bool = False
    """Also run the published procedure (central cells in percentile bins, agreement over hold-outs)."""

    hold_outs: int = Field(default=12, ge=2, le=100)
    """Sets of donors that the published procedure holds out in turn."""

    phenotypes: bool = True
    """Classify conditions of held-out donors from latents by block and from features."""

    label: str = "condition"
    """Column of the table that is classified."""

    images: Literal["none", "small", "resnet18"] = "none"
    """Also classify from measured, reconstructed and predicted images: with a small network, or with
    ResNet-18, which takes hours without a GPU."""

    image_permutations: int = Field(default=0, ge=0, le=1000)
    """Short trainings on permuted conditions that the p-values of images are made from; 19 are the fewest
    that can reach 0.05, and none are made where not asked for, as they take minutes."""

    image_features: bool = False
    """Also read the features of every protein from chromatin images, measured, rebuilt, and rebuilt from the
    shared part alone, by the network that ``images`` names, or the small one."""

    compartments: bool = False
    """Also ask which stain's shared or specific part accompanies where each protein lies in the cell; needs
    cells that were given two proteins or more."""

    pairs: tuple[Path, ...] = ()
    """Runs or models of two stains each, in the same cells: with ``compartments``, their shared and specific
    latents stand beside those of the model, and every stain that was measured is asked about."""

    ablation: bool = True
    """Leave features, and groups of them, out of the classification to see what it rests on."""

    walks: int = Field(default=2, ge=0, le=20)
    """Directions of every block along which images are shown."""

    device: str = "auto"
    """Where to compute: auto (an NVIDIA or Apple GPU where there is one), cpu, cuda or mps."""

    batch_size: int = Field(default=256, ge=1, le=16384)
    """Cells computed at once; memory grows with it."""

    seed: int = Field(default=0, ge=0)
    """Decides permutations, folds and draws."""

    @model_validator(mode="after")
    def _check(self) -> Self:
        if self.pairs and not self.compartments:
            raise ValueError("pairs: further models are asked about compartments only; add compartments.")
        return self
