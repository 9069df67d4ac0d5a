"""How much of each feature the shared, the chromatin-specific and the protein-specific latents explain."""

from __future__ import annotations

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from napari_apollo.errors import DataError
from napari_apollo.interpret.cells import (
    LEAST_CELLS,
    LatentCells,
    centred_by_donor,
    kind_of_block,
    normal_scores,
    spread_over,
)
from napari_apollo.predict.table import SHARED
from napari_apollo.probes.matrix import ProbeName, held_out_predictions
from napari_apollo.probes.statistics import donor_folds, draw_donors, intervals_of
from napari_apollo.progress import Progress, ShouldStop, Step, never, silent, stop_if_asked

Floats = NDArray[np.float64]

_KINDS = ("shared", "chromatin", "protein")


def feature_shares(
    cells: LatentCells,
    *,
    probe: ProbeName = "nonlinear",
    folds: int = 5,
    most_cells: int = 5000,
    seed: int = 0,
    progress: Progress = silent,
    should_stop: ShouldStop = never,
) -> pd.DataFrame:
    """Share of each feature's variation within donors that each block explains, for donors held out.

    Features are ranks within donors as normal scores, latents are taken less their donor's mean. A probe
    reads each feature from the shared latents, from each specific block with the shared one beside it, and
    from all together; it is fitted on other donors than it is scored on. A feature of a protein has three
    blocks, one of chromatin or of the mask two.

    Parameters
    ----------
    cells
        The cells.
    probe
        Linear or non-linear.
    folds
        Folds of donors.
    most_cells
        With more cells so many are drawn, the same number of each donor where they last.
    seed
        Of folds and draws.

    Returns
    -------
    pandas.DataFrame
        One row a feature: ``feature, stain, cells, donors``; ``shared``, what the shared latents explain
        (R², 0 where they say nothing), ``chromatin`` and ``protein``, what each specific block adds to them;
        ``explained``, all blocks together; ``carried_by``, the block that explains most, or ``nothing``; and
        for each share its interval over donors (``<share>_low``, ``<share>_high``). NaN where a feature has
        no such block. With a single donor folds are drawn of cells, and there are no intervals.

    Raises
    ------
    DataError
        When there are no features or no shared latents.
    """
    if SHARED not in cells.blocks or not cells.features.shape[1]:
        raise DataError("Shares of features need shared latents and features that vary.")
    sets = _sets(cells)
    parts = []
    for number, (stains, rows, columns) in enumerate(sets):
        stop_if_asked(should_stop)
        progress(Step("Sharing out features", number, len(sets), stains or "mask"))
        chosen = spread_over(rows, cells.donors, most_cells, seed)
        part = _shares_of(cells, chosen, columns, stains, probe, folds, seed, should_stop)
        parts.append(part)
    progress(Step("Sharing out features", len(sets), len(sets)))
    order = {name: at for at, name in enumerate(cells.features.columns)}
    table = pd.concat(parts, ignore_index=True)
    return table.sort_values("feature", key=lambda names: names.map(order)).reset_index(drop=True)


def _sets(cells: LatentCells) -> list[tuple[str, NDArray[np.int64], NDArray[np.int64]]]:
    """Stains, cells and features that are worked on together: those that the same cells have."""
    finite = np.isfinite(cells.features.to_numpy(np.float64))
    sets = []
    for stains in dict.fromkeys(cells.stains):
        columns = np.flatnonzero(np.array([stain == stains for stain in cells.stains]))
        there = np.all([cells.known(block) for block in cells.blocks_of(stains)], axis=0)
        # A few missing values are filled with the middle rank; cells that lack most were not given the stain.
        rows = np.flatnonzero(there & (finite[:, columns].mean(axis=1) >= 0.5))
        enough = columns[finite[np.ix_(rows, columns)].sum(axis=0) >= LEAST_CELLS]
        if len(rows) >= LEAST_CELLS and len(enough):
            sets.append((stains, rows, enough))
    if not sets:
        raise DataError(f"No feature has {LEAST_CELLS} cells with latents.")
    return sets


