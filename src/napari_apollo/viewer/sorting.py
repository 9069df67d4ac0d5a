"""Which cells a gallery shows, and in which order.

Nothing here needs a window.
"""

from __future__ import annotations

from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from napari_apollo.annotate import Annotations, Suggestions
from napari_apollo.viewer.columns import CellColumns

Shown = Literal["all", "not annotated", "annotated", "excluded", "selected", "disagreeing"]

SHOWN: dict[Shown, str] = {
    "all": "All cells",
    "not annotated": "Not annotated",
    "annotated": "Annotated",
    "excluded": "Excluded",
    "selected": "Selected",
    "disagreeing": "Not as suggested",
}
"""What a gallery may show, in words."""

TABLE_ORDER = "Order of the table"
UNCERTAIN = "Most uncertain first"
LIKELY = "Likely: "
"""Followed by the name of a class."""


def orders(columns: CellColumns, suggestions: Suggestions | None) -> list[str]:
    """Names of the orders there are: by suggestion first, then by every numeric column."""
    own = [TABLE_ORDER]
    if suggestions is not None:
        own += [UNCERTAIN, *(f"{LIKELY}{name}" for name in suggestions.classes)]
    return [*own, *columns.numbers]


def cells_shown(
    columns: CellColumns,
    annotations: Annotations | None,
    suggestions: Suggestions | None,
    *,
    shown: Shown = "all",
    order: str = TABLE_ORDER,
    rising: bool = False,
    selection: ArrayLike = (),
) -> NDArray[np.int64]:
    """Positions of the cells that a gallery shows, in its order.

    Parameters
    ----------
    columns
        The cells.
    annotations
        What the annotator said.
    suggestions
        What the classifier says.
    shown
        Which cells. Excluded cells are in ``all`` and ``excluded`` alone.
    order
        One of ``orders``.
    rising
        For a numeric column, small values first. Cells without a value come last.
    selection
        The selected cells.
    """
    store = columns.store
    ids = store.obs["cell_id"].to_numpy()
    count = len(ids)
    keep = np.ones(count, bool)
    if annotations is not None and shown not in ("all", "selected"):
        excluded = annotations.excluded_among(ids)
        codes = annotations.codes(ids)
        if shown == "excluded":
            keep = excluded
        elif shown == "disagreeing":
            keep = ~excluded & _disagreeing(annotations, suggestions, codes)
        else:
            keep = ~excluded & ((codes >= 0) == (shown == "annotated"))
    if shown == "selected":
        keep = np.zeros(count, bool)
        keep[np.asarray(selection, np.int64)] = True
    key = _key(columns, suggestions, order, rising)
    positions = np.flatnonzero(keep)
    return positions[np.argsort(key[positions], kind="stable")].astype(np.int64)


def _disagreeing(
    annotations: Annotations, suggestions: Suggestions | None, codes: NDArray[np.int16]
) -> NDArray[np.bool_]:
    if suggestions is None:
        return np.zeros(len(codes), bool)
    names = np.array([*annotations.classes, ""], object)[codes]
    said = np.array(suggestions.classes, object)[suggestions.codes]
    differs: NDArray[np.bool_] = (codes >= 0) & (names != said)
    return differs


def _key(
    columns: CellColumns, suggestions: Suggestions | None, order: str, rising: bool
) -> NDArray[np.float64]:
    count = columns.store.n_cells
    if suggestions is not None and order == UNCERTAIN:
        return -suggestions.uncertainty.astype(np.float64)
    if suggestions is not None and order.removeprefix(LIKELY) in suggestions.classes:
        place = suggestions.classes.index(order.removeprefix(LIKELY))
        return -suggestions.probability[:, place].astype(np.float64)
    if order in columns.numbers:
        values = columns.column(order).values
        return np.where(np.isfinite(values), values if rising else -values, np.inf)
    return np.arange(count, dtype=np.float64)
