"""Reduction of features: scaling by donor, groups of copies, the published rule."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from napari_apollo.errors import ConfigError, DataError
from napari_apollo.measure import ReduceConfig, reduce_features


@pytest.fixture
def features():
    rng = np.random.default_rng(0)
    a, b, c = rng.normal(size=(3, 400))
    return pd.DataFrame(
        {
            "a": a,
            "a_noisy": a + 0.1 * rng.normal(size=400),
            "a_mirror": -a + 0.1 * rng.normal(size=400),
            "a_twice": 2 * a + 5,
            "b": b,
            "c": c,
            "flat": 3.0,
            "gone": np.nan,
            "rare": np.where(np.arange(400) < 100, a, np.nan),
        }
    )


def test_groups_copies_and_drops_what_says_nothing(features):
    reduced = reduce_features(features)
    fate = reduced.groups["fate"]
    assert fate["flat"] == "constant"
    assert fate["gone"] == fate["rare"] == "missing"
    assert fate["a_twice"] == "duplicate"
    assert {fate["a"], fate["a_noisy"], fate["a_mirror"]} == {"representative", "member"}
    assert list(reduced.values.columns) == ["a", "b", "c"]
    assert set(reduced.groups.loc[["a", "a_noisy", "a_mirror"], "representative"]) == {"a"}
    assert reduced.parameters["correlation"] == 0.9


def test_scaling_takes_away_a_donor_s_staining_strength():
    rng = np.random.default_rng(1)
    donors = np.repeat(["d1", "d2"], 300)
    level = rng.normal(size=600)
    strength = np.where(donors == "d1", 1.0, 10.0)
    stained = pd.DataFrame({"x": level * strength + 5 * strength, "y": rng.normal(size=600)})
    reduced = reduce_features(stained, donors)
    for donor in ("d1", "d2"):
        own = reduced.values["x"][donors == donor]
        assert own.median() == pytest.approx(0, abs=1e-12)
        assert 1.4826 * (own - own.median()).abs().median() == pytest.approx(1)
    scaling = reduced.scaling.set_index(["donor", "feature"])
    again = (stained["x"] - scaling.loc[("d2", "x"), "centre"]) / scaling.loc[("d2", "x"), "scale"]
    np.testing.assert_allclose(again[donors == "d2"], reduced.values["x"][donors == "d2"])


def test_paper_s_rule(features):
    reduced = reduce_features(features, config=ReduceConfig(rule="paper", correlation=0.7))
    fate = reduced.groups["fate"]
    # Negative correlations do not link, and features without a partner are left out.
    assert fate["a_mirror"] == fate["b"] == fate["c"] == "single"
    assert fate["gone"] == "missing"
    assert fate["flat"] == "constant"
    # a, a_noisy and a_twice are each linked with both others: the first one stands for them.
    assert list(reduced.values.columns) == ["a"]
    assert set(reduced.scaling["donor"]) == {"*"}


def test_paper_s_representative_has_the_highest_degree():
    rng = np.random.default_rng(2)
    hub = rng.normal(size=3000)
    arms = {f"arm{k}": hub + 0.6 * rng.normal(size=3000) for k in range(4)}
    table = pd.DataFrame({**arms, "hub": hub})
    reduced = reduce_features(table, config=ReduceConfig(rule="paper", correlation=0.8))
    assert list(reduced.values.columns) == ["hub"]


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 10_000), factor=st.floats(0.01, 100), shift=st.floats(-100, 100))
def test_order_and_units_of_features_do_not_change_the_groups(seed, factor, shift):
    rng = np.random.default_rng(seed)
    base = rng.normal(size=(60, 3))
    table = pd.DataFrame(
        base @ rng.normal(size=(3, 8)) + 0.05 * rng.normal(size=(60, 8)), columns=list("abcdefgh")
    )
    before = reduce_features(table)
    after = reduce_features((table * factor + shift)[list("hgfedcba")])

    def partition(reduced):
        kept = reduced.groups[reduced.groups["group"] >= 0]
        return {frozenset(part.index) for _, part in kept.groupby("group")}

    assert partition(before) == partition(after)


@pytest.mark.parametrize(
    ("table", "donors", "words"),
    [
        (pd.DataFrame(), None, "nothing to reduce"),
        (pd.DataFrame({"a": [1.0, 2.0]}), ["d"], "1 donors"),
        (pd.DataFrame({"a": ["x", "y"]}), None, "numbers"),
        (pd.DataFrame([[1.0, 2.0]], columns=["a", "a"]), None, "more than once"),
    ],
)
def test_tables_that_cannot_be_reduced_are_refused(table, donors, words):
    with pytest.raises(DataError, match=words):
        reduce_features(table, donors)


def test_settings_are_bounded():
    with pytest.raises(ConfigError, match="correlation"):
        ReduceConfig(correlation=1.5)
