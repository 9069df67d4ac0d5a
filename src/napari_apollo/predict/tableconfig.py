"""Settings of an evaluation of a model of tables."""

from __future__ import annotations

from pathlib import Path

from pydantic import Field

from napari_apollo.config import OperationConfig


class TableEvaluateConfig(OperationConfig):
    """What is scored of a model of tables, on the cells of its run."""

    output: Path | None = None
    """Folder for the tables of scores (CSV); nothing is written where it is not given."""

    label: tuple[str, ...] = ()
    """Columns of obs whose classes are told from the latents: cell type, treatment."""

    batch: str = ""
    """Column of obs whose mixing is scored; the declared nuisance, or the group, where none is named."""

    gene_sets: Path | None = None
    """GMT file of gene sets; without it, directions are tied to features alone."""

    directions: int = Field(default=5, ge=1, le=100)
    """Principal directions of every block that are tied to features."""

    fdr: float = Field(default=0.05, gt=0, lt=1)
    """False discovery rate of features and gene sets."""

    folds: int = Field(default=5, ge=2, le=20)
    """Outer folds of the classifiers."""

    most_cells: int = Field(default=5000, ge=100)
    """Cells that classifiers and neighbourhoods are computed on, drawn at random where there are more."""

    components: bool = True
    """Tell classes from principal components of each table, too: what is there to be told."""

    seed: int = Field(default=0, ge=0)
    """Of folds and drawings."""

    device: str = "auto"
    """Where to compute: auto, cpu, cuda or mps."""
