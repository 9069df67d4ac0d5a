"""How well shared and specific information were separated, against known truth.

Silhouettes as in the simulations of the APOLLO paper, and the matrix of R² of every true factor from
every block of latents, linear and non-linear, with the floor of permuted cells.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray
from scipy.spatial.distance import cdist

from napari_apollo.errors import DataError
from napari_apollo.probes.matrix import ProbeMatrix, check_blocks, probe_matrix

PAPER_SILHOUETTES = pd.DataFrame(
    {
        ("shared", "Z1"): (0.558, 0.573, 0.453, 0.697, 0.531),
        ("shared", "Z3"): (0.078, 0.060, 0.092, 0.026, 0.011),
        ("x", "Z3"): (0.220, 0.612, 0.655, 0.413, 0.209),
        ("x", "Z1"): (0.300, 0.195, 0.064, 0.194, 0.293),
        ("y", "Z1"): (0.465, 0.169, 0.068, 0.452, 0.111),
        ("y", "Z3"): (-0.000, 0.001, 0.008, -0.000, 0.003),
    },
    index=pd.Index(("1", "2", "3", "4", "5"), name="set"),
)
"""Published silhouettes of the paper's method: one draw each, row a set, column (block, factor)."""


@dataclass(frozen=True)
class SeparationScores:
    """Scores of one run, or medians over runs.

    Attributes
    ----------
    silhouettes
        Row a block, column a binary factor.
    linear, nonlinear
        R² of every factor from every block and from unions of blocks (``"shared+x"``).
    """

    silhouettes: pd.DataFrame
    linear: ProbeMatrix
    nonlinear: ProbeMatrix

    def to_dict(self) -> dict[str, Any]:
        """Plain numbers, block by block, ready for JSON."""
        return {
            "silhouettes": _plain(self.silhouettes),
            **{
                matrix.probe: {"r2": _plain(matrix.r2), "floor": _plain(matrix.floor)}
                for matrix in (self.linear, self.nonlinear)
            },
        }


def silhouette(latents: ArrayLike, groups: ArrayLike) -> float:
    """Mean silhouette width of the cells (Rousseeuw, J. Comput. Appl. Math. 1987), Euclidean.

    Parameters
    ----------
    latents
        Float, (cell, dimension).
    groups
        (cell,), any labels. A cell that is alone in its group scores 0.

    Raises
    ------
    DataError
        When there are fewer than two groups, or values are not finite.
    """
    labels, group_of = np.unique(np.asarray(groups), return_inverse=True)
    points = check_blocks({"latents": latents}, len(group_of))["latents"]
    if len(labels) < 2:
        raise DataError("A silhouette needs cells of at least two groups.")
    sizes = np.bincount(group_of)
    member = np.eye(len(labels))[group_of]
    widths = np.zeros(len(points))
    for start in range(0, len(points), 1024):
        rows = np.arange(start, min(start + 1024, len(points)))
        sums = cdist(points[rows], points) @ member
        own = group_of[rows]
        inner = sums[np.arange(len(rows)), own] / np.maximum(sizes[own] - 1, 1)
        outer_of_groups = sums / sizes
        outer_of_groups[np.arange(len(rows)), own] = np.inf
        outer = outer_of_groups.min(axis=1)
        largest = np.maximum(inner, outer)
        valid = (sizes[own] > 1) & (largest > 0)
        widths[rows[valid]] = ((outer - inner)[valid]) / largest[valid]
    return float(widths.mean())


def silhouette_table(
    blocks: Mapping[str, ArrayLike], factors: pd.DataFrame, binary: Sequence[str]
) -> pd.DataFrame:
    """Silhouette of every block by every binary factor; 0 for a block without dimensions."""
    checked = check_blocks(blocks, len(factors))
    return pd.DataFrame(
        [
            [silhouette(latents, factors[name]) if latents.shape[1] else 0.0 for name in binary]
            for latents in checked.values()
        ],
        index=pd.Index(checked, name="block"),
        columns=pd.Index(binary, name="factor"),
    )


def separation_scores(
    blocks: Mapping[str, ArrayLike],
    factors: pd.DataFrame,
    *,
    binary: Sequence[str] = ("Z1", "Z3"),
    shared: str = "shared",
    permutations: int = 20,
    seed: int = 0,
) -> SeparationScores:
    """Score latents against the factors that the cells were made from.

    Parameters
    ----------
    blocks
        Name of a block to its latents, float, (cell, dimension): one shared block and one for each
        modality. The paper scores training cells.
    factors
        True factors, numeric, one row a cell in the order of the latents.
    binary
        Columns of ``factors`` whose values are the groups of the silhouettes; may be empty.
    shared
        Which block is the shared one; its union with every other block is probed as well, since a specific
        factor that descends from a shared one is rightly split over both.
    permutations, seed
        Of the floor.

    Raises
    ------
    DataError
        When blocks and factors do not fit, or values are not finite.
    """
    checked = check_blocks(blocks, len(factors))
    if shared not in checked:
        raise DataError(f"No block is called {shared!r}; there are {', '.join(checked)}.")
    unions = {
        f"{shared}+{name}": np.concatenate([checked[shared], latents], axis=1)
        for name, latents in checked.items()
        if name != shared
    }
    probed = {**checked, **unions}
    return SeparationScores(
        silhouette_table(checked, factors, binary),
        probe_matrix(probed, factors, probe="linear", permutations=permutations, seed=seed),
        probe_matrix(probed, factors, probe="nonlinear", permutations=permutations, seed=seed),
    )


def median_scores(runs: Iterable[SeparationScores]) -> SeparationScores:
    """Median of every cell of every table over runs of several seeds."""
    runs = list(runs)
    if not runs:
        raise DataError("The median of no runs was asked for.")
    return SeparationScores(
        _median([run.silhouettes for run in runs]),
        _median_matrix([run.linear for run in runs]),
        _median_matrix([run.nonlinear for run in runs]),
    )


def _median_matrix(matrices: Sequence[ProbeMatrix]) -> ProbeMatrix:
    return ProbeMatrix(
        matrices[0].probe, _median([each.r2 for each in matrices]), _median([each.floor for each in matrices])
    )


def _median(tables: Sequence[pd.DataFrame]) -> pd.DataFrame:
    stacked: NDArray[np.float64] = np.stack([table.to_numpy(dtype=np.float64) for table in tables])
    return pd.DataFrame(np.median(stacked, axis=0), index=tables[0].index, columns=tables[0].columns)


def _plain(table: pd.DataFrame) -> dict[str, dict[str, float]]:
    return {
        str(row): {str(column): round(float(value), 4) for column, value in values.items()}
        for row, values in table.iterrows()
    }
