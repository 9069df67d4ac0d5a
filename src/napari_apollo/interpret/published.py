"""The published way of tying principal components to features, kept by its name for comparison.

Cells far out along one component and central in all others are compared with the other central cells by
t tests, in training and held-out donors, and components count where hold-outs agree. What is wrong with it,
and is otherwise done in ``directions``: cells stand for donors, folds are of values that are no logarithms, a
feature is tested on cells that were chosen by the components.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.stats import ttest_ind_from_stats

from napari_apollo.errors import DataError
from napari_apollo.interpret.axes import principal_axes
from napari_apollo.interpret.cells import LEAST_CELLS, LatentCells, kind_of_block
from napari_apollo.predict.table import PROTEIN_SPECIFIC, SHARED
from napari_apollo.probes.statistics import benjamini_hochberg
from napari_apollo.progress import Progress, ShouldStop, Step, never, silent, stop_if_asked

Floats = NDArray[np.float64]

_BINS = 11
_SIDES = {"low": (0, 1), "centre": (5,), "high": (9, 10)}
_LEAST_IN_BIN = 3
_LEVEL = 0.05
_TINY = 1e-9


@dataclass(frozen=True)
class PublishedSettings:
    """Numbers of the procedure for one kind of image.

    Attributes
    ----------
    axes_shared, axes_specific
        Components looked at of each block.
    central
        Share of the cells that is central: least distance from the axis in all other components.
    fold
        Least fold change.
    agreement
        Share of the hold-outs that must agree.
    """

    axes_shared: int
    axes_specific: int
    central: float
    fold: float
    agreement: float


CHROMATIN = PublishedSettings(84, 49, 0.10, 1.2, 8 / 12)
PROTEIN = PublishedSettings(10, 10, 0.15, 1.4, 1 / 12)
HOLD_OUTS = 12


@dataclass(frozen=True)
class Published:
    """What the published procedure finds.

    Attributes
    ----------
    table
        One row a block, component, side (``low``, ``centre``, ``high``) and feature that passed in at least
        one hold-out: ``agreement`` (hold-outs in which it did), ``hold_outs`` (in which it could be tested),
        ``sign``, ``counts`` (whether enough agree).
    shares
        One row a feature: ``shared`` and ``specific``, its counted pairs of component and side in each, and
        ``shared_share``, ``specific_share``, normalised to their sum.
    notes
        What could not be tested, in words.
    """

    table: pd.DataFrame
    shares: pd.DataFrame
    notes: tuple[str, ...]


def published_procedure(
    cells: LatentCells,
    *,
    hold_outs: int = HOLD_OUTS,
    donors_per_condition: int = 2,
    seed: int = 0,
    progress: Progress = silent,
    should_stop: ShouldStop = never,
) -> Published:
    """Tie components of the shared and the specific latents to features as the APOLLO paper does.

    Features of form and chromatin go with the chromatin-specific latents, features of a protein with that
    protein's; both with the shared ones. Missing values are zeros. Bins: 11 of equal size; low is the lowest
    two, high the highest two, centre the middle one. Welch's t test against the other central cells,
    Benjamini-Hochberg over features, fold change of features scaled to [0, 1] as for logarithms, which they
    are not.

    Parameters
    ----------
    cells
        The cells.
    hold_outs
        How many sets of donors are held out in turn.
    donors_per_condition
        Donors of each condition in such a set, as long as one is left.
    seed
        Of the sets.

    Raises
    ------
    DataError
        When there are no features, or no shared latents.
    """
    if SHARED not in cells.blocks or not cells.features.shape[1]:
        raise DataError("The published procedure needs shared latents and features.")
    splits = list(_splits(cells, hold_outs, donors_per_condition, seed))
    found: list[pd.DataFrame] = []
    notes: list[str] = []
    jobs = list(_jobs(cells))
    for number, (block, columns, settings) in enumerate(jobs):
        what = f"features like {cells.features.columns[columns[0]]}"
        progress(Step("Published procedure", number, len(jobs), block))
        there = np.isfinite(cells.features.to_numpy(np.float64)[:, columns]).mean(axis=1) >= 0.5
        rows = np.flatnonzero(cells.known(block) & there)
        if len(rows) < LEAST_CELLS:
            notes.append(f"{block}: {len(rows)} cells have the block and its features; not tested.")
            continue
        try:
            part, skipped = _hits(cells, block, rows, columns, settings, splits, should_stop)
        except DataError as error:  # of the cells that are not held out; other blocks may do
            notes.append(f"Published procedure, {block} and {what}: {error}")
            continue
        found.append(part)
        if skipped:
            notes.append(
                f"Published procedure, {block} and {what}: {skipped} comparisons left out, with fewer than "
                f"{_LEAST_IN_BIN} cells."
            )
    progress(Step("Published procedure", len(jobs), len(jobs)))
    names = ["block", "axis", "side", "feature", "agreement", "hold_outs", "sign", "counts"]
    table = pd.concat(found, ignore_index=True) if found else pd.DataFrame(columns=names)
    return Published(table, _shares(table), tuple(notes))


def _jobs(cells: LatentCells) -> Iterator[tuple[str, NDArray[np.int64], PublishedSettings]]:
    stains = np.array(cells.stains, dtype=object)
    for name in cells.blocks:
        if kind_of_block(name) != "protein":
            continue
        own = np.flatnonzero(stains == name.removeprefix(PROTEIN_SPECIFIC))
        if len(own):
            yield name, own, PROTEIN
            yield SHARED, own, PROTEIN
    proteins = {
        name.removeprefix(PROTEIN_SPECIFIC) for name in cells.blocks if kind_of_block(name) == "protein"
    }
    form = np.array([not set(stain.split("+")) & proteins for stain in stains.tolist()], bool)
    if form.any():
        for name in cells.blocks:
            if kind_of_block(name) != "protein":
                yield name, np.flatnonzero(form), CHROMATIN


def _splits(cells: LatentCells, count: int, each: int, seed: int) -> Iterator[NDArray[np.bool_]]:
    """Held-out cells, set by set: donors where there are several, else a fifth of the cells."""
    rng = np.random.default_rng(seed)
    donors, conditions = cells.donors.astype(str), cells.conditions.astype(str)
    several = len(set(donors)) > 1
    for _ in range(count):
        if not several:
            yield rng.random(len(cells)) < 0.2
            continue
        chosen: list[str] = []
        for condition in np.unique(conditions):
            own = np.unique(donors[conditions == condition])
            chosen += rng.permutation(own)[: min(each, len(own) - 1)].tolist()
        held = np.isin(donors, chosen if chosen else rng.permutation(np.unique(donors))[:1])
        yield held


def _scaled(cells: LatentCells, columns: NDArray[np.int64]) -> Floats:
    values = cells.features.to_numpy(np.float64)[:, columns]
    low, high = np.nanmin(values, axis=0), np.nanmax(values, axis=0)
    return np.nan_to_num((values - low) / (high - low))


def _hits(
    cells: LatentCells,
    block: str,
    rows: NDArray[np.int64],
    columns: NDArray[np.int64],
    settings: PublishedSettings,
    splits: list[NDArray[np.bool_]],
    should_stop: ShouldStop,
) -> tuple[pd.DataFrame, int]:
    latents, values = cells.blocks[block][rows], _scaled(cells, columns)[rows]
    wanted = settings.axes_shared if block == SHARED else settings.axes_specific
    wanted = min(wanted, latents.shape[1])
    votes = np.zeros((2, wanted, len(_SIDES), len(columns)), np.int64)
    tested = np.zeros((wanted, len(_SIDES)), np.int64)
    skipped = 0
    for held_out in splits:
        stop_if_asked(should_stop)
        held = held_out[rows]
        if min(held.sum(), (~held).sum()) < LEAST_CELLS:
            skipped += 1
            continue
        axes = principal_axes(latents[~held], wanted)
        scores = (latents - axes.mean) @ axes.directions.T
        squares = scores**2
        for axis in range(scores.shape[1]):
            rest = squares.sum(axis=1) - squares[:, axis]
            central = rest <= np.quantile(rest[~held], settings.central)
            cuts = np.percentile(scores[~held, axis], np.arange(1, _BINS) * 100 / _BINS)
            bins = np.searchsorted(cuts, scores[:, axis])
            for at, side in enumerate(_SIDES.values()):
                inside = np.isin(bins, side)
                signs = [
                    _signs(values[part & central & inside], values[part & central & ~inside], settings.fold)
                    for part in (~held, held)
                ]
                if signs[0] is None or signs[1] is None:
                    skipped += 1
                    continue
                tested[axis, at] += 1
                both = np.where(signs[0] == signs[1], signs[0], 0)
                votes[0, axis, at] += both < 0
                votes[1, axis, at] += both > 0
    most = votes.max(axis=0)
    axis_of, side_of, column_of = np.nonzero(most)
    possible = tested[axis_of, side_of]
    agreement = most[axis_of, side_of, column_of]
    table = pd.DataFrame(
        {
            "block": block,
            "axis": axis_of + 1,
            "side": np.array(list(_SIDES))[side_of],
            "feature": cells.features.columns.to_numpy(str)[columns[column_of]],
            "agreement": agreement,
            "hold_outs": possible,
            "sign": np.where(votes[1, axis_of, side_of, column_of] == agreement, 1, -1),
            "counts": agreement >= settings.agreement * len(splits) - 1e-9,
        }
    )
    return table, skipped


def _signs(group: Floats, rest: Floats, fold: float) -> NDArray[np.int64] | None:
    """Sign of the features that pass in one part of the cells, 0 for others; None for too few cells."""
    if min(len(group), len(rest)) < _LEAST_IN_BIN:
        return None
    mean, other = group.mean(axis=0), rest.mean(axis=0)
    with np.errstate(invalid="ignore", divide="ignore"):
        p = ttest_ind_from_stats(
            mean,
            group.std(axis=0, ddof=1),
            len(group),
            other,
            rest.std(axis=0, ddof=1),
            len(rest),
            equal_var=False,
        ).pvalue
    change = np.log2((np.expm1(mean) + _TINY) / (np.expm1(other) + _TINY))
    passes = (benjamini_hochberg(np.nan_to_num(p, nan=1.0)) < _LEVEL) & (np.abs(change) > np.log2(fold))
    return np.where(passes, np.sign(change), 0).astype(np.int64)


def _shares(table: pd.DataFrame) -> pd.DataFrame:
    """Counted pairs of component and side of each feature, in the shared and in its specific latents."""
    counted = table[table["counts"].astype(bool)]
    kind = np.where(counted["block"] == SHARED, "shared", "specific")
    pairs = pd.crosstab(counted["feature"].to_numpy(str), kind) if len(counted) else pd.DataFrame()
    pairs = pairs.reindex(columns=["shared", "specific"], fill_value=0).rename_axis("feature")
    total = pairs.sum(axis=1).clip(lower=1)
    shares = pairs.div(total, axis=0).add_suffix("_share")
    return pairs.join(shares).reset_index().rename_axis(columns=None)
