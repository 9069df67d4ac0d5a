"""The table of a cell store: one row per cell, as AnnData, written and read whole."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from napari_apollo.cells import checksums
from napari_apollo.errors import DataError, FileError, StoreDamaged
from napari_apollo.storage import recover_folder, whole_file, whole_folder

if TYPE_CHECKING:
    import anndata

TEXT_COLUMNS = (
    "cell_id",
    "panel",
    "field",
    "image",
    "donor",
    "condition",
    "split",
    "qc_reason",
    "annotation",
)
"""Columns of ``obs`` that hold text; they are plain text in memory, so that any word may be put into them."""

COLUMNS = (
    "cell_id",
    "panel",
    "row",
    "field",
    "image",
    "donor",
    "condition",
    "label",
    "y",
    "x",
    "centre_y",
    "centre_x",
    "scale",
    "split",
    "qc",
    "qc_reason",
    "annotation",
)
"""Columns that every table has, in this order; others follow."""

_FIXED = ("cell_id", "panel", "row")
_TRIES = 5


def make_table(obs: pd.DataFrame, uns: dict[str, Any]) -> anndata.AnnData:
    """A table without measurements.

    Raises
    ------
    DataError
        When two cells have one name.
    """
    import anndata

    twice = obs["cell_id"][obs["cell_id"].duplicated()].unique()
    if len(twice):
        listed = ", ".join(map(str, twice[:5]))
        raise DataError(
            f"{len(twice)} cell names stand for more than one cell ({listed}): a label occurs once in a "
            "field, and a field once in a study."
        )
    index = pd.Index(obs["cell_id"].astype(str).to_numpy(), dtype=object, name=None)
    return anndata.AnnData(
        X=np.zeros((len(obs), 0), np.float32), obs=obs.set_index(index, drop=False).rename_axis(None), uns=uns
    )


def write_whole(table: anndata.AnnData, folder: Path) -> None:
    """Write a table's folder with its checksums, and put it in the place of the one that is there."""
    with whole_folder(folder, overwrite=True) as partial:
        write_folder(table, partial)


def write_folder(table: anndata.AnnData, folder: Path) -> None:
    """Write a table as zarr v3 into an empty folder and seal it."""
    import anndata

    coded = _coded(table)
    with warnings.catch_warnings(), anndata.settings.override(zarr_write_format=3, auto_shard_zarr_v3=False):
        # zarr says of every text array that its format is not yet part of the specification.
        warnings.filterwarnings("ignore", module="zarr")
        warnings.filterwarnings("ignore", module="anndata")
        coded.write_zarr(folder, convert_strings_to_categoricals=False)
    checksums.seal_group(folder, {}, checksums.sums_of_folder(folder, synced=True))


def _coded(table: anndata.AnnData) -> anndata.AnnData:
    """The table with its text as categories; everything else is the same memory, as it may be large."""
    import anndata

    texts = {
        column: table.obs[column].astype(str).astype("category")
        for column in TEXT_COLUMNS[1:]
        if column in table.obs
    }
    coded = anndata.AnnData(
        X=table.X,
        obs=table.obs.assign(**texts),
        var=table.var,
        uns=table.uns,
        **{name: dict(getattr(table, name)) for name in ("layers", "obsm", "obsp", "varm", "varp")},
    )
    if table.raw is not None:
        coded.raw = table.raw.to_adata()
    return coded


def read_folder(folder: Path) -> anndata.AnnData:
    """Read a table after checking that every byte is as it was written.

    Raises
    ------
    StoreDamaged
        When it is not.
    """
    import anndata

    problems = checksums.damage_below(folder)
    if problems:
        raise StoreDamaged(folder, "the table is damaged: " + " ".join(problems[:3]))
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", module="zarr")
        warnings.filterwarnings("ignore", module="anndata")
        table = anndata.read_zarr(folder)
    for column in TEXT_COLUMNS:
        if column in table.obs:
            table.obs[column] = table.obs[column].astype(object)
    table.obs_names = pd.Index(table.obs["cell_id"].to_numpy(), dtype=object)
    return table


def version(folder: Path) -> str:
    """Stands for what a table holds: the digest of its description, which has the checksums of all its files.

    Empty while there is none, as in the moment in which one table takes the place of another.
    """
    try:
        return str(checksums.sum_of((folder / checksums.DESCRIPTION).read_bytes())["sha256"])
    except FileNotFoundError:
        return ""


def read_settled(folder: Path) -> tuple[anndata.AnnData, str]:
    """Read a table, and its version, while others may be replacing it.

    Raises
    ------
    StoreDamaged
        When it is damaged, and not merely being replaced.
    """
    for _ in range(_TRIES):
        before = version(folder)
        try:
            table = read_folder(folder)
        except (StoreDamaged, OSError, KeyError, ValueError):
            # Half of it may have been read before, half after.
            if before and version(folder) == before:
                raise
            recover_folder(folder)
            continue
        if version(folder) == before:
            return table, before
    return read_folder(folder), version(folder)


def check_replacement(new: anndata.AnnData, old: anndata.AnnData) -> None:
    """Refuse a table that is not about the same cells in the same order.

    Raises
    ------
    DataError
        When a required column is missing, or cells were added, removed, renamed or moved.
    """
    missing = [column for column in COLUMNS if column not in new.obs]
    if missing:
        raise DataError(f"The table lacks the columns {', '.join(missing)}.")
    for column in _FIXED:
        if len(new) != len(old) or not np.array_equal(new.obs[column].to_numpy(), old.obs[column].to_numpy()):
            raise DataError(
                f"The table is not about the store's {len(old)} cells in their order (its {column} differs); "
                "change columns and measurements, not which cells there are."
            )


def export(table: anndata.AnnData, path: Path) -> None:
    """Write a table for other programs, whole or not at all.

    Parameters
    ----------
    table
        The table.
    path
        ``.csv`` (obs, then X with the names of its columns) or ``.h5ad``.

    Raises
    ------
    FileError
        When the suffix is neither.
    """
    suffix = path.suffix.lower()
    if suffix not in {".csv", ".h5ad"}:
        raise FileError(
            path, f"a table cannot be written as {suffix or 'a file without suffix'}.", "Use .csv or .h5ad."
        )
    with whole_file(path) as partial:
        if suffix == ".csv":
            values = pd.DataFrame(np.asarray(table.X), index=table.obs_names, columns=table.var_names)
            pd.concat([table.obs, values], axis=1).to_csv(partial, index=False)
        else:
            table.copy().write_h5ad(partial)
