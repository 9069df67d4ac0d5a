"""How far people agree about the same cells."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import combinations

import numpy as np
import pandas as pd


def cohen_kappa(first: Mapping[str, str], second: Mapping[str, str]) -> float:
    """Cohen's kappa of two people over the cells that both annotated.

    Cohen, Educational and Psychological Measurement 20, 37 (1960): (p_o - p_e) / (1 - p_e), with p_o the
    part of cells on which they agree and p_e that expected by chance from how often each used each class.

    Parameters
    ----------
    first, second
        Class of each cell, by ``cell_id``.

    Returns
    -------
    float
        1 for full agreement, 0 for chance; NaN where nothing is common, or both used one class only.
    """
    common = [cell for cell in first if cell in second]
    if not common:
        return float("nan")
    names = sorted({*first.values(), *second.values()})
    number = {name: position for position, name in enumerate(names)}
    table = np.zeros((len(names), len(names)))
    for cell in common:
        table[number[first[cell]], number[second[cell]]] += 1
    table /= table.sum()
    observed = np.trace(table)
    expected = float(table.sum(axis=0) @ table.sum(axis=1))
    return float("nan") if expected >= 1 - 1e-12 else float((observed - expected) / (1 - expected))


def agreement_table(labels: Mapping[str, Mapping[str, str]]) -> pd.DataFrame:
    """Every pair of people: cells in common, part of them agreed on, Cohen's kappa.

    Parameters
    ----------
    labels
        By person: class of each cell, by ``cell_id``.

    Returns
    -------
    pandas.DataFrame
        Columns ``first``, ``second``, ``common``, ``agreed``, ``kappa``.
    """
    rows = []
    for first, second in combinations(sorted(labels), 2):
        one, other = labels[first], labels[second]
        common = [cell for cell in one if cell in other]
        agreed = float(np.mean([one[cell] == other[cell] for cell in common])) if common else float("nan")
        rows.append((first, second, len(common), agreed, cohen_kappa(one, other)))
    return pd.DataFrame(rows, columns=["first", "second", "common", "agreed", "kappa"])


def consensus(labels: Mapping[str, Mapping[str, str]]) -> dict[str, str]:
    """The class that most people gave each cell; a cell on which as many say another one has none."""
    votes: dict[str, dict[str, int]] = {}
    for own in labels.values():
        for cell, name in own.items():
            tally = votes.setdefault(cell, {})
            tally[name] = tally.get(name, 0) + 1
    agreed = {}
    for cell, tally in votes.items():
        most = max(tally.values())
        leading = [name for name, count in tally.items() if count == most]
        if len(leading) == 1:
            agreed[cell] = leading[0]
    return agreed
