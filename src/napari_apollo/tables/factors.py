"""Where latents of tables may start: directions in which cells differ, and which of them tables agree on.

Values are brought to variance 1 by feature, after their mean, counts by the mean and the spread of a negative
binomial of the cell's library (``tables.gain``), of which none is more than the square root of the number of
cells (Hafemeister and Satija 2019). Principal components are kept whose variance is above what noise reaches,
(1 + sqrt(features / cells))² (Marchenko and Pastur 1967).

What tables agree on are directions that can be told from the components of each: the mean over tables of the
projections onto them has eigenvalues near 1 there (Kettenring 1971, MAXVAR; of two tables these are
(1 + r) / 2 of canonical correlations r). They are kept where cells that are shuffled table by table do not
reach them.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from napari_apollo.progress import ShouldStop, never, stop_if_asked
from napari_apollo.tables.files import Values
from napari_apollo.tables.gain import composition, pearson_residuals

Floats = NDArray[np.float32]

CELLS = 4000
"""Cells from which directions are found, at most; all cells are then placed along them."""

_MOST = 50  # components of a table
_PER_COMPONENT = 10  # cells for each, at least: fewer agree by chance
_BEYOND = 10  # directions that are followed besides, for those at the edge
_PASSES = 4  # of the subspace iteration (Halko, Martinsson and Tropp 2011)
_VALUES = 8_000_000  # that are made dense at once
_DRAWS = 20  # shufflings; the best agreement of all of them is chance
_CERTAIN = 0.6  # correlation from which on a direction starts in the shared block alone


@dataclass(frozen=True)
class Components:
    """Cells along the directions in which they differ.

    Attributes
    ----------
    scores
        (cell, k) float32, mean 0; variances are those of the components, largest first.
    edge
        Variance that noise reaches.
    """

    scores: Floats
    edge: float


def components(
    values: Values, rows: np.ndarray, *, counts: bool, seed: int = 0, should_stop: ShouldStop = never
) -> Components:
    """Principal components of a table that stand out from noise.

    Parameters
    ----------
    values
        (row, feature), sparse or not, as networks take them.
    rows
        (cell,) int64: those that are looked at, in the order in which scores are wanted.
    counts
        Whether they are counts, whose mean is a part of the cell's library.
    seed
        Of the cells that are drawn, and of where the search starts.
    """
    n, features = len(rows), values.shape[1]
    rng = np.random.default_rng(seed)
    drawn = rows[np.sort(rng.permutation(n)[:CELLS])]  # in the order of cells, whatever that of the file
    looked_at = _Standard(values, drawn, counts=counts)
    varying = int(looked_at.varying.sum())
    most = min(_MOST, len(drawn) // _PER_COMPONENT, varying)
    edge = (1 + np.sqrt(varying / max(1, len(drawn)))) ** 2
    if not most:
        return Components(np.zeros((n, 0), np.float32), float(edge))
    wanted = min(most + _BEYOND, varying, len(drawn))
    directions = np.linalg.qr(rng.standard_normal((features, wanted)).astype(np.float32))[0]
    for _ in range(_PASSES):
        product = np.zeros((features, wanted), np.float32)
        for block in looked_at.blocks(drawn):
            stop_if_asked(should_stop)
            product += block.T @ (block @ directions)
        directions = np.linalg.qr(product)[0]
    placed = np.concatenate([block @ directions for block in looked_at.blocks(drawn)])
    variance, turn = np.linalg.eigh(placed.T.astype(np.float64) @ placed / len(drawn))
    above = np.flatnonzero(variance > edge)[::-1][:most]
    directions = directions @ turn[:, above].astype(np.float32)
    scores = np.empty((n, len(above)), np.float32)
    start = 0
    for block in looked_at.blocks(rows):
        stop_if_asked(should_stop)
        scores[start : start + len(block)] = block @ directions
        start += len(block)
    return Components(scores - scores.mean(axis=0), float(edge))


class _Standard:
    """Values by feature around what the mean cell would have, of variance 1, some cells at a time."""

    def __init__(self, values: Values, learnt: np.ndarray, *, counts: bool) -> None:
        self._values = values
        self._counts = counts
        self._limit = np.float32(np.sqrt(len(learnt)))
        self._step = max(1, _VALUES // max(1, values.shape[1]))
        if counts:
            parts, excess = composition(values[learnt])
            self._parts, self._excess = parts.astype(np.float32), excess.astype(np.float32)
        self._mean = np.zeros(values.shape[1], np.float32)
        self._scale = np.ones(values.shape[1], np.float32)
        total, squares = np.zeros((2, values.shape[1]))
        for block in self.blocks(learnt):
            total += block.sum(axis=0, dtype=np.float64)
            squares += np.einsum("ij,ij->j", block, block, dtype=np.float64)
        mean = total / max(1, len(learnt))
        spread = np.sqrt((squares / max(1, len(learnt)) - mean**2).clip(0))
        self.varying = spread > 1e-6 * np.abs(mean).clip(1e-6)
        self._mean = mean.astype(np.float32)
        self._scale = np.where(self.varying, 1 / np.where(self.varying, spread, 1), 0).astype(np.float32)

    def blocks(self, rows: np.ndarray) -> Iterator[Floats]:
        """(cell, feature) of rows (n,) int64, block by block."""
        for start in range(0, len(rows), self._step):
            drawn = self._values[rows[start : start + self._step]]
            dense = np.array(drawn.toarray() if sparse.issparse(drawn) else drawn, np.float32)
            if self._counts:
                library = dense.sum(axis=1, keepdims=True)
                dense = pearson_residuals(dense, library, self._parts, self._excess)
                dense.clip(-self._limit, self._limit, out=dense)
            dense -= self._mean
            dense *= self._scale
            yield dense


@dataclass(frozen=True)
class Agreed:
    """Directions that tables agree on, more or less.

    Attributes
    ----------
    scores
        (cell, s) float32, the mean of what tables say, of mean 0 and variance 1.
    correlation
        (s,): of two tables the canonical correlations; of more, as two would have that agree as well, at
        most 1.
    """

    scores: Floats
    correlation: NDArray[np.float64]

    @property
    def expected(self) -> Floats:
        """(cell, s) float32: what is expected of the shared factors, whose own variance is 1.

        Where each of two tables says sqrt(r) times the factor and something of its own, the expectation has
        the variance 2 r / (1 + r) (probabilistic canonical correlation, Bach and Jordan 2005).
        """
        r = self.correlation
        return np.asarray(self.scores * np.sqrt(2 * r / (1 + r)), np.float32)

    @property
    def certain(self) -> Floats:
        """(cell, k) float32: scores of directions that hold more of what is shared than of either's own."""
        return self.scores[:, self.correlation > _CERTAIN]


