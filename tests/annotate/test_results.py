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


def placed_store(path: Path, centres: list[tuple[float, float]]) -> CellStore:
    """Nuclei of 100 pixels, numbered in the order of their places."""
    y, x = np.array(centres).T
    obs = pd.DataFrame(
        {
            "field": "f",
            "label": np.arange(1, len(y) + 1),
            "y": y,
            "x": x,
            "nucleus_area_px": 100,
            "donor": "d",
        }
    )
    images = np.arange(len(y) * 128, dtype=np.uint16).reshape(len(y), 2, 8, 8)
    panel = Panel(name="p", stains=("DAPI", "CD3"))
    with CellStoreWriter(path, [panel], crop_size=8, dtype="uint16", overwrite=True) as writer:
        writer.append("p", images, np.full((len(y), 8, 8), 2, np.uint8), obs)
    return CellStore.open(path)


def test_words_about_a_nucleus_never_pass_to_another_one(tmp_path: Path) -> None:
    path = tmp_path / "s.cells.zarr"
    with open_annotations(placed_store(path, [(10, 10), (10, 40), (40, 10)]), "ada") as ada:
        ada.label(["f:1", "f:2"], "round")
        ada.exclude(["f:3"])
    # An outline was corrected (f:1), a nucleus was found besides, and those behind it have other numbers.
    anew = placed_store(path, [(12, 9), (25, 25), (10, 40), (40, 10)])
    for store in (anew, path):
        (own,) = read_annotations(store).values()
        assert own.labels == {"f:1": "round"}
        assert own.excluded == set()
        assert own.strays == {"f:2", "f:3"}
    write_annotations(anew)
    assert CellStore.open(path).obs["annotation"].tolist() == ["round", "", "", ""]
    with open_annotations(anew, "ada") as ada:
        ada.label(["f:3"], "round")
        ada.undo()
        ada.redo()
    (own,) = read_annotations(anew).values()
    assert own.labels == {"f:1": "round", "f:3": "round"}
    with open_annotations(anew, "ada") as ada:
        for _ in range(3):
            ada.undo()
        assert own.labels.keys() - ada.labels.keys() == {"f:1", "f:3"}
