"""Every random choice of a training, as a function of the seed and a counter.

Nothing here keeps a state: the order of epoch 17, or the noise of step 4,321, is the same whether
the run came there at once or was resumed on the way.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

# Purposes, so that no two uses of one seed ever share a stream.
_ORDER, _STEP, _PROTEINS = 1, 2, 3


def generator(seed: int, *counters: int) -> np.random.Generator:
    """Random numbers of one purpose: the same counters give the same stream, others another one."""
    return np.random.Generator(np.random.Philox(np.random.SeedSequence((seed, *counters))))


def epoch_order(n: int, seed: int, stage: int, epoch: int, *counters: int, fixed: bool = False) -> np.ndarray:
    """Order in which an epoch visits the cells.

    Parameters
    ----------
    n
        Number of cells.
    seed, stage, epoch, counters
        What the order depends on, and nothing else.
    fixed
        Storage order in every epoch, as the reference does.

    Returns
    -------
    numpy.ndarray
        (n,) int64.
    """
    if fixed:
        return np.arange(n, dtype=np.int64)
    return generator(seed, _ORDER, stage, epoch, *counters).permutation(n).astype(np.int64)


def batches(order: np.ndarray, size: int, start: int = 0, *, fixed: bool = False) -> list[np.ndarray]:
    """Cut an order, from ``start`` on, into batches.

    All batches have one shape: the last one is filled up with cells from the beginning of the
    order. In the reference's ``fixed`` order it stays short.
    """
    size = min(size, len(order))
    plan = [order[begin : begin + size] for begin in range(start, len(order), size)]
    if plan and not fixed:
        plan[-1] = np.concatenate([plan[-1], order[: size - len(plan[-1])]])
    return plan


def step_seed(seed: int, *counters: int) -> int:
    """Seed of torch's random numbers (noise, dropout, turns) in one step."""
    low, high = np.random.SeedSequence((seed, _STEP, *counters)).generate_state(2)
    return (int(high) << 31 | int(low) >> 1) & 0x7FFF_FFFF_FFFF_FFFF


def assign_proteins(groups: Sequence[str], counts: Sequence[int], seed: int) -> np.ndarray:
    """Which one of its proteins each cell is trained with (one protein per cell).

    Within a group the cells are shuffled and cut into as many equal consecutive parts as there are
    proteins, the last part taking the remainder; part ``k`` keeps protein ``k``. After section 6.3
    of the facts on the reference: never blockwise, never by storage order.

    Parameters
    ----------
    groups
        (cell,) donor and panel of each cell; the shuffle of a group does not depend on the others.
    counts
        (cell,) number of proteins of the cell's panel; one value in a group.
    seed
        Of the shuffles.

    Returns
    -------
    numpy.ndarray
        (cell,) int64, the position of the kept protein among those of the panel.
    """
    names = np.asarray(groups, dtype=object)
    number = np.asarray(counts, dtype=np.int64)
    kept = np.zeros(len(names), dtype=np.int64)
    for group in sorted(set(groups)):
        cells = np.flatnonzero(names == group)
        proteins = int(number[cells[0]])
        part = len(cells) // proteins
        word = [int(byte) for byte in str(group).encode()]
        shuffled = generator(seed, _PROTEINS, *word).permutation(cells)
        for protein in range(proteins):
            end = (protein + 1) * part if protein < proteins - 1 else len(cells)
            kept[shuffled[protein * part : end]] = protein
    return kept
