"""Scores of channels from those of their cells, beside baselines, with intervals and a verdict in words."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from napari_apollo.predict.baselines import IN_WORDS
from napari_apollo.predict.intervals import gain_interval, score_intervals
from napari_apollo.predict.scores import summarise

SCORES = ("mae", "mae_units", "pearson", "intensity_pearson", "ssim", "published_l1")
KEYS = ["part", "stain", "kind", "truth"]


def score_table(cells: pd.DataFrame) -> pd.DataFrame:
    """One row for each channel: its scores, their intervals over donors, those of baselines, a verdict.

    ``gain`` is by how much the mean image errs more, with its interval.

    Parameters
    ----------
    cells
        One row a cell and channel, with the sums of ``cell_scores``, and those of baselines under their
        prefix.
    """
    rows = []
    for key, group in cells.groupby(KEYS, sort=False, observed=True):
        own = summarise(group)
        others = {name: summarise(_of_baseline(group, name)) for name in _baselines(group)}
        row = {**dict(zip(KEYS, key, strict=True)), **own, **score_intervals(group)}
        for name, scores in others.items():
            row |= {f"{name}_{score}": scores[score] for score in SCORES}
        rows.append({**row, **gain_interval(group, "mean"), **_verdict(own, others["mean"])})
    return pd.DataFrame(rows)


def _of_baseline(group: pd.DataFrame, name: str) -> pd.DataFrame:
    return group.filter(regex=f"^{name}_").rename(columns=lambda column: column.removeprefix(f"{name}_"))


def _verdict(own: dict[str, float], mean: dict[str, float]) -> dict[str, Any]:
    """Whether a channel may be believed more than the mean image of its stain."""
    if np.isnan(mean["mae"]):
        return {
            "better": False,
            "verdict": "no mean image to compare with: no cell was given the stain",
        }
    # A mean image that is the same everywhere correlates with nothing: any correlation is more.
    closer = own["mae"] < mean["mae"]
    alike = own["pearson"] > (0.0 if np.isnan(mean["pearson"]) else mean["pearson"])
    if closer and alike:
        verdict = "better than the mean image"
    elif alike:
        verdict = "more like the truth in pattern than the mean image, but further off in intensity"
    elif closer:
        verdict = "closer in intensity than the mean image, but less like the truth in pattern"
    else:
        verdict = "no better than the mean image"
    return {"better": bool(closer and alike), "verdict": verdict}


def _baselines(group: pd.DataFrame) -> list[str]:
    return [name for name in IN_WORDS if f"{name}_pixels" in group and group[f"{name}_pixels"].notna().all()]
