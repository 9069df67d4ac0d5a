"""How much the features of a made image are those of the measured one, cell by cell."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.stats import rankdata

from napari_apollo.measure.config import MeasureConfig
from napari_apollo.measure.engine import columns_of, measure_cells
from napari_apollo.measure.gather import gather_crops
from napari_apollo.measure.registry import Context
from napari_apollo.probes.statistics import draw_donors, intervals_of

Floats = NDArray[np.float64]

FAMILIES = ("intensity", "texture", "radial", "protein", "foci")
"""Families of features that are compared; those of form are the same in both images."""

_ENOUGH = 10


@dataclass(frozen=True)
class FeaturePairs:
    """Features of cells in a made and in the measured image.

    Attributes
    ----------
    names
        Of the features.
    made, truth
        (cell, feature); NaN where it cannot be measured.
    donors, fields
        (cell,).
    """

    names: tuple[str, ...]
    made: Floats
    truth: Floats
    donors: NDArray[np.object_]
    fields: NDArray[np.object_]

    def units(self) -> tuple[str, NDArray[np.object_]]:
        """What stays together when cells are held out: donors, or fields where there are too few donors."""
        several = len(set(self.donors)) >= 3
        return ("donor", self.donors) if several else ("field", self.fields)


def join_pairs(parts: list[FeaturePairs]) -> FeaturePairs:
    """Pairs of several batches of one stain."""
    return FeaturePairs(
        parts[0].names,
        np.concatenate([part.made for part in parts]),
        np.concatenate([part.truth for part in parts]),
        np.concatenate([part.donors for part in parts]),
        np.concatenate([part.fields for part in parts]),
    )


def measure_pairs(
    chromatin: NDArray[np.floating],
    made: NDArray[np.floating],
    truth: NDArray[np.floating],
    masks: NDArray[np.uint8],
    *,
    anchor: str,
    stain: str,
    pixel_size_um: float | None,
    obs: pd.DataFrame,
) -> FeaturePairs:
    """Measure a made and the measured image of a stain in the same cells.

    Parameters
    ----------
    chromatin, made, truth
        (cell, y, x) intensities in units of each stain.
    masks
        (cell, y, x) uint8; 0 not this cell, 1 its cytoplasm, 2 its nucleus.
    anchor, stain
        Names of the stains.
    pixel_size_um
        Side of a pixel, or None.
    obs
        Rows of the table: ``donor``, ``field``.
    """
    about = (chromatin, masks)
    names, first = measure_images(*about, made, anchor=anchor, stain=stain, pixel_size_um=pixel_size_um)
    _, second = measure_images(*about, truth, anchor=anchor, stain=stain, pixel_size_um=pixel_size_um)
    return FeaturePairs(
        names,
        first,
        second,
        obs["donor"].astype(str).to_numpy(object),
        obs["field"].astype(str).to_numpy(object),
    )


def measure_images(
    chromatin: NDArray[np.floating],
    masks: NDArray[np.uint8],
    images: NDArray[np.floating],
    *,
    anchor: str,
    stain: str,
    pixel_size_um: float | None,
) -> tuple[tuple[str, ...], Floats]:
    """Measure images of one stain, made or measured.

    Parameters
    ----------
    chromatin, masks, images
        (cell, y, x), as for ``measure_pairs``.
    anchor, stain
        Names of the stains.
    pixel_size_um
        Side of a pixel, or None.

    Returns
    -------
    names : tuple of str
        Of the features.
    values : numpy.ndarray
        (cell, feature).
    """
    config = MeasureConfig(families=FAMILIES, workers=1)
    stains = (anchor,) if stain == anchor else (anchor, stain)
    context = Context(stains, anchor, config)
    columns = columns_of(context)
    wanted = [at for at, column in enumerate(columns) if column.stains == (stain,)]
    stack = images[:, None] if stain == anchor else np.stack([chromatin, images], axis=1)
    cells = gather_crops(np.ascontiguousarray(stack, np.float64), masks, context.margin)
    values = measure_cells(cells, context, pixel_size_um).values[:, wanted]
    return tuple(columns[at].name for at in wanted), values


def feature_scores(pairs: FeaturePairs, *, level: float = 0.95, seed: int = 0) -> pd.DataFrame:
    """Correlation of each feature between made and measured images, within donors.

    Parameters
    ----------
    pairs
        Features of both.
    level, seed
        Of the intervals over donors.

    Returns
    -------
    pandas.DataFrame
        One row a feature: ``pearson`` and ``spearman`` (of values, and of ranks, less their donor's mean)
        with ``pearson_low``, ``pearson_high`` and the same of ``spearman``; ``shift``, mean of made minus
        measured in standard deviations of the measured; ``cells``, ``donors``. NaN where a feature is
        constant.
    """
    names, donor_of = np.unique(pairs.donors.astype(str), return_inverse=True)
    known = np.isfinite(pairs.made) & np.isfinite(pairs.truth)
    drawn = draw_donors(len(names), draws=1000, seed=seed)
    weights = np.concatenate([np.ones((1, len(names))), drawn.counts])
    table = pd.DataFrame({"feature": pairs.names, "cells": known.sum(axis=0)})
    enough = table["cells"].to_numpy() >= _ENOUGH
    for name, ranked in (("pearson", False), ("spearman", True)):
        sums = np.zeros((3, len(names), len(pairs.names)))
        for k in range(len(names)):
            own = np.flatnonzero(donor_of == k)
            x, y = (_centred(values[own], known[own], ranked) for values in (pairs.made, pairs.truth))
            sums[:, k] = (x * y).sum(axis=0), (x * x).sum(axis=0), (y * y).sum(axis=0)
        xy, xx, yy = (weights @ part for part in sums)
        with np.errstate(invalid="ignore", divide="ignore"):
            r = np.where((xx > 0) & (yy > 0) & enough, xy / np.sqrt(xx * yy), np.nan)
        low, high = intervals_of(r[1:], drawn.chances, drawn.donors, level=level)
        table[name], table[f"{name}_low"], table[f"{name}_high"] = r[0], low, high
    made, truth = np.where(known, pairs.made, np.nan), np.where(known, pairs.truth, np.nan)
    table["shift"] = np.nan
    if enough.any():
        difference = np.nanmean((made - truth)[:, enough], axis=0)
        spread = np.nanstd(truth[:, enough], axis=0)
        table.loc[enough, "shift"] = np.divide(
            difference, spread, out=np.full_like(spread, np.nan), where=spread > 0
        )
    return table.assign(donors=len(names))


def _centred(values: Floats, known: NDArray[np.bool_], ranked: bool) -> Floats:
    """Values or ranks of one donor's cells less their mean; 0 where missing or constant."""
    if ranked:
        values = rankdata(np.where(known, values, np.inf), axis=0)
    count = np.maximum(known.sum(axis=0), 1)
    filled = np.where(known, values, 0.0)
    centred: Floats = np.where(known, filled - filled.sum(axis=0) / count, 0.0)
    small = (centred**2).sum(axis=0) <= 1e-18 * (filled**2).sum(axis=0)
    centred[:, small] = 0
    return centred
