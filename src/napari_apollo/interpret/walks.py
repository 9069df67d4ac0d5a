"""Images along a direction of the latents: real cells that lie along it, and what the decoders draw."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from napari_apollo.interpret.axes import PrincipalAxes
from napari_apollo.interpret.cells import LatentCells, block_in_words, kind_of_block
from napari_apollo.predict.table import CHROMATIN_SPECIFIC, PROTEIN_SPECIFIC, SHARED
from napari_apollo.progress import Progress, ShouldStop, Step, never, silent, stop_if_asked

if TYPE_CHECKING:
    from napari_apollo.cells.store import CellStore
    from napari_apollo.model import Apollo

Images = NDArray[np.float32]

STEPS = (-2.0, -1.0, 0.0, 1.0, 2.0)
"""Where images are made, in standard deviations of the cells along the direction."""

_CENTRAL = 0.25  # share of the cells, those nearest to the axis, that real examples are taken from


@dataclass(frozen=True)
class Walk:
    """Images along one direction.

    Attributes
    ----------
    block, axis
        Which, axes counted from 1.
    steps
        (step,) where, in standard deviations.
    real
        Stain to (step, y, x) in [0, 1]: the image of the central cell nearest to each step among those that
        were given the stain; black where there is none.
    decoded
        Stain to (step, y, x) in [0, 1]: the mean cell moved along the direction and decoded.
    """

    block: str
    axis: int
    steps: tuple[float, ...]
    real: dict[str, Images]
    decoded: dict[str, Images]


def walk_along(
    cells: LatentCells,
    axes: PrincipalAxes,
    block: str,
    axis: int,
    *,
    store: CellStore | None = None,
    model: Apollo | None = None,
    steps: tuple[float, ...] = STEPS,
) -> Walk:
    """Images along a direction.

    Parameters
    ----------
    cells
        The cells.
    axes
        Principal axes of the block.
    block, axis
        Which direction, axes counted from 0.
    store
        Cells' images; no real ones without it.
    model
        Decoders; no decoded ones without it.
    steps
        Where, in standard deviations from the mean.
    """
    real = {} if store is None else _real(cells, axes, block, axis, store, steps)
    decoded = {} if model is None else _decoded(cells, axes, block, axis, model, steps)
    return Walk(block, axis + 1, steps, real, decoded)


def walks_along(
    cells: LatentCells,
    axes: Mapping[str, PrincipalAxes],
    *,
    count: int,
    store: CellStore | None = None,
    model: Apollo | None = None,
    progress: Progress = silent,
    should_stop: ShouldStop = never,
) -> list[Walk]:
    """Images along the first directions of every block.

    Parameters
    ----------
    cells, store, model
        As for ``walk_along``.
    axes
        Block to its principal axes.
    count
        Directions of each.
    """
    walks = []
    for number, (block, own) in enumerate(axes.items()):
        progress(Step("Images along directions", number, len(axes), block_in_words(block)))
        for axis in range(min(count, len(own.spread))):
            stop_if_asked(should_stop)
            walks.append(walk_along(cells, own, block, axis, store=store, model=model))
    return walks


def central_cells(
    axes: PrincipalAxes, axis: int, steps: tuple[float, ...], among: NDArray[np.bool_] | None = None
) -> NDArray[np.int64]:
    """The cell nearest to each step along an axis among those near the axis; -1 where there is none near.

    Parameters
    ----------
    axes
        Principal axes.
    axis
        Which, from 0.
    steps
        (step,) places, in standard deviations.
    among
        (cell,) which cells may be chosen; all where not given.
    """
    there = np.isfinite(axes.scores).all(axis=1)
    known = np.flatnonzero(there if among is None else there & among)
    if not len(known):
        return np.full(len(steps), -1, np.int64)
    scaled = axes.scores[known] / axes.spread
    off = np.delete(scaled, axis, axis=1)
    distance = np.square(off).sum(axis=1)
    near = distance <= np.quantile(distance, _CENTRAL) if off.shape[1] else np.ones(len(known), bool)
    along, candidates = scaled[near, axis], known[near]
    half = min((abs(b - a) for a, b in pairwise(steps)), default=1.0) / 2
    found = []
    for step in steps:
        at = int(np.argmin(np.abs(along - step)))
        found.append(candidates[at] if abs(along[at] - step) <= half else -1)
    return np.array(found, np.int64)


def _real(
    cells: LatentCells, axes: PrincipalAxes, block: str, axis: int, store: CellStore, steps: tuple[float, ...]
) -> dict[str, Images]:
    panels = cells.obs["panel"].astype(str).to_numpy()
    names = sorted(set(panels))
    kind = kind_of_block(block)
    if kind == "protein":
        stains = [block.removeprefix(PROTEIN_SPECIFIC)]
    else:
        stains = list(dict.fromkeys(store.panels[name].anchor for name in names))
    if kind == "shared":
        stains += list(dict.fromkeys(stain for name in names for stain in store.panels[name].proteins))
    out: dict[str, Images] = {}
    for stain in stains:
        having = np.isin(panels, [name for name in names if stain in store.panels[name]])
        strip = np.zeros((len(steps), store.crop_size, store.crop_size), np.float32)
        for at, position in enumerate(central_cells(axes, axis, steps, having)):
            if position >= 0:
                cell = cells.obs.iloc[int(position)]
                panel = store.panels[str(cell["panel"])]
                crop = store.normalised(panel.name, np.array([int(cell["row"])]))[0]
                strip[at] = crop[panel.index(stain)]
        out[stain] = strip
    return out


def _decoded(
    cells: LatentCells, axes: PrincipalAxes, block: str, axis: int, model: Apollo, steps: tuple[float, ...]
) -> dict[str, Images]:
    means = {name: np.nanmean(values, axis=0) for name, values in cells.blocks.items()}
    moved = np.stack([axes.moved(means[block], axis, step) for step in steps]).astype(np.float32)

    def of(name: str) -> NDArray[np.float32] | None:
        if name == block:
            return moved
        return np.tile(means[name], (len(steps), 1)).astype(np.float32) if name in means else None

    shared = of(SHARED)
    assert shared is not None
    out: dict[str, Images] = {}
    if kind_of_block(block) != "protein":
        out["chromatin"] = model.decode(shared, of(CHROMATIN_SPECIFIC), "chromatin")
    if kind_of_block(block) != "chromatin":
        own = [block.removeprefix(PROTEIN_SPECIFIC)] if block != SHARED else list(model.card.vocabulary)
        for stain in own:
            if stain in model.card.vocabulary:
                out[stain] = model.decode(shared, of(PROTEIN_SPECIFIC + stain), "protein", stain)
    return out
