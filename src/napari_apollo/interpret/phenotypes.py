"""What latents and features say about the condition of donors that nobody learnt from."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray

from napari_apollo.errors import DataError
from napari_apollo.interpret.cells import LEAST_CELLS, LatentCells, block_in_words, kind_of_block
from napari_apollo.interpret.discriminant import (
    Sums,
    balanced,
    held_out_classes,
    recall_by_sample,
    shares_called,
    standardised,
    sums_of,
)
from napari_apollo.interpret.samples import Samples, accuracy_interval, permuted_labels, samples_of
from napari_apollo.predict.table import PROTEIN_SPECIFIC, SHARED
from napari_apollo.probes.statistics import benjamini_hochberg, donor_folds, p_of
from napari_apollo.progress import Progress, ShouldStop, Step, never, silent, stop_if_asked

Floats = NDArray[np.float64]

_FDR = 0.05
_TEST_SHRINKAGE = 0.3  # one and the same in the data and in every permutation, so that both are treated alike


@dataclass(frozen=True)
class Phenotypes:
    """How well conditions are told from each input.

    Attributes
    ----------
    table
        One row an input: ``input``, ``kind``, ``cells``, ``donors``, ``classes``, ``accuracy`` (balanced:
        mean over classes of the mean over donors of the share of cells right) with ``low`` and ``high`` over
        donors, ``chance``, ``called`` (share of donors whose cells mostly get the right class), ``p``
        (permuted conditions of donors) and ``q``.
    confusion
        Input to a table: row the true class, column the predicted one, mean over donors of the share of
        cells.
    ablation
        One row an input and what was left out: ``lost`` accuracy with ``low``, ``high`` over donors.
    notes
        What was left out and why.
    """

    table: pd.DataFrame
    confusion: dict[str, pd.DataFrame]
    ablation: pd.DataFrame
    notes: list[str] = field(default_factory=list)

    def any_sure(self) -> bool:
        """Whether some input tells conditions beyond chance, after adjusting for all inputs."""
        return bool((self.table["q"] <= _FDR).any())

    def nothing_sure(self) -> str:
        """What is to be said where none does."""
        return (
            f"None of the {len(self.table)} inputs tells conditions beyond chance, once p-values are "
            "adjusted for so many."
        )


def joined(first: Phenotypes | None, table: pd.DataFrame, confusion: dict[str, pd.DataFrame]) -> Phenotypes:
    """Phenotypes with further inputs; p-values are adjusted over all of them together."""
    found = first or Phenotypes(pd.DataFrame(), {}, pd.DataFrame())
    whole = pd.concat([found.table, table], ignore_index=True) if len(found.table) else table
    if len(whole):
        whole = whole.assign(q=benjamini_hochberg(whole["p"].to_numpy(np.float64)))
    return Phenotypes(whole, found.confusion | confusion, found.ablation, found.notes)


def inputs_of(cells: LatentCells) -> dict[str, Floats]:
    """What a condition may be told from: latents by block and together, features by stain.

    Returns
    -------
    dict
        Name of the input to (cell, column); NaN rows for cells that lack it.
    """
    inputs = {f"latents: {block_in_words(name)}": values for name, values in cells.blocks.items()}
    if SHARED in cells.blocks:
        for name, values in cells.blocks.items():
            if name != SHARED:
                joint = np.concatenate([cells.blocks[SHARED], values], axis=1)
                joint[~np.isfinite(values).all(axis=1)] = np.nan  # however few columns these are
                inputs[f"latents: shared + {block_in_words(name)}"] = joint
    stains = np.array(cells.stains, dtype=object)
    proteins = {
        name.removeprefix(PROTEIN_SPECIFIC) for name in cells.blocks if kind_of_block(name) == "protein"
    }
    values = cells.features.to_numpy(np.float64)
    form = np.array([not set(name.split("+")) & proteins for name in stains.tolist()], bool)
    if form.any():
        inputs["features: form and chromatin"] = values[:, form]
    for stain in dict.fromkeys(stains[~form]):
        if "+" not in stain:
            inputs[f"features: {stain}"] = values[:, stains == stain]
    return inputs


def classify(
    cells: LatentCells,
    *,
    label: ArrayLike | None = None,
    inputs: Mapping[str, ArrayLike] | None = None,
    groups: Mapping[str, str] | None = None,
    ablation: bool = True,
    folds: int = 5,
    permutations: int = 100,
    most_cells: int = 500,
    seed: int = 0,
    progress: Progress = silent,
    should_stop: ShouldStop = never,
) -> Phenotypes:
    """Classify the condition of held-out donors from every input.

    Linear discriminants with equal priors; their shrinkage is chosen inside the training donors of every
    fold. The p-value is that of the accuracy with one fixed shrinkage among those with the conditions of
    donors permuted. Where these have no more orders than permutations are asked for, every order is tried; it
    cannot be smaller than one over their number.

    Parameters
    ----------
    cells
        The cells.
    label
        (cell,) what is classified; the condition where not given.
    inputs
        Name to (cell, column); ``inputs_of`` the cells where not given.
    groups
        Feature to the representative of its near copies, for leaving out groups; without it single features
        only.
    ablation
        Leave features and groups out.
    folds
        Folds of donors.
    permutations
        Of the conditions.
    most_cells
        Cells of each donor at most.
    seed
        Of folds, draws and permutations.

    Raises
    ------
    DataError
        When fewer than two conditions have two donors.
    """
    conditions = cells.conditions if label is None else np.asarray(label, dtype=str)
    samples = samples_of(conditions, cells.donors, cells.obs["field"].astype(str), folds=folds, seed=seed)
    notes = list(samples.notes)
    chosen = _capped(samples.of, most_cells, seed)
    rows, confusion, left_out = [], {}, []
    given = (
        inputs_of(cells)
        if inputs is None
        else {name: np.asarray(v, np.float64) for name, v in inputs.items()}
    )
    for number, (name, values) in enumerate(given.items()):
        stop_if_asked(should_stop)
        progress(Step("Classifying", number, len(given), name))
        try:
            task = _Task(name, values, samples, chosen)
        except DataError as error:
            notes.append(f"{name}: {error}")
            continue
        row, confused = task.score(seed)
        if task.untested:
            notes.append(
                f"{name}: {task.untested} of {row['cells']} cells are not tested, as without the donors held "
                "out with them a condition is missing."
            )
        if not np.isfinite(float(str(row["accuracy"]))):
            notes.append(f"{name}: no accuracy, as a condition has no cell that could be tested.")
            continue
        row["p"] = task.p_value(permutations, seed, should_stop)
        rows.append(row)
        confusion[name] = confused
        if ablation and name.startswith("features"):
            columns = _columns(cells, values)
            left_out.append(task.ablate(columns, groups or {}, seed, should_stop))
    progress(Step("Classifying", len(given), len(given)))
    table = pd.DataFrame(rows)
    if len(table):
        table["q"] = benjamini_hochberg(table["p"].to_numpy(np.float64))
    lost = pd.concat(left_out, ignore_index=True) if left_out else pd.DataFrame()
    return Phenotypes(table, confusion, lost, notes)


def _capped(sample_of: NDArray[np.int64], most: int, seed: int) -> NDArray[np.int64]:
    shuffled = np.random.default_rng(seed).permutation(np.flatnonzero(sample_of >= 0))
    turn = pd.Series(sample_of[shuffled]).groupby(sample_of[shuffled]).cumcount().to_numpy()
    return np.sort(shuffled[turn < most])


def _columns(cells: LatentCells, values: Floats) -> list[str]:
    """Names of an input's features, found by their values."""
    all_values = cells.features.to_numpy(np.float64)
    names = cells.features.columns.astype(str)
    by_bytes = {all_values[:, k].tobytes(): names[k] for k in range(len(names))}
    return [by_bytes[values[:, k].tobytes()] for k in range(values.shape[1])]


