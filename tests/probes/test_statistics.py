"""Statistics of donors: against closed forms, brute force and scipy; and silence where there is nothing."""

from __future__ import annotations

from itertools import permutations, product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from napari_apollo.errors import ConfigError, DataError
from napari_apollo.probes.association import associate
from napari_apollo.probes.statistics import (
    benjamini_hochberg,
    cliffs_delta,
    donor_interval,
    draw_donors,
    interval_of,
    p_of,
    permuted_within,
    weighted_mean_intervals,
)


def test_benjamini_hochberg_is_that_of_scipy() -> None:
    p = np.random.default_rng(0).uniform(size=50) ** 3
    assert np.allclose(benjamini_hochberg(p), stats.false_discovery_control(p))
    with_gap = np.append(p, np.nan)
    assert np.allclose(benjamini_hochberg(with_gap)[:-1], stats.false_discovery_control(p))
    assert np.isnan(benjamini_hochberg(with_gap)[-1])
    with pytest.raises(DataError, match="between 0 and 1"):
        benjamini_hochberg([0.5, 1.5])


@given(
    st.lists(st.integers(0, 6), min_size=1, max_size=12), st.lists(st.integers(0, 6), min_size=1, max_size=12)
)
@settings(max_examples=40, deadline=None)
def test_cliffs_delta_counts_pairs(first: list[int], second: list[int]) -> None:
    pairs = [np.sign(a - b) for a, b in product(first, second)]
    assert cliffs_delta(np.array(first), np.array(second))[0] == pytest.approx(np.mean(pairs))


def test_cliffs_delta_leaves_out_what_is_missing() -> None:
    assert cliffs_delta(np.array([3.0, np.nan]), np.array([1.0, 2.0]))[0] == 1
    assert np.isnan(cliffs_delta(np.array([np.nan]), np.array([1.0]))[0])


@pytest.mark.parametrize("donors", [2, 3, 5])
def test_drawing_few_donors_counts_every_way(donors: int) -> None:
    drawn = draw_donors(donors)
    assert drawn.chances.sum() == pytest.approx(1)
    values = np.arange(donors) ** 2.0
    ways = np.array([np.mean([values[k] for k in way]) for way in product(range(donors), repeat=donors)])
    means = drawn.counts @ values / donors
    assert drawn.chances @ means == pytest.approx(ways.mean())
    assert drawn.chances @ means**2 == pytest.approx((ways**2).mean())


def test_strata_keep_their_sizes() -> None:
    strata = ["a", "a", "a", "b", "b", "b", "b"]
    for donors in (strata, strata * 4):
        counts = draw_donors(len(donors), strata=donors).counts
        is_a = np.array(donors) == "a"
        assert (counts[:, is_a].sum(axis=1) == is_a.sum()).all()
        assert (counts[:, ~is_a].sum(axis=1) == (~is_a).sum()).all()


def test_intervals_of_few_donors_cover_what_they_say() -> None:
    rng = np.random.default_rng(1)
    for donors in (5, 12):
        values = rng.normal(size=(donors, 1500))
        low, high = weighted_mean_intervals(values, draws=600)
        # A plain percentile interval of five covers 0.84.
        assert 0.9 < np.mean((low <= 0) & (high >= 0)) < 0.985


def test_an_interval_is_that_of_the_statistic() -> None:
    values = np.array([1.0, 2.0, 4.0, 8.0])
    found = donor_interval(lambda w: float(w @ values / w.sum()), 4)
    assert found.value == pytest.approx(3.75)
    assert found.low <= found.value <= found.high
    low, high = weighted_mean_intervals(values[:, None])
    assert (found.low, found.high) == pytest.approx((low[0], high[0]))
    assert "to" in str(found)


def test_intervals_of_means_weighted_by_cells() -> None:
    values, cells = np.array([1.0, 2.0, np.nan, 4.0, 8.0]), np.array([10.0, 20.0, 7.0, 5.0, 400.0])
    there = np.isfinite(values)
    own, weight = values[there], cells[there]
    found = donor_interval(lambda w: float((w * weight) @ own / (w @ weight)), 4)
    low, high = weighted_mean_intervals(values[:, None], cells[:, None])
    assert (found.low, found.high) == pytest.approx((low[0], high[0]))


def test_two_donors_make_no_interval() -> None:
    found = donor_interval(lambda w: float(w @ [1.0, 2.0] / w.sum()), 2)
    assert np.isnan(found.low)
    assert str(found) == "1.50"
    assert np.isnan(weighted_mean_intervals(np.ones((2, 1)))[0]).all()
    with pytest.raises(ConfigError):
        interval_of([1.0], [1.0], 5, level=95)


