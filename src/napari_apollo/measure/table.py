"""The table's side of measuring: what every column is, and putting columns into an AnnData."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from napari_apollo.errors import DataError
from napari_apollo.measure.config import MeasureConfig
from napari_apollo.measure.reasons import count_reasons
from napari_apollo.measure.registry import Column

if TYPE_CHECKING:
    import anndata

MEASURE_VERSION = 3
"""Goes up whenever a feature's value would change; recorded in the table."""

_MADE_BY, _MEASURE, _COLUMNS = "made_by", "measure", "columns"


def describe(columns: Sequence[Column], pixel_size_um: float | None) -> pd.DataFrame:
    """What every column is.

    Returns
    -------
    pandas.DataFrame
        Indexed by column name: ``family``, ``feature``, ``region``, ``stain``, ``unit`` (µm where the
        pixel size is known, else px), ``description``, ``source``, ``missing`` (what NaN means),
        ``turns`` (whether turning the image changes it).
    """
    length = "px" if pixel_size_um is None else "µm"
    rows = [
        {
            "family": column.family,
            "feature": column.feature.name,
            "region": column.region,
            "stain": "+".join(column.stains),
            "unit": column.feature.unit_in(length),
            "description": column.feature.formula,
            "source": column.feature.origin,
            "missing": column.feature.missing,
            "turns": column.feature.turns,
        }
        for column in columns
    ]
    names = [column.name for column in columns]
    keys = ["family", "feature", "region", "stain", "unit", "description", "source", "missing", "turns"]
    return pd.DataFrame(rows, index=pd.Index(names, name="name"), columns=keys)


def record_of(config: MeasureConfig, pixel_size_um: float | None, why: NDArray[np.uint8]) -> dict[str, Any]:
    """What ``uns["measure"]`` says of a measurement: version, settings, pixel size, missing values."""
    return {
        "measure_version": MEASURE_VERSION,
        "parameters": json.dumps(config.model_dump(mode="json", exclude={"workers", "scheduler"})),
        "pixel_size_um": np.nan if pixel_size_um is None else float(pixel_size_um),
        "missing": count_reasons(why),
    }


def without_measured(table: anndata.AnnData) -> anndata.AnnData:
    """Table without the columns that were measured here; everything else is kept, in the same memory.

    Parameters
    ----------
    table
        The table as it is; it is not changed.
    """
    import anndata

    kept = table[:, ~_is_own(table)]
    return anndata.AnnData(
        X=np.zeros((table.n_obs, 0), np.float32) if kept.X is None else _dense(kept.X).astype(np.float32),
        obs=table.obs,
        var=kept.var.copy(),
        uns=dict(table.uns),
        obsm=dict(table.obsm),
        obsp=dict(table.obsp),
        layers={name: _dense(layer) for name, layer in kept.layers.items()},
    )


def with_columns(
    others: anndata.AnnData, values: NDArray[np.float32], var: pd.DataFrame, uns: Mapping[str, Any]
) -> anndata.AnnData:
    """Table with measured columns after its own.

    Parameters
    ----------
    others
        The table without measured columns; it is not changed.
    values
        (cell, column of ``others`` and then of ``var``), in the order of the table's rows. The first are
        filled in here, so that the measured ones, which are many, need not be held twice.
    var
        Description of the measured columns, indexed by their names.
    uns
        What ``uns["measure"]`` is to hold.
    """
    import anndata

    if others.n_vars:
        values[:, : others.n_vars] = others.X
    new_var = pd.concat([others.var, var.assign(**{_MADE_BY: _MEASURE})])
    for name in new_var.columns:
        if name == "turns":
            new_var[name] = new_var[name].eq(True)
        elif new_var[name].dtype == object:
            new_var[name] = new_var[name].fillna("").astype(str)
    return anndata.AnnData(
        X=values,
        obs=others.obs,
        var=new_var,
        uns={**others.uns, _MEASURE: {**uns, _COLUMNS: var.index.to_numpy(object)}},
        obsm=dict(others.obsm),
        obsp=dict(others.obsp),
        layers={
            name: np.concatenate([layer, np.full((others.n_obs, len(var)), np.nan, np.float32)], axis=1)
            for name, layer in others.layers.items()
        },
    )


def refuse_clash(others: anndata.AnnData, names: Sequence[str]) -> None:
    """Refuse to measure what somebody else's column is called.

    Raises
    ------
    DataError
        When a column of ``others`` bears one of the names.
    """
    clash = others.var_names.intersection(pd.Index(names))
    if len(clash):
        raise DataError(
            f"The table already has columns named {', '.join(clash[:5])} that were not measured here; "
            "rename them, or leave out the families that make them."
        )


def _is_own(table: anndata.AnnData) -> NDArray[np.bool_]:
    """Which columns were measured here: marked in ``var``, or listed in ``uns`` if a join lost the mark."""
    own = table.var_names.isin(np.asarray(table.uns.get(_MEASURE, {}).get(_COLUMNS, []), dtype=object))
    if _MADE_BY in table.var:
        own = own | (table.var[_MADE_BY] == _MEASURE).to_numpy()
    return np.asarray(own, bool)


def _dense(matrix: Any) -> NDArray[np.floating]:
    return np.asarray(matrix.todense() if hasattr(matrix, "todense") else matrix)
