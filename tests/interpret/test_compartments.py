"""Compartments with planted answers, and the published procedure on cells with known causes."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest

from napari_apollo.errors import DataError
from napari_apollo.interpret.compartments import localisation_carriers
from napari_apollo.interpret.published import published_procedure


def test_the_planted_compartment_leads() -> None:
    rng = np.random.default_rng(0)
    donors = np.repeat([f"w{k}" for k in range(6)], 60)
    names = [
        f"{stain} {part}" for stain in ("nucleus", "ER", "microtubules") for part in ("shared", "specific")
    ]
    blocks = {name: rng.normal(size=(360, 3)) for name in names}
    well = np.repeat(rng.normal(size=6), 60)
    blocks["nucleus shared"] = blocks["nucleus shared"] + well[:, None]
    localisation = pd.DataFrame(
        {
            "by ER": blocks["ER specific"][:, 0] + 0.8 * rng.normal(size=360) + well,
            "by nucleus": blocks["nucleus shared"] @ [1, 1, 0] + rng.normal(size=360),
            "by wells alone": well + 0.3 * rng.normal(size=360),
            "constant": 1.0,
        }
    )
    localisation.iloc[:60, 1] = np.nan
    table = localisation_carriers(blocks, localisation, donors, permutations=40)
    leads = table[table["leads"]].set_index("protein")["block"]
    assert leads.to_dict() == {"by ER": "ER specific", "by nucleus": "nucleus shared"}
    found = table[(table["protein"] == "by ER") & (table["block"] == "ER specific")].iloc[0]
    assert 0.4 < found["r2"] < 0.75
    assert found["low"] <= found["r2"] <= found["high"]
    assert (table["q"] <= 0.05).sum() <= 3
    assert (table[table["protein"] == "constant"]["note"] != "").all()
    with pytest.raises(DataError, match="has 2 cells"):
        localisation_carriers({"x": np.zeros((2, 1))}, localisation, donors)


def test_noise_proteins_give_no_discoveries_at_the_stated_rate() -> None:
    rng = np.random.default_rng(1)
    donors = np.repeat([f"w{k}" for k in range(5)], 50)
    found = 0
    for seed in range(12):
        blocks = {name: rng.normal(size=(250, 2)) for name in "abcd"}
        noise = pd.DataFrame(rng.normal(size=(250, 3)))
        table = localisation_carriers(blocks, noise, donors, permutations=25, seed=seed)
        found += bool((table["q"] <= 0.05).any())
    assert found <= 3  # 0.6 of 12 are expected


def test_the_published_procedure_finds_what_was_planted(planted: SimpleNamespace) -> None:
    found = published_procedure(planted.cells, hold_outs=4, donors_per_condition=2)
    shares = found.shares.set_index("feature")
    assert shares.loc["foci_count_gammaH2AX", "specific"] > 0
    assert found.table["agreement"].max() <= 4
    assert (found.table["agreement"] <= found.table["hold_outs"]).all()
    again = published_procedure(planted.cells, hold_outs=4, donors_per_condition=2)
    pd.testing.assert_frame_equal(found.table, again.table)


def test_the_published_procedure_with_too_few_cells(planted: SimpleNamespace) -> None:
    few = planted.cells.select(np.arange(0, len(planted.cells), 8))
    found = published_procedure(few, hold_outs=2)
    assert any("fewer than 3 cells" in note for note in found.notes)
    one = planted.cells.select(np.flatnonzero(planted.cells.donors == "D1"))
    assert isinstance(published_procedure(one, hold_outs=2).table, pd.DataFrame)
