"""Directions and shares on cells whose causes are known: what was planted is found, and nothing else."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest

from napari_apollo.errors import DataError
from napari_apollo.interpret.cells import LatentCells, normal_scores, usable
from napari_apollo.interpret.compartments import carriers_in_words
from napari_apollo.interpret.directions import find_directions
from napari_apollo.interpret.findings import Interpretation
from napari_apollo.interpret.phenotypes import Phenotypes, classify
from napari_apollo.interpret.published import published_procedure
from napari_apollo.interpret.shares import feature_shares, shares_by_block


def test_shares_find_what_was_planted(planted: SimpleNamespace) -> None:
    table = feature_shares(planted.cells, folds=4).set_index("feature")
    for feature in ("nucleus_area", "heterochromatin"):
        assert table.loc[feature, "carried_by"] == "shared"
        assert table.loc[feature, "shared"] > 0.6
        assert table.loc[feature, "chromatin"] < 0.1
    assert table.loc["foci_count_gammaH2AX", "carried_by"] == "protein"
    assert table.loc["foci_count_gammaH2AX", "protein"] > 0.5
    assert table.loc["foci_count_gammaH2AX", "shared"] < 0.1
    assert table.loc["grain_DAPI", "carried_by"] == "chromatin"
    assert np.isnan(table.loc["grain_DAPI", "protein"])
    assert table.loc["noise", "carried_by"] == "nothing"
    inside = table["shared_low"] <= table["shared"]
    assert inside.all()
    summary = shares_by_block(feature_shares(planted.cells, probe="linear"))
    assert summary.loc["gammaH2AX", "protein"] > summary.loc["gammaH2AX", "shared"]


def test_directions_find_what_was_planted(planted: SimpleNamespace) -> None:
    found = find_directions(planted.cells, count=3, permutations=40)
    table = found.table[found.table["discovery"]]
    of = {block: set(part["feature"]) for block, part in table.groupby("block")}
    assert {"nucleus_area", "heterochromatin"} <= of["shared"]
    assert "foci_count_gammaH2AX" in of["protein_specific_gammaH2AX"]
    assert "foci_count_gammaH2AX" not in of["shared"]
    assert "grain_DAPI" in of["chromatin_specific"]
    assert "noise" not in set(table["feature"])
    first = found.summary.set_index(["block", "axis"]).loc[("shared", 1)]
    assert "nucleus area" in first["name"] or "heterochromatin" in first["name"]
    assert 0.5 < first["stability"] <= 1
    row = table[
        (table["block"] == "protein_specific_gammaH2AX") & (table["feature"] == "foci_count_gammaH2AX")
    ]
    assert (np.sign(row["rho"]) == np.sign(row["delta"])).all()
    assert (row["reproduced"] > 0.9).all()


def test_intervals_are_those_of_the_correlation_that_stands_beside_them() -> None:
    """A donor of many cells weighs more in the mean, and so in the draws of donors."""
    rng = np.random.default_rng(8)
    donor = np.repeat(["large", "a", "b", "c", "d"], [600, 15, 15, 15, 15])
    latents = rng.normal(size=(len(donor), 1))
    tied = latents[:, 0] + 0.3 * rng.normal(size=len(donor))
    feature = np.where(donor == "large", tied, rng.normal(size=len(donor)))
    obs = pd.DataFrame({"cell_id": np.arange(len(donor)).astype(str), "donor": donor, "condition": "x"})
    cells = LatentCells(obs, {"shared": latents}, pd.DataFrame({"f": feature}), ("",))
    (row,) = find_directions(cells, permutations=10).table.to_dict("records")
    assert abs(row["rho"]) > 0.7
    assert row["low"] <= row["rho"] <= row["high"]


def test_donors_alone_are_no_discovery(planted: SimpleNamespace) -> None:
    """Cells shuffled within donors keep all that differs between donors, and nothing else."""
    rng = np.random.default_rng(0)
    cells = planted.cells
    order = np.arange(len(cells))
    for donor in set(cells.donors):
        own = np.flatnonzero(cells.donors == donor)
        order[own] = rng.permutation(own)
    shuffled = LatentCells(
        cells.obs, cells.blocks, cells.features.iloc[order].reset_index(drop=True), cells.stains
    )
    assert not find_directions(shuffled, count=3, permutations=40).table["discovery"].any()
    assert (feature_shares(shuffled, folds=3, probe="linear")["carried_by"] == "nothing").all()


def test_one_donor_has_values_and_no_intervals(planted: SimpleNamespace) -> None:
    cells = usable(planted.cells.select(np.flatnonzero(planted.cells.donors == "D1")))
    shares = feature_shares(cells, probe="linear").set_index("feature")
    assert shares.loc["nucleus_area", "shared"] > 0.5
    assert np.isnan(shares.loc["nucleus_area", "shared_low"])
    found = find_directions(cells, count=2, permutations=40)
    assert found.table["low"].isna().all()
    assert found.table["discovery"].any()
    assert found.summary["stability"].isna().all()


def test_what_cannot_be_used_is_named(planted: SimpleNamespace) -> None:
    cells = planted.cells
    features = cells.features.assign(flat=1.0, empty=np.nan, few=np.nan, infinite=np.inf)
    features.loc[:3, "few"] = [1.0, 2.0, 3.0, 4.0]
    blocks = cells.blocks | {"protein_specific_CD3": np.zeros((len(cells), 2))}
    found = usable(LatentCells(cells.obs, blocks, features, (*cells.stains, "", "", "", "")))
    assert list(found.features.columns) == list(cells.features.columns)
    assert list(found.blocks) == list(cells.blocks)
    assert any("flat" in note for note in found.notes)
    assert any("few" in note and "infinite" in note for note in found.notes)
    assert any("CD3-specific: empty" in note for note in found.notes)
    nothing = LatentCells(cells.obs, cells.blocks, pd.DataFrame(index=range(len(cells))), ())
    with pytest.raises(DataError, match="no features"):
        find_directions(nothing)
    with pytest.raises(DataError, match="need shared latents and features"):
        feature_shares(nothing)
    with pytest.raises(DataError, match="No donor has ten cells"):
        find_directions(usable(cells.select(np.arange(0, len(cells), 15))))


def test_normal_scores_forget_the_donor() -> None:
    values = np.array([[1.0], [2.0], [np.nan], [3.0], [10.0], [20.0]])
    scores = normal_scores(values, ["a", "a", "a", "b", "b", "b"])
    assert scores[0, 0] == pytest.approx(-scores[1, 0])
    assert np.isnan(scores[2, 0])
    assert scores[4, 0] == pytest.approx(0)


def test_classes_may_be_called_as_columns_are(planted: SimpleNamespace) -> None:
    label = np.where(planted.cells.conditions == "control", "true", "input")
    found = Interpretation(
        planted.cells, {}, phenotypes=classify(planted.cells, label=label, permutations=10)
    )
    table = found.tables()["confusion"]
    assert list(table.columns) == ["true", "input (class)", "true (class)", "input"]
    assert set(table["true"]) == {"true", "input"}
    assert "latents: shared" in set(table["input"])


def test_words_have_an_interval_where_there_is_one() -> None:
    row = {"input": "x", "accuracy": 0.8, "low": 0.7, "high": 0.9, "chance": 0.5, "q": 0.5}
    cells = LatentCells(pd.DataFrame(), {}, pd.DataFrame(), ())
    words = []
    for low in (0.7, np.nan):
        table = pd.DataFrame([{**row, "low": low}])
        found = Interpretation(cells, {"cells": ""}, phenotypes=Phenotypes(table, {}, pd.DataFrame()))
        words.append(found.in_words())
    assert "balanced accuracy 0.80 (0.70 to 0.90), chance 0.50" in words[0]
    assert "balanced accuracy 0.80, chance 0.50" in words[1]
    place = {"protein": "CD3", "measure": "m", "block": "b", "leads": True, "r2": 0.5, "q": 0.01}
    table = pd.DataFrame([{**place, "low": 0.4, "high": 0.6}, {**place, "low": np.nan, "high": np.nan}])
    assert carriers_in_words(table) == [
        "CD3, m: goes with b, R² 0.50 (0.40 to 0.60), q 0.010",
        "CD3, m: goes with b, R² 0.50, q 0.010",
    ]


def test_a_block_that_the_published_procedure_cannot_take_leaves_the_others(planted: SimpleNamespace) -> None:
    cells = planted.cells
    flat = np.zeros((len(cells), 2))
    flat[cells.donors == "D0"] = 1.0  # where that donor is held out, nothing is left to vary
    blocks = {**cells.blocks, "chromatin_specific": flat}
    found = published_procedure(replace(cells, blocks=blocks), hold_outs=6)
    assert any("chromatin_specific" in note and "the same latents" in note for note in found.notes)
    assert {"shared", "protein_specific_gammaH2AX"} <= set(found.table["block"])
