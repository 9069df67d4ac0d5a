"""Latents and scores of predicted cells, as they lie in the table of the cell store."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from napari_apollo.predict.heldout import parts_of
from napari_apollo.predict.inference import Codes, Inference
from napari_apollo.predict.roles import ChannelRole
from napari_apollo.predict.support import NEIGHBOURS, fit_support

if TYPE_CHECKING:
    import anndata

    from napari_apollo.cells.store import CellStore

SHARED = "shared"
CHROMATIN_SPECIFIC = "chromatin_specific"
SHARED_FROM = "shared_from_"
PROTEIN_SPECIFIC = "protein_specific_"
ERRORS = {
    ChannelRole.RECONSTRUCTED: "reconstruction_error",
    ChannelRole.RECONSTRUCTED_SHARED: "reconstruction_error_shared",
}
PREDICTED_MEAN = "predicted_mean"
PREDICTED_UNCERTAINTY = "predicted_uncertainty"
PREDICTED_SUPPORT = "predicted_support"
BY_ROLE = {ChannelRole.PREDICTED: PREDICTED_MEAN, ChannelRole.UNCERTAINTY: PREDICTED_UNCERTAINTY}
"""Scores that are means of an image over the cell's region, by its role."""

_SCORES = (*ERRORS.values(), *BY_ROLE.values(), PREDICTED_SUPPORT)
_OWN = (SHARED, CHROMATIN_SPECIFIC, *_SCORES)
UNS = "napari_apollo_predictions"


class CellResults:
    """Collects what is computed for cells, batch by batch, by their position in the table.

    Parameters
    ----------
    count
        Cells of the table; those never visited are NaN.
    """

    def __init__(self, count: int) -> None:
        self._count = count
        self._latents: dict[str, np.ndarray] = {}
        self._scores: dict[str, dict[str, np.ndarray]] = {}

    def latents(self, positions: np.ndarray, codes: Codes) -> None:
        """Take the latents of a batch."""
        self._put(SHARED, positions, codes.chromatin.shared)
        self._put(CHROMATIN_SPECIFIC, positions, codes.chromatin.specific)
        for stain, latents in codes.proteins.items():
            self._put(SHARED_FROM + stain, positions, latents.shared)
            self._put(PROTEIN_SPECIFIC + stain, positions, latents.specific)

    def score(self, name: str, stain: str, positions: np.ndarray, values: np.ndarray) -> None:
        """Take one number per cell for a stain."""
        column = self._scores.setdefault(name, {}).setdefault(stain, np.full(self._count, np.nan, np.float32))
        column[positions] = values

    def judge_support(self, store: CellStore, inference: Inference, panels: tuple[str, ...]) -> None:
        """How far each cell is from those that the model learnt each stain from, by its shared latents."""
        if SHARED not in self._latents:
            return
        obs, shared = store.obs, self._latents[SHARED]
        learnt = parts_of(obs, inference.model.card, store.crop_size) == "train"
        panel, donors = obs["panel"].astype(str).to_numpy(), obs["donor"].astype(str).to_numpy()
        for stain in inference.vocabulary:
            with_stain = [name for name in panels if stain in store.panels[name]]
            own = np.flatnonzero(learnt & np.isin(panel, with_stain) & np.isfinite(shared).all(axis=1))
            if len(own) < 2 * NEIGHBOURS:
                continue  # nothing can be said, and NaN says so
            rank = fit_support(shared[own], donors[own]).rank(shared)
            self.score(PREDICTED_SUPPORT, stain, np.arange(self._count), rank.astype(np.float32))

    def blocks(self) -> dict[str, np.ndarray]:
        """Latents by the name of their block, (cell, dimension) float32, without those of no dimension."""
        return {key: values for key, values in self._latents.items() if values.shape[1]}

    def write(self, store: CellStore, about: dict[str, str]) -> None:
        """Put everything into the store's table, in place of what an earlier prediction put there."""

        def with_results(table: anndata.AnnData) -> anndata.AnnData:
            table = table.copy()
            for key in list(table.obsm):
                if key in _OWN or key.startswith((SHARED_FROM, PROTEIN_SPECIFIC)):
                    del table.obsm[key]
            table.obsm.update(self.blocks())
            for key, columns in self._scores.items():
                table.obsm[key] = pd.DataFrame(columns, index=table.obs_names)
            table.uns[UNS] = dict(about)
            return table

        store.update_table(with_results)

    def _put(self, key: str, positions: np.ndarray, values: np.ndarray) -> None:
        if key not in self._latents:
            self._latents[key] = np.full((self._count, values.shape[1]), np.nan, np.float32)
        self._latents[key][positions] = values


def features_of(store: CellStore, positions: np.ndarray) -> pd.DataFrame:
    """What is known about some cells in one flat table: columns about them, measurements, scores.

    Parameters
    ----------
    store
        The cell store.
    positions
        (n,) rows of its table.

    Returns
    -------
    pandas.DataFrame
        ``obs``, then the measurements (``var_names``), then one column for each score and stain, for
        example ``reconstruction_error CD3``. Latents are left out: they have no names.
    """
    table = store.table[positions]
    parts = [table.obs.reset_index(drop=True)]
    if table.n_vars:
        # napari takes no table that has a name twice, and a column about cells may bear a feature's.
        taken = set(table.obs.columns)
        names = [f"{name} (measured)" if name in taken else name for name in table.var_names]
        parts.append(pd.DataFrame(np.asarray(table.X), columns=names))
    for key in _SCORES:
        if key in table.obsm:
            parts.append(pd.DataFrame(table.obsm[key]).reset_index(drop=True).add_prefix(f"{key} "))
    return pd.concat(parts, axis=1)
