"""Fewer features for interpretation: scaled by donor, without constants, duplicates and near copies.

Everything that is done is recorded, so that a figure's features can be traced to the measured ones.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Literal

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from pydantic import Field
from scipy.sparse import csr_matrix
from scipy.sparse.csgraph import connected_components

from napari_apollo.config import OperationConfig
from napari_apollo.errors import DataError

_ROUNDING = 1e-12


class ReduceConfig(OperationConfig):
    """Settings of reducing features."""

    rule: Literal["robust", "paper"] = "robust"
    """``robust`` scales by donor and groups by absolute correlation; ``paper`` is the published rule:
    z-scores over all cells, missing values as zeros, positive correlations, lone features left out."""

    correlation: Annotated[float, Field(gt=0, lt=1)] = 0.9
    """Features that correlate more than this are one group; in the paper 0.7 (chromatin), 0.8 (protein)."""

    max_missing: Annotated[float, Field(ge=0, le=1)] = 0.2
    """Features missing in a larger share of the cells are dropped."""


@dataclass(frozen=True)
class Reduction:
    """What was kept and why.

    Attributes
    ----------
    values
        (cell, representative) scaled float64; NaN where missing.
    groups
        One row a feature: ``fate`` (representative, member, constant, duplicate, missing, single),
        ``group`` (number, -1 where none), ``representative`` (its name, empty where none).
    scaling
        One row a donor and feature: ``centre`` and ``scale``; donor ``*`` where scaling is over all cells.
    parameters
        The settings.
    """

    values: pd.DataFrame
    groups: pd.DataFrame
    scaling: pd.DataFrame
    parameters: dict[str, Any]


def reduce_features(
    features: pd.DataFrame, donors: Sequence[str] | None = None, config: ReduceConfig | None = None
) -> Reduction:
    """Scale features and keep one of each group of correlated ones.

    Parameters
    ----------
    features
        One row a cell, one numeric column a feature; NaN where missing.
    donors
        Donor of every cell; one donor where not given. The rule ``paper`` does not use it.
    config
        Settings; the defaults where not given.

    Returns
    -------
    Reduction
        With ``robust``: every donor's values less their median over 1.4826 times their median absolute
        deviation (the standard deviation where that is 0), so that a donor's staining strength does not pass
        for biology; then features of |r| above the threshold form groups (connected components), each
        stood for by the member with the highest sum of |r| to the others; features without a partner stand
        for themselves.
        With ``paper``: the procedure of the APOLLO study, representative of highest degree, first on ties.

    Raises
    ------
    DataError
        When there are no cells or features, or donors do not fit.
    """
    config = config or ReduceConfig()
    _check(features, donors)
    names = [str(name) for name in features.columns]
    raw = features.to_numpy(np.float64, copy=True)
    raw[~np.isfinite(raw)] = np.nan
    fate = dict.fromkeys(names, "")
    missing = np.isnan(raw).mean(axis=0)
    limit = 1.0 if config.rule == "paper" else config.max_missing
    absent, flat = (missing > limit) | (missing == 1), _constant(raw)
    for name, is_absent, is_flat in zip(names, absent, flat, strict=True):
        fate[name] = "missing" if is_absent else ("constant" if is_flat else "")
    kept = np.array([at for at, name in enumerate(names) if not fate[name]], np.intp)
    if config.rule == "paper":
        scaled, scaling = _z_scores(raw[:, kept], [names[at] for at in kept])
    else:
        scaled, scaling = _by_donor(raw[:, kept], [names[at] for at in kept], donors)
        for at in _duplicates(scaled):
            fate[names[kept[at]]] = "duplicate"
    alone = np.array([k for k, at in enumerate(kept) if not fate[names[at]]], np.intp)
    chosen = [names[kept[k]] for k in alone]
    groups = _groups(scaled[:, alone], chosen, config)
    for name, (_, head) in groups.items():
        fate[name] = "single" if not head else ("representative" if head == name else "member")
    table = pd.DataFrame(
        {
            "fate": [fate[name] for name in names],
            "group": [groups.get(name, (-1, ""))[0] for name in names],
            "representative": [groups.get(name, (-1, ""))[1] for name in names],
        },
        index=pd.Index(names, name="feature"),
    )
    heads = [name for name in chosen if fate[name] == "representative"]
    values = pd.DataFrame(scaled[:, alone], index=features.index, columns=chosen)[heads]
    return Reduction(values, table, scaling, config.model_dump(mode="json"))


def _check(features: pd.DataFrame, donors: Sequence[str] | None) -> None:
    if features.shape[0] == 0 or features.shape[1] == 0:
        raise DataError(
            f"A table of {features.shape[0]} cells and {features.shape[1]} features has nothing to reduce."
        )
    if not features.columns.is_unique:
        twice = features.columns[features.columns.duplicated()].unique()
        raise DataError(f"Features stand more than once: {', '.join(map(str, twice[:5]))}.")
    text = [str(name) for name, dtype in features.dtypes.items() if not pd.api.types.is_numeric_dtype(dtype)]
    if text:
        raise DataError(f"Features are numbers; {', '.join(text[:5])} are not.")
    if donors is not None and len(donors) != len(features):
        raise DataError(f"{len(donors)} donors are given for {len(features)} cells.")


def _constant(raw: NDArray[np.float64]) -> NDArray[np.bool_]:
    filled = (
        np.where(np.isnan(raw), -np.inf, raw).max(axis=0),
        np.where(np.isnan(raw), np.inf, raw).min(axis=0),
    )
    with np.errstate(invalid="ignore"):
        range_ = filled[0] - filled[1]
    same: NDArray[np.bool_] = ~(range_ > _ROUNDING * np.maximum(np.abs(filled[0]), np.abs(filled[1])))
    return same


def _z_scores(raw: NDArray[np.float64], names: list[str]) -> tuple[NDArray[np.float64], pd.DataFrame]:
    filled = np.nan_to_num(raw, nan=0.0)
    centre, scale = filled.mean(axis=0), filled.std(axis=0)
    scale[scale == 0] = 1.0
    scaling = pd.DataFrame({"donor": "*", "feature": names, "centre": centre, "scale": scale})
    return (filled - centre) / scale, scaling


def _by_donor(
    raw: NDArray[np.float64], names: list[str], donors: Sequence[str] | None
) -> tuple[NDArray[np.float64], pd.DataFrame]:
    labels = np.full(len(raw), "*") if donors is None else np.asarray(donors, dtype=str)
    scaled = np.full_like(raw, np.nan)
    rows = []
    for donor in np.unique(labels):
        own = labels == donor
        part = pd.DataFrame(raw[own])
        centre = part.median().to_numpy(copy=True)
        scale = 1.4826 * (part - centre).abs().median().to_numpy(copy=True)
        deviation = part.std(ddof=0).to_numpy()
        scale = np.where(scale > 0, scale, deviation)
        # A feature that this donor does not vary in lies in its middle.
        scale = np.where(np.nan_to_num(scale) > 0, scale, 1.0)
        scaled[own] = (raw[own] - centre) / scale
        rows.append(pd.DataFrame({"donor": donor, "feature": names, "centre": centre, "scale": scale}))
    return scaled, pd.concat(rows, ignore_index=True)


def _duplicates(scaled: NDArray[np.float64]) -> list[int]:
    """Columns equal to an earlier one, as multiples and shifts of it are after scaling."""
    seen: dict[bytes, int] = {}
    out = []
    for at in range(scaled.shape[1]):
        key = np.round(np.nan_to_num(scaled[:, at], nan=1e300), 9).tobytes()
        if key in seen:
            out.append(at)
        seen.setdefault(key, at)
    return out


def _groups(
    scaled: NDArray[np.float64], names: list[str], config: ReduceConfig
) -> dict[str, tuple[int, str]]:
    """Group and representative of every feature; no representative for the paper's single ones."""
    if not names:
        return {}
    r = pd.DataFrame(scaled).corr(min_periods=3).to_numpy(copy=True)
    r = np.nan_to_num(r, nan=0.0)
    strength = r if config.rule == "paper" else np.abs(r)
    linked = strength > config.correlation
    np.fill_diagonal(linked, False)
    _, component = connected_components(csr_matrix(linked), directed=False)
    numbers = {number: k for k, number in enumerate(dict.fromkeys(component.tolist()))}
    out = {}
    for number, group in numbers.items():
        members = np.flatnonzero(component == number)
        if len(members) == 1 and config.rule == "paper":
            out[names[members[0]]] = (group, "")
            continue
        inside = np.ix_(members, members)
        weight = linked[inside].sum(axis=1) if config.rule == "paper" else strength[inside].sum(axis=1)
        # Rounding must not decide between equals: the first one stands for them.
        head = names[members[int(np.argmax(np.round(weight.astype(float), 9)))]]
        for member in members:
            out[names[member]] = (group, head)
    return out
