"""Which dimensions of posteriors are worth keeping: those that hold something, and nothing twice."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import numpy as np
from torch import Tensor

from napari_apollo.train.latents import LatentTable
from napari_apollo.train.objectives.normals import information, split

CELLS = 800
"""Rows that are looked at to see whether a dimension can be read from others."""

_DEPENDENT = 0.5
"""Least part of a dimension that others tell before it counts as wound with them."""

_FAINT = 0.5
"""Dimensions that hold a smaller part of what another one holds cannot stand for it, whatever they tell: a
faint copy with some noise tells the dimension that holds a factor better than it is told."""


def held_nats(table: LatentTable, kept: Tensor) -> Tensor:
    """Nats that each dimension (d,) of a table of posteriors holds, on average over rows; 0 if closed."""
    return information(*split(table.values)).mean(0) * kept


def used_dimensions(
    tables: Mapping[str, LatentTable], kept: Mapping[str, Tensor], least: float
) -> dict[str, Tensor]:
    """Dimensions that hold at least so many nats.

    Parameters
    ----------
    tables
        Posteriors, under ``shared`` and the names of modalities.
    kept
        1 for dimensions that are open, else 0, by the same names.
    least
        Nats; the best shared dimension stays, whatever it holds.

    Returns
    -------
    dict
        By name (d,) bool.
    """
    used = {}
    for name, table in tables.items():
        held = held_nats(table, kept[name])
        used[name] = (held >= least) & kept[name].bool()
        if name == "shared":
            used[name] |= held == held.max()
    return used


def distinct_dimensions(
    means: np.ndarray, open_: np.ndarray, held: np.ndarray, most: float, seed: int = 0
) -> np.ndarray:
    """Dimensions that are left when those go, one by one, that the others tell already.

    What holds least goes first, and nothing for the sake of what is faint beside it: a factor would be left
    in a place where next to nothing of it is known.

    Parameters
    ----------
    means
        (cell, d) float.
    open_
        (d,) bool: dimensions to choose from.
    held
        (d,) nats that each dimension holds.
    most
        A dimension goes when its non-linear, held-out R² from the others is above this.
    seed
        Of the folds.

    Returns
    -------
    numpy.ndarray
        (d,) bool.
    """
    from napari_apollo.probes import readable  # needs more than torch and NumPy, as nothing else here does

    chosen = [int(index) for index in np.flatnonzero(open_)]
    rows = means[:: max(1, len(means) // CELLS)]
    while len(chosen) > 1:
        told = {
            index: float(readable(rows[:, others], rows[:, [index]], seed=seed)[0])
            for index in chosen
            if (others := _beside(index, chosen, held))
        }
        double = [index for index, part in told.items() if part > most]
        if not double:
            break
        chosen.remove(min(double, key=lambda index: held[index]))
    result = np.zeros(len(open_), bool)
    result[chosen] = True
    return result


def _beside(index: int, among: Iterable[int], held: np.ndarray) -> list[int]:
    """Dimensions among some that are not faint beside one of them."""
    return [other for other in among if other != index and held[other] >= _FAINT * held[index]]


def wound_dimension(
    means: np.ndarray,
    shared: np.ndarray,
    sensitivity: np.ndarray | None,
    held: np.ndarray,
    least: float,
    seed: int = 0,
) -> int | None:
    """A dimension of a specific block that codes only wind through.

    With dimensions to spare, what is one factor may take another way through two of them for each value
    of a shared one: a ring or a fork, from which the shared factor can be read though no decoder needs it
    there. In such a place decoded values move along fewer directions, cell by cell, than the block has, and
    the dimensions are told in good part by one another and by the shared latent. A factor of its own,
    however weak, depends on neither, and stays.

    Where independence is asked for, and has had its time, being told so is sign enough: values may move along
    every dimension of a wound block, when each place of it is used by cells of other kinds.

    Parameters
    ----------
    means, shared
        (cell, d) of the block's open dimensions, and (cell, s).
    sensitivity
        (cell, d, d): products of the derivatives of decoded values by the dimensions; None where these are
        not asked.
    held
        (d,) nats that each dimension holds.
    least
        The direction along which values move least counts where it has this part of the movement along
        the first one (squared, mean over cells).
    seed
        Of the folds.

    Returns
    -------
    int or None
        Of the dimensions told, that which holds least.
    """
    from napari_apollo.probes import readable

    if len(held) < 2:
        return None
    if sensitivity is not None:
        moved = np.linalg.eigvalsh(sensitivity).mean(axis=0)
        if moved[0] >= least * moved[-1]:
            return None
    told = []
    for i in range(len(held)):
        others = np.column_stack([means[:, _beside(i, range(len(held)), held)], shared])
        told.append(float(readable(others, means[:, [i]], seed=seed)[0]))
    wound = [i for i, part in enumerate(told) if part > _DEPENDENT]
    return min(wound, key=lambda i: held[i]) if wound else None
