"""Cells whose predicted stains nobody should believe: unlike any that the model learnt the stain from."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.spatial import cKDTree

from napari_apollo.errors import DataError

Floats = NDArray[np.float64]

NEIGHBOURS = 10
"""How many nearest training cells the distance is a mean over."""

BEYOND = 0.99
"""Share of the training cells that are within support."""

_MOST_CELLS = 20_000


@dataclass(frozen=True)
class Support:
    """Where in the shared latents a stain was learnt.

    Attributes
    ----------
    centre, spread
        (dimension,) of the training cells; distances are in units of their spread.
    typical
        (n,) distances of training cells to training cells of other donors, ascending.
    """

    centre: Floats
    spread: Floats
    typical: Floats
    _tree: cKDTree

    def distance(self, shared: ArrayLike) -> Floats:
        """Mean distance (cell,) to the nearest training cells; NaN for cells without latents."""
        values = np.asarray(shared, np.float64)
        known = np.isfinite(values).all(axis=1)
        out = np.full(len(values), np.nan)
        if known.any():
            scaled = (values[known] - self.centre) / self.spread
            found, _ = self._tree.query(scaled, k=min(NEIGHBOURS, self._tree.n))
            out[known] = np.asarray(found).reshape(int(known.sum()), -1).mean(axis=1)
        return out

    def rank(self, shared: ArrayLike) -> Floats:
        """Share (cell,) of the training cells that lie nearer to others; above ``BEYOND`` it is too far."""
        distance = self.distance(shared)
        rank = np.searchsorted(self.typical, distance, side="left") / len(self.typical)
        return np.where(np.isfinite(distance), rank, np.nan)

    def beyond(self, shared: ArrayLike) -> NDArray[np.bool_]:
        """Whether each cell (cell,) is beyond support; cells without latents are."""
        rank = self.rank(shared)
        return np.asarray(~(rank <= BEYOND))


def fit_support(shared: ArrayLike, donors: ArrayLike, *, seed: int = 0) -> Support:
    """Support of a stain, from the training cells that were measured in it.

    A training cell's own distance is that to cells of other donors: as far as a new donor may be from them.

    Parameters
    ----------
    shared
        (cell, dimension) shared latents.
    donors
        (cell,) donor of each.
    seed
        Of the draw where there are more than 20,000 cells.

    Raises
    ------
    DataError
        When there are fewer than 20 training cells with latents.
    """
    values, names = np.asarray(shared, np.float64), np.asarray(donors, dtype=str)
    known = np.flatnonzero(np.isfinite(values).all(axis=1))
    if len(known) < 2 * NEIGHBOURS:
        raise DataError(f"{len(known)} training cells are too few for support; {2 * NEIGHBOURS} would do.")
    if len(known) > _MOST_CELLS:
        known = np.sort(np.random.default_rng(seed).choice(known, _MOST_CELLS, replace=False))
    values, names = values[known], names[known]
    centre, spread = values.mean(axis=0), values.std(axis=0)
    spread = np.where(spread > 0, spread, 1.0)
    scaled = (values - centre) / spread
    groups = np.unique(names)
    distances = []
    for group in groups:
        own = names == group
        rest = scaled[~own] if len(groups) > 1 else scaled
        k = min(NEIGHBOURS, len(rest) - (len(groups) == 1))
        found, _ = cKDTree(rest).query(scaled[own], k=k + (len(groups) == 1))
        found = np.asarray(found).reshape(int(own.sum()), -1)
        # Of a single donor the nearest cell is the cell itself.
        distances.append(found[:, 1:].mean(axis=1) if len(groups) == 1 else found.mean(axis=1))
    return Support(centre, spread, np.sort(np.concatenate(distances)), cKDTree(scaled))
