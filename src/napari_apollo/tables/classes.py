"""Classes of cells told from blocks of latents, for cells that the classifier never saw."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray

from napari_apollo.errors import DataError
from napari_apollo.probes.statistics import donor_folds, draw_donors, intervals_of
from napari_apollo.progress import Progress, ShouldStop, Step, never, silent, stop_if_asked

Floats = NDArray[np.float64]

_STRENGTHS = (0.003, 0.03, 0.3, 3.0)  # inverse penalties of the classifier
_INNER = 3

LEAST_OF_A_CLASS = 2 * _INNER
"""Cells that a class must have, to be told in nested folds."""


def class_accuracy(
    inputs: Mapping[str, ArrayLike],
    label: ArrayLike,
    *,
    groups: ArrayLike | None = None,
    unseen: ArrayLike | None = None,
    folds: int = 5,
    draws: int = 1000,
    seed: int = 0,
    progress: Progress = silent,
    should_stop: ShouldStop = never,
) -> pd.DataFrame:
    """Balanced accuracy of a class from every input, by nested cross-validation.

    Multinomial logistic regression on standardised columns, classes weighted equally; its penalty is chosen
    in inner folds of the training cells alone. Folds, inner and outer, keep groups whole.

    Parameters
    ----------
    inputs
        By name (cell, column); all of the same cells.
    label
        (cell,) class of each cell.
    groups
        (cell,) donor or batch; where there are none cells stand alone, and the interval says nothing of other
        donors.
    unseen
        (cell,) bool: cells that the latents were not learnt from; the accuracy of these alone is given, too.

    Returns
    -------
    pandas.DataFrame
        One row an input: ``input``, ``accuracy`` (mean over classes of the share of cells right), ``low``,
        ``high`` (95 %, groups or cells drawn again), ``unseen`` (of these cells) with ``unseen_low``,
        ``unseen_high``, ``chance``, ``cells``, ``unit``.

    Raises
    ------
    DataError
        When there are fewer than two classes, groups or cells of a class.
    """
    classes, codes = np.unique(np.asarray(label, str), return_inverse=True)
    counts = np.bincount(codes)
    if len(classes) < 2 or counts.min() < LEAST_OF_A_CLASS:
        found = ", ".join(f"{n} cells ({name})" for name, n in zip(classes[:10], counts[:10], strict=True))
        raise DataError(f"Classes of {found}: two classes of {LEAST_OF_A_CLASS} cells are needed.")
    units = np.arange(len(codes)) if groups is None else np.asarray(groups, str)
    outer = _folds(units, codes, folds, seed, alone=groups is None)
    rows = []
    for done, (name, given) in enumerate(inputs.items()):
        stop_if_asked(should_stop)
        progress(Step("Telling classes", done, len(inputs), name))
        values = np.asarray(given, np.float64)
        right = _held_out(values, codes, units, outer, seed, alone=groups is None) == codes
        row = {"input": name, **_summary(right, codes, units, draws, seed)}
        if unseen is not None and np.any(unseen):
            own = np.asarray(unseen, bool)
            part = _summary(right[own], codes[own], units[own], draws, seed)
            row |= {"unseen": part["accuracy"], "unseen_low": part["low"], "unseen_high": part["high"]}
        unit = "cell" if groups is None else "group"
        rows.append({**row, "chance": 1 / len(classes), "cells": len(codes), "unit": unit})
    return pd.DataFrame(rows)


def _folds(units: np.ndarray, codes: np.ndarray, folds: int, seed: int, *, alone: bool) -> np.ndarray:
    if not alone:
        return donor_folds(units.tolist(), folds, seed=seed)
    fold = np.empty(len(codes), np.int64)
    rng = np.random.default_rng(seed)
    for kind in range(codes.max() + 1):
        own = rng.permutation(np.flatnonzero(codes == kind))
        fold[own] = np.arange(len(own)) % folds
    return fold


def _held_out(
    values: Floats, codes: np.ndarray, units: np.ndarray, outer: np.ndarray, seed: int, *, alone: bool
) -> NDArray[np.int64]:
    told = np.full(len(codes), -1, np.int64)
    for fold in np.unique(outer):
        train, test = np.flatnonzero(outer != fold), np.flatnonzero(outer == fold)
        if not values.shape[1] or len(np.unique(codes[train])) < 2:
            told[test] = np.bincount(codes[train]).argmax()
            continue
        scores = np.zeros(len(_STRENGTHS))
        if alone or len(np.unique(units[train])) > 1:
            inner = _folds(units[train], codes[train], _INNER, seed + 1, alone=alone)
            for part in np.unique(inner):
                fit, judge = train[inner != part], train[inner == part]
                if len(np.unique(codes[fit])) < 2:
                    continue
                for k, strength in enumerate(_STRENGTHS):
                    made = _told(values[fit], codes[fit], values[judge], strength)
                    scores[k] += _balanced(made == codes[judge], codes[judge])
        told[test] = _told(values[train], codes[train], values[test], _STRENGTHS[int(scores.argmax())])
    return told


def _told(fit: Floats, codes: np.ndarray, values: Floats, strength: float) -> NDArray[np.int64]:
    from sklearn.linear_model import LogisticRegression

    mean, spread = fit.mean(axis=0), fit.std(axis=0)
    spread[spread == 0] = 1
    model = LogisticRegression(C=strength, class_weight="balanced", max_iter=300)
    model.fit((fit - mean) / spread, codes)
    told: NDArray[np.int64] = model.predict((values - mean) / spread)
    return told


def _balanced(right: np.ndarray, codes: np.ndarray) -> float:
    return float(np.mean([right[codes == kind].mean() for kind in np.unique(codes)]))


def _summary(
    right: np.ndarray, codes: np.ndarray, units: np.ndarray, draws: int, seed: int
) -> dict[str, float]:
    """Balanced accuracy, and its interval over units drawn again."""
    unit = np.unique(units, return_inverse=True)[1]
    shape = (unit.max() + 1, codes.max() + 1)
    cells, good = np.zeros(shape), np.zeros(shape)
    np.add.at(cells, (unit, codes), 1)
    np.add.at(good, (unit, codes), right)
    drawn = draw_donors(shape[0], draws=draws, seed=seed)
    with np.errstate(invalid="ignore", divide="ignore"):
        statistics = np.nanmean((drawn.counts @ good) / (drawn.counts @ cells), axis=1)
    low, high = intervals_of(statistics[:, None], drawn.chances, drawn.donors)
    return {"accuracy": _balanced(right, codes), "low": float(low[0]), "high": float(high[0])}
