"""Evaluation of tables as they come: rare classes, columns of names, gene sets of others, cells without all
tables, features in units of their own."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import anndata as ad
import numpy as np
import pandas as pd
import pytest

from napari_apollo.errors import DataError
from napari_apollo.predict import TableEvaluateConfig, evaluate_tables
from napari_apollo.predict.tables import TableEvaluation
from napari_apollo.train import Run, TableTrainConfig, train

Make = Callable[..., dict[str, ad.AnnData]]
Quick = Callable[..., TableTrainConfig]
FAST = {"latent_epochs": 1, "encoder_epochs": 1}


def scored(run: Run, **settings: Any) -> TableEvaluation:
    return evaluate_tables(run, TableEvaluateConfig(**{"components": False, "directions": 1, **settings}))


@pytest.fixture
def run(make_tables: Make, quick: Quick) -> Run:
    """Trained on cells of two usual classes and batches, and of some that next to no cell has."""
    tables = make_tables(n=100)
    for data in tables.values():
        data.obs["type"] = [*["rare"] * 3, *["a", "b"] * 48, "a"]
        data.obs["lot"] = [*["z"] * 2, *["u", "v"] * 49]
        data.obs["number"] = np.arange(100) / 7
        data.obs["name"] = list(data.obs_names)
    return train(tables, quick(nuisance="lot", **FAST))


def test_rare_classes_and_batches_are_left_out_and_named(run: Run) -> None:
    found = scored(run, label=("type",))
    assert set(found.classes["cells"]) == {97}
    assert set(found.classes["chance"]) == {0.5}
    assert set(found.nuisance["cells"]) == {98}
    assert any("type: fewer than 6 cells are rare" in note for note in found.notes)
    assert any("lot: fewer than 6 cells are z" in note for note in found.notes)
    with pytest.raises(DataError, match=r"number has 100 classes, of which 0 have 6 cells.*pandas\.qcut"):
        scored(run, label=("number",))


def test_a_batch_of_its_own_for_every_cell_has_no_silhouette(run: Run) -> None:
    mixing = scored(run, batch="name").mixing
    assert mixing["silhouette"].isna().all()
    assert scored(run, batch="name").to_json()["mixing"][0]["silhouette"] is None


def test_gene_sets_of_others_are_refused(run: Run, tmp_path: Path) -> None:
    sets = tmp_path / "sets.gmt"
    sets.write_text("first\t\tENSG1\tENSG2\tENSG3\n")
    with pytest.raises(DataError, match="called like rna0, protein0, the genes of the sets like ENSG1"):
        scored(run, gene_sets=sets)


def test_cells_of_which_none_has_all_tables_are_scored_for_what_can_be(
    make_tables: Make, quick: Quick
) -> None:
    tables = make_tables(n=160, names=("rna", "protein", "atac"))
    tables["protein"], tables["atac"] = tables["protein"][:80].copy(), tables["atac"][80:].copy()
    found = scored(train(tables, quick(**FAST)), label=("kind",), components=True)
    assert len(found.prediction)
    assert not len(found.classes)
    assert any("0 cells have all tables" in note for note in found.notes)


def test_features_are_tied_in_units_of_their_own(make_tables: Make, quick: Quick) -> None:
    """A feature of large numbers beside others is no library that these are parts of."""
    tables = make_tables(n=200, names=("rna", "features"))
    rng = np.random.default_rng(0)
    kind = (tables["rna"].obs["kind"] == "a").to_numpy(float)
    values = np.abs(5 + rng.normal(size=(200, 8)))
    values[:, 0] = np.exp(7 + 0.8 * rng.normal(size=200))  # an area, which has nothing to do with the kind
    values[:, 1] = 5 + 3 * kind + 0.2 * rng.normal(size=200)
    tables["features"] = ad.AnnData(
        values.astype(np.float32),
        obs=tables["rna"].obs.copy(),
        var=pd.DataFrame(index=[f"f{i}" for i in range(8)]),
    )
    run = train(tables, quick(**FAST))
    found = scored(run, label=("kind",), components=True).classes.set_index("input")
    assert found.loc["components of features", "accuracy"] > 0.95