def test_permutations_stay_within_blocks() -> None:
    blocks = np.array([0, 1, 0, 2, 1, 0, 2])
    order = permuted_within(blocks, np.random.default_rng(0))
    assert sorted(order) == list(range(7))
    assert (blocks[order] == blocks).all()


def test_p_values_count_what_reaches_the_observed() -> None:
    assert p_of([3.0, 0.0, np.nan], [1.0, 2.0, 3.0])[:2].tolist() == [0.5, 1.0]
    assert np.isnan(p_of([np.nan], [1.0])).all()


def test_within_one_block_it_is_spearman() -> None:
    rng = np.random.default_rng(2)
    scores = rng.normal(size=(60, 2))
    features = np.column_stack([scores[:, 0] + rng.normal(size=60), rng.integers(0, 4, 60)])
    found = associate(scores, features, ["d"] * 60, permutations=5)
    for a, b in product(range(2), range(2)):
        assert found.rho[a, b] == pytest.approx(stats.spearmanr(scores[:, a], features[:, b])[0], abs=1e-6)
    assert np.allclose(found.z, found.rho * np.sqrt(59), atol=1e-4)


def test_the_deviation_of_permutations_is_exact() -> None:
    """All permutations within two blocks of ten, taken as two sums of three-cell swaps: by moments."""
    rng = np.random.default_rng(3)
    scores, features = rng.normal(size=(24, 1)), rng.integers(0, 3, size=(24, 1)).astype(float)
    blocks = ["a"] * 10 + ["b"] * 14
    found = associate(scores, features, blocks, permutations=4000)
    assert np.mean(found.null**2) == pytest.approx(1, abs=0.06)


def test_variance_of_a_rank_correlation_by_brute_force() -> None:
    a, b = np.array([1, 2, 3, 4, 5.0]), np.array([1, 1, 2, 5, 5.0])
    a, b = a - a.mean(), stats.rankdata(b) - 3
    values = [np.dot(a, b[list(p)]) / np.sqrt(a @ a * (b @ b)) for p in permutations(range(5))]
    assert np.var(values) == pytest.approx(1 / 4)


def test_differences_between_donors_do_not_count() -> None:
    rng = np.random.default_rng(4)
    donors = np.repeat(np.arange(6), 100)
    shift = donors[:, None] * 5.0
    found = associate(rng.normal(size=(600, 3)) + shift, rng.normal(size=(600, 20)) + shift, donors)
    assert (benjamini_hochberg(p_of(np.abs(found.z), found.null)) > 0.05).all()
    assert np.abs(found.rho).max() < 0.2


def test_null_data_give_discoveries_at_the_stated_rate() -> None:
    rng = np.random.default_rng(5)
    donors = np.repeat(np.arange(5), 60)
    p, families = [], 0
    for repeat in range(40):
        found = associate(
            rng.normal(size=(300, 4)), rng.gamma(1.0, size=(300, 15)), donors, permutations=40, seed=repeat
        )
        own = p_of(np.abs(found.z), found.null)
        p.append(own.ravel())
        families += bool((benjamini_hochberg(own) < 0.05).any())
    assert np.mean(np.concatenate(p) < 0.05) == pytest.approx(0.05, abs=0.012)
    assert families <= 6  # 2 of 40 are expected; more than 6 come by chance in 1 of 100 trials


def test_missing_and_constant_features() -> None:
    rng = np.random.default_rng(6)
    scores = rng.normal(size=(200, 1))
    half = scores[:, 0].copy()
    half[rng.permutation(200)[:100]] = np.nan
    lacking = np.where(np.arange(200) < 100, scores[:, 0], np.nan)
    features = np.column_stack([half, np.ones(200), lacking, np.full(200, np.nan)])
    found = associate(scores, features, np.repeat(["a", "b"], 100), permutations=20)
    assert found.rho[0, 0] > 0.97
    assert np.isnan(found.rho[0, 1])
    assert found.rho[0, 2] == pytest.approx(1)
    assert np.isnan(found.by_block[1, 0, 2])
    assert np.isnan(found.z[0, 3])
    assert found.cells.tolist() == [100, 200, 100, 0]
    with pytest.raises(DataError, match="No block has 10 cells"):
        associate(scores, features, np.arange(200))
    with pytest.raises(DataError, match="not finite"):
        associate(features, features, np.repeat(["a", "b"], 100))