def agreed(
    scores: Mapping[str, Floats], rows: Mapping[str, np.ndarray], *, most: int, seed: int = 0
) -> Agreed:
    """Directions that tables agree on.

    Parameters
    ----------
    scores
        By table, (row, k): components of its cells, mean 0.
    rows
        By table, (cell,) int64: row of each cell, -1 where a cell lacks the table.
    most
        How many are wanted, at most.
    seed
        Of the shuffling.

    Returns
    -------
    Agreed
        Those that agree best come first; there may be none.
    """
    cells = len(next(iter(rows.values()))) if rows else 0
    own = {name: np.linalg.qr(values)[0] for name, values in scores.items() if values.shape[1]}
    if len(own) < 2 or not most:
        return Agreed(np.zeros((cells, 0), np.float32), np.zeros(0))
    there = {name: np.flatnonzero(rows[name] >= 0) for name in own}
    rng = np.random.default_rng(seed)

    def side_by_side(*, shuffled: bool) -> NDArray[np.float64]:
        placed = [np.zeros((cells, values.shape[1])) for values in own.values()]
        for into, (name, values) in zip(placed, own.items(), strict=True):
            at = there[name]
            into[at] = values[rng.permutation(rows[name][at]) if shuffled else rows[name][at]]
        return np.concatenate(placed, axis=1)

    by_chance = max(np.linalg.norm(side_by_side(shuffled=True), 2) for _ in range(_DRAWS))
    left, strength, _ = np.linalg.svd(side_by_side(shuffled=False), full_matrices=False)
    above = np.flatnonzero(strength > by_chance)[:most]
    found = left[:, above]
    # A cell that lacks tables lies nearer to 0, as less was added up for it.
    measured = sum((rows[name] >= 0).astype(float) for name in own)
    found = found * (len(own) / np.maximum(measured, 1))[:, None]
    found = found - found.mean(axis=0)
    correlation = (strength[above] ** 2 - 1).clip(0, 1)
    return Agreed(np.asarray(found / found.std(axis=0), np.float32), correlation)


def apart(own: Components, shared: Floats, *, most: int) -> Floats:
    """What a table's components hold beside the directions that are shared.

    Parameters
    ----------
    own
        Of a table.
    shared
        (cell, s) of the same cells.
    most
        How many are wanted, at most.

    Returns
    -------
    numpy.ndarray
        (cell, d) float32, of variance 1, those of the largest variance; d may be 0.
    """
    rest = own.scores.astype(np.float64)
    if shared.shape[1]:
        told = np.linalg.qr(shared - shared.mean(axis=0, dtype=np.float64))[0]
        rest = rest - told @ (told.T @ rest)
    left, strength, _ = np.linalg.svd(rest, full_matrices=False)
    above = strength**2 / max(1, len(rest)) > own.edge
    return np.asarray(left[:, above][:, :most] * np.sqrt(len(rest)), np.float32)
