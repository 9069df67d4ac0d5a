"""Principal directions of latents tied to genes and peaks, and the gene sets that these are rich in."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray
from scipy import sparse
from scipy.stats import hypergeom, t

from napari_apollo.errors import DataError, FileError
from napari_apollo.probes.statistics import benjamini_hochberg
from napari_apollo.tables.files import Values
from napari_apollo.tables.preparing import feature_moments

Floats = NDArray[np.float64]

LEAST_SET = 3
"""Genes of a set that must be in the table, for the set to be looked at."""


def tied_features(
    latents: ArrayLike,
    values: Values,
    features: np.ndarray,
    unseen: ArrayLike,
    *,
    directions: int = 10,
    fdr: float = 0.05,
    least: float = 0.1,
) -> pd.DataFrame:
    """Features that rise and fall along the principal directions of a block.

    A feature counts where its correlation with the scores of cells that were learnt from has q below ``fdr``
    (Benjamini and Hochberg over all features and directions) and is ``least`` or more, and that of unseen
    cells has the same sign and p below 0.05. Directions and their signs come from the learnt cells.

    Parameters
    ----------
    latents
        (cell, dimension).
    values
        (cell, feature), comparable between cells: log-normalised counts for example; CSR or array.
    features
        (feature,) names.
    unseen
        (cell,) bool.
    directions
        How many, at most.

    Returns
    -------
    pandas.DataFrame
        One row a direction and feature that counts: ``direction`` (from 1), ``explained`` (part of the
        block's variance), ``feature``, ``r``, ``r_unseen``, ``q``; strongest first.
    """
    points, held = np.asarray(latents, np.float64), np.asarray(unseen, bool)
    if points.shape[1] == 0:
        return pd.DataFrame(columns=["direction", "explained", "feature", "r", "r_unseen", "q"])
    centre = points[~held].mean(axis=0)
    _, singular, axes = np.linalg.svd(points[~held] - centre, full_matrices=False)
    count = min(directions, len(singular))
    scores = (points - centre) @ axes[:count].T
    explained = singular**2 / (singular**2).sum()
    learnt = correlations(scores[~held], values[np.flatnonzero(~held)])
    again = correlations(scores[held], values[np.flatnonzero(held)])
    q = benjamini_hochberg(_p(learnt, int((~held).sum())).ravel()).reshape(learnt.shape)
    counts = (q < fdr) & (np.abs(learnt) >= least) & (_p(again, int(held.sum())) < 0.05)
    counts &= np.sign(learnt) == np.sign(again)
    direction, feature = np.nonzero(counts)
    table = pd.DataFrame(
        {
            "direction": direction + 1,
            "explained": explained[direction],
            "feature": np.asarray(features, object)[feature],
            "r": learnt[direction, feature],
            "r_unseen": again[direction, feature],
            "q": q[direction, feature],
        }
    )
    order = np.lexsort([-table["r"].abs(), table["direction"]])
    return table.iloc[order].reset_index(drop=True)


def correlations(scores: Floats, values: Values) -> Floats:
    """Pearson correlations (score, feature) over cells; NaN where a feature is constant. Sparse stays
    sparse.
    """
    n = len(scores)
    centred = scores - scores.mean(axis=0)
    square = feature_moments(values)[1]
    if sparse.issparse(values):
        product = np.asarray((values.T @ centred).T, np.float64)
    else:
        product = centred.T @ np.asarray(values, np.float64)
    with np.errstate(invalid="ignore", divide="ignore"):
        r = product / (n * np.sqrt(np.maximum(square, 0)) * centred.std(axis=0)[:, None])
    result: Floats = np.where(square > 1e-12, np.clip(r, -1, 1), np.nan)
    return result


def _p(r: Floats, n: int) -> Floats:
    """Two-sided p of a correlation of n cells, by Student's t."""
    with np.errstate(invalid="ignore", divide="ignore"):
        statistic = np.abs(r) * np.sqrt((n - 2) / np.maximum(1 - r**2, 1e-300))
    p: Floats = 2 * t.sf(statistic, n - 2)
    return p


def read_gene_sets(path: Path) -> dict[str, frozenset[str]]:
    """Gene sets of a GMT file: a line each, name, description, genes, parted by tabs.

    Raises
    ------
    FileError
        When it is no such file; the line is named.
    """
    try:
        lines = Path(path).read_text("utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise FileError(path, f"cannot be read: {error}", "Give a GMT file of gene sets.") from error
    sets = {}
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        parts = line.rstrip("\n").split("\t")
        if len(parts) < 3:
            raise FileError(
                path, f"line {number} has {len(parts)} columns.", "Name, description and genes are wanted."
            )
        sets[parts[0]] = frozenset(gene for gene in parts[2:] if gene)
    if not sets:
        raise FileError(path, "holds no gene set.")
    return sets


def usable_sets(features: np.ndarray, sets: Mapping[str, frozenset[str]]) -> dict[str, frozenset[str]]:
    """Sets of which a table has ``LEAST_SET`` genes, and those genes."""
    known = frozenset(map(str, features))
    return {name: genes & known for name, genes in sets.items() if len(genes & known) >= LEAST_SET}


def require_fitting(sets: Mapping[str, frozenset[str]], features: Sequence[np.ndarray]) -> None:
    """Refuse gene sets of which no table has the genes; ``features``: names (feature,) of each table.

    Raises
    ------
    DataError
        When no set has ``LEAST_SET`` genes in one of them: names of another species or kind.
    """
    if not any(usable_sets(own, sets) for own in features):
        called = ", ".join(str(own[0]) for own in features)
        example = min(next(iter(sets.values()), ()), default="")
        raise DataError(
            f"No gene set has {LEAST_SET} genes among the features: these are called like {called}, the "
            f"genes of the sets like {example}. Take sets of the same species and kind of names."
        )


def enriched_sets(
    tied: pd.DataFrame, features: np.ndarray, sets: Mapping[str, frozenset[str]], *, fdr: float = 0.05
) -> pd.DataFrame:
    """Gene sets that the features along each direction are rich in, for rising and falling ones apart.

    Fisher's exact test, one-sided (hypergeometric), against all features of the table and no others; q by
    Benjamini and Hochberg over all tests.

    Returns
    -------
    pandas.DataFrame
        ``direction``, ``side`` (rising or falling), ``set``, ``found`` (features of the set among those
        tied), ``tied``, ``size`` (of the set, in the table), ``p``, ``q``; those with q below ``fdr``, best
        first.

    Raises
    ------
    DataError
        When no set has ``LEAST_SET`` genes in the table: names of another species or kind.
    """
    known = set(map(str, features))
    require_fitting(sets, [features])
    usable = usable_sets(features, sets)
    rows = []
    for direction, own in tied.groupby("direction"):
        for side, sign in (("rising", 1), ("falling", -1)):
            chosen = set(own.loc[np.sign(own["r"]) == sign, "feature"].astype(str))
            for name, genes in usable.items():
                found = len(genes & chosen)
                p = float(hypergeom.sf(found - 1, len(known), len(genes), len(chosen)))
                rows.append((direction, side, name, found, len(chosen), len(genes), p))
    table = pd.DataFrame(rows, columns=["direction", "side", "set", "found", "tied", "size", "p"])
    table["q"] = benjamini_hochberg(table["p"].to_numpy()) if len(table) else []
    return table[table["q"] < fdr].sort_values(["q", "direction"], kind="stable").reset_index(drop=True)
