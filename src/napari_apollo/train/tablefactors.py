"""Where latents of tables start: at what tables agree on, and at what each holds beside it."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from napari_apollo.model.modality import COUNTED
from napari_apollo.model.network import Network
from napari_apollo.progress import Progress, ShouldStop, Step
from napari_apollo.tables.factors import Components, agreed, apart, components
from napari_apollo.train.tabledataset import TableDataset


def start_factors(
    dataset: TableDataset,
    cells: np.ndarray,
    network: Network,
    *,
    seed: int,
    progress: Progress,
    should_stop: ShouldStop,
) -> dict[str, Tensor]:
    """Latents to start from, by block; none of what is not told from noise, nor beside one table alone.

    From random latents a table of weak factors is learnt slowly, if at all: until decoders know a factor,
    holding it costs more than it brings.

    Parameters
    ----------
    dataset
        The tables.
    cells
        (cell,) int64, positions in ``dataset.matched``: the training cells in their order.
    network
        Says how long latents are.
    seed
        Of the cells that are looked at, and of the shuffling.

    Returns
    -------
    dict
        ``shared`` (cell, s), and by table (row, d) float32, of variance 1; blocks without any are absent.
    """
    if len(dataset.prepared) < 2:  # what it shares with images would be taken for its own
        return {}
    found: dict[str, Components] = {}
    rows: dict[str, np.ndarray] = {}
    for done, (name, prepared) in enumerate(dataset.prepared.items()):
        progress(Step("Finding factors", done, len(dataset.prepared), name))
        own = dataset.matched.rows[name][cells]
        there = own >= 0
        rows[name] = np.where(there, np.cumsum(there) - 1, -1)
        found[name] = components(
            prepared.values,
            own[there],
            counts=dataset.losses[name] in COUNTED,
            seed=seed,
            should_stop=should_stop,
        )
    kinds = None if dataset.nuisance is None else dataset.nuisance[cells]
    scores = {name: _levelled(made.scores, kinds, rows[name]) for name, made in found.items()}
    shared = agreed(scores, rows, most=network.architecture.shared, seed=seed)
    blocks = {"shared": shared.expected}
    for name, made in found.items():
        most = network.architecture.modality(name).specific
        # What tables agree on a little may be either's own: it starts in both blocks.
        blocks[name] = apart(made, shared.certain[rows[name] >= 0], most=most)
    numbers = {name: values.shape[1] for name, values in blocks.items()}
    told = ", ".join(f"{number} {name}" for name, number in numbers.items())
    progress(Step("Finding factors", len(found), len(found), f"latents start at {told}"))
    return {name: torch.from_numpy(blocks[name]) for name, number in numbers.items() if number}


def _levelled(scores: np.ndarray, kinds: np.ndarray | None, rows: np.ndarray) -> np.ndarray:
    """Scores (row, k) less the mean of each kind of nuisance."""
    if kinds is None:
        return scores
    of_rows = kinds[rows >= 0]
    scores = scores.copy()
    for kind in np.unique(of_rows):
        scores[of_rows == kind] -= scores[of_rows == kind].mean(axis=0)
    return scores
