"""How far scores may be off: intervals over donors, made from the sums that every cell keeps."""

from __future__ import annotations

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from napari_apollo.probes.gains import pearson_of_sums
from napari_apollo.probes.statistics import draw_donors, intervals_of

Floats = NDArray[np.float64]

_DRAWS = 1000
_SUMMED = (
    "pixels",
    "made_sum",
    "truth_sum",
    "made_squared",
    "truth_squared",
    "product",
    "error",
    "error_units",
    "ssim",
    "published_l1",
)


def score_intervals(cells: pd.DataFrame, *, level: float = 0.95, seed: int = 0) -> dict[str, float]:
    """Intervals over donors of the scores of ``predict.scores.summarise``.

    Parameters
    ----------
    cells
        Rows of ``cell_scores`` with a column ``donor``.
    level
        Nominal coverage.
    seed
        Of the draws.

    Returns
    -------
    dict
        ``donors``, and ``<score>_low``, ``<score>_high`` of each score; NaN with fewer than three donors.
    """
    used = cells[cells["pixels"] > 0]
    donors = used["donor"].astype(str)
    names = sorted(set(donors))
    sums = used.groupby(donors)[list(_SUMMED)].sum().reindex(names)
    x, y = used["made_sum"] / used["pixels"], used["truth_sum"] / used["pixels"]
    means = pd.DataFrame({"n": 1.0, "x": x, "y": y, "xx": x * x, "yy": y * y, "xy": x * y})
    by_cell = means.groupby(donors).sum().reindex(names)
    if not names:
        return {"donors": 0}
    drawn = draw_donors(len(names), draws=_DRAWS, seed=seed)
    s = pd.DataFrame(drawn.counts @ sums.to_numpy(np.float64), columns=sums.columns)
    c = pd.DataFrame(drawn.counts @ by_cell.to_numpy(np.float64), columns=by_cell.columns)
    scores = {
        "mae": s["error"] / s["pixels"],
        "mae_units": s["error_units"] / s["pixels"],
        "pearson": pearson_of_sums(
            s["pixels"], s["made_sum"], s["truth_sum"], s["made_squared"], s["truth_squared"], s["product"]
        ),
        "intensity_pearson": pearson_of_sums(*(c[name] for name in ("n", "x", "y", "xx", "yy", "xy"))),
        "ssim": s["ssim"] / c["n"],
        "published_l1": s["published_l1"] / c["n"],
    }
    table = pd.DataFrame(scores)
    low, high = intervals_of(table.to_numpy(np.float64), drawn.chances, drawn.donors, level=level)
    ends = {f"{name}_low": float(low[k]) for k, name in enumerate(table.columns)}
    ends |= {f"{name}_high": float(high[k]) for k, name in enumerate(table.columns)}
    return {"donors": len(names), **ends}


def coexpression(cells: pd.DataFrame, *, level: float = 0.95, seed: int = 0) -> pd.DataFrame:
    """Whether pairs of stains go together in made images as they do in measured ones.

    Parameters
    ----------
    cells
        Rows of an evaluation's ``cells``.
    level, seed
        Of the intervals over donors.

    Returns
    -------
    pandas.DataFrame
        One row a part, kind and pair of stains that the same cells have: ``measured`` and ``made``, the
        correlation of the cells' mean intensities within donors; ``difference`` with ``low`` and ``high``;
        ``cells``, ``donors``.
    """
    rows = []
    means = cells[cells["pixels"] > 0]
    means = means.assign(made=means["made_sum"] / means["pixels"], true=means["truth_sum"] / means["pixels"])
    for (part, kind), group in means.groupby(["part", "kind"], sort=False, observed=True):
        wide = group.drop_duplicates(["cell_id", "stain"]).pivot(index="cell_id", columns="stain")
        donors = (
            group.drop_duplicates("cell_id").set_index("cell_id")["donor"].reindex(wide.index).astype(str)
        )
        stains = [stain for stain in dict.fromkeys(group["stain"]) if stain in wide["made"]]
        for at, first in enumerate(stains):
            for second in stains[at + 1 :]:
                pair = wide[[(of, stain) for of in ("made", "true") for stain in (first, second)]].dropna()
                if len(pair) >= 10:
                    row = _pair(pair.to_numpy(np.float64), donors.reindex(pair.index).to_numpy(), level, seed)
                    rows.append({"part": part, "kind": kind, "first": first, "second": second, **row})
    return pd.DataFrame(rows)


def _pair(values: Floats, donors: NDArray[np.object_], level: float, seed: int) -> dict[str, float]:
    names, donor_of = np.unique(donors.astype(str), return_inverse=True)
    sums = np.zeros((len(names), 6))
    for k in range(len(names)):
        a, b, c, d = (values[donor_of == k] - values[donor_of == k].mean(axis=0)).T
        sums[k] = (a * b).sum(), (a * a).sum(), (b * b).sum(), (c * d).sum(), (c * c).sum(), (d * d).sum()
    drawn = draw_donors(len(names), draws=_DRAWS, seed=seed)
    weights = np.concatenate([np.ones((1, len(names))), drawn.counts])
    total = weights @ sums
    with np.errstate(invalid="ignore", divide="ignore"):
        made = total[:, 0] / np.sqrt(total[:, 1] * total[:, 2])
        true = total[:, 3] / np.sqrt(total[:, 4] * total[:, 5])
    low, high = intervals_of((made - true)[1:, None], drawn.chances, drawn.donors, level=level)
    return {
        "measured": float(true[0]),
        "made": float(made[0]),
        "difference": float(made[0] - true[0]),
        "low": float(low[0]),
        "high": float(high[0]),
        "cells": len(values),
        "donors": len(names),
    }
