from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import cohen_kappa_score

from napari_apollo.annotate import agreement_table, cell_features, cohen_kappa, consensus, suggest
from napari_apollo.errors import DataError

LABELS = st.lists(st.tuples(st.sampled_from("abc"), st.sampled_from("abc")), min_size=2, max_size=40)


@given(LABELS)
def test_kappa_is_that_of_scikit_learn(pairs: list[tuple[str, str]]) -> None:
    first = {str(cell): one for cell, (one, _) in enumerate(pairs)}
    second = {str(cell): other for cell, (_, other) in enumerate(pairs)}
    ours = cohen_kappa(first, second)
    if len({*first.values(), *second.values()}) < 2:
        assert np.isnan(ours)
        return
    theirs = cohen_kappa_score(list(first.values()), list(second.values()))
    np.testing.assert_allclose(ours, theirs, atol=1e-12)
    assert ours == cohen_kappa(second, first)


def test_agreement_of_pairs_and_consensus() -> None:
    said = {
        "ada": {"1": "a", "2": "b", "3": "a"},
        "bob": {"1": "a", "2": "a", "4": "b"},
        "cyd": {"9": "a"},
    }
    table = agreement_table(said)
    assert table[["first", "second", "common"]].values.tolist() == [
        ["ada", "bob", 2], ["ada", "cyd", 0], ["bob", "cyd", 0],
    ]  # fmt: skip
    assert table["agreed"][0] == 0.5
    assert table["agreed"].isna().tolist() == [False, True, True]
    assert consensus(said) == {"1": "a", "3": "a", "4": "b", "9": "a"}
    assert agreement_table({"ada": {}}).empty


def clouds(n: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    truth = rng.integers(0, 3, n)
    x = rng.normal(size=(n, 8)).astype(np.float32)
    x[:, :2] += 2.5 * np.array([[0, 0], [2, 0], [0, 2]])[truth]
    return x / np.float32(np.sqrt(8)), truth


def test_suggestions_get_better_with_examples() -> None:
    x, truth = clouds(600)
    right = []
    for examples in (6, 150):
        codes = np.full(600, -1)
        codes[:examples] = truth[:examples]
        said = suggest(x, codes, ["a", "b", "c"])
        right.append(float(np.mean(said.codes[150:] == truth[150:])))
        np.testing.assert_allclose(said.probability.sum(1), 1, rtol=1e-5)
    assert right[0] < right[1]
    assert right[1] > 0.9
    assert said.accuracy > 0.85
    assert said.examples == 150


def test_uncertain_cells_lie_between_classes() -> None:
    x, truth = clouds(600)
    said = suggest(x, np.where(np.arange(600) < 200, truth, -1), ["a", "b", "c"])
    wrong = said.codes[200:] != truth[200:]
    assert said.uncertainty[200:][wrong].mean() > said.uncertainty[200:][~wrong].mean()
    assert ((said.uncertainty >= 0) & (said.uncertainty <= 1 + 1e-6)).all()


def test_classes_without_examples_are_not_suggested() -> None:
    x, truth = clouds(60)
    said = suggest(x, np.where(truth == 1, -1, truth), ["a", "b", "c"])
    assert said.classes == ("a", "c")
    with pytest.raises(DataError, match="two classes"):
        suggest(x, np.where(truth == 0, 0, -1), ["a", "b", "c"])
    few = np.full(60, -1)
    few[:2] = 0, 1
    assert np.isnan(suggest(x, few, ["a", "b"]).accuracy)


def test_features_of_cells() -> None:
    import anndata
    import pandas as pd

    rng = np.random.default_rng(1)
    table = anndata.AnnData(
        X=np.column_stack([rng.normal(5, 3, 50), np.ones(50), rng.normal(size=50)]).astype(np.float32),
        obs=pd.DataFrame(index=[str(number) for number in range(50)]),
    )
    with_gap = rng.normal(size=(50, 2)).astype(np.float32)
    with_gap[10:] = np.nan
    table.obsm["protein_specific_CD3"] = with_gap
    table.obsm["reconstruction_error"] = pd.DataFrame({"CD3": np.ones(50)}, index=table.obs_names)
    found = cell_features(table)
    assert found.shape == (
        50,
        4,
    )  # the constant column is left out, a table of scores is none of its business
    assert np.isfinite(found).all()
    np.testing.assert_allclose(found[:, :2].std(axis=0), 1 / np.sqrt(2), rtol=1e-2)
    assert (found[10:, 2:] == 0).all()
    bare = anndata.AnnData(X=np.zeros((50, 0), np.float32), obs=table.obs)
    with pytest.raises(DataError, match="measure"):
        cell_features(bare)
