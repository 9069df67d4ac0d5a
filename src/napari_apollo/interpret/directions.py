"""What lies along the principal directions of each block: which features, how sure, and what to call it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from napari_apollo.errors import DataError
from napari_apollo.interpret.axes import PrincipalAxes, principal_axes
from napari_apollo.interpret.cells import LEAST_CELLS, LatentCells, block_in_words
from napari_apollo.probes.association import Association, associate
from napari_apollo.probes.statistics import (
    LEAST_DONORS,
    benjamini_hochberg,
    cliffs_delta,
    draw_donors,
    p_of,
    weighted_mean_intervals,
)
from napari_apollo.progress import Progress, ShouldStop, Step, never, silent, stop_if_asked

Floats = NDArray[np.float64]

_BOOTSTRAPS = 50  # draws of donors that the stability of directions is taken over
_OUTER = 0.2  # share of a donor's cells at each end of a direction that are compared with each other


@dataclass(frozen=True)
class Directions:
    """Principal directions and the features along them.

    Attributes
    ----------
    axes
        Block to its principal axes; scores are NaN for cells without the block.
    summary
        One row a direction: ``block, axis, explained`` (part of the block's variance), ``stability``
        (mean cosine with the nearest direction found among donors drawn again; NaN for too few donors),
        ``features`` (how many are discoveries), ``name`` (by its leading features).
    table
        One row a direction and feature: ``rho`` (mean within-donor Spearman correlation), ``low, high`` (its
        interval over donors), ``delta`` (Cliff's, outer fifths of each donor), ``z, p, q``, ``donors``,
        ``agree`` (share of the donors whose sign is that of all), ``reproduced`` (share of the draws of
        donors in which size and sign hold) and ``discovery``.
    """

    axes: dict[str, PrincipalAxes]
    summary: pd.DataFrame
    table: pd.DataFrame


def find_directions(
    cells: LatentCells,
    *,
    count: int = 6,
    permutations: int = 100,
    fdr: float = 0.05,
    least_effect: float = 0.1,
    groups: Mapping[str, object] | None = None,
    seed: int = 0,
    progress: Progress = silent,
    should_stop: ShouldStop = never,
) -> Directions:
    """Principal directions of every block, and the features tied to them within donors.

    A feature is a discovery along a direction where its adjusted p-value (Benjamini and Hochberg, over all
    blocks, directions and features together; permutations blocked by donor) is at most ``fdr``, its size at
    least ``least_effect``, and, with three donors or more, the interval over donors leaves out zero.

    Parameters
    ----------
    cells
        The cells.
    count
        Directions of each block.
    permutations
        Permutations within donors.
    fdr, least_effect
        What a discovery is.
    groups
        Feature to the group of its near copies: a direction's name takes one of each.
    seed
        Of permutations and draws.

    Raises
    ------
    DataError
        When there are no features, or no block can be worked on.
    """
    if not cells.features.shape[1]:
        raise DataError("The cells have no features that vary; measure them first.")
    axes, parts, nulls = {}, [], []
    for number, block in enumerate(cells.blocks):
        stop_if_asked(should_stop)
        progress(Step("Finding directions", number, len(cells.blocks), block_in_words(block)))
        axes[block] = principal_axes(cells.blocks[block], count)
        rows = np.flatnonzero(cells.known(block))
        if pd.Series(cells.donors[rows]).value_counts().max() < 10:
            continue
        found = associate(
            axes[block].scores[rows],
            cells.features.to_numpy(np.float64)[rows],
            cells.donors[rows].tolist(),
            permutations=permutations,
            seed=seed,
            should_stop=should_stop,
        )
        nulls.append(found.null)
        deltas = _deltas(
            axes[block].scores[rows], cells.features.to_numpy(np.float64)[rows], cells.donors[rows]
        )
        parts.append(_rows(block, found, deltas, cells.features.columns, least_effect, seed))
    if not parts:
        raise DataError(f"No donor has ten cells with latents and features; there are {len(cells)} cells.")
    table = pd.concat(parts, ignore_index=True)
    table["p"] = p_of(table["z"].abs().to_numpy(), np.concatenate(nulls))
    table["q"] = benjamini_hochberg(table["p"].to_numpy())
    table["discovery"] = _is_discovery(table, fdr, least_effect)
    table = table[np.isfinite(table["rho"])].reset_index(drop=True)
    summary = _summary(cells, axes, table, groups or {}, seed)
    progress(Step("Finding directions", len(cells.blocks), len(cells.blocks)))
    return Directions(axes, summary, table)


def _rows(
    block: str, found: Association, deltas: Floats, names: pd.Index, least: float, seed: int
) -> pd.DataFrame:
    donors, axes, features = found.by_block.shape
    flat = found.by_block.reshape(donors, -1)
    known = np.isfinite(flat)
    weight = np.broadcast_to(found.weight[:, None], found.by_block.shape).reshape(donors, -1)
    low, high = weighted_mean_intervals(flat, weight, seed=seed)
    rho = found.rho.ravel()
    with np.errstate(invalid="ignore"):
        agree = np.where(known, np.sign(flat) == np.sign(rho), False).sum(axis=0) / known.sum(axis=0)
    return pd.DataFrame(
        {
            "block": block,
            "axis": np.repeat(np.arange(axes) + 1, features),
            "feature": np.tile(names.astype(str), axes),
            "rho": rho,
            "low": low,
            "high": high,
            "delta": deltas.ravel(),
            "z": found.z.ravel(),
            "cells": np.tile(found.cells, axes),
            "donors": known.sum(axis=0),
            "agree": agree,
            "reproduced": _reproduced(flat, weight, rho, least, seed),
        }
    )


def _reproduced(flat: Floats, weight: Floats, rho: Floats, least: float, seed: int) -> Floats:
    """Share of the draws of donors in which the mean correlation keeps its sign and its size."""
    out = np.full(len(rho), np.nan)
    if len(flat) < LEAST_DONORS:
        return out
    known = np.isfinite(flat)
    drawn = draw_donors(len(flat), draws=400, seed=seed)
    with np.errstate(invalid="ignore", divide="ignore"):
        means = (drawn.counts @ (weight * np.nan_to_num(flat))) / (drawn.counts @ (weight * known))
        held = (np.sign(means) == np.sign(rho)) & (np.abs(means) >= least)
    enough = known.sum(axis=0) >= LEAST_DONORS
    out[enough] = (drawn.chances @ held)[enough]
    return out


def _deltas(scores: Floats, features: Floats, donors: NDArray[np.object_]) -> Floats:
    """(axis, feature) Cliff's delta of the outer fifths of each donor's cells, mean over donors."""
    total, weight = np.zeros((scores.shape[1], features.shape[1])), np.zeros((1, features.shape[1]))
    for donor in np.unique(donors.astype(str)):
        own = np.flatnonzero(donors == donor)
        outer = int(_OUTER * len(own))
        if outer < 2:
            continue
        order = own[np.argsort(scores[own], axis=0, kind="stable")]
        found = np.stack(
            [
                cliffs_delta(features[order[-outer:, axis]], features[order[:outer, axis]])
                for axis in range(scores.shape[1])
            ]
        )
        there = np.isfinite(found)
        total += np.where(there, found, 0) * len(own)
        weight = weight + there * len(own)
    with np.errstate(invalid="ignore", divide="ignore"):
        mean: Floats = np.where(weight > 0, total / weight, np.nan)
    return mean


def _is_discovery(table: pd.DataFrame, fdr: float, least: float) -> pd.Series:
    sure = (table["q"] <= fdr) & (table["rho"].abs() >= least)
    has_interval = table["low"].notna()
    apart = (table["low"] > 0) | (table["high"] < 0)
    return sure & (apart | ~has_interval)


def _summary(
    cells: LatentCells,
    axes: dict[str, PrincipalAxes],
    table: pd.DataFrame,
    groups: Mapping[str, object],
    seed: int,
) -> pd.DataFrame:
    rows = []
    for block, found in axes.items():
        stability = _stability(cells, block, found, seed)
        for axis in range(len(found.spread)):
            own = table[(table["block"] == block) & (table["axis"] == axis + 1)]
            leading = own[own["discovery"]]
            rows.append(
                {
                    "block": block,
                    "axis": axis + 1,
                    "explained": float(found.explained[axis]),
                    "stability": float(stability[axis]),
                    "features": len(leading),
                    "name": name_direction(leading, groups),
                }
            )
    return pd.DataFrame(rows)


def name_direction(leading: pd.DataFrame, groups: Mapping[str, object], most: int = 3) -> str:
    """Name of a direction by its leading features, for example ``↑ nucleus area, ↓ nucleus entropy DAPI``.

    Parameters
    ----------
    leading
        Rows of ``Directions.table`` of one direction: its discoveries.
    groups
        Feature to its group of near copies; one of each group is named.
    most
        How many are named.
    """
    words, taken = [], set()
    for row in leading.reindex(leading["rho"].abs().sort_values(ascending=False).index).itertuples():
        group = groups.get(str(row.feature), row.feature)
        if group in taken:
            continue
        taken.add(group)
        words.append(f"{'↑' if float(str(row.rho)) > 0 else '↓'} {str(row.feature).replace('_', ' ')}")
        if len(words) == most:
            break
    return ", ".join(words) or "nothing that was measured"


def _stability(cells: LatentCells, block: str, found: PrincipalAxes, seed: int) -> Floats:
    """Mean cosine of each direction with the nearest one of donors drawn again; NaN for too few donors."""
    rows = np.flatnonzero(cells.known(block))
    latents, donors = cells.blocks[block][rows], cells.donors[rows].astype(str)
    names = np.unique(donors)
    if len(names) < LEAST_DONORS:
        return np.full(len(found.spread), np.nan)
    own = [latents[donors == name] for name in names]
    counts = np.array([len(part) for part in own], np.float64)
    sums = np.stack([part.sum(axis=0) for part in own])
    squares = np.stack([part.T @ part for part in own])
    rng = np.random.default_rng(seed)
    cosines = []
    for _ in range(_BOOTSTRAPS):
        weight = rng.multinomial(len(names), np.full(len(names), 1 / len(names))).astype(np.float64)
        total = weight @ counts
        mean = weight @ sums / total
        covariance = np.tensordot(weight, squares, 1) / total - np.outer(mean, mean)
        _, vectors = np.linalg.eigh(covariance)
        others = vectors[:, ::-1][:, : len(found.spread)]
        cosines.append(np.abs(found.directions @ others).max(axis=1))
    stability: Floats = np.mean(cosines, axis=0)
    return stability


def describes(block: str, cells: LatentCells) -> str:
    """How many cells and donors a block is known for, in words."""
    rows = cells.known(block)
    donors = len(set(cells.donors[rows]))
    few = "" if donors >= LEAST_DONORS else ": too few donors for intervals"
    enough = "" if rows.sum() >= LEAST_CELLS else ", too few cells"
    return f"{block_in_words(block)}: {rows.sum()} cells of {donors} donors{few}{enough}"
