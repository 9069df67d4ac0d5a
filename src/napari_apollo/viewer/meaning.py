"""An interpretation that was written, as the exploring tool shows it: directions by name, what lies along
them, which part of the latents carries each feature.

Nothing here needs a window.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from napari_apollo.errors import FileError
from napari_apollo.interpret.findings import REPORT
from napari_apollo.predict.table import SHARED
from napari_apollo.viewer.columns import block_title

if TYPE_CHECKING:
    from napari_apollo.viewer.columns import CellColumns

PARTS = ("shared", "chromatin", "protein")
"""Parts of the latents that a feature is shared out over."""

_FACTS = "interpretation.json"
_CELLS = "interpretation.h5ad"
_DIRECTIONS = ("block", "axis", "explained", "name")
_FEATURES = ("block", "axis", "feature", "rho", "q", "discovery")
_SHARES = ("feature", *PARTS)


@dataclass(frozen=True)
class Meaning:
    """Tables of an interpretation.

    Attributes
    ----------
    folder
        Where it lies.
    facts
        What it was made of, and its notes.
    directions
        One row a direction, the shared ones first: ``block, axis`` (from 1), ``explained, name`` and more.
    features
        One row a direction and feature: ``rho, q, discovery`` and more.
    shares
        One row a feature: part of its variation that each of ``PARTS`` explains.
    """

    folder: Path
    facts: dict[str, Any]
    directions: pd.DataFrame
    features: pd.DataFrame
    shares: pd.DataFrame

    @classmethod
    def open(cls, folder: Path | str) -> Meaning:
        """Read the tables of an interpretation.

        Raises
        ------
        FileError
            When the folder has none, or a table of it cannot be read.
        """
        folder = Path(folder)
        try:
            facts = json.loads((folder / _FACTS).read_text("utf-8"))
        except (OSError, ValueError) as error:
            raise FileError(
                folder, "is no interpretation.", f"Choose a folder with {_FACTS} in it."
            ) from error
        directions = _table(folder / "directions.csv", _DIRECTIONS)
        order = np.argsort(directions["block"].to_numpy(object) != SHARED, kind="stable")
        return cls(
            folder,
            facts if isinstance(facts, dict) else {},
            directions.iloc[order].reset_index(drop=True),
            _table(folder / "features.csv", _FEATURES),
            _table(folder / "shares.csv", _SHARES),
        )

    @property
    def report(self) -> Path:
        """The page for people."""
        return self.folder / REPORT

    @property
    def notes(self) -> list[str]:
        """What could not be done and why; what to be careful about."""
        return [str(note) for note in self.facts.get("notes", [])]

    def listed(self) -> pd.DataFrame:
        """Directions for a list: ``Direction, Of, Part``."""
        table = self.directions
        return pd.DataFrame(
            {
                "Direction": table["name"].astype(str),
                "Of": [
                    f"{block_title(str(block))} {axis}"
                    for block, axis in zip(table["block"], table["axis"], strict=True)
                ],
                "Part": [f"{part:.0%}" for part in table["explained"]],
            }
        )

    def along(self, block: str, axis: int, count: int = 12) -> pd.DataFrame:
        """Features most tied to a direction (axis from 1), discoveries first: ``feature, rho, q``."""
        table = self.features
        own = table[(table["block"] == block) & (table["axis"] == axis)]
        order = own.assign(size=own["rho"].abs()).sort_values(
            ["discovery", "size"], ascending=False, kind="stable"
        )
        return order[["feature", "rho", "q"]].head(count).reset_index(drop=True)

    def shared_out(self, features: list[str]) -> pd.DataFrame:
        """Shares of some features, in their order: ``feature`` and ``PARTS``, 0 for none."""
        known = self.shares.drop_duplicates("feature").set_index("feature")[list(PARTS)]
        found = known.reindex([feature for feature in features if feature in known.index])
        return found.fillna(0.0).clip(0, 1).reset_index()

    def axis_in(self, columns: CellColumns, block: str, axis: int) -> tuple[int, float] | None:
        """The principal axis of the cells at hand that runs along a direction of the interpretation.

        An interpretation takes its axes from the cells that passed the quality check; those of all cells may
        run the other way, or in another order.

        Parameters
        ----------
        columns
            The cells at hand.
        block, axis
            The direction; its axis counts from 1.

        Returns
        -------
        (int, float) or None
            Number of the axis, from 0, and the correlation of both, below 0 where it runs the other way; None
            where the cells are others.
        """
        scores = self._scores(columns.store.obs["cell_id"].to_numpy(), block, axis)
        if scores is None or block not in columns.blocks:
            return None
        own = columns.axes(block).scores
        known = np.isfinite(scores) & np.isfinite(own).all(axis=1)
        if known.sum() < 3:
            return None
        with np.errstate(invalid="ignore"):
            matrix = np.asarray(np.corrcoef(np.column_stack([scores[known], own[known]]), rowvar=False))
        likeness = np.nan_to_num(matrix[0, 1:])
        best = int(np.argmax(np.abs(likeness)))
        return best, float(likeness[best])

    def _scores(self, cell_ids: NDArray[Any], block: str, axis: int) -> NDArray[np.float64] | None:
        """Positions of cells along a direction, NaN for cells that were not interpreted."""
        import anndata

        path = self.folder / _CELLS
        if not path.is_file():
            return None
        table = anndata.read_h5ad(path)
        key = f"{block}_directions"
        if key not in table.obsm or axis > table.obsm[key].shape[1]:
            return None
        values = pd.Series(np.asarray(table.obsm[key])[:, axis - 1], index=table.obs_names.astype(str))
        found: NDArray[np.float64] = values.reindex(cell_ids.astype(str)).to_numpy(np.float64)
        return found


def _table(path: Path, needed: tuple[str, ...]) -> pd.DataFrame:
    """A table of the interpretation; empty where the data did not allow it.

    Raises
    ------
    FileError
        When it cannot be read, or lacks columns.
    """
    if not path.is_file():
        return pd.DataFrame(columns=list(needed))
    try:
        table = pd.read_csv(path)
    except (OSError, ValueError) as error:
        raise FileError(path, "cannot be read.", "Interpret again.") from error
    if missing := [name for name in needed if name not in table]:
        raise FileError(path, f"has no column {', '.join(missing)}.", "Interpret again.")
    return table
