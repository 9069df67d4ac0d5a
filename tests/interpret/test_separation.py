"""Scores of separation, on latents whose content is known."""

from __future__ import annotations

import json

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.linear_model import LinearRegression
from sklearn.metrics import silhouette_score
from sklearn.model_selection import KFold, cross_val_predict

from napari_apollo.errors import ConfigError, DataError
from napari_apollo.interpret import (
    PAPER_SILHOUETTES,
    block_overlap,
    check_goals,
    median_scores,
    probe_matrix,
    separability_warnings,
    separation_scores,
    silhouette,
    table_goals,
)
from napari_apollo.simulate import simulate_tables

SEPARABLE = ("1", "2", "3", "4", "5", "private")


@pytest.fixture(scope="module")
def truth() -> pd.DataFrame:
    rng = np.random.default_rng(0)
    return pd.DataFrame(rng.normal(size=(600, 3)), columns=["a", "b", "c"])


@given(seed=st.integers(0, 1000), cells=st.integers(5, 60), groups=st.integers(2, 4), dims=st.integers(1, 5))
@settings(max_examples=40, deadline=None)
def test_silhouette_equals_the_reference(seed: int, cells: int, groups: int, dims: int) -> None:
    rng = np.random.default_rng(seed)
    latents = rng.normal(size=(cells, dims))
    labels = np.concatenate([np.arange(groups), rng.integers(0, groups, cells - groups)])
    assert silhouette(latents, labels) == pytest.approx(silhouette_score(latents, labels))


def test_silhouette_of_more_cells_than_one_slice() -> None:
    rng = np.random.default_rng(1)
    latents, labels = rng.normal(size=(2500, 2)), rng.integers(0, 2, 2500)
    assert silhouette(latents, labels) == pytest.approx(silhouette_score(latents, labels))


def test_silhouette_needs_two_groups_and_finite_values() -> None:
    with pytest.raises(DataError, match="two groups"):
        silhouette(np.zeros((4, 2)), np.zeros(4))
    with pytest.raises(DataError, match="first of them 2"):
        silhouette(np.array([[0.0], [1.0], [np.nan], [2.0]]), [0, 0, 1, 1])


@pytest.mark.parametrize("probe", ["linear", "nonlinear"])
def test_probes_read_what_is_there_and_nothing_else(truth: pd.DataFrame, probe: str) -> None:
    rng = np.random.default_rng(2)
    turn = np.linalg.qr(rng.normal(size=(2, 2)))[0]
    blocks = {
        "turned": truth[["a", "b"]].to_numpy() @ turn * 50 + 3,
        "permuted": truth[["a", "b"]].to_numpy()[rng.permutation(len(truth))],
        "half": (truth["a"] + truth["c"]).to_numpy()[:, None],
    }
    matrix = probe_matrix(blocks, truth, probe=probe)
    assert (matrix.r2.loc["turned", ["a", "b"]] > 0.995).all()
    assert matrix.r2.loc["turned", "c"] < 0.02
    assert (matrix.r2.loc["permuted"] < 0.02).all()
    assert matrix.r2.loc["half", ["a", "c"]].to_numpy() == pytest.approx([0.5, 0.5], abs=0.06)
    assert list(matrix.above_floor().loc["turned"]) == [True, True, False]


def test_only_the_nonlinear_probe_reads_a_folded_factor(truth: pd.DataFrame) -> None:
    angle = truth["a"].rank(pct=True).to_numpy() * 2 * np.pi
    blocks = {
        "ring": np.stack([np.cos(angle), np.sin(angle)], axis=1),
        "square": truth[["b"]].to_numpy() ** 2,
    }
    targets = pd.DataFrame({"cos2": np.cos(2 * angle), "size_of_b": truth["b"].abs()})
    linear = probe_matrix(blocks, targets).r2
    nonlinear = probe_matrix(blocks, targets, probe="nonlinear").r2
    assert linear.loc["ring", "cos2"] < 0.05
    assert nonlinear.loc["ring", "cos2"] > 0.98
    assert nonlinear.loc["square", "size_of_b"] > 0.98 > linear.loc["square", "size_of_b"]


