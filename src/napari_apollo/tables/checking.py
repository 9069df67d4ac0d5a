"""What must hold of a table before anything is learnt from it; every error names cell, feature and value."""

from __future__ import annotations

import numpy as np
from scipy import sparse

from napari_apollo.errors import ConfigError, DataError
from napari_apollo.tables.reading import Table

COUNTS = ("nb", "poisson", "bernoulli", "bce")
"""Losses that are for what cannot be negative."""

WHOLE = ("nb", "poisson")
"""Losses that are for whole numbers."""

GOES_WITH = {
    "nb": ("none",),
    "poisson": ("none",),
    "bernoulli": ("none", "binarise"),
    "bce": ("none", "paper", "binarise"),
}
"""Preparations after which values are what a loss is for; the other losses take any."""

OF_COUNTS = ("paper", "binarise", "log-normalise", "clr")
"""Preparations that are for what cannot be negative."""


def check_values(table: Table, loss: str, preparation: str = "none", *, empty: bool = False) -> None:
    """Refuse values that a preparation or a loss cannot work on; ``empty`` cells and features where not
    allowed.

    Raises
    ------
    ConfigError
        When the loss is not for what the preparation makes.
    DataError
        When values are not finite; negative, or not whole, where counts are wanted; above 1 for ``bce`` and
        ``bernoulli`` of values as they are; or all 0 in a cell or a feature where they are counts.
    """
    if preparation not in GOES_WITH.get(loss, (preparation,)):
        raise ConfigError(
            f"{table.origin}: the loss {loss!r} cannot go with the preparation {preparation!r}; "
            f"{' or '.join(GOES_WITH[loss])} would do."
        )
    stored = table.stored()
    _refuse(table, ~np.isfinite(stored), "are not finite", "Leave these cells out, or fill them in.")
    if preparation not in OF_COUNTS and loss not in COUNTS:
        return
    what = f"the preparation {preparation!r}" if preparation in OF_COUNTS else f"the loss {loss!r}"
    hint = "Take a loss for such values (gaussian, mse), or name the layer of the raw counts by layer."
    _refuse(table, stored < 0, f"are negative, which {what} cannot take", hint)
    if loss in WHOLE:
        _refuse(table, stored != np.rint(stored), f"are no whole numbers, which {what} needs", hint)
    elif loss in COUNTS and preparation == "none":
        remedy = f"Say prepare {GOES_WITH[loss][1]}."
        _refuse(table, stored > 1, f"are above 1, which {what} cannot take as they are", remedy)
    if not empty:
        _refuse_empty(table)


def guess_loss(table: Table) -> str:
    """Loss that suits the values: ``bernoulli`` of zeros and ones, ``nb`` of counts, else ``gaussian``."""
    stored = table.stored()
    if not np.isfinite(stored).all() or (stored < 0).any() or (stored != np.rint(stored)).any():
        return "gaussian"
    return "bernoulli" if stored.max(initial=0) <= 1 else "nb"


def _refuse(table: Table, bad: np.ndarray, problem: str, remedy: str) -> None:
    if not bad.any():
        return
    first = int(np.argmax(bad))
    cell, feature = table.place(first)
    raise DataError(
        f"{table.origin}: {int(bad.sum())} values {problem}; the first is {table.stored()[first]:g}, "
        f"cell {cell!r}, feature {feature!r}. {remedy}"
    )


def _refuse_empty(table: Table) -> None:
    for axis, names, what, setting in (
        (1, table.cells, "cells", "least_features"),
        (0, table.features, "features", "least_cells"),
    ):
        values = table.values
        counts = values.getnnz(axis=axis) if sparse.issparse(values) else np.count_nonzero(values, axis=axis)
        empty = np.flatnonzero(counts == 0)
        if len(empty):
            shown = ", ".join(str(names[i]) for i in empty[:5]) + (", ..." if len(empty) > 5 else "")
            raise DataError(
                f"{table.origin}: {len(empty)} {what} are 0 throughout: {shown}. They can be left out by "
                f"{setting} = 1."
            )
