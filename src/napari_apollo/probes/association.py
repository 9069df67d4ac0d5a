"""Which columns rise and fall together within donors: rank correlations tested by blocked permutations."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.stats import rankdata

from napari_apollo.errors import DataError
from napari_apollo.probes.statistics import permuted_within
from napari_apollo.progress import ShouldStop, never, stop_if_asked

Floats = NDArray[np.float64]

_ENOUGH = 10  # cells of a block that a rank correlation needs


@dataclass(frozen=True)
class Association:
    """Rank correlations of every score with every feature.

    Attributes
    ----------
    rho
        (score, feature) mean over blocks of Spearman's rho within each, weighted by its cells.
    by_block
        (block, score, feature) rho within each block; NaN where it has too few cells.
    z
        (score, feature) the correlation over its standard deviation among permutations within blocks.
    null
        (n,) absolute z of permuted cells, all scores and features together.
    blocks
        Names of the blocks.
    weight
        (block, feature) share of each block in the mean.
    cells
        (feature,) cells that have the feature.
    """

    rho: Floats
    by_block: Floats
    z: Floats
    null: Floats
    blocks: tuple[str, ...]
    weight: Floats
    cells: NDArray[np.int64]


def associate(
    scores: ArrayLike,
    features: ArrayLike,
    blocks: Sequence[object],
    *,
    permutations: int = 100,
    seed: int = 0,
    should_stop: ShouldStop = never,
) -> Association:
    """Spearman correlations within blocks, and what they are in cells permuted within blocks.

    Ranks are taken within each block, so nothing that differs between donors counts. Under permutation the
    correlation of a block of n cells has mean 0 and variance 1 / (n - 1), ties or not; the weighted mean
    over blocks over its standard deviation is a z that is nearly standard normal for every pair, which is why
    the nulls of all pairs are pooled: few permutations resolve small p-values.

    Parameters
    ----------
    scores
        (cell, score), finite.
    features
        (cell, feature); a missing value takes the middle rank, and says nothing.
    blocks
        (cell,) block of every cell, its donor.
    permutations
        How many the null is made from.
    seed
        Of the permutations.

    Raises
    ------
    DataError
        When lengths differ, scores are not finite, or no block has ten cells.
    """
    scores, features = np.asarray(scores, np.float64), np.asarray(features, np.float64)
    names, block_of = np.unique(np.asarray(blocks, dtype=str), return_inverse=True)
    if not len(scores) == len(features) == len(block_of):
        raise DataError(f"{len(scores)} scores, {len(features)} features, {len(block_of)} blocks of cells.")
    if not np.isfinite(scores).all():
        raise DataError("Scores of cells are not finite; leave such cells out.")
    rows = [np.flatnonzero(block_of == k) for k in range(len(names))]
    if not any(len(own) >= _ENOUGH for own in rows):
        raise DataError(f"No block has {_ENOUGH} cells; the largest has {max(map(len, rows), default=0)}.")
    own_ranks = np.zeros_like(scores, np.float32)
    feature_ranks = np.zeros_like(features, np.float32)
    by_block = np.full((len(names), scores.shape[1], features.shape[1]), np.nan)
    tested = np.zeros_like(by_block)
    weight = np.zeros((len(names), features.shape[1]))
    for k, own in enumerate(rows):
        if len(own) < _ENOUGH:
            continue
        a, b, known = _ranks(scores[own]), _ranks(features[own]), np.isfinite(features[own])
        product = a.T @ b
        with np.errstate(invalid="ignore", divide="ignore"):
            # Over the cells that have the feature, for the size; over all of them, for the test.
            by_block[k] = product / np.sqrt((a**2).T @ known * (b**2).sum(axis=0))
            unit_a, unit_b = _unit(a), _unit(b)
        by_block[k][:, known.sum(axis=0) < _ENOUGH] = np.nan
        counted = np.isfinite(by_block[k]).any(axis=0)
        weight[k] = np.where(counted, known.sum(axis=0), 0)
        own_ranks[own], feature_ranks[own] = unit_a, unit_b * counted
        tested[k] = unit_a.T @ (unit_b * counted)
    total = weight.sum(axis=0)
    with np.errstate(invalid="ignore", divide="ignore"):
        weight = np.where(total > 0, weight / total, 0)
        sizes = np.array([max(len(own), 2) for own in rows], np.float64)
        deviation = np.sqrt((weight**2 / (sizes - 1)[:, None]).sum(axis=0))
        rho = np.einsum("bf,baf->af", weight, np.nan_to_num(by_block))
        z = np.einsum("bf,baf->af", weight, tested) / deviation
    empty = ~np.isfinite(by_block).any(axis=0)
    rho[empty], z[empty] = np.nan, np.nan
    feature_ranks *= (weight / np.where(deviation > 0, deviation, np.inf))[block_of].astype(np.float32)
    null = _null(own_ranks, feature_ranks, block_of, ~empty, permutations, seed, should_stop)
    return Association(
        np.clip(rho, -1, 1),
        by_block,
        z,
        null,
        tuple(names.tolist()),
        weight,
        np.isfinite(features).sum(axis=0),
    )


def _null(
    scores: NDArray[np.float32],
    features: NDArray[np.float32],
    block_of: NDArray[np.int64],
    there: NDArray[np.bool_],
    permutations: int,
    seed: int,
    should_stop: ShouldStop,
) -> Floats:
    rng = np.random.default_rng(seed)
    out = []
    for _ in range(permutations):
        stop_if_asked(should_stop)
        out.append(np.abs(scores[permuted_within(block_of, rng)].T @ features)[there])
    return np.concatenate(out).astype(np.float64) if out else np.zeros(0)


def _ranks(values: Floats) -> Floats:
    """Centred ranks of each column; 0 for what is missing."""
    known = np.isfinite(values)
    ranks = rankdata(values, axis=0, nan_policy="omit") if not known.all() else rankdata(values, axis=0)
    count = known.sum(axis=0)
    centred: Floats = np.where(known, ranks - (count + 1) / 2, 0.0)
    return centred


def _unit(values: Floats) -> Floats:
    norm = np.sqrt((values**2).sum(axis=0))
    unit: Floats = np.where(norm > 0, values / np.where(norm > 0, norm, 1), 0.0)
    return unit
