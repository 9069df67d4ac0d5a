from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from napari_apollo.annotate import (
    annotation_table,
    export_annotations,
    open_annotations,
    read_annotations,
    write_annotations,
)  # fmt: skip
from napari_apollo.cells import CellStore, CellStoreWriter
from napari_apollo.panels import Panel


@pytest.fixture
def store(tmp_path: Path) -> CellStore:
    rng = np.random.default_rng(0)
    panel = Panel(name="p", stains=("DAPI", "CD3"))
    path = tmp_path / "s.cells.zarr"
    obs = pd.DataFrame(
        {
            "field": "f", "label": np.arange(1, 9), "donor": ["one"] * 4 + ["two"] * 4,
            "qc": [True] * 7 + [False], "qc_reason": [""] * 7 + ["border"],
        }
    )  # fmt: skip
    with CellStoreWriter(path, [panel], crop_size=8, dtype="uint16", pixel_size_um=None) as writer:
        writer.append(
            "p", rng.integers(0, 900, (8, 2, 8, 8), dtype=np.uint16), np.full((8, 8, 8), 2, np.uint8), obs
        )
    return CellStore.open(path)


def test_into_the_store_and_out_again(store: CellStore, tmp_path: Path) -> None:
    cells = store.obs["cell_id"].to_list()
    with open_annotations(store, "ada") as ada, open_annotations(store, "bob") as bob:
        ada.label(cells[:3], "round")
        bob.label(cells[:2], "round")
        bob.label(cells[2:4], "flat")
        ada.exclude([cells[5], cells[7]])
        write_annotations(store)
        obs = CellStore.open(store.path).obs
        assert obs["annotation"].tolist() == ["round", "round", "", "flat", "", "", "", ""]
        assert obs["annotation_ada"].tolist() == ["round"] * 3 + [""] * 5
        assert obs["qc"].tolist() == [True] * 5 + [False, True, False]
        assert obs["qc_reason"].tolist() == [""] * 5 + ["excluded", "", "border;excluded"]

        ada.exclude([cells[5], cells[7]], False)
        bob.label(cells, "")
        write_annotations(store)
        obs = CellStore.open(store.path).obs
        assert obs["qc"].tolist() == [True] * 7 + [False]
        assert obs["qc_reason"].tolist() == [""] * 7 + ["border"]
        assert obs["annotation"].tolist() == ["round"] * 3 + [""] * 5

    path = export_annotations(store, tmp_path / "out.csv")
    read = pd.read_csv(path, keep_default_na=False)
    assert read["cell_id"].tolist() == cells
    assert read["annotation_ada"].tolist() == ["round"] * 3 + [""] * 5
    assert store.verify() == []


def test_only_the_people_asked_for(store: CellStore) -> None:
    with open_annotations(store, "ada") as ada, open_annotations(store, "bob") as bob:
        ada.label(store.obs["cell_id"][:1], "round")
        bob.label(store.obs["cell_id"][:1], "flat")
    people = read_annotations(store)
    table = annotation_table(store, {"ada": people["ada"]})
    assert table["annotation"][0] == "round"
    assert "annotation_bob" not in table
    assert annotation_table(store, {})["annotation"].eq("").all()
