"""Cross-validated probes: how much of a factor can be read from a block of latents.

Two probes. The linear one is ridge regression. The non-linear one is ridge regression on the linear
terms and on Nyström features of Gaussian kernels of several widths (Williams and Seeger, NIPS 2000). For
both, penalty and width are chosen for every factor on the training folds alone, by generalised
cross-validation (Golub, Heath and Wahba, Technometrics 1979); R² is that of the held-out folds.
Predictions of the non-linear probe are truncated to the range seen in training.

The floor is what the same procedure returns for factors whose cells are permuted.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray
from scipy.spatial.distance import cdist

from napari_apollo.errors import ConfigError, DataError

ProbeName = Literal["linear", "nonlinear"]
Floats = NDArray[np.float64]

_LANDMARKS = 200
# Kernel widths in units of the median distance between cells, and penalties in units of the largest
# eigenvalue of the features' covariance.
_WIDTHS = (0.3, 0.8, 2.0)
_PENALTIES = np.geomspace(1e-10, 10, 23)


@dataclass(frozen=True)
class ProbeMatrix:
    """R² of every factor from every block, held-out, with the floor that chance reaches.

    Attributes
    ----------
    probe
        Which probe read the factors.
    r2
        Row a block, column a factor. Zero or slightly below where the block says nothing.
    floor
        95th percentile of R² over permutations of the cells; an ``r2`` at or below it is nothing.
    """

    probe: ProbeName
    r2: pd.DataFrame
    floor: pd.DataFrame

    def above_floor(self) -> pd.DataFrame:
        """Whether a block says anything about a factor at all."""
        return self.r2 > self.floor


def probe_matrix(
    blocks: Mapping[str, ArrayLike],
    factors: pd.DataFrame,
    *,
    probe: ProbeName = "linear",
    folds: int = 5,
    permutations: int = 20,
    seed: int = 0,
) -> ProbeMatrix:
    """Read every factor from every block of latents.

    Parameters
    ----------
    blocks
        Name of a block to its latents, float, (cell, dimension). A block without dimensions, or with
        constant ones only, says nothing and scores 0.
    factors
        Numeric columns, one row a cell in the order of the latents.
    probe
        ``"linear"`` or ``"nonlinear"``.
    folds
        Folds of cross-validation.
    permutations
        Permutations that the floor is taken over.
    seed
        Decides folds, landmarks and permutations.

    Raises
    ------
    DataError
        When cells are fewer than ten a fold, counts differ, values are not finite, or a factor is constant.
    ConfigError
        When ``folds`` is below 2 or ``permutations`` below 1.
    """
    if folds < 2 or permutations < 1:
        raise ConfigError(f"folds = {folds}, permutations = {permutations}: at least 2 and 1 are needed.")
    checked = check_blocks(blocks, len(factors))
    truth = _check_factors(factors, folds)
    rng = np.random.default_rng(seed)
    fold_of = rng.permutation(len(truth)) % folds
    permuted = [truth[rng.permutation(len(truth))] for _ in range(permutations)]
    targets = np.concatenate([truth, *permuted], axis=1)
    rows, floors = [], []
    for latents in checked.values():
        r2 = _held_out_r2(latents, targets, fold_of, probe, seed).reshape(permutations + 1, -1)
        rows.append(r2[0])
        floors.append(np.quantile(r2[1:], 0.95, axis=0))
    index, columns = pd.Index(checked, name="block"), pd.Index(factors.columns, name="factor")
    return ProbeMatrix(
        probe,
        pd.DataFrame(rows, index=index, columns=columns),
        pd.DataFrame(floors, index=index, columns=columns),
    )


def check_blocks(blocks: Mapping[str, ArrayLike], cells: int) -> dict[str, Floats]:
    """Blocks as finite float64 arrays of one length.

    Raises
    ------
    DataError
        Naming the block, and where values are not finite the first cell concerned.
    """
    if not blocks:
        raise DataError("No block of latents was given.")
    checked = {}
    for name, values in blocks.items():
        latents = np.asarray(values, dtype=np.float64)
        if latents.ndim != 2 or len(latents) != cells:
            raise DataError(
                f"Block {name!r} has shape {latents.shape}; ({cells}, dimensions) would be right."
            )
        bad = ~np.isfinite(latents).all(axis=1)
        if bad.any():
            raise DataError(
                f"Block {name!r} is not finite in {bad.sum()} cells, the first of them {bad.argmax()}."
            )
        checked[name] = latents
    return checked


def _check_factors(factors: pd.DataFrame, folds: int) -> Floats:
    if len(factors) < 10 * folds:
        raise DataError(f"{len(factors)} cells are too few for {folds} folds; {10 * folds} would do.")
    values = factors.to_numpy(dtype=np.float64)
    for name, column in zip(factors.columns, values.T, strict=True):
        if not np.isfinite(column).all():
            raise DataError(f"Factor {name!r} is not finite in cell {int(np.argmin(np.isfinite(column)))}.")
        if np.ptp(column) == 0:
            raise DataError(f"Factor {name!r} is the same in every cell: nothing can be read from it.")
    return values


def _held_out_r2(
    latents: Floats, targets: Floats, fold_of: NDArray[np.int64], probe: ProbeName, seed: int
) -> Floats:
    predicted = _held_out(latents, targets, fold_of, probe, seed)
    total = ((targets - targets.mean(axis=0)) ** 2).sum(axis=0)
    r2: Floats = 1 - ((targets - predicted) ** 2).sum(axis=0) / total
    return r2


def _held_out(
    latents: Floats, targets: Floats, fold_of: NDArray[np.int64], probe: ProbeName, seed: int
) -> Floats:
    predicted = np.empty_like(targets)
    for fold in range(int(fold_of.max()) + 1):
        train, test = fold_of != fold, fold_of == fold
        rng = np.random.default_rng((seed, fold))
        made = _fit_predict(_designs(latents[train], latents[test], probe, rng), targets[train], test.sum())
        if probe == "nonlinear":
            # Kernels extrapolate badly: no prediction leaves the range that was seen in training.
            made = np.clip(made, targets[train].min(axis=0), targets[train].max(axis=0))
        predicted[test] = made
    return predicted


def _fit_predict(designs: Iterator[tuple[Floats, Floats]], targets: Floats, n_test: int) -> Floats:
    # Ridge in the eigenbasis of each design; for every target the design and penalty of least
    # generalised cross-validation error predict the held-out cells.
    n = len(targets)
    mean = targets.mean(axis=0)
    centred = targets - mean
    power = (centred**2).sum(axis=0)
    predicted = np.broadcast_to(mean, (n_test, targets.shape[1])).copy()
    best = power / n  # of the mean alone
    for fitted, held_out in designs:
        centre = fitted.mean(axis=0)
        fitted, held_out = fitted - centre, held_out - centre
        spectrum, basis = np.linalg.eigh(fitted.T @ fitted)
        spectrum = np.maximum(spectrum, 0)
        projections = basis.T @ (fitted.T @ centred)
        scores = held_out @ basis
        for penalty in _PENALTIES * spectrum[-1]:
            weights = projections / (spectrum + penalty)[:, None]
            # |y - fit|² written in the eigenbasis
            error = power - (weights * (2 * projections - spectrum[:, None] * weights)).sum(axis=0)
            freedom = n - 1 - (spectrum / (spectrum + penalty)).sum()
            criterion = n * np.maximum(error, 0) / freedom**2
            better = criterion < best
            best = np.where(better, criterion, best)
            predicted[:, better] = mean[better] + scores @ weights[:, better]
    return predicted


def _designs(
    train: Floats, test: Floats, probe: ProbeName, rng: np.random.Generator
) -> Iterator[tuple[Floats, Floats]]:
    # Features of the training and the held-out cells, one pair a design that competes.
    centre, spread = train.mean(axis=0), train.std(axis=0)
    alive = spread > 1e-9 * np.maximum(np.abs(centre), spread.max(initial=0.0))
    if not alive.any():
        return
    train, test = train[:, alive] - centre[alive], test[:, alive] - centre[alive]
    scaled = train / spread[alive], test / spread[alive]
    yield scaled
    if probe == "linear":
        return
    landmarks = rng.permutation(len(train))[:_LANDMARKS]
    # Distances with every dimension scaled to unit spread, and as given: a block may hold little beside
    # large dimensions, or noise in small ones.
    spaces = [scaled] if train.shape[1] == 1 else [scaled, (train, test)]
    for own_train, own_test in spaces:
        to_train = cdist(own_train, own_train[landmarks], "sqeuclidean")
        to_test = cdist(own_test, own_train[landmarks], "sqeuclidean")
        typical = np.median(to_train)
        if typical == 0:
            typical = to_train.mean()
        for width in _WIDTHS:
            kernel_train = np.exp(to_train / (-2 * width**2 * typical))
            kernel_test = np.exp(to_test / (-2 * width**2 * typical))
            values, vectors = np.linalg.eigh(kernel_train[landmarks])
            kept = values > 1e-10 * values[-1]
            whitening = vectors[:, kept] / np.sqrt(values[kept])
            yield (
                np.concatenate([kernel_train @ whitening, scaled[0]], axis=1),
                np.concatenate([kernel_test @ whitening, scaled[1]], axis=1),
            )


def readable(source: ArrayLike, targets: ArrayLike, *, folds: int = 2, seed: int = 0) -> NDArray[np.float64]:
    """How much of each column can be read from a block of latents.

    Parameters
    ----------
    source, targets
        Float, (cell, dimension) and (cell, column).
    folds, seed
        Of the cross-validation.

    Returns
    -------
    numpy.ndarray
        (column,) non-linear, held-out R²; NaN for a column that does not vary.
    """
    columns = np.asarray(targets, np.float64)
    latents = check_blocks({"source": source}, len(columns))["source"]
    fold_of = np.random.default_rng(seed).permutation(len(columns)) % folds
    result = np.full(columns.shape[1], np.nan)
    varies = columns.var(axis=0) > 0
    if varies.any():
        result[varies] = _held_out_r2(latents, columns[:, varies], fold_of, "nonlinear", seed)
    return result


def held_out_predictions(
    source: ArrayLike,
    targets: ArrayLike,
    fold_of: ArrayLike,
    *,
    probe: ProbeName = "nonlinear",
    seed: int = 0,
) -> Floats:
    """What a block of latents says about columns, for cells that the probe did not learn from.

    Parameters
    ----------
    source, targets
        Float, finite, (cell, dimension) and (cell, column).
    fold_of
        (cell,) the fold each cell is held out in; cells of one donor belong in one fold.
    probe
        ``"linear"`` or ``"nonlinear"``.
    seed
        Of the landmarks.

    Returns
    -------
    numpy.ndarray
        (cell, column).

    Raises
    ------
    DataError
        When shapes do not fit, values are not finite, or there is one fold only.
    """
    folds = np.unique(np.asarray(fold_of), return_inverse=True)[1].astype(np.int64)
    columns = check_blocks({"targets": targets}, len(folds))["targets"]
    if folds.max(initial=0) < 1:
        raise DataError("Cells of one fold alone cannot be held out from one another.")
    return _held_out(check_blocks({"source": source}, len(folds))["source"], columns, folds, probe, seed)


def block_overlap(blocks: Mapping[str, ArrayLike], *, folds: int = 5, seed: int = 0) -> pd.DataFrame:
    """How much of one block can be read from another, without any known truth.

    Parameters
    ----------
    blocks
        Name of a block to its latents, float, (cell, dimension).

    Returns
    -------
    DataFrame
        Row the block that is read from, column the block that is read: non-linear, held-out R², the mean
        over the dimensions of the latter weighted by their variance. NaN on the diagonal and for
        blocks that do not vary.
    """
    lengths: Sequence[int] = [len(np.asarray(values)) for values in blocks.values()]
    checked = check_blocks(blocks, lengths[0] if lengths else 0)
    result = pd.DataFrame(np.nan, index=pd.Index(checked, name="from"), columns=pd.Index(checked, name="of"))
    fold_of = np.random.default_rng(seed).permutation(lengths[0]) % folds
    for source, latents in checked.items():
        for target, values in checked.items():
            variance = values.var(axis=0)
            varies = variance > 0
            if source == target or not varies.any():
                continue
            r2 = _held_out_r2(latents, values[:, varies], fold_of, "nonlinear", seed)
            result.loc[source, target] = float(np.average(r2, weights=variance[varies]))
    return result
