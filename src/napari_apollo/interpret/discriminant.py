"""Linear discriminants that are trained on sums by donor, so that leaving donors out costs nothing."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

Floats = NDArray[np.float64]

SHRINKAGES = (0.02, 0.1, 0.3, 0.7, 1.0)
"""Shares of the diagonal in the covariance that are tried."""

_CLIP = 5.0


@dataclass(frozen=True)
class Sums:
    """What a discriminant needs of the cells of each sample.

    Attributes
    ----------
    count
        (sample,) cells.
    total
        (sample, dimension) sums.
    squares
        (sample, dimension, dimension) sums of products.
    """

    count: Floats
    total: Floats
    squares: Floats


def standardised(values: ArrayLike) -> Floats:
    """Columns less their median over 1.4826 times their median absolute deviation, cut at ±5; missing values
    0.

    Parameters
    ----------
    values
        (cell, column).
    """
    values = np.asarray(values, np.float64)
    values = np.where(np.isfinite(values), values, np.nan)
    centre = np.nanmedian(values, axis=0)
    scale = 1.4826 * np.nanmedian(np.abs(values - centre), axis=0)
    scale = np.where(scale > 0, scale, np.nanstd(values, axis=0))
    scale = np.where(scale > 0, scale, 1.0)
    return np.nan_to_num(np.clip((values - centre) / scale, -_CLIP, _CLIP))


def sums_of(values: Floats, sample_of: NDArray[np.int64], samples: int) -> Sums:
    """Sums of the cells (cell, dimension) of each sample."""
    count = np.bincount(sample_of, minlength=samples).astype(np.float64)
    total = np.zeros((samples, values.shape[1]))
    squares = np.zeros((samples, values.shape[1], values.shape[1]))
    for k in range(samples):
        own = values[sample_of == k]
        total[k], squares[k] = own.sum(axis=0), own.T @ own
    return Sums(count, total, squares)


def discriminant(
    sums: Sums, label: NDArray[np.int64], classes: int, train: NDArray[np.bool_], shrinkage: float
) -> tuple[Floats, Floats]:
    """Weights (dimension, class) and offsets (class,) of linear discriminant analysis.

    Classes have equal prior probabilities and weigh equally in the covariance, whatever their cells; the
    covariance is shrunk towards its diagonal (Friedman, JASA 84, 165 (1989)).

    Parameters
    ----------
    sums
        Of each sample.
    label
        (sample,) class of each, from 0.
    classes
        How many there are.
    train
        (sample,) which to learn from; every class has one of them.
    shrinkage
        Share of the diagonal.
    """
    member = (label[:, None] == np.arange(classes)) & train[:, None]
    count = member.T @ sums.count
    means = (member.T @ sums.total) / count[:, None]
    second = np.tensordot(member.T.astype(np.float64), sums.squares, 1) / count[:, None, None]
    within = (second - means[:, :, None] * means[:, None, :]).mean(axis=0)
    spread = np.maximum(np.diag(within), 1e-9)
    covariance = (1 - shrinkage) * within
    covariance[np.diag_indices_from(covariance)] += shrinkage * spread + 1e-6 * spread.mean()
    weights = np.linalg.solve(covariance, means.T)
    return weights, -0.5 * np.einsum("cd,dc->c", means, weights)


def held_out_classes(
    values: Floats,
    sample_of: NDArray[np.int64],
    sums: Sums,
    label: NDArray[np.int64],
    classes: int,
    fold_of: NDArray[np.int64],
    shrinkage: float | None,
) -> tuple[NDArray[np.int64], list[float]]:
    """Class of every cell, said by discriminants of other folds; nested where the shrinkage is not given.

    Parameters
    ----------
    values
        (cell, dimension).
    sample_of
        (cell,) sample of each.
    sums, label, classes
        As for ``discriminant``.
    fold_of
        (sample,) fold that each is held out in.
    shrinkage
        None chooses it inside the training samples of every fold, by holding out their folds in turn.

    Returns
    -------
    predicted : ndarray of int (cell,)
        -1 for cells of folds whose training lacks a class.
    chosen : list of float
        Shrinkage of each fold.
    """
    predicted = np.full(len(values), -1, np.int64)
    chosen = []
    for fold in np.unique(fold_of):
        train = fold_of != fold
        if len(set(label[train])) < classes:
            continue
        own = (
            shrinkage
            if shrinkage is not None
            else _choose(values, sample_of, sums, label, classes, fold_of, train)
        )
        weights, offsets = discriminant(sums, label, classes, train, own)
        cells = ~train[sample_of]
        predicted[cells] = (values[cells] @ weights + offsets).argmax(axis=1)
        chosen.append(own)
    return predicted, chosen


def _choose(
    values: Floats,
    sample_of: NDArray[np.int64],
    sums: Sums,
    label: NDArray[np.int64],
    classes: int,
    fold_of: NDArray[np.int64],
    train: NDArray[np.bool_],
) -> float:
    right = np.zeros(len(SHRINKAGES))
    for inner in np.unique(fold_of[train]):
        rest = train & (fold_of != inner)
        if len(set(label[rest])) < classes:
            continue
        cells = train[sample_of] & (fold_of[sample_of] == inner)
        for at, shrinkage in enumerate(SHRINKAGES):
            weights, offsets = discriminant(sums, label, classes, rest, shrinkage)
            hit = (values[cells] @ weights + offsets).argmax(axis=1) == label[sample_of[cells]]
            right[at] += recall_by_sample(hit, sample_of[cells], len(label)).sum()
    return SHRINKAGES[int(np.argmax(right))] if right.any() else 0.3


def recall_by_sample(
    hit: NDArray[np.bool_], sample_of: NDArray[np.int64], samples: int, *, empty: float = 0.0
) -> Floats:
    """Share (sample,) of each sample's cells that are classified right; ``empty`` for those without cells."""
    count = np.bincount(sample_of, minlength=samples)
    right = np.bincount(sample_of, weights=hit, minlength=samples)
    return np.where(count > 0, right / np.maximum(count, 1), empty)


