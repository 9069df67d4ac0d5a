"""Annotations as a table, as CSV, and in the table of the store."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from napari_apollo.annotate.agreement import consensus
from napari_apollo.annotate.annotations import Annotations
from napari_apollo.annotate.files import read_annotations
from napari_apollo.cells import CellStore
from napari_apollo.storage import whole_file

if TYPE_CHECKING:
    import anndata

COLUMN = "annotation"
EXCLUDED = "excluded"
"""Reason in ``qc_reason`` of a cell that somebody left out."""

_ABOUT = ("cell_id", "panel", "field", "image", "donor", "condition", "label", "y", "x")


def annotation_table(store: CellStore, people: Mapping[str, Annotations] | None = None) -> pd.DataFrame:
    """Every cell of a store with what people said.

    Parameters
    ----------
    store
        The cells.
    people
        Annotations by person; those of all journals of the store where not given.

    Returns
    -------
    pandas.DataFrame
        Columns about the cell, ``annotation`` (the class that most people gave it; empty where as many
        gave another one, or nobody any), ``excluded`` (whether anybody left it out), and for each person
        ``annotation_NAME`` and ``excluded_NAME``.
    """
    people = read_annotations(store) if people is None else people
    table = store.obs[list(_ABOUT)].reset_index(drop=True)
    cells = table["cell_id"].to_numpy()
    agreed = consensus({name: own.labels for name, own in people.items()})
    table[COLUMN] = [agreed.get(cell, "") for cell in cells]
    excluded = [own.excluded_among(cells) for own in people.values()]
    table[EXCLUDED] = np.logical_or.reduce([*excluded, np.zeros(len(cells), bool)])
    for (name, own), left_out in zip(people.items(), excluded, strict=True):
        table[f"{COLUMN}_{name}"] = [own.labels.get(cell, "") for cell in cells]
        table[f"{EXCLUDED}_{name}"] = left_out
    return table


def export_annotations(
    store: CellStore, path: Path | str, people: Mapping[str, Annotations] | None = None
) -> Path:
    """Write ``annotation_table`` as CSV, whole or not at all."""
    table = annotation_table(store, people)
    with whole_file(Path(path)) as partial:
        table.to_csv(partial, index=False)
    return Path(path)


def write_annotations(store: CellStore, people: Mapping[str, Annotations] | None = None) -> None:
    """Put annotations into the store's table, in the place of those that are there.

    ``obs["annotation"]`` and, for each person, ``obs["annotation_NAME"]`` become those of
    ``annotation_table``. Cells that somebody left out fail the quality check with the reason ``excluded``;
    cells taken in again pass it unless there is another reason.
    """
    said = annotation_table(store, people)
    store.update_table(lambda table: _with_annotations(table, said))


def _with_annotations(table: anndata.AnnData, said: pd.DataFrame) -> anndata.AnnData:
    table = table.copy()
    obs = table.obs
    for column in [name for name in obs.columns if name.startswith(f"{COLUMN}_")]:
        del obs[column]
    for column in said.columns:
        if column == COLUMN or column.startswith(f"{COLUMN}_"):
            obs[column] = said[column].to_numpy(object)
    reasons = [
        [reason for reason in str(text).split(";") if reason and reason != EXCLUDED]
        for text in obs["qc_reason"]
    ]
    was_excluded = np.array([EXCLUDED in str(text).split(";") for text in obs["qc_reason"]], bool)
    left_out = said[EXCLUDED].to_numpy(bool)
    touched = np.flatnonzero(was_excluded | left_out)
    passed = obs["qc"].to_numpy(bool).copy()
    words = obs["qc_reason"].astype(str).to_numpy(object).copy()
    for position in touched:
        own = [*reasons[position], EXCLUDED] if left_out[position] else reasons[position]
        words[position] = ";".join(own)
        passed[position] = not own
    obs["qc"], obs["qc_reason"] = passed, words
    return table