def _shares_of(
    cells: LatentCells,
    rows: NDArray[np.int64],
    columns: NDArray[np.int64],
    stains: str,
    probe: ProbeName,
    folds: int,
    seed: int,
    should_stop: ShouldStop,
) -> pd.DataFrame:
    donors = cells.donors[rows].astype(str)
    names, donor_of = np.unique(donors, return_inverse=True)
    if len(names) > 1:
        fold_of = donor_folds(donors.tolist(), folds, seed=seed)
    else:
        fold_of = np.random.default_rng(seed).permutation(len(rows)) % folds
    targets = normal_scores(cells.features.to_numpy(np.float64)[np.ix_(rows, columns)], donors)
    known = np.isfinite(targets)
    targets = np.nan_to_num(targets)
    by_kind: dict[str, list[Floats]] = {}
    for block in cells.blocks_of(stains):
        latents = centred_by_donor(cells.blocks[block][rows], donors)
        by_kind.setdefault(kind_of_block(block), []).append(latents)
    errors = {}
    for kinds in _combinations(tuple(by_kind)):
        stop_if_asked(should_stop)
        source = np.concatenate([part for kind in kinds for part in by_kind[kind]], axis=1)
        made = held_out_predictions(source, targets, fold_of, probe=probe, seed=seed)
        errors[kinds] = _by_donor((targets - made) ** 2 * known, donor_of, len(names))
    total = _by_donor(targets**2 * known, donor_of, len(names))
    table = pd.DataFrame(
        {
            "feature": cells.features.columns.to_numpy(str)[columns],
            "stain": stains,
            "cells": known.sum(axis=0),
            "donors": (total > 0).sum(axis=0),
        }
    )
    return table.assign(**_parts(errors, total, tuple(by_kind), seed))


def _combinations(kinds: tuple[str, ...]) -> list[tuple[str, ...]]:
    """The shared block, with each specific one beside it, and all."""
    specific = [kind for kind in kinds if kind != "shared"]
    wanted = [("shared",), *[("shared", kind) for kind in specific], kinds]
    return list(dict.fromkeys(wanted))


def _by_donor(values: Floats, donor_of: NDArray[np.int64], donors: int) -> Floats:
    out = np.zeros((donors, values.shape[1]))
    np.add.at(out, donor_of, values)
    return out


def _parts(
    errors: dict[tuple[str, ...], Floats], total: Floats, kinds: tuple[str, ...], seed: int
) -> dict[str, NDArray[np.generic]]:
    """Columns of the table: each share, its interval, and which block carries the feature.

    ``errors`` and ``total`` are sums of squares, (donor, feature).
    """
    drawn = draw_donors(len(total), draws=500, seed=seed)
    weights = np.concatenate([np.ones((1, len(total))), drawn.counts])
    whole = weights @ total
    with np.errstate(invalid="ignore", divide="ignore"):
        explained = {
            of: np.where(whole > 0, np.maximum(0, 1 - weights @ error / whole), np.nan)
            for of, error in errors.items()
        }
    shared = explained[("shared",)]
    values = {kind: np.maximum(0, explained[("shared", kind)] - shared) for kind in kinds if kind != "shared"}
    values |= {"shared": shared, "explained": np.max(list(explained.values()), axis=0)}
    columns: dict[str, NDArray[np.generic]] = {}
    for kind in (*_KINDS, "explained"):
        found = values.get(kind, np.full(whole.shape, np.nan))
        columns[kind] = found[0]
        columns[f"{kind}_low"], columns[f"{kind}_high"] = intervals_of(found[1:], drawn.chances, drawn.donors)
    there = [kind for kind in _KINDS if kind in values]
    best = np.stack([values[kind][0] for kind in there])
    carried = np.where(best.max(axis=0) >= _LEAST_SHARE, np.array(there)[best.argmax(axis=0)], "nothing")
    return columns | {"carried_by": carried}


_LEAST_SHARE = 0.05  # a block that explains less than this of a feature is not said to carry it


def shares_by_block(table: pd.DataFrame) -> pd.DataFrame:
    """Mean shares over the features of each stain, and how many features each block carries.

    Parameters
    ----------
    table
        As ``feature_shares`` returns.
    """
    names = table["stain"].replace("", "form")
    means = table.groupby(names, sort=False)[[*_KINDS, "explained"]].mean()
    carried = pd.crosstab(names, table["carried_by"]).reindex(means.index)
    return means.join(carried.add_prefix("carried by ")).rename_axis("stain")
