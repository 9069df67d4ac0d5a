"""Classes suggested for cells that nobody annotated, by a classifier on latents and measurements."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from napari_apollo.errors import DataError

if TYPE_CHECKING:
    import anndata

_PENALTIES = (0.003, 0.03, 0.3)  # inverse strength of regularisation, strongest first
_ENOUGH = 3  # cells of every class that cross-validation needs
_FOLDS = 4
_REACH = 5.0  # standard deviations beyond which values are clipped


@dataclass(frozen=True)
class Suggestions:
    """What the classifier says about every cell.

    Attributes
    ----------
    classes
        The classes that had examples.
    probability
        float32 (cell, class), each row sums to 1.
    accuracy
        Balanced accuracy of cross-validation on the annotated cells; NaN with too few of them.
    examples
        Annotated cells that it learnt from.
    """

    classes: tuple[str, ...]
    probability: NDArray[np.float32]
    accuracy: float
    examples: int

    @property
    def codes(self) -> NDArray[np.int64]:
        """Number of each cell's most likely class in ``classes``, (cell,)."""
        codes: NDArray[np.int64] = self.probability.argmax(axis=1)
        return codes

    @property
    def uncertainty(self) -> NDArray[np.float32]:
        """1 less the lead of the likeliest class over the next, (cell,): 0 sure, 1 undecided."""
        two = np.partition(self.probability, -2, axis=1)[:, -2:]
        lead: NDArray[np.float32] = 1 - (two[:, 1] - two[:, 0])
        return lead


def cell_features(table: anndata.AnnData) -> NDArray[np.float32]:
    """What the classifier sees: all latents and measurements, each with mean 0 and variance 1.

    Blocks weigh the same, however many columns they have. Missing values (a stain that the cell was not
    given) take the mean; columns without variance are left out; what lies beyond 5 standard deviations
    is clipped.

    Parameters
    ----------
    table
        Table of a cell store.

    Returns
    -------
    ndarray of float32 (cell, column)

    Raises
    ------
    DataError
        When the table has neither latents nor measurements.
    """
    blocks = [np.asarray(table.X, np.float32)] if table.n_vars else []
    blocks += [
        np.asarray(values, np.float32)
        for key, values in sorted(table.obsm.items())
        if isinstance(values, np.ndarray) and values.ndim == 2 and not key.startswith("X_")
    ]
    scaled = [block for values in blocks if (block := _standardised(values)).shape[1]]
    if not scaled:
        raise DataError("The cells have neither latents nor measurements; measure them, or predict, first.")
    return np.hstack([block / np.sqrt(np.float32(block.shape[1])) for block in scaled])


def suggest(
    features: NDArray[np.float32], codes: NDArray[np.integer], classes: Sequence[str], *, seed: int = 0
) -> Suggestions:
    """Learn from annotated cells and say what the others may be.

    Logistic regression (multinomial, L2); its strength is chosen by cross-validated balanced accuracy
    where every class has three cells at least, else the strongest is taken.

    Parameters
    ----------
    features
        (cell, column), as ``cell_features`` gives them.
    codes
        (cell,) number of each cell's class in ``classes``, negative where it has none.
    classes
        Names of the classes.
    seed
        Decides the folds.

    Raises
    ------
    DataError
        When fewer than two classes have examples.
    """
    from sklearn.linear_model import LogisticRegression
    from sklearn.metrics import balanced_accuracy_score
    from sklearn.model_selection import StratifiedKFold, cross_val_predict

    codes = np.asarray(codes)
    known = np.flatnonzero(codes >= 0)
    used, counts = np.unique(codes[known], return_counts=True)
    if len(used) < 2:
        raise DataError("Annotate cells of two classes at least; then the others are suggested.")
    x, y = features[known], codes[known]
    scale = np.float32(np.sqrt(features.shape[1]))  # columns were divided by the size of their block

    def classifier(penalty: float) -> LogisticRegression:
        return LogisticRegression(C=penalty, max_iter=300, class_weight="balanced")

    best, accuracy = _PENALTIES[0], float("nan")
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", module="sklearn")  # slow convergence shows in the accuracy
        if counts.min() >= _ENOUGH:
            folds = StratifiedKFold(min(_FOLDS, int(counts.min())), shuffle=True, random_state=seed)
            for penalty in _PENALTIES:
                said = cross_val_predict(classifier(penalty), x * scale, y, cv=folds)
                score = float(balanced_accuracy_score(y, said))
                if not accuracy >= score:
                    best, accuracy = penalty, score
        model = classifier(best).fit(x * scale, y)
        probability = model.predict_proba(features * scale).astype(np.float32)
    return Suggestions(tuple(classes[code] for code in used), probability, accuracy, len(known))


def _standardised(values: NDArray[np.float32]) -> NDArray[np.float32]:
    finite = np.isfinite(values)
    values = np.where(finite, values, np.nan)
    values = values[:, finite.any(axis=0)]
    if not values.size:
        return np.zeros((len(values), 0), np.float32)
    mean, spread = np.nanmean(values, axis=0), np.nanstd(values, axis=0)
    kept = spread > 1e-6 * (np.abs(mean) + 1e-12)
    scaled = (values[:, kept] - mean[kept]) / spread[kept]
    return np.clip(np.nan_to_num(scaled, nan=0.0), -_REACH, _REACH).astype(np.float32)
