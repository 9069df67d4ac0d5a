"""What must hold of a table before anything is learnt from it; every error names cell, feature and value."""

from __future__ import annotations

import numpy as np
from scipy import sparse

from napari_apollo.errors import DataError
from napari_apollo.tables.reading import Table

COUNTS = ("nb", "poisson", "bernoulli", "bce")
"""Losses that are for what cannot be negative."""

WHOLE = ("nb", "poisson")
"""Losses that are for whole numbers."""


def check_values(table: Table, loss: str, preparation: str = "none") -> None:
    """Refuse values that a loss cannot work on.

    Raises
    ------
    DataError
        When values are not finite; negative, or not whole, where the loss is for counts; outside 0 to 1 for
        ``bce`` of values as they are; or all 0 in a cell or a feature where they are counts.
    """
    stored = table.stored()
    _refuse(table, ~np.isfinite(stored), "are not finite", "Leave these cells out, or fill them in.")
    if loss not in COUNTS:
        return
    hint = "Take a loss for such values (gaussian, mse), or name the layer of the raw counts by layer."
    _refuse(table, stored < 0, f"are negative, which the loss {loss!r} cannot take", hint)
    if loss in WHOLE:
        _refuse(
            table, stored != np.rint(stored), f"are no whole numbers, which the loss {loss!r} needs", hint
        )
    if loss == "bce" and preparation == "none":
        _refuse(
            table,
            stored > 1,
            "are above 1, which the loss 'bce' cannot take as they are",
            "Say prepare paper.",
        )
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
