"""Which part of which stain accompanies the cell-to-cell variability of a protein's localisation."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray

from napari_apollo.errors import DataError
from napari_apollo.interpret.cells import LEAST_CELLS, centred_by_donor, normal_scores
from napari_apollo.probes.matrix import held_out_predictions
from napari_apollo.probes.statistics import (
    benjamini_hochberg,
    donor_folds,
    draw_donors,
    intervals_of,
    p_of,
    permuted_within,
)
from napari_apollo.progress import Progress, ShouldStop, Step, never, silent, stop_if_asked

Floats = NDArray[np.float64]


def localisation_carriers(
    blocks: Mapping[str, ArrayLike],
    localisation: pd.DataFrame,
    donors: Sequence[object],
    *,
    folds: int = 5,
    permutations: int = 100,
    seed: int = 0,
    progress: Progress = silent,
    should_stop: ShouldStop = never,
) -> pd.DataFrame:
    """Variability of each protein's localisation that each block explains within donors, for donors held out.

    Localisation (the share of a protein that lies in the nucleus, or any other number of a cell) is taken as
    ranks within donors; latents are taken less their donor's mean; ridge regression is fitted on other
    donors. The null is the same with localisation permuted within donors, nulls of all blocks of a protein
    pooled.

    Parameters
    ----------
    blocks
        Name (``chromatin shared``, ``ER specific``, ...) to latents (cell, dimension): of one model of many
        modalities, or of pairwise models side by side. NaN rows for cells without a block.
    localisation
        One column a protein, one row a cell; NaN where the cell was not given the protein.
    donors
        (cell,) donor, well or field: what is held out as a whole.
    folds
        Folds of these.
    permutations
        Of the null.
    seed
        Of folds and permutations.

    Returns
    -------
    pandas.DataFrame
        One row a protein and block: ``r2`` with ``low`` and ``high`` over donors, ``p``, ``q`` (over all
        rows), ``cells``, ``donors``, and ``leads``, whether the block explains most of the protein's and
        is a discovery at a rate of 0.05. Proteins of too few cells, of one donor, or without variation have a
        ``note`` and no numbers.

    Raises
    ------
    DataError
        When lengths differ.
    """
    names = np.asarray(donors, dtype=str)
    latents = {name: np.asarray(values, np.float64) for name, values in blocks.items()}
    for name, values in latents.items():
        if len(values) != len(localisation) or len(names) != len(localisation):
            raise DataError(f"Block {name!r} has {len(values)} cells, localisation {len(localisation)}.")
    parts = []
    for number, protein in enumerate(localisation.columns):
        stop_if_asked(should_stop)
        progress(Step("Finding compartments", number, len(localisation.columns), str(protein)))
        target = localisation[protein].to_numpy(np.float64)
        parts.append(_of_protein(str(protein), target, latents, names, folds, permutations, seed))
    table = pd.concat(parts, ignore_index=True)
    table["q"] = benjamini_hochberg(table["p"].to_numpy())
    best = table.groupby("protein")["r2"].transform("max")
    table["leads"] = (table["r2"] == best) & (table["q"] <= 0.05)
    progress(Step("Finding compartments", len(localisation.columns), len(localisation.columns)))
    return table


def _of_protein(
    protein: str,
    target: Floats,
    blocks: Mapping[str, Floats],
    donors: NDArray[np.str_],
    folds: int,
    permutations: int,
    seed: int,
) -> pd.DataFrame:
    rows, nulls = [], []
    for name, latents in blocks.items():
        own = np.flatnonzero(np.isfinite(latents).all(axis=1) & np.isfinite(target))
        row = {"protein": protein, "block": name, "cells": len(own), "donors": len(set(donors[own]))}
        row |= {"r2": np.nan, "low": np.nan, "high": np.nan, "note": ""}
        rows.append(row)
        if len(own) < LEAST_CELLS or len(set(donors[own])) < 2 or np.ptp(target[own]) == 0:
            row["note"] = "too few cells, one donor, or no variation"
            continue
        found, null = _explained(latents[own], target[own], donors[own], folds, permutations, seed)
        row |= found
        nulls.append(null)
    table = pd.DataFrame(rows)
    table["p"] = p_of(table["r2"].to_numpy(), np.concatenate(nulls)) if nulls else np.nan
    return table


def _explained(
    latents: Floats, target: Floats, donors: NDArray[np.str_], folds: int, permutations: int, seed: int
) -> tuple[dict[str, float], Floats]:
    names, donor_of = np.unique(donors, return_inverse=True)
    scores = normal_scores(target[:, None], donors)[:, 0]
    rng = np.random.default_rng(seed)
    shuffled = [scores[permuted_within(donor_of, rng)] for _ in range(permutations)]
    targets = np.column_stack([scores, *shuffled])
    fold_of = donor_folds(donors.tolist(), folds, seed=seed)
    made = held_out_predictions(
        centred_by_donor(latents, donors), targets, fold_of, probe="linear", seed=seed
    )
    errors = (targets - made) ** 2
    r2 = 1 - errors.sum(axis=0) / (targets**2).sum(axis=0)
    sums = np.stack([np.bincount(donor_of, weights=v) for v in (errors[:, 0], scores**2)])
    drawn = draw_donors(len(names), draws=1000, seed=seed)
    with np.errstate(invalid="ignore", divide="ignore"):
        values = 1 - (drawn.counts @ sums[0]) / (drawn.counts @ sums[1])
    low, high = intervals_of(values[:, None], drawn.chances, drawn.donors)
    return {"r2": float(r2[0]), "low": float(low[0]), "high": float(high[0])}, r2[1:]
