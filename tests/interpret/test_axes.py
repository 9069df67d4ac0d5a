from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import spearmanr
from sklearn.decomposition import PCA

from napari_apollo.errors import DataError
from napari_apollo.interpret.axes import nearest_cells, principal_axes, tied_features


def test_axes_are_those_of_scikit_learn() -> None:
    rng = np.random.default_rng(0)
    latents = rng.normal(size=(200, 6)) @ rng.normal(size=(6, 6))
    axes = principal_axes(latents, 4)
    theirs = PCA(4).fit(latents)
    np.testing.assert_allclose(np.abs(np.sum(axes.directions * theirs.components_, axis=1)), 1, atol=1e-9)
    np.testing.assert_allclose(axes.explained, theirs.explained_variance_ratio_, rtol=1e-9)
    np.testing.assert_allclose(axes.scores.std(axis=0), axes.spread, rtol=1e-9)
    np.testing.assert_allclose(axes.scores.mean(axis=0), 0, atol=1e-9)


def test_cells_without_latents_have_no_place() -> None:
    rng = np.random.default_rng(1)
    latents = rng.normal(size=(50, 3))
    whole = principal_axes(latents[10:])
    latents[:10] = np.nan
    axes = principal_axes(latents)
    assert np.isnan(axes.scores[:10]).all()
    np.testing.assert_allclose(axes.scores[10:], whole.scores)
    with pytest.raises(DataError, match="three"):
        principal_axes(np.full((5, 2), np.nan))
    with pytest.raises(DataError, match="same"):
        principal_axes(np.ones((5, 2)))


@given(st.integers(0, 2), st.floats(-4, 4))
def test_moving_along_an_axis_changes_nothing_else(axis: int, to: float) -> None:
    rng = np.random.default_rng(2)
    axes = principal_axes(rng.normal(size=(80, 3)) * [3, 2, 1])
    start = rng.normal(size=3)
    moved = (axes.moved(start, axis, to) - axes.mean) @ axes.directions.T
    before = (start - axes.mean) @ axes.directions.T
    np.testing.assert_allclose(moved[axis], to * axes.spread[axis], atol=1e-9)
    others = np.arange(3) != axis
    np.testing.assert_allclose(moved[others], before[others], atol=1e-9)


def test_rank_correlations_are_those_of_scipy() -> None:
    rng = np.random.default_rng(3)
    scores = rng.normal(size=120)
    features = pd.DataFrame(rng.normal(size=(120, 5)), columns=list("abcde"))
    features["a"] += 2 * scores
    features["b"] = np.round(-np.exp(scores))
    features.loc[:40, "c"] = np.nan
    features.loc[:115, "d"] = np.nan
    features["e"] = 1.0
    scores[7] = np.nan
    table = tied_features(scores, features)
    assert table["feature"].tolist() == ["b", "a", "c"]
    for name, rho, cells in table.itertuples(index=False):
        both = np.isfinite(scores) & features[name].notna()
        np.testing.assert_allclose(rho, spearmanr(scores[both], features[name][both]).statistic)
        assert cells == both.sum()


def test_a_draw_of_cells_says_about_the_same() -> None:
    rng = np.random.default_rng(4)
    scores = rng.normal(size=4000)
    features = pd.DataFrame({"x": scores + rng.normal(size=4000)})
    few = tied_features(scores, features, most_cells=1000)
    assert few["cells"][0] == 1000
    assert abs(few["rho"][0] - tied_features(scores, features)["rho"][0]) < 0.06


def test_the_nearest_cells() -> None:
    latents = np.array([[0.0, 0], [3, 0], [1, 0], [np.nan, 0], [0, 2]])
    positions, distances = nearest_cells(latents, 0, 2)
    assert positions.tolist() == [2, 4]
    np.testing.assert_allclose(distances, [1, 2])
    assert nearest_cells(latents, 0, 99)[0].tolist() == [2, 4, 1]
    assert nearest_cells(latents, 3)[0].tolist() == []
