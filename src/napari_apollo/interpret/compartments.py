"""Which part of which stain accompanies the cell-to-cell variability of a protein's localisation."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray

from napari_apollo.errors import DataError
from napari_apollo.interpret.cells import (
    LEAST_CELLS,
    LatentCells,
    centred_by_donor,
    normal_scores,
    spread_over,
)
from napari_apollo.predict.table import CHROMATIN_SPECIFIC, PROTEIN_SPECIFIC, SHARED
from napari_apollo.probes.matrix import held_out_predictions
from napari_apollo.probes.statistics import (
    Interval,
    benjamini_hochberg,
    donor_folds,
    draw_donors,
    intervals_of,
    p_of,
    permuted_within,
)
from napari_apollo.progress import Progress, ShouldStop, Step, never, silent, stop_if_asked

Floats = NDArray[np.float64]

_FDR = 0.05
_LEAST_SHARE = 0.05  # what explains less is no answer, however sure


def localisation_carriers(
    blocks: Mapping[str, ArrayLike],
    localisation: pd.DataFrame,
    donors: Sequence[object],
    *,
    left_out: Mapping[str, Collection[str]] | None = None,
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
    left_out
        Protein to blocks that are made of its own image, which explain its localisation trivially.
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
        rows), ``cells``, ``donors``, and ``leads``, whether the block explains most of the protein's,
        at least 5 %, is a discovery at a rate of 0.05, and its interval leaves out zero. Proteins of too few
        cells, of one donor, or without variation have a ``note`` and no numbers.

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
        own = (left_out or {}).get(str(protein), ())
        others = {name: values for name, values in latents.items() if name not in own}
        parts.append(_of_protein(str(protein), target, others, names, folds, permutations, seed))
    table = pd.concat(parts, ignore_index=True)
    table["q"] = benjamini_hochberg(table["p"].to_numpy())
    best = table.groupby("protein")["r2"].transform("max")
    sure = (table["q"] <= _FDR) & ~(table["low"] <= 0)
    table["leads"] = (table["r2"] == best) & (table["r2"] >= _LEAST_SHARE) & sure
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


MEASURES = ("nuclear fraction", "nuclear enrichment", "unevenness")
"""What is said of where a protein lies: its share in the nucleus, log2 of its mean there over that in the
cytoplasm (which does not follow from the size of the nucleus), and its standard deviation over its mean."""


def localisation_of(cells: LatentCells, proteins: Sequence[str] | None = None) -> pd.DataFrame:
    """Where each protein lies in each cell, from its measured intensities.

    Parameters
    ----------
    cells
        Cells with features of the family ``intensity``.
    proteins
        Which; those that have latents of their own where not given.

    Returns
    -------
    pandas.DataFrame
        One row a cell, one column a protein and measure (``CD3: nuclear fraction``); NaN for cells without
        it.

    Raises
    ------
    DataError
        When no protein's intensities were measured in nucleus and cell.
    """
    table = {str(name): values.to_numpy(np.float64) for name, values in cells.features.items()}
    columns: dict[str, Floats] = {}
    for stain in _proteins(cells) if proteins is None else proteins:
        parts = {
            "nuclear fraction": ("nucleus_sum", "cell_sum"),
            "nuclear enrichment": ("nucleus_mean", "cytoplasm_mean"),
            "unevenness": ("cell_cv",),
        }
        for measure, names in parts.items():
            found = [table.get(f"{name}_{stain}") for name in names]
            if any(values is None for values in found):
                continue
            columns[f"{stain}: {measure}"] = _measure(measure, [v for v in found if v is not None])
    if not columns:
        raise DataError(
            "No protein has its intensity measured in nucleus and cell; measure the family 'intensity'."
        )
    return pd.DataFrame(columns)


def _measure(measure: str, values: list[Floats]) -> Floats:
    if len(values) == 1:
        return values[0]
    with np.errstate(invalid="ignore", divide="ignore"):
        ratio = values[0] / values[1]
        out: Floats = np.log2(ratio) if measure == "nuclear enrichment" else ratio
    out[~np.isfinite(out)] = np.nan
    return out


def _proteins(cells: LatentCells) -> list[str]:
    return [n.removeprefix(PROTEIN_SPECIFIC) for n in cells.blocks if n.startswith(PROTEIN_SPECIFIC)]


def compartments(
    cells: LatentCells,
    *,
    proteins: Sequence[str] | None = None,
    folds: int = 5,
    permutations: int = 100,
    most_cells: int = 5000,
    seed: int = 0,
    progress: Progress = silent,
    should_stop: ShouldStop = never,
) -> pd.DataFrame:
    """Which stain's shared or specific part accompanies the localisation of each protein.

    Every protein that the same cells were given beside others takes its turn as the one asked about; blocks
    are those of the chromatin and of the other proteins, each encoded from its own image; and those of models
    that stand beside, where cells have some.

    Parameters
    ----------
    cells
        The cells; donors are held out, fields where there is one donor.
    proteins
        What is asked about; proteins with latents of their own where not given.
    folds, permutations, seed
        As for ``localisation_carriers``.
    most_cells
        With more cells so many are drawn, evenly from the donors.

    Returns
    -------
    pandas.DataFrame
        As of ``localisation_carriers``, with ``measure`` beside ``protein``.

    Raises
    ------
    DataError
        When no cells have two proteins with latents, or nothing is known of where a protein lies.
    """
    if not cells.beside and len(_proteins(cells)) < 2:
        raise DataError("Compartments need cells that were given two proteins or more beside the DNA stain.")
    chosen = cells.select(spread_over(np.arange(len(cells)), cells.donors, most_cells, seed))
    localisation = localisation_of(chosen, proteins)
    blocks = _blocks(chosen)
    own = {
        str(name): {
            block for block in blocks if block.rpartition(": ")[2] in _made_of(str(name).partition(":")[0])
        }
        for name in localisation.columns
    }
    donors = (
        chosen.donors if len(set(chosen.donors)) > 1 else chosen.obs["field"].astype(str).to_numpy(object)
    )
    table = localisation_carriers(
        blocks,
        localisation,
        donors.tolist(),
        left_out=own,
        folds=folds,
        permutations=permutations,
        seed=seed,
        progress=progress,
        should_stop=should_stop,
    )
    table = table[table["cells"] > 0].reset_index(drop=True)  # proteins of other panels say nothing
    names = table["protein"].str.split(": ", n=1, expand=True)
    table["protein"] = names[0]
    table.insert(1, "measure", names[1])
    return table


def _blocks(cells: LatentCells) -> dict[str, Floats]:
    """Latents by the stain that they are encoded from: ``ER specific``, ``DAPI+ER: ER shared``."""
    of_chromatin = {"chromatin shared": SHARED, "chromatin specific": CHROMATIN_SPECIFIC}
    blocks = {words: cells.blocks[name] for words, name in of_chromatin.items() if name in cells.blocks}
    for stain in _proteins(cells):
        if stain in cells.shared_from:
            blocks[f"{stain} shared"] = cells.shared_from[stain]
        blocks[f"{stain} specific"] = cells.blocks[PROTEIN_SPECIFIC + stain]
    return blocks | cells.beside


def _made_of(stain: str) -> set[str]:
    return {f"{stain} shared", f"{stain} specific"}


def carriers_in_words(table: pd.DataFrame) -> list[str]:
    """One line for each protein and measure that some block is found to go with."""
    leading = table[table["leads"].astype(bool)]
    return [
        f"{row['protein']}, {row['measure']}: goes with {row['block']}, R² {in_words(row, 'r2')}, "
        f"q {row['q']:.3f}"
        for _, row in leading.iterrows()
    ] or ["No block goes with where a protein lies, beyond chance."]


def in_words(row: pd.Series, value: str) -> str:
    """A value of a row with its ``low`` and ``high``; alone where too few donors give no interval."""
    return str(Interval(row[value], row["low"], row["high"], 0.95, 0))
