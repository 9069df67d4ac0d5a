"""Principal directions of a block of latents, what is tied to them, and which cells are near each other."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray
from scipy.stats import rankdata

from napari_apollo.errors import DataError

Floats = NDArray[np.float64]

_ENOUGH = 10  # cells that a rank correlation needs


@dataclass(frozen=True)
class PrincipalAxes:
    """Principal components of a block of latents.

    Attributes
    ----------
    mean
        (dimension,) mean of the cells.
    directions
        (axis, dimension) unit vectors, most variance first; the entry that is largest in size is positive.
    spread
        (axis,) standard deviation of the cells along each.
    explained
        (axis,) part of the variance of the block.
    scores
        (cell, axis) position of each cell along each, 0 at the mean; NaN for cells without latents.
    """

    mean: Floats
    directions: Floats
    spread: Floats
    explained: Floats
    scores: Floats

    def moved(self, latents: ArrayLike, axis: int, to: float) -> Floats:
        """Latents with their position along one axis set.

        Parameters
        ----------
        latents
            (..., dimension).
        axis
            Number of the axis.
        to
            Where to, in standard deviations of the cells from their mean.
        """
        latents = np.asarray(latents, np.float64)
        direction = self.directions[axis]
        now = (latents - self.mean) @ direction
        shift = to * self.spread[axis] - now
        moved: Floats = latents + shift[..., None] * direction
        return moved


def principal_axes(latents: ArrayLike, count: int = 10) -> PrincipalAxes:
    """Principal components of a block.

    Parameters
    ----------
    latents
        (cell, dimension) float; rows that are not finite are cells without this block.
    count
        Axes wanted; no more come back than there are with variance.

    Raises
    ------
    DataError
        When fewer than three cells have latents, or all are the same.
    """
    latents = np.asarray(latents, np.float64)
    known = np.isfinite(latents).all(axis=1)
    if known.sum() < 3:
        raise DataError(f"{int(known.sum())} cells have latents of this block; principal axes need three.")
    mean = latents[known].mean(axis=0)
    centred = latents[known] - mean
    variance, vectors = np.linalg.eigh(centred.T @ centred / known.sum())
    order = np.argsort(variance)[::-1][:count]
    total = float(variance.clip(min=0).sum())
    kept = order[variance[order] > 1e-12 * max(total, 1e-300)]
    if not total or not len(kept):
        raise DataError("All cells have the same latents in this block.")
    directions = vectors[:, kept].T
    largest = np.take_along_axis(directions, np.abs(directions).argmax(axis=1)[:, None], axis=1)
    directions = directions * np.sign(largest)
    scores = np.full((len(latents), len(kept)), np.nan)
    scores[known] = centred @ directions.T
    return PrincipalAxes(mean, directions, np.sqrt(variance[kept]), variance[kept] / total, scores)


def tied_features(
    scores: ArrayLike, features: pd.DataFrame, *, most_cells: int = 5000, seed: int = 0
) -> pd.DataFrame:
    """Features by their rank correlation with a position along a latent direction.

    Spearman's rho (mean ranks of ties) over the cells that have both.

    Parameters
    ----------
    scores
        (cell,) float, NaN where a cell has none.
    features
        Numeric columns, one row a cell.
    most_cells
        With more cells, so many are drawn.
    seed
        Decides which.

    Returns
    -------
    pandas.DataFrame
        ``feature``, ``rho``, ``cells``; the strongest first, whatever the sign. Features that are constant,
        or known for fewer than ten cells, are left out.
    """
    scores = np.asarray(scores, np.float64)
    known = np.flatnonzero(np.isfinite(scores))
    if len(known) > most_cells:
        known = np.sort(np.random.default_rng(seed).choice(known, most_cells, replace=False))
    values = features.iloc[known].to_numpy(np.float64)
    own = scores[known]
    finite = np.isfinite(values)
    rho = np.full(values.shape[1], np.nan)
    # Features of one stain lack the same cells: ranks are taken for all that share a pattern together.
    patterns, which = np.unique(np.packbits(finite, axis=0).T, axis=0, return_inverse=True)
    for pattern in range(len(patterns)):
        columns = np.flatnonzero(which.ravel() == pattern)
        rows = finite[:, columns[0]]
        if rows.sum() >= _ENOUGH:
            rho[columns] = _correlation(rankdata(own[rows]), rankdata(values[np.ix_(rows, columns)], axis=0))
    table = pd.DataFrame({"feature": features.columns.astype(str), "rho": rho, "cells": finite.sum(axis=0)})
    table = table[np.isfinite(rho)]
    order = np.argsort(-table["rho"].abs().to_numpy(), kind="stable")
    return table.iloc[order].reset_index(drop=True)


def nearest_cells(latents: ArrayLike, cell: int, count: int = 8) -> tuple[NDArray[np.int64], Floats]:
    """Cells nearest to a cell in a block of latents.

    Parameters
    ----------
    latents
        (cell, dimension) float; rows that are not finite are never near.
    cell
        Position of the cell.
    count
        How many are wanted.

    Returns
    -------
    positions : ndarray of int64 (n,)
        Nearest first, the cell itself left out.
    distances : ndarray of float (n,)
        Euclidean.
    """
    latents = np.asarray(latents, np.float32)
    squared = np.square(latents - latents[cell]).sum(axis=1)
    squared[cell] = np.inf
    squared[~np.isfinite(squared)] = np.inf
    count = min(count, int(np.isfinite(squared).sum()))
    nearest = np.argpartition(squared, count - 1)[:count] if count else np.zeros(0, np.int64)
    nearest = nearest[np.argsort(squared[nearest], kind="stable")].astype(np.int64)
    return nearest, np.sqrt(squared[nearest].astype(np.float64))


def _correlation(one: Floats, others: Floats) -> Floats:
    one, others = one - one.mean(), others - others.mean(axis=0)
    norm = np.sqrt(np.square(one).sum() * np.square(others).sum(axis=0))
    with np.errstate(invalid="ignore", divide="ignore"):
        rho: Floats = np.where(norm > 0, one @ others / norm, np.nan)
    return rho