def test_linear_probe_equals_least_squares_where_no_penalty_is_needed(truth: pd.DataFrame) -> None:
    rng = np.random.default_rng(3)
    latents = truth.to_numpy() @ rng.normal(size=(3, 3)) + rng.normal(size=(600, 3)) * 0.5
    ours = probe_matrix({"z": latents}, truth).r2.loc["z"].to_numpy()
    folds = KFold(5, shuffle=True, random_state=0)
    for value, name in zip(ours, truth, strict=True):
        predicted = cross_val_predict(LinearRegression(), latents, truth[name], cv=folds)
        reference = (
            1 - ((truth[name] - predicted) ** 2).sum() / ((truth[name] - truth[name].mean()) ** 2).sum()
        )
        assert value == pytest.approx(reference, abs=0.01)


def test_a_factor_in_a_tiny_dimension_is_found(truth: pd.DataFrame) -> None:
    rng = np.random.default_rng(4)
    latents = np.stack([rng.normal(size=600) * 100, truth["a"] * 1e-3], axis=1)
    for probe in ("linear", "nonlinear"):
        assert probe_matrix({"z": latents}, truth, probe=probe).r2.loc["z", "a"] > 0.98


def test_blocks_without_information_score_nothing(truth: pd.DataFrame) -> None:
    blocks = {"none": np.zeros((600, 0)), "constant": np.full((600, 4), 0.1)}
    for probe in ("linear", "nonlinear"):
        assert (probe_matrix(blocks, truth, probe=probe).r2.abs() < 0.02).all(axis=None)


def test_more_dimensions_than_cells(truth: pd.DataFrame) -> None:
    rng = np.random.default_rng(5)
    latents = np.concatenate([truth.to_numpy()] * 10 + [rng.normal(size=(600, 200)) * 0.01], axis=1)[:200]
    r2 = probe_matrix({"z": latents}, truth[:200], probe="nonlinear").r2
    assert (r2 > 0.9).all(axis=None)


def test_scores_do_not_depend_on_scale_or_origin(truth: pd.DataFrame) -> None:
    latents = truth[["a", "b"]].to_numpy()
    first = probe_matrix({"z": latents}, truth, probe="nonlinear").r2
    second = probe_matrix({"z": latents * 1e4 - 7}, truth, probe="nonlinear").r2
    np.testing.assert_allclose(first, second, atol=1e-3)


def test_the_same_seed_gives_the_same_scores(truth: pd.DataFrame) -> None:
    latents = {"z": truth[["a"]].to_numpy() ** 3}
    pd.testing.assert_frame_equal(
        probe_matrix(latents, truth, probe="nonlinear", seed=4).r2,
        probe_matrix(latents, truth, probe="nonlinear", seed=4).r2,
    )


@pytest.mark.parametrize(
    ("blocks", "factors", "options", "error", "words"),
    [
        ({}, {"a": range(100)}, {}, DataError, "No block"),
        ({"z": np.zeros((99, 2))}, {"a": range(100)}, {}, DataError, r"\(100, dimensions\)"),
        ({"z": np.full((100, 2), np.inf)}, {"a": range(100)}, {}, DataError, "not finite"),
        ({"z": np.zeros((100, 2))}, {"a": [1.0] * 100}, {}, DataError, "same in every cell"),
        ({"z": np.zeros((100, 2))}, {"a": [np.nan] * 100}, {}, DataError, "not finite in cell 0"),
        ({"z": np.zeros((20, 2))}, {"a": range(20)}, {}, DataError, "too few"),
        ({"z": np.zeros((100, 2))}, {"a": range(100)}, {"folds": 1}, ConfigError, "at least 2"),
    ],
)
def test_wrong_input_is_named(blocks, factors, options, error, words) -> None:
    with pytest.raises(error, match=words):
        probe_matrix(blocks, pd.DataFrame(factors), **options)


@pytest.mark.parametrize("name", SEPARABLE)
def test_true_factors_reach_the_goals(name: str) -> None:
    tables = simulate_tables(name)
    blocks = tables.true_blocks()
    if name in ("1", "4", "5"):
        # Z4 descends from Z2; what X alone knows of it is the rest.
        blocks["x"] = np.stack([blocks["x"][:, 0], blocks["x"][:, 1] - 2 * blocks["shared"][:, 1]], axis=1)
    goals = check_goals(separation_scores(blocks, tables.factor_table(), permutations=2), name)
    assert goals["reached"].all(), goals[~goals["reached"]]


