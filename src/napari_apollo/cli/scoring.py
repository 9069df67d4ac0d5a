"""What ``napari-apollo evaluate`` is given, and which of its scores fit a terminal."""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from napari_apollo.cli.inspect import kind_of
from napari_apollo.errors import ConfigError

_SHORT = (
    "part",
    "stain",
    "kind",
    "truth",
    "cells",
    "donors",
    "mae",
    "pearson",
    "ssim",
    "mean_mae",
    "verdict",
)


def scored(source: Path, model: Path | None) -> tuple[Path, Path]:
    """Cell store and model: those of a run, or those that are named.

    Raises
    ------
    ConfigError
        When a cell store is given without a model.
    FileError
        When there is nothing at the path.
    """
    if kind_of(source) == "run":
        from napari_apollo.train import Run

        return Path(Run(source).store), model or source
    if model is None:
        raise ConfigError(f"{source} is no run folder; say by --model what to score on its cells.")
    return source, model


def in_short(table: pd.DataFrame) -> pd.DataFrame:
    """The columns that people look at first; all are in the written tables."""
    return table[[name for name in _SHORT if name in table]]
