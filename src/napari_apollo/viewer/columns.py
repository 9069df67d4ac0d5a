"""Everything that is known about cells as columns with names: to colour by, to sort by, to plot.

Nothing here needs a window.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from napari_apollo.errors import DataError
from napari_apollo.interpret.axes import PrincipalAxes, principal_axes

if TYPE_CHECKING:
    from napari_apollo.cells import CellStore

Kind = Literal["groups", "number"]

GROUP_COLOURS = (
    "#56b4e9", "#e69f00", "#00b585", "#cc79a7", "#f0e442", "#d55e00", "#7f9cff", "#b08cff", "#8d8d8d",
    "#a6d854", "#ff9da7", "#17becf",
)  # fmt: skip
_NOTHING = "#5f646b"
_MOST_GROUPS = 40
_FIRST = ("panel", "donor", "condition", "annotation", "field", "split", "qc", "qc_reason")
_HIDDEN = {"cell_id", "image", "row", "label", "centre_y", "centre_x", "scale"}
_AXES = 10


@dataclass(frozen=True)
class Column:
    """Values of a column.

    Attributes
    ----------
    name
        As people see it.
    kind
        ``groups`` or ``number``.
    values
        (cell,) float64, NaN where not known; for groups the number of the group, -1 for none.
    groups
        Names of the groups.
    colours
        Colours of the groups, ``#rrggbb``; ``GROUP_COLOURS`` in turn where not given.
    """

    name: str
    kind: Kind
    values: NDArray[np.float64]
    groups: tuple[str, ...] = ()
    colours: tuple[str, ...] = ()

    @property
    def palette(self) -> tuple[str, ...]:
        """Colour of each group."""
        return self.colours or tuple(
            GROUP_COLOURS[number % len(GROUP_COLOURS)] for number in range(len(self.groups))
        )


class CellColumns:
    """Columns of a cell store's table.

    Parameters
    ----------
    store
        The cells.
    """

    def __init__(self, store: CellStore) -> None:
        self.store = store
        self._axes: dict[str, PrincipalAxes] = {}

    @cached_property
    def names(self) -> tuple[str, ...]:
        """Names of all columns: about the cell, its scores, its measurements."""
        obs = self.store.obs
        own = [name for name in _FIRST if name in obs]
        own += [name for name in obs.columns if name not in own and name not in _HIDDEN]
        return (*own, *self._scores, *self._features)

    @cached_property
    def numbers(self) -> tuple[str, ...]:
        """Names of the columns with numbers."""
        obs = self.store.obs
        own = [
            name
            for name in self.names
            if name in obs and pd.api.types.is_numeric_dtype(obs[name]) and obs[name].dtype != bool
        ]
        return (*own, *self._scores, *self._features)

    @cached_property
    def blocks(self) -> tuple[str, ...]:
        """Blocks of latents, the shared one first."""
        found = [
            str(key)
            for key, values in self.store.table.obsm.items()
            if isinstance(values, np.ndarray) and values.ndim == 2 and values.shape[1] > 0
        ]
        return tuple(sorted(found, key=lambda name: (name != "shared", name.startswith("shared_from"), name)))

    def column(self, name: str) -> Column:
        """A column.

        Raises
        ------
        DataError
            When there is none of that name.
        """
        obs = self.store.obs
        if name in obs and name in self.names:
            if name in self.numbers:
                return Column(name, "number", obs[name].to_numpy(np.float64))
            return _groups(name, obs[name])
        if name in self._scores:
            key, stain = self._scores[name]
            values = self.store.table.obsm[key][stain].to_numpy(np.float64)
            return Column(name, "number", values)
        if name in self._features:
            values = np.asarray(self.store.table.X[:, self._features[name]], np.float64).ravel()
            return Column(name, "number", values)
        raise DataError(f"The cells have no column {name!r}.")

    def axes(self, block: str) -> PrincipalAxes:
        """Principal axes of a block of latents; computed once.

        Raises
        ------
        DataError
            When there is no such block.
        """
        if block not in self._axes:
            self._axes[block] = principal_axes(self.latents(block), _AXES)
        return self._axes[block]

    def latents(self, block: str) -> NDArray[np.float32]:
        """Latents of a block, (cell, dimension), NaN where a cell has none."""
        if block not in self.blocks:
            raise DataError(f"The cells have no latents {block!r}; there are {', '.join(self.blocks)}.")
        values: NDArray[np.float32] = np.asarray(self.store.table.obsm[block], np.float32)
        return values

    def mean(self, block: str) -> NDArray[np.float64]:
        """Mean of a block over the cells that have it, (dimension,)."""
        return self.axes(block).mean

    def measurements(self, cells: NDArray[np.int64] | None = None) -> pd.DataFrame:
        """All numeric columns of some cells, or of all; one row a cell."""
        rows = np.arange(self.store.n_cells) if cells is None else cells
        parts = {name: self.column(name).values[rows] for name in self.numbers if name not in self._features}
        frame = pd.DataFrame(parts)
        if self._features:
            values = pd.DataFrame(np.asarray(self.store.table.X)[rows], columns=list(self._features))
            frame = pd.concat([frame, values], axis=1)
        return frame

    @cached_property
    def _scores(self) -> dict[str, tuple[str, str]]:
        return {
            f"{key} {stain}": (str(key), str(stain))
            for key, values in self.store.table.obsm.items()
            if isinstance(values, pd.DataFrame)
            for stain in values.columns
        }

    @cached_property
    def _features(self) -> dict[str, int]:
        taken = set(self.store.obs.columns)
        return {
            (f"{name} (measured)" if name in taken else str(name)): position
            for position, name in enumerate(self.store.table.var_names)
        }


def block_title(block: str) -> str:
    """A block of latents in words.

    Examples
    --------
    >>> block_title("protein_specific_CD4")
    'CD4 specific'
    """
    for prefix, words in (("shared_from_", "shared, told by {}"), ("protein_specific_", "{} specific")):
        if block.startswith(prefix):
            return words.format(block.removeprefix(prefix))
    return block.replace("_", " ")


def colours_of(column: Column) -> tuple[NDArray[np.uint8], list[tuple[str, str]]]:
    """A colour for each cell, and what colours mean.

    Returns
    -------
    colours : ndarray of uint8 (cell, 3)
        Groups by ``GROUP_COLOURS``; numbers by viridis between their percentiles 1 and 99. Cells without a
        value are grey.
    legend : list of (text, ``#rrggbb``)
        Of groups each, of numbers the two ends.
    """
    values = column.values
    nothing = _rgb(_NOTHING)
    if column.kind == "groups":
        palette = np.array([_rgb(colour) for colour in column.palette], np.uint8)
        table = np.vstack([palette.reshape(-1, 3), nothing]).astype(np.uint8)
        legend = [
            (name or "(none)", colour) for name, colour in zip(column.groups, column.palette, strict=True)
        ]
        return table[values.astype(np.int64)], legend
    low, high = number_range(values)
    ramp = _viridis()
    table = np.vstack([ramp, nothing]).astype(np.uint8)
    scaled = np.clip((values - low) / (high - low), 0, 1) * (len(ramp) - 1)
    index = np.where(np.isfinite(scaled), np.nan_to_num(scaled), len(ramp)).astype(np.int64)
    ends = [(f"{low:.3g}", _hex(ramp[0])), (f"{high:.3g}", _hex(ramp[-1]))]
    return table[index], ends


def number_range(values: NDArray[np.float64]) -> tuple[float, float]:
    """Percentiles 1 and 99 of the known values; never equal."""
    known = values[np.isfinite(values)]
    if not len(known):
        return 0.0, 1.0
    low, high = (float(value) for value in np.percentile(known, (1, 99)))
    return (low, high) if high > low else (low, low + max(1.0, abs(low)) * 1e-6)


def _groups(name: str, values: pd.Series[Any]) -> Column:
    codes, found = pd.factorize(values.astype(str), sort=True)
    groups = tuple(str(group) for group in found)
    if len(groups) > _MOST_GROUPS:  # the largest are told apart
        counts = np.bincount(codes, minlength=len(groups))
        kept = np.sort(np.argsort(-counts, kind="stable")[: _MOST_GROUPS - 1])
        place = np.full(len(groups), _MOST_GROUPS - 1)
        place[kept] = np.arange(len(kept))
        codes, groups = place[codes], (*(groups[k] for k in kept), "others")
    return Column(name, "groups", codes.astype(np.float64), groups)


def _viridis() -> NDArray[np.uint8]:
    from matplotlib import colormaps

    ramp: NDArray[np.uint8] = (colormaps["viridis"](np.linspace(0, 1, 256))[:, :3] * 255).astype(np.uint8)
    return ramp


def _rgb(colour: str) -> tuple[int, int, int]:
    return int(colour[1:3], 16), int(colour[3:5], 16), int(colour[5:7], 16)


def _hex(rgb: NDArray[np.uint8]) -> str:
    return "#{:02x}{:02x}{:02x}".format(*(int(part) for part in rgb))
