"""How blocks of latents lie together by class and by batch: silhouettes, LISI, and acceptance of batches."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.stats import chi2

from napari_apollo.errors import DataError

Floats = NDArray[np.float64]

PERPLEXITY = 30
"""Effective neighbours of a cell, as in LISI's own default."""

_STEPS = 40  # bisections of a kernel's width: more digits than anybody reads


def silhouette(latents: ArrayLike, groups: ArrayLike, *, most: int = 5000, seed: int = 0) -> float:
    """Mean silhouette (Rousseeuw 1987, Euclidean, as scikit-learn computes it), of at most so many cells.

    1 where groups lie apart, 0 where they lie together; NaN where there is one group only, or
    every cell is one.
    """
    from sklearn.metrics import silhouette_score

    values, kinds = _checked(latents, groups)
    if len(values) > most:
        drawn = np.random.default_rng(seed).permutation(len(values))[:most]
        values, kinds = values[drawn], kinds[drawn]
    if not 2 <= len(np.unique(kinds)) < len(values) or not values.shape[1]:
        return float("nan")
    return float(silhouette_score(values, kinds))


def lisi(latents: ArrayLike, groups: ArrayLike, *, perplexity: int = PERPLEXITY) -> Floats:
    """Local inverse Simpson's index of every cell (Korsunsky et al., Nature Methods 2019).

    Among the ``3 perplexity`` nearest neighbours, weighted by exp(-width x distance) with the entropy
    log(perplexity), one over the probability that two of them are of the same group: 1 where a neighbourhood
    is of one group, the number of groups where they mix evenly. Distances are not squared: so it is in the
    authors' code, whatever a Gaussian would be, and in harmonypy, whose values a test compares.

    Parameters
    ----------
    latents
        (cell, dimension).
    groups
        (cell,).

    Returns
    -------
    numpy.ndarray
        (cell,).
    """
    values, kinds = _checked(latents, groups)
    distance, near = _neighbours(values, min(3 * perplexity, len(values) - 1))
    weight = _kernel(distance, min(perplexity, distance.shape[1] / 3))
    codes = np.unique(kinds, return_inverse=True)[1]
    share = np.stack(
        [(weight * (codes[near] == kind)).sum(axis=1) for kind in range(codes.max() + 1)], axis=1
    )
    index: Floats = 1 / (share**2).sum(axis=1)
    return index


def accepted(latents: ArrayLike, groups: ArrayLike, *, neighbours: int = 50, level: float = 0.05) -> float:
    """Share of cells whose neighbourhood is composed as all cells are (the test of kBET, Büttner et al.
    2019).

    A chi-squared test of the groups among each cell's neighbours against their shares of all cells; 1 -
    ``level`` where groups mix, 0 where they lie apart.
    """
    values, kinds = _checked(latents, groups)
    near = _neighbours(values, min(neighbours, len(values) - 1))[1]
    codes = np.unique(kinds, return_inverse=True)[1]
    share = np.bincount(codes) / len(codes)
    if len(share) < 2:
        return float("nan")
    observed = np.stack([(codes[near] == kind).sum(axis=1) for kind in range(len(share))], axis=1)
    expected = near.shape[1] * share
    statistic = ((observed - expected) ** 2 / expected).sum(axis=1)
    return float((chi2.sf(statistic, len(share) - 1) >= level).mean())


def _checked(latents: ArrayLike, groups: ArrayLike) -> tuple[Floats, np.ndarray]:
    values, kinds = np.asarray(latents, np.float64), np.asarray(groups, str)
    if values.ndim != 2 or len(values) != len(kinds):
        raise DataError(f"Latents of shape {values.shape} do not go with {len(kinds)} groups.")
    if not np.isfinite(values).all():
        raise DataError("Latents are not finite; leave such cells out.")
    if len(values) < 10:
        raise DataError(f"{len(values)} cells are too few to look at neighbourhoods; 10 are needed.")
    return values, kinds


def _neighbours(values: Floats, count: int) -> tuple[Floats, NDArray[np.int64]]:
    from sklearn.neighbors import NearestNeighbors

    if not values.shape[1]:
        values = np.zeros((len(values), 1))
    search = NearestNeighbors(n_neighbors=count).fit(values)
    distance, near = search.kneighbors()  # of other cells: a cell is not its own neighbour
    return distance, near


def _kernel(distance: Floats, perplexity: float) -> Floats:
    """Weights (cell, neighbour) that add up to 1, exp(-width d) with the entropy of ``perplexity`` equals."""
    beyond = distance - distance.min(axis=1, keepdims=True)
    scale = np.maximum(beyond.mean(axis=1, keepdims=True), 1e-12)
    low, high = np.full((len(beyond), 1), -12.0), np.full((len(beyond), 1), 12.0)  # of log width x scale
    weight = np.full_like(beyond, 1 / beyond.shape[1])
    for _ in range(_STEPS):
        middle = (low + high) / 2
        weight = np.exp(-np.exp(middle) * beyond / scale)
        weight /= weight.sum(axis=1, keepdims=True)
        entropy = -(weight * np.log(np.maximum(weight, 1e-300))).sum(axis=1, keepdims=True)
        wide = entropy > np.log(perplexity)
        low, high = np.where(wide, middle, low), np.where(wide, high, middle)
    return weight