class _Task:
    """One input: its cells, sums and folds."""

    def __init__(self, name: str, values: Floats, samples: Samples, chosen: NDArray[np.int64]) -> None:
        self.name, self.samples = name, samples
        part = values[chosen]
        there = np.isfinite(part).mean(axis=1) >= 0.5 if part.shape[1] else np.zeros(len(part), bool)
        rows = chosen[there]
        if len(rows) < LEAST_CELLS:
            raise DataError(f"{len(rows)} cells have it; {LEAST_CELLS} are needed.")
        varying = np.nan_to_num(np.nanmax(values[rows], axis=0) - np.nanmin(values[rows], axis=0)) > 0
        self.varying = np.flatnonzero(varying)
        if not len(self.varying):
            raise DataError("it is the same in all cells.")
        self.values = standardised(values[rows][:, self.varying])
        present = np.unique(samples.of[rows])
        renumber = np.full(len(samples.label), -1)
        renumber[present] = np.arange(len(present))
        self.sample_of = renumber[samples.of[rows]]
        self.label, self.fold = samples.label[present], samples.fold[present]
        self.unit = samples.unit[present]
        self.classes = len(samples.classes)
        count = np.bincount(self.label, minlength=self.classes)
        if (count < 2).any():
            lacking = [samples.classes[k] for k in np.flatnonzero(count < 2)]
            raise DataError(f"fewer than two donors of {', '.join(lacking)} have it.")
        self.sums = sums_of(self.values, self.sample_of, len(present))

    def recall(
        self,
        label: NDArray[np.int64],
        shrinkage: float | None,
        columns: NDArray[np.int64] | None = None,
        fold: NDArray[np.int64] | None = None,
    ) -> tuple[Floats, NDArray[np.int64], list[float]]:
        """Share of cells right (sample,), predicted classes (cell,), and shrinkage by fold."""
        values, sums = self.values, self.sums
        if columns is not None:
            values = values[:, columns]
            grid = np.ix_(np.arange(len(label)), columns, columns)
            sums = Sums(sums.count, sums.total[:, columns], sums.squares[grid])
        predicted, chosen = held_out_classes(
            values, self.sample_of, sums, label, self.classes, self.fold if fold is None else fold, shrinkage
        )
        hit = predicted == label[self.sample_of]
        tested = predicted >= 0
        recall = recall_by_sample(hit[tested], self.sample_of[tested], len(label), empty=np.nan)
        return recall, predicted, chosen

    def score(self, seed: int) -> tuple[dict[str, object], pd.DataFrame]:
        recall, predicted, self.shrinkage = self.recall(self.label, None)
        self.untested = int((predicted < 0).sum())
        low, high = self._interval(recall, seed)
        confusion, called = shares_called(predicted, self.sample_of, self.label, self.classes)
        classes = list(self.samples.classes)
        confused = pd.DataFrame(confusion, index=pd.Index(classes, name="true"), columns=classes)
        return {
            "input": self.name,
            "kind": self.name.split(":")[0],
            "cells": len(self.values),
            "donors": len(set(self.unit)),
            "classes": self.classes,
            "accuracy": float(balanced(recall, self.label, self.classes)[0]),
            "low": low,
            "high": high,
            "chance": 1 / self.classes,
            "called": called,
        }, confused

    def p_value(self, permutations: int, seed: int, should_stop: ShouldStop) -> float:
        """Of the accuracy with a fixed shrinkage, among permuted conditions.

        Folds are spread by conditions, so permuted ones get folds of their own: held-out donors of one and
        the same condition are told worse than others, and the data would have the better folds.
        """

        def accuracy(label: NDArray[np.int64]) -> float:
            fold = self.fold
            if not self.samples.within:  # else donors have the same conditions under every permutation
                folds = int(self.samples.fold.max()) + 1
                fold = donor_folds(self.unit.tolist(), folds, strata=label.tolist(), seed=seed)
            return float(balanced(self.recall(label, _TEST_SHRINKAGE, fold=fold)[0], label, self.classes)[0])

        observed = accuracy(self.label)
        null = []
        for label in permuted_labels(self.label, self.unit, self.samples.within, permutations, seed):
            stop_if_asked(should_stop)
            null.append(accuracy(label))
        null_values = np.array(null)
        return float(p_of(np.array([observed]), null_values[np.isfinite(null_values)])[0])

    def ablate(
        self, names: list[str], groups: Mapping[str, str], seed: int, should_stop: ShouldStop
    ) -> pd.DataFrame:
        """Accuracy lost without each feature, and without each group of near copies."""
        names = [names[k] for k in self.varying]
        shrinkage = float(np.median(self.shrinkage))
        full, _, _ = self.recall(self.label, shrinkage)
        sets = {(name, "feature"): {name} for name in names}
        for head in dict.fromkeys(groups.get(name, name) for name in names):
            members = {name for name in names if groups.get(name, name) == head}
            if len(members) > 1:
                sets[head, "group"] = members
        rows = []
        for (name, kind), out in sets.items():
            stop_if_asked(should_stop)
            kept = np.array([k for k, own in enumerate(names) if own not in out], np.int64)
            if not len(kept):
                continue
            lost = full - self.recall(self.label, shrinkage, kept)[0]
            low, high = self._interval(lost, seed)
            row = {"input": self.name, "left_out": name, "what": kind, "features": len(out)}
            value = float(balanced(lost, self.label, self.classes)[0])
            rows.append({**row, "lost": value, "low": low, "high": high})
        table = pd.DataFrame(rows)
        return table.sort_values("lost", ascending=False) if len(table) else table

    def _interval(self, recall: Floats, seed: int) -> tuple[float, float]:
        return accuracy_interval(recall, self.label, self.unit, self.samples.within, self.classes, seed)
