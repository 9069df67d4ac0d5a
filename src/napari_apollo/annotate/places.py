"""Where cells lie, to tell whether a name still means the cell that it meant.

A cell is named by its field and its label. Segmenting anew gives the same names to other nuclei, so words
about a cell carry where it lay, and count only for a cell of that name whose centre is within the nucleus.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np
import pandas as pd

_LEAST_RADIUS = 3.0  # field pixels: a nucleus whose outline was corrected by hand stays the same

Place = tuple[float, float] | None
"""``(y, x)`` of a nucleus in field pixels; None where it is not known."""


class Places:
    """Where the cells of a store lie.

    Parameters
    ----------
    obs
        Table of a cell store: ``cell_id``, ``y``, ``x`` and, where nuclei were measured, ``nucleus_area_px``.
    """

    def __init__(self, obs: pd.DataFrame) -> None:
        self._rows = {str(cell): row for row, cell in enumerate(obs["cell_id"])}
        self._centres = obs[["y", "x"]].to_numpy(np.float64)
        radius = np.zeros(len(obs))
        if "nucleus_area_px" in obs:
            radius = np.sqrt(np.nan_to_num(obs["nucleus_area_px"].to_numpy(np.float64)) / np.pi)
        self._radius = np.maximum(radius, _LEAST_RADIUS)

    def of(self, cells: Iterable[str]) -> list[Place]:
        """Place of each cell, to a tenth of a pixel."""
        found: list[Place] = []
        for cell in cells:
            row = self._rows.get(cell)
            known = row is not None and bool(np.isfinite(self._centres[row]).all())
            found.append(
                (round(float(self._centres[row, 0]), 1), round(float(self._centres[row, 1]), 1))
                if known
                else None
            )
        return found

    def same(self, cells: Sequence[str], places: Sequence[Sequence[float] | None]) -> list[str]:
        """Those of the cells that lie where they lay; one that is not among the store's cells is kept.

        Parameters
        ----------
        cells
            Names.
        places
            What ``of`` said of each at the time.
        """
        kept = []
        for cell, before in zip(cells, places, strict=True):
            row = self._rows.get(cell)
            if row is not None and before is not None:
                away = float(np.hypot(*(self._centres[row] - before)))
                if away > self._radius[row]:
                    continue
            kept.append(cell)
        return kept
