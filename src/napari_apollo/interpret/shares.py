"""How much of each feature the shared, the chromatin-specific and the protein-specific latents explain."""

from __future__ import annotations

from functools import partial

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
)
from napari_apollo.predict.table import SHARED
from napari_apollo.probes.matrix import ProbeName, held_out_predictions
from napari_apollo.probes.statistics import donor_folds, donor_interval
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
        chosen = _spread(rows, cells.donors, most_cells, seed)
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


def _spread(rows: NDArray[np.int64], donors: NDArray[np.object_], most: int, seed: int) -> NDArray[np.int64]:
    """No more than so many cells, evenly over donors."""
    if len(rows) <= most:
        return rows
    rng = np.random.default_rng(seed)
    shuffled = rng.permutation(rows)
    turn = pd.Series(donors[shuffled]).groupby(donors[shuffled]).cumcount().to_numpy()
    return np.sort(shuffled[np.argsort(turn, kind="stable")[:most]])


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
    return pd.DataFrame(
        [
            {
                "feature": str(cells.features.columns[column]),
                "stain": stains,
                "cells": int(known[:, at].sum()),
                "donors": int((total[:, at] > 0).sum()),
                **_row({kinds: error[:, at] for kinds, error in errors.items()}, total[:, at], by_kind, seed),
            }
            for at, column in enumerate(columns)
        ]
    )


def _combinations(kinds: tuple[str, ...]) -> list[tuple[str, ...]]:
    """The shared block, with each specific one beside it, and all."""
    specific = [kind for kind in kinds if kind != "shared"]
    wanted = [("shared",), *[("shared", kind) for kind in specific], kinds]
    return list(dict.fromkeys(wanted))


def _by_donor(values: Floats, donor_of: NDArray[np.int64], donors: int) -> Floats:
    out = np.zeros((donors, values.shape[1]))
    np.add.at(out, donor_of, values)
    return out


def _row(
    errors: dict[tuple[str, ...], Floats], total: Floats, kinds: dict[str, list[Floats]], seed: int
) -> dict[str, object]:
    def explained(of: tuple[str, ...], weights: Floats) -> float:
        whole = float(weights @ total)
        return max(0.0, 1 - float(weights @ errors[of]) / whole) if whole > 0 else float("nan")

    def share(kind: str, weights: Floats) -> float:
        if kind == "shared":
            return explained(("shared",), weights)
        if kind == "explained":
            return max(explained(of, weights) for of in errors)
        return max(0.0, explained(("shared", kind), weights) - explained(("shared",), weights))

    row: dict[str, object] = {}
    there = [kind for kind in _KINDS if kind in kinds]
    for kind in (*_KINDS, "explained"):
        if kind not in (*there, "explained"):
            row |= {kind: np.nan, f"{kind}_low": np.nan, f"{kind}_high": np.nan}
            continue
        found = donor_interval(partial(share, kind), len(total), draws=400, seed=seed)
        row |= {kind: found.value, f"{kind}_low": found.low, f"{kind}_high": found.high}
    values = [float(str(row[kind])) for kind in there]
    best = int(np.argmax(values))
    row["carried_by"] = there[best] if values[best] >= _LEAST_SHARE else "nothing"
    return row


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
