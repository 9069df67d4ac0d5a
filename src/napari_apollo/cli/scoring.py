"""What ``napari-apollo evaluate`` is given, and which of its scores fit a terminal."""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from napari_apollo.cli.inspect import Description, kind_of
from napari_apollo.cli.options import GivenSettings
from napari_apollo.errors import ConfigError
from napari_apollo.predict import EvaluateConfig
from napari_apollo.predict.tableconfig import TableEvaluateConfig
from napari_apollo.progress import Progress, ShouldStop

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


def learnt_from_tables(source: Path) -> bool:
    """Whether a path is a run on tables."""
    if not (source / "status.json").is_file():
        return False
    from napari_apollo.train import Run

    return bool(Run(source).tables)


def score_images(
    source: Path, model: Path | None, given: GivenSettings, progress: Progress, should_stop: ShouldStop
) -> Description:
    """Score a model on the cells of a store, and tell what came out."""
    from napari_apollo.predict import evaluate
    from napari_apollo.report.evaluation import REPORT, evaluation_page

    config: EvaluateConfig = given.of("images")
    store, run_or_model = scored(source, model)
    scores = evaluate(store, run_or_model, config, progress=progress, should_stop=should_stop)
    words = [in_short(scores.table).to_string(index=False, float_format="%.3f")]
    if config.output is not None:
        words.append(str(evaluation_page(scores).write(config.output / REPORT)))
    return scores.to_json(), "\n".join(words)


def score_tables(
    source: Path, model: Path | None, given: GivenSettings, progress: Progress, should_stop: ShouldStop
) -> Description:
    """Score a run on tables, and tell what came out.

    Raises
    ------
    ConfigError
        When a model is named besides.
    """
    from napari_apollo.predict.tables import evaluate_tables

    config: TableEvaluateConfig = given.of("tables")
    if model is not None:
        raise ConfigError(f"{source} is a run on tables: it is scored by its own model; leave --model out.")
    scores = evaluate_tables(source, config, progress=progress, should_stop=should_stop)
    words = [scores.in_words()]
    if config.output is not None:
        scores.write(config.output)
        words.append(str(config.output))
    return scores.to_json(), "\n".join(words)


def scored(source: Path, model: Path | None) -> tuple[Path, Path]:
    """Cell store and model: those of a run, or those that are named.

    Raises
    ------
    ConfigError
        When a cell store is given without a model.
    FileError
        When there is nothing at the path, or the store of a run is gone.
    """
    if kind_of(source) == "run":
        from napari_apollo.train import Run

        remedy = "Say where its cells are: napari-apollo evaluate STORE --model RUN."
        return Run(source).store_there(remedy), model or source
    if model is None:
        raise ConfigError(f"{source} is no run folder; say by --model what to score on its cells.")
    return source, model


def in_short(table: pd.DataFrame) -> pd.DataFrame:
    """The columns that people look at first; all are in the written tables."""
    return table[[name for name in _SHORT if name in table]]
