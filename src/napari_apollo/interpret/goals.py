"""What a good separation of the simulated tables looks like, and whether scores reach it.

Goals follow from how each set is made (``simulate.tables``). Where latents mix, Z4 and Z5 descend from the
shared Z2: they are rightly read from their own block together with the shared one, and nothing is asked of
what their own block says about Z1 and Z2.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, cast

import pandas as pd

from napari_apollo.errors import DataError
from napari_apollo.interpret.separation import PAPER_SILHOUETTES, SeparationScores

RECOVERED = 0.9
"""Least R² of a factor from where it belongs."""

LEAKED = 0.1
"""Largest R² of a factor from where it does not belong."""

# The published table has three digits and zeros in it, so "lower" is given this much room.
_SILHOUETTE_ROOM = 0.01


@dataclass(frozen=True)
class Goal:
    """One number to reach.

    Attributes
    ----------
    score
        ``"r2"`` (held-out, of the non-linear probe) or ``"silhouette"``.
    block, factor
        Cell of the table of scores.
    bound
        ``"least"`` or ``"most"``.
    limit
        The value to reach or to stay under.
    """

    score: Literal["r2", "silhouette"]
    block: str
    factor: str
    bound: Literal["least", "most"]
    limit: float

    def reached(self, value: float) -> bool:
        """Whether a value reaches the goal."""
        return value >= self.limit if self.bound == "least" else value <= self.limit


def table_goals(set_name: str) -> tuple[Goal, ...]:
    """Goals for one of the separable sets of ``simulate.tables``.

    Parameters
    ----------
    set_name
        ``"1"`` to ``"5"`` or ``"private"``.

    Raises
    ------
    DataError
        For a set in which shared and specific cannot be told apart: there, the goal is a warning.
    """
    if set_name not in (*PAPER_SILHOUETTES.index, "private"):
        raise DataError(f"Set {set_name!r} has no goals: shared and specific cannot be told apart in it.")
    mixing = set_name in ("1", "4", "5")
    own = "shared+" if mixing else ""
    recovered = [("shared", "Z1"), ("shared", "Z2"), ("x", "Z3"), (f"{own}x", "Z4"), (f"{own}y", "Z5")]
    leaked = [("shared", "Z3")]
    if not mixing:
        leaked += [("shared", "Z4"), ("shared", "Z5")]
        leaked += [(block, factor) for block in ("x", "y") for factor in ("Z1", "Z2")]
    return (
        *(Goal("r2", block, factor, "least", RECOVERED) for block, factor in recovered),
        *(Goal("r2", block, factor, "most", LEAKED) for block, factor in leaked),
        *_silhouette_goals(set_name, mixing),
    )


def _silhouette_goals(set_name: str, mixing: bool) -> list[Goal]:
    if set_name not in PAPER_SILHOUETTES.index:
        return []
    high = [("shared", "Z1"), ("x", "Z3")]
    low = [("shared", "Z3"), ("y", "Z3")] + ([] if mixing else [("x", "Z1"), ("y", "Z1")])

    def published(cell: tuple[str, str]) -> float:
        return cast(float, PAPER_SILHOUETTES[cell][set_name])

    return [
        *(Goal("silhouette", *cell, "least", published(cell)) for cell in high),
        *(Goal("silhouette", *cell, "most", published(cell) + _SILHOUETTE_ROOM) for cell in low),
    ]


def check_goals(scores: SeparationScores, set_name: str) -> pd.DataFrame:
    """Scores beside the goals of a set.

    Parameters
    ----------
    scores
        Of one run or the medians of several; blocks called ``shared``, ``x`` and ``y``.

    Returns
    -------
    DataFrame
        One row a goal: ``score, block, factor, bound, limit, value, reached``.
    """
    rows = []
    for goal in table_goals(set_name):
        table = scores.nonlinear.r2 if goal.score == "r2" else scores.silhouettes
        value = cast(float, table.loc[goal.block, goal.factor])
        rows.append(
            {
                "score": goal.score,
                "block": goal.block,
                "factor": goal.factor,
                "bound": goal.bound,
                "limit": goal.limit,
                "value": value,
                "reached": goal.reached(value),
            }
        )
    return pd.DataFrame(rows)