def shares_called(
    predicted: NDArray[np.int64], sample_of: NDArray[np.int64], label: NDArray[np.int64], classes: int
) -> tuple[Floats, float]:
    """What the cells of samples are taken for; cells that were not tested count for nothing.

    Parameters
    ----------
    predicted
        (cell,) class said of each, -1 for cells that were not tested.
    sample_of
        (cell,) sample of each.
    label
        (sample,) class of each, from 0.
    classes
        How many.

    Returns
    -------
    confusion : numpy.ndarray
        (class, class) row the true class, column the predicted one: mean over samples of the share of cells;
        NaN for a class of which no sample was tested.
    called : float
        Share of the samples whose cells mostly get the right class.
    """
    tested = predicted >= 0
    shares = np.stack(
        [
            recall_by_sample(predicted[tested] == k, sample_of[tested], len(label), empty=np.nan)
            for k in range(classes)
        ],
        axis=1,
    )
    there = np.isfinite(shares[:, 0])
    confusion = np.full((classes, classes), np.nan)
    for k in range(classes):
        if (there & (label == k)).any():
            confusion[k] = shares[there & (label == k)].mean(axis=0)
    right = shares[there].argmax(axis=1) == label[there]
    return confusion, float(right.mean()) if len(right) else float("nan")


def balanced(
    recall: Floats, label: NDArray[np.int64], classes: int, weights: ArrayLike | None = None
) -> Floats:
    """Balanced accuracy: mean over classes of the mean recall of their samples.

    Parameters
    ----------
    recall
        (sample,).
    label
        (sample,) class of each.
    classes
        How many.
    weights
        (draw, sample) how often each sample counts; once where not given.

    Returns
    -------
    numpy.ndarray
        (draw,); NaN where a class has no sample.
    """
    counted = np.ones((1, len(recall))) if weights is None else np.asarray(weights, np.float64)
    counted = counted * np.isfinite(recall)
    filled = np.nan_to_num(recall)
    member = (label[:, None] == np.arange(classes)).astype(np.float64)
    with np.errstate(invalid="ignore", divide="ignore"):
        by_class = (counted @ (member * filled[:, None])) / (counted @ member)
    mean: Floats = by_class.mean(axis=1)
    return mean
