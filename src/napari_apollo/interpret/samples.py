"""Who is classified, and who is held out with whom: the cells of one donor in one condition are a sample."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from math import factorial, prod

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray

from napari_apollo.errors import DataError
from napari_apollo.interpret.discriminant import balanced
from napari_apollo.probes.statistics import donor_folds, draw_donors, intervals_of

_LISTED = 10  # names of conditions that are listed


@dataclass(frozen=True)
class Samples:
    """Who is classified: the cells of one donor in one condition are a sample.

    Attributes
    ----------
    of
        (cell,) sample of each cell; -1 for cells that are left out.
    unit
        (sample,) donor, or field where there is one donor.
    label
        (sample,) class of each, from 0.
    classes
        Names of the classes.
    fold
        (sample,) fold it is held out in; units stay together.
    notes
        What was left out and why.
    """

    of: NDArray[np.int64]
    unit: NDArray[np.object_]
    label: NDArray[np.int64]
    classes: tuple[str, ...]
    fold: NDArray[np.int64]
    notes: tuple[str, ...]

    @property
    def within(self) -> bool:
        """Whether conditions differ within donors, and are exchanged there under permutation."""
        return len(set(self.unit)) < len(self.unit)


def samples_of(
    conditions: ArrayLike, donors: ArrayLike, fields: ArrayLike, *, folds: int = 5, seed: int = 0
) -> Samples:
    """Samples and folds, with what cannot be tested left out.

    Parameters
    ----------
    conditions, donors, fields
        (cell,) names; cells of no condition (empty) are left out.
    folds
        Folds of donors.
    seed
        Of the folds.

    Raises
    ------
    DataError
        When fewer than two conditions can be tested.
    """
    label, unit = np.asarray(conditions, dtype=str), np.asarray(donors, dtype=str)
    notes = []
    named = np.char.strip(label) != ""
    if not named.all():
        notes.append(f"{(~named).sum()} of {len(label)} cells are in no class; left out.")
    if len(set(unit[named])) == 1:
        unit = np.asarray(fields, dtype=str)
        notes.append("One donor: fields are held out instead, which says nothing about other donors.")
    units = pd.DataFrame({"unit": unit, "label": label})[named].drop_duplicates()
    count = units["label"].value_counts()
    alone = sorted(count.index[count < 2])
    if alone:
        more = f" and {len(alone) - _LISTED} more" if len(alone) > _LISTED else ""
        notes.append(
            f"{', '.join(alone[:_LISTED])}{more}: of one donor only, which cannot be held out; left out."
        )
    classes = sorted(count.index[count >= 2])
    if len(classes) < 2:
        found = [f"{name} ({n} donor{'s' if n > 1 else ''})" for name, n in sorted(count.items())]
        more = f" and {len(found) - _LISTED} more" if len(found) > _LISTED else ""
        raise DataError(
            "Two conditions with two donors each are needed to classify; there are "
            f"{', '.join(found[:_LISTED]) or 'none'}{more}."
        )
    kept = units[units["label"].isin(classes)].sort_values(["label", "unit"]).reset_index(drop=True)
    of_pair = {pair: at for at, pair in enumerate(zip(kept["unit"], kept["label"], strict=True))}
    sample_of = np.array([of_pair.get(pair, -1) for pair in zip(unit, label, strict=True)], np.int64)
    together = kept.groupby("unit")["label"].transform(lambda own: "+".join(sorted(own)))
    fold = donor_folds(kept["unit"].tolist(), folds, strata=together.tolist(), seed=seed)
    return Samples(
        sample_of,
        kept["unit"].to_numpy(object),
        np.array([classes.index(name) for name in kept["label"]], np.int64),
        tuple(str(name) for name in classes),
        fold,
        tuple(notes),
    )


def orders_of(label: NDArray[np.int64]) -> Iterator[NDArray[np.int64]]:
    """Every order of some numbers, each once."""
    if not len(label):
        yield label
    for first in np.unique(label):
        rest = np.delete(label, np.flatnonzero(label == first)[0])
        for order in orders_of(rest):
            yield np.concatenate([[first], order])


def permuted_labels(
    label: NDArray[np.int64], unit: NDArray[np.object_], within: bool, count: int, seed: int
) -> list[NDArray[np.int64]]:
    """Labels of samples as they might have been: exchanged between donors, or within them.

    Parameters
    ----------
    label, unit
        (sample,) class and donor of each.
    within
        Whether conditions differ within donors.
    count
        How many are drawn. Where there are no more orders than that, each is given once, but the observed
        one, which the p-value itself counts.
    seed
        Of the draws.
    """
    rng = np.random.default_rng(seed)
    if within:
        out = []
        for _ in range(count):
            drawn = label.copy()
            for name in sorted(set(unit)):
                own = np.flatnonzero(unit == name)
                drawn[own] = rng.permutation(drawn[own])
            out.append(drawn)
        return out
    possible = factorial(len(label)) // prod(map(factorial, np.bincount(label).tolist()))
    if possible <= count:
        return [order for order in orders_of(label) if (order != label).any()]
    return [rng.permutation(label) for _ in range(count)]


def accuracy_interval(
    recall: NDArray[np.float64],
    label: NDArray[np.int64],
    unit: NDArray[np.object_],
    within: bool,
    classes: int,
    seed: int,
) -> tuple[float, float]:
    """Interval of the balanced accuracy over donors.

    Parameters
    ----------
    recall, label, unit
        (sample,) share of cells that were right, class, donor.
    within
        Whether conditions differ within donors, which are then drawn whole; else each class keeps its number.
    classes
        How many there are.
    seed
        Of the draws.
    """
    if within:
        names, unit_of = np.unique(unit.astype(str), return_inverse=True)
        drawn = draw_donors(len(names), draws=1000, seed=seed)
        weights = drawn.counts[:, unit_of]
    else:
        drawn = draw_donors(len(label), strata=label.tolist(), draws=1000, seed=seed)
        weights = drawn.counts
    values = balanced(recall, label, classes, weights)
    low, high = intervals_of(values[:, None], drawn.chances, drawn.donors)
    return float(low[0]), float(high[0])
