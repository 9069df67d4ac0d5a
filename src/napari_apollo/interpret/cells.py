"""What is interpreted: the latents of cells block by block, their features, and who they are."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray
from scipy.stats import norm, rankdata

from napari_apollo.errors import DataError
from napari_apollo.interpret.digests import digest
from napari_apollo.predict.table import CHROMATIN_SPECIFIC, PROTEIN_SPECIFIC, SHARED, SHARED_FROM

if TYPE_CHECKING:
    from napari_apollo.cells.store import CellStore

Floats = NDArray[np.float64]

LEAST_CELLS = 30
"""Fewer cells than this of a block or feature are not worked on."""


@dataclass(frozen=True)
class LatentCells:
    """Cells with their latents and features.

    Attributes
    ----------
    obs
        One row a cell: ``cell_id, donor, condition, field, panel``.
    blocks
        Name of a block (``shared``, ``chromatin_specific``, ``protein_specific_<stain>``) to its latents,
        (cell, dimension) float64; NaN rows for cells without it.
    features
        One row a cell, numeric; NaN where a cell lacks one.
    stains
        (feature,) stains that each is measured on, joined by ``+``; empty for what is measured on the mask.
    notes
        What was left out and why, in words.
    shared_from
        Protein to the shared latents as its own image says them, (cell, dimension); NaN rows for cells
        without it. ``blocks`` has those that the chromatin says.
    beside
        Latents of the same cells by further models, see ``pairs.with_pairs``; only ``compartments`` asks
        them.
    """

    obs: pd.DataFrame
    blocks: dict[str, Floats]
    features: pd.DataFrame
    stains: tuple[str, ...]
    notes: tuple[str, ...] = ()
    shared_from: dict[str, Floats] = field(default_factory=dict)
    beside: dict[str, Floats] = field(default_factory=dict)

    def __len__(self) -> int:
        """Number of cells."""
        return len(self.obs)

    @property
    def donors(self) -> NDArray[np.object_]:
        """(cell,) donor of each cell."""
        return self.obs["donor"].astype(str).to_numpy(object)

    @property
    def conditions(self) -> NDArray[np.object_]:
        """(cell,) condition of each cell."""
        return self.obs["condition"].astype(str).to_numpy(object)

    def select(self, rows: ArrayLike) -> LatentCells:
        """Some of the cells, by position."""
        rows = np.asarray(rows)
        return replace(
            self,
            obs=self.obs.iloc[rows].reset_index(drop=True),
            blocks={name: values[rows] for name, values in self.blocks.items()},
            shared_from={name: values[rows] for name, values in self.shared_from.items()},
            beside={name: values[rows] for name, values in self.beside.items()},
            features=self.features.iloc[rows].reset_index(drop=True),
        )

    def with_features(self, names: Iterable[str]) -> LatentCells:
        """All cells with some of the features."""
        stain_of = dict(zip(self.features.columns, self.stains, strict=True))
        kept = list(names)
        return replace(self, features=self.features[kept], stains=tuple(stain_of[name] for name in kept))

    def digest(self) -> str:
        """SHA-256 of everything that can make a difference to what is found."""
        about = ["cell_id", "donor", "condition", "field", "panel"]
        return digest(
            {
                "obs": self.obs[[name for name in about if name in self.obs]].astype(str),
                "blocks": self.blocks,
                "features": self.features,
                "stains": self.stains,
                "shared_from": self.shared_from,
                "beside": self.beside,
            }
        )

    def known(self, block: str) -> NDArray[np.bool_]:
        """(cell,) whether each has the block."""
        return np.asarray(np.isfinite(self.blocks[block]).all(axis=1))

    def blocks_of(self, stains: str) -> tuple[str, ...]:
        """Blocks that may explain a feature of some stains: shared, chromatin's, its proteins'."""
        own = [PROTEIN_SPECIFIC + stain for stain in stains.split("+") if stain]
        return tuple(name for name in (SHARED, CHROMATIN_SPECIFIC, *own) if name in self.blocks)


def kind_of_block(name: str) -> str:
    """``shared``, ``chromatin`` or ``protein``: what a block is specific to."""
    if name == SHARED:
        return "shared"
    return "chromatin" if name == CHROMATIN_SPECIFIC else "protein"


def block_in_words(name: str) -> str:
    """Name of a block for people, for example ``CD3-specific``."""
    if name.startswith(PROTEIN_SPECIFIC):
        return f"{name.removeprefix(PROTEIN_SPECIFIC)}-specific"
    return "chromatin-specific" if name == CHROMATIN_SPECIFIC else name


def cells_of_store(
    store: CellStore, *, parts: NDArray[np.object_] | None = None, wanted: tuple[str, ...] = ()
) -> LatentCells:
    """Latents and features from the table of a cell store.

    Parameters
    ----------
    store
        Cells that were predicted (their latents are in ``obsm``) and, if features are to be had, measured.
    parts
        (cell,) part of the data of each cell, as ``predict.heldout.parts_of`` says.
    wanted
        Parts that are kept; all cells that passed the quality check where none is named.

    Raises
    ------
    DataError
        When the store has no latents, or no cell is left.
    """
    table = store.table
    if SHARED not in table.obsm:
        raise DataError(
            f"{store.path} holds no latents. Predict with a model first, or interpret its run folder."
        )
    latents = {name: np.asarray(values) for name, values in table.obsm.items()}
    return cells_of_table(store, latents, parts=parts, wanted=wanted)


def cells_of_table(
    store: CellStore,
    latents: Mapping[str, ArrayLike],
    *,
    parts: NDArray[np.object_] | None = None,
    wanted: tuple[str, ...] = (),
) -> LatentCells:
    """Given latents, and features from the table of a cell store.

    Parameters
    ----------
    store
        Its table may hold features.
    latents
        Name of a block to (cell, dimension), in the order of the table; others than blocks are left out.
    parts, wanted
        As for ``cells_of_store``.

    Raises
    ------
    DataError
        When no cell is left.
    """
    table = store.table
    names = [name for name in latents if name in (SHARED, CHROMATIN_SPECIFIC)]
    names += sorted(name for name in latents if name.startswith(PROTEIN_SPECIFIC))
    keep = store.obs["qc"].to_numpy(bool)
    if wanted and parts is not None:
        keep &= np.isin(parts.astype(str), wanted)
    blocks = {name: np.asarray(latents[name], np.float64) for name in names}
    keep &= np.isfinite(blocks[SHARED]).all(axis=1)
    rows = np.flatnonzero(keep)
    if not len(rows):
        of = ""
        if wanted and parts is not None:
            counts = [f"{(parts == name).sum()} {name}" for name in ("train", "validation", "test")]
            of = f" of the parts {', '.join(wanted)} (it has {', '.join(counts)})"
        raise DataError(f"{store.path} has no cell{of} with latents that passed the quality check.")
    obs = store.obs.iloc[rows][["cell_id", "donor", "condition", "field", "panel", "row"]]
    var = table.var
    values = np.asarray(table.X)[rows] if table.n_vars else np.zeros((len(rows), 0))
    features = pd.DataFrame(values.astype(np.float64), columns=table.var_names.astype(str))
    stains = var["stain"].fillna("").astype(str).tolist() if "stain" in var else [""] * len(var)
    turning = var["turns"].to_numpy(bool) if "turns" in var else np.zeros(len(var), bool)
    views = {
        name.removeprefix(SHARED_FROM): np.asarray(latents[name], np.float64)[rows]
        for name in sorted(latents)
        if name.startswith(SHARED_FROM)
    }
    cells = LatentCells(
        obs.reset_index(drop=True),
        {k: v[rows] for k, v in blocks.items()},
        features,
        tuple(stains),
        shared_from=views,
    )
    return usable(cells.with_features(features.columns[~turning]))


def usable(cells: LatentCells) -> LatentCells:
    """Cells without blocks and features that nothing can be said about; the notes say which and why."""
    notes = list(cells.notes)
    blocks = {}
    for name, values in cells.blocks.items():
        known = np.asarray(np.isfinite(values).all(axis=1))
        if known.sum() < LEAST_CELLS:
            notes.append(f"{block_in_words(name)}: {known.sum()} cells have it, too few to interpret.")
        elif not values.shape[1] or not (np.ptp(values[known], axis=0) > 0).any():
            notes.append(f"{block_in_words(name)}: empty, or the same in all cells.")
        else:
            blocks[name] = np.where(known[:, None], values, np.nan)
    values = cells.features.to_numpy(np.float64, copy=True)
    values[~np.isfinite(values)] = np.nan
    count = np.isfinite(values).sum(axis=0)
    low, high = np.where(np.isnan(values), np.inf, values), np.where(np.isnan(values), -np.inf, values)
    spread = high.max(axis=0, initial=-np.inf) - low.min(axis=0, initial=np.inf)
    few, flat = count < LEAST_CELLS, spread <= 0
    names = cells.features.columns.astype(str)
    if few.any():
        notes.append(_listed("measured in too few cells", names[few]))
    if (flat & ~few).any():
        notes.append(_listed("the same in all cells", names[flat & ~few]))
    kept = ~few & ~flat
    return replace(
        cells,
        blocks=blocks,
        features=pd.DataFrame(values[:, kept], columns=names[kept]),
        stains=tuple(stain for stain, keep in zip(cells.stains, kept, strict=True) if keep),
        notes=tuple(notes),
    )


def spread_over(
    rows: NDArray[np.int64], donors: NDArray[np.object_], most: int, seed: int
) -> NDArray[np.int64]:
    """No more than so many of the rows, drawn evenly from the donors, in their order.

    Parameters
    ----------
    rows
        Positions of cells.
    donors
        (cell,) donor of every cell.
    most, seed
        How many; of the draw.
    """
    if len(rows) <= most:
        return rows
    shuffled = np.random.default_rng(seed).permutation(rows)
    turn = pd.Series(donors[shuffled]).groupby(donors[shuffled]).cumcount().to_numpy()
    return np.sort(shuffled[np.argsort(turn, kind="stable")[:most]])


def normal_scores(values: ArrayLike, donors: ArrayLike) -> Floats:
    """Ranks within each donor as quantiles of the normal distribution (van der Waerden).

    What differs between donors, and outliers, count for nothing.

    Parameters
    ----------
    values
        (cell, column); NaN stays NaN.
    donors
        (cell,).
    """
    values, names = np.asarray(values, np.float64), np.asarray(donors, dtype=str)
    out = np.full(values.shape, np.nan)
    for donor in np.unique(names):
        own = np.flatnonzero(names == donor)
        known = np.isfinite(values[own])
        ranks = rankdata(values[own], axis=0, nan_policy="omit")
        scores = norm.ppf(ranks / (known.sum(axis=0) + 1))
        out[own] = np.where(known, scores, np.nan)
    return out


def centred_by_donor(values: Floats, donors: ArrayLike) -> Floats:
    """Values less their donor's mean; what is left is how cells of one donor differ."""
    frame = pd.DataFrame(values)
    centred: Floats = (frame - frame.groupby(np.asarray(donors, dtype=str)).transform("mean")).to_numpy()
    return centred


def _listed(why: str, names: pd.Index, most: int = 5) -> str:
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return f"{len(names)} features left out, {why}: {', '.join(names[:most])}{more}."
