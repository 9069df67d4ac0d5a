"""Scores of channels from those of their cells, beside baselines, with intervals and a verdict in words."""

from __future__ import annotations

import pandas as pd

from napari_apollo.predict.baselines import IN_WORDS
from napari_apollo.predict.intervals import score_intervals
from napari_apollo.predict.scores import summarise
from napari_apollo.probes.gains import gains_over

SCORES = ("mae", "mae_units", "pearson", "intensity_pearson", "ssim", "published_l1")
KEYS = ["part", "stain", "kind", "truth"]


def score_table(cells: pd.DataFrame) -> pd.DataFrame:
    """One row for each channel: its scores, their intervals over donors, those of baselines, a verdict.

    ``gain`` is by how much the mean image errs more, ``pearson_gain`` by how much less it goes with the
    truth, each with its interval; ``over_unet_gain`` and so on say the same of other baselines.

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
        gains = {name: gains_over(group, name) for name in others}
        for name, gain in gains.items():
            first = "" if name == "mean" else f"over_{name}_"
            row |= {f"{first}{number}": value for number, value in gain.numbers().items()}
        rows.append({**row, "better": gains["mean"].better, "verdict": gains["mean"].verdict()})
    return pd.DataFrame(rows)


def _of_baseline(group: pd.DataFrame, name: str) -> pd.DataFrame:
    return group.filter(regex=f"^{name}_").rename(columns=lambda column: column.removeprefix(f"{name}_"))


def _baselines(group: pd.DataFrame) -> list[str]:
    return [name for name in IN_WORDS if f"{name}_pixels" in group and group[f"{name}_pixels"].notna().all()]
