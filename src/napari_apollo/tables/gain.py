"""What there is to be gained from a table: nats a cell by which factors that cells share beat their mean.

A factor changes many features together; noise does not. Values are brought to variance 1 by feature, after
their mean, and the eigenvalues of their covariance over cells are compared with those of the same values when
every feature is shuffled over the cells by itself (parallel analysis, Horn 1965). Eigenvalues above the
largest of these are freed from what noise adds to them (Baik and Silverstein 2006: of variance l,
l (1 + c / (l - 1)) is seen, with c features per cell). A feature of whose variance such factors tell the part
f gains -log(1 - f) / 2.

Counts are looked at by their own likelihood, as a negative binomial sees them: less the part of the library
that a feature has on average times the cell's library, over the standard deviation that it has at that mean
(Hafemeister and Satija 2019: Pearson residuals). By Poisson's, cells of large libraries would scatter more in
all features together, which looks like a factor: of simulated counts without any, with libraries that vary by
exp(normal), 5 to 24 nats were seen, and 0 to 1 are now.
"""

from __future__ import annotations

import numpy as np
from scipy import sparse

from napari_apollo.tables.files import Values

CELLS = 1000
"""Cells that are looked at, at most."""

_LEAST, _VALUES = 200, 20_000_000
"""Fewer are looked at of wide tables, so that their values stay below the second number."""

_TOLD = 0.99  # most of a feature's variance that factors are taken to tell


def likelihood_gain(values: Values, *, counts: bool, seed: int = 0) -> float:
    """Nats a cell that factors gain over the mean cell; 0 where nothing but noise is seen.

    Parameters
    ----------
    values
        (cell, feature), sparse or not, of a table as networks take it.
    counts
        Whether they are counts, whose mean is a part of the cell's library.
    seed
        Of the cells that are drawn, and of the shuffling.
    """
    n, features = values.shape
    rng = np.random.default_rng(seed)
    rows = np.sort(rng.permutation(n)[: min(CELLS, max(_LEAST, _VALUES // max(1, features)))])
    drawn = values[rows]
    dense = np.asarray(drawn.toarray() if sparse.issparse(drawn) else drawn, np.float32)
    residual = _standard(dense, counts=counts)
    if min(residual.shape) < 2:
        return 0.0
    seen, directions = np.linalg.eigh(_covariance(residual))
    shuffled = np.take_along_axis(residual, rng.random(residual.shape, np.float32).argsort(axis=0), axis=0)
    noise = np.linalg.eigvalsh(_covariance(shuffled))[-1]
    above = seen > noise
    if not above.any():
        return 0.0
    aspect = residual.shape[1] / len(residual)
    variance = _without_noise(seen[above], aspect)
    loadings = residual.T @ (directions[:, above] / np.sqrt(len(residual) * seen[above])).astype(np.float32)
    told = (loadings.astype(np.float64) ** 2) @ (variance - 1)
    return float(-0.5 * np.log1p(-told.clip(0, _TOLD)).sum())


def _standard(values: np.ndarray, *, counts: bool) -> np.ndarray:
    """Values (n, feature) around what the mean cell would have, of variance 1; features that vary alone."""
    if counts:
        library = values.sum(axis=1, keepdims=True, dtype=np.float64)
        values = pearson_residuals(values, library, *composition(values)).astype(np.float32)
    centred = values - values.mean(axis=0)
    spread = centred.std(axis=0)
    return np.asarray(centred[:, spread > 0] / spread[spread > 0], np.float32)


def pearson_residuals(
    values: np.ndarray, library: np.ndarray, parts: np.ndarray, excess: np.ndarray
) -> np.ndarray:
    """Counts (n, feature) around what the mean cell would have, over the deviation that they have there.

    Parameters
    ----------
    values, library
        (n, feature) counts, and (n, 1) their sums.
    parts, excess
        See ``composition``.
    """
    mean = library * parts
    found: np.ndarray = (values - mean) / np.sqrt((mean + excess.clip(0) * mean**2).clip(1e-9))
    return found


def composition(values: Values) -> tuple[np.ndarray, np.ndarray]:
    """What a negative binomial needs to know of counts, feature by feature, by moments.

    Of counts x with libraries l and parts p, E (x - l p)² = l p + (l p)² / size.

    Parameters
    ----------
    values
        (cell, feature) counts, sparse or not.

    Returns
    -------
    parts, excess : numpy.ndarray
        (feature,): mean part of the library, and 1 / size; the latter below 0 where counts scatter less than
        Poisson's.
    """
    library = np.asarray(values.sum(axis=1), np.float64).ravel()
    total = np.asarray(values.sum(axis=0), np.float64).ravel()
    parts = total / max(total.sum(), 1)
    squares = values.multiply(values) if sparse.issparse(values) else values.astype(np.float64) ** 2
    second = np.asarray(squares.sum(axis=0), np.float64).ravel()
    weighted = np.asarray(values.T @ library, np.float64).ravel()
    mean_square = parts**2 * (library**2).sum()
    residual = second - 2 * parts * weighted + mean_square
    excess = (residual - total) / np.maximum(mean_square, 1e-12)
    return parts, excess


def _covariance(residual: np.ndarray) -> np.ndarray:
    """(n, n): the eigenvalues above 0 of the covariance of features (feature, feature)."""
    return np.asarray(residual @ residual.T, np.float64) / len(residual)


def _without_noise(seen: np.ndarray, aspect: float) -> np.ndarray:
    """Variances along factors that are seen as ``seen`` (k,); at least that at which they can be seen."""
    half = 1 + seen - aspect
    return np.asarray((half + np.sqrt(np.maximum(half**2 - 4 * seen, 0))) / 2).clip(1 + np.sqrt(aspect))