def test_swapped_blocks_miss_the_goals() -> None:
    tables = simulate_tables("2", cells=600)
    blocks = tables.true_blocks()
    blocks = {"shared": blocks["x"], "x": blocks["shared"], "y": blocks["y"]}
    goals = check_goals(separation_scores(blocks, tables.factor_table(), permutations=2), "2")
    missed = {(goal.block, goal.factor) for goal in goals[~goals["reached"]].itertuples()}
    assert {("shared", "Z1"), ("shared", "Z3"), ("x", "Z3"), ("x", "Z1")} <= missed
    assert ("y", "Z5") not in missed


def test_goals_follow_the_design() -> None:
    cells = {(goal.score, goal.block, goal.factor, goal.bound) for goal in table_goals("1")}
    assert ("r2", "shared+x", "Z4", "least") in cells
    assert ("r2", "x", "Z1", "most") not in cells
    cells = {(goal.score, goal.block, goal.factor, goal.bound) for goal in table_goals("3")}
    assert {("r2", "x", "Z4", "least"), ("r2", "x", "Z1", "most"), ("silhouette", "y", "Z1", "most")} <= cells
    with pytest.raises(DataError, match="cannot be told apart"):
        table_goals("determined")


def test_scores_become_plain_numbers_and_medians() -> None:
    tables = simulate_tables("2", cells=300)
    runs = [
        separation_scores(
            {
                name: values + np.random.default_rng(i).normal(size=values.shape) * noise
                for name, values in tables.true_blocks().items()
            },
            tables.factor_table(),
            permutations=2,
        )
        for i, noise in enumerate((0.0, 0.3, 3.0))
    ]
    median = median_scores(runs)
    middle = sorted(run.nonlinear.r2.loc["shared", "Z2"] for run in runs)[1]
    assert median.nonlinear.r2.loc["shared", "Z2"] == pytest.approx(middle)
    plain = json.loads(json.dumps(median.to_dict()))
    assert set(plain) == {"silhouettes", "linear", "nonlinear"}
    assert set(plain["linear"]["r2"]) == {"shared", "x", "y", "shared+x", "shared+y"}
    with pytest.raises(DataError):
        median_scores([])


def test_a_missing_shared_block_is_named() -> None:
    tables = simulate_tables("2", cells=100)
    with pytest.raises(DataError, match="there are x, y"):
        separation_scores({"x": tables.factors[:, 2:4], "y": tables.factors[:, 4:]}, tables.factor_table())


def test_overlap_tells_separable_from_determined_blocks_without_truth() -> None:
    apart = block_overlap(simulate_tables("3", cells=600).true_blocks())
    same = block_overlap(simulate_tables("determined", cells=600).true_blocks())
    assert apart.loc["shared", ["x", "y"]].max() < 0.05
    assert same.loc["shared", ["x", "y"]].min() > 0.95
    assert np.isnan(apart.loc["x", "x"])
    assert np.isnan(block_overlap({"a": np.zeros((60, 2)), "b": np.arange(60.0)[:, None]}).loc["b", "a"])


def test_published_table_is_transcribed() -> None:
    assert PAPER_SILHOUETTES.loc["4", ("shared", "Z1")] == 0.697
    assert PAPER_SILHOUETTES.loc["1", ("y", "Z1")] == 0.465
    assert PAPER_SILHOUETTES.shape == (5, 6)


def test_separable_sets_raise_no_warning_and_the_others_do() -> None:
    apart = simulate_tables("3", cells=800)
    z2 = apart.factors[:, [1]]
    agreed = {"x": z2 * 3, "y": np.exp(-z2)}
    assert separability_warnings(apart.true_blocks(), shared_by_modality=agreed) == []

    determined = separability_warnings(simulate_tables("determined", cells=800).true_blocks())
    assert [(warning.kind, warning.where) for warning in determined] == [
        ("contained", "x"),
        ("contained", "y"),
    ]
    assert "specific to x" in determined[0].message

    confounded = simulate_tables("confounded", cells=800)
    _, z2, _, z4, z5 = confounded.factors.T
    # All that either modality shows of Z2 is a sum.
    seen = {"x": (z2 + z4)[:, None], "y": (z2 + z5)[:, None]}
    warnings = separability_warnings(confounded.true_blocks(), shared_by_modality=seen)
    assert [(warning.kind, warning.where) for warning in warnings] == [
        ("disagreement", "x"),
        ("disagreement", "y"),
    ]

    with pytest.raises(DataError, match="No block"):
        separability_warnings({"x": z2[:, None]})
