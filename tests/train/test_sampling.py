"""Orders, seeds and the one-protein rule."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from napari_apollo.train.sampling import assign_proteins, batches, epoch_order, step_seed


@given(st.integers(1, 300), st.integers(0, 5), st.integers(0, 2), st.integers(0, 9))
def test_an_epoch_visits_every_cell_and_depends_on_its_counters(
    n: int, seed: int, stage: int, epoch: int
) -> None:
    order = epoch_order(n, seed, stage, epoch)
    assert sorted(order) == list(range(n))
    np.testing.assert_array_equal(order, epoch_order(n, seed, stage, epoch))
    np.testing.assert_array_equal(epoch_order(n, seed, stage, epoch, fixed=True), np.arange(n))


def test_no_two_epochs_share_an_order() -> None:
    orders = {tuple(epoch_order(50, seed, s, e)) for seed in (0, 1) for s in (0, 1) for e in range(20)}
    assert len(orders) == 80


@given(st.integers(1, 300), st.integers(1, 64))
def test_batches_have_one_shape_and_miss_no_cell(n: int, size: int) -> None:
    plan = batches(epoch_order(n, 3, 0, 0), size)
    assert {len(batch) for batch in plan} == {min(n, size)}
    assert set(np.concatenate(plan)) == set(range(n))
    assert all(len(set(batch)) == len(batch) for batch in plan)
    assert len(plan) == -(-n // min(n, size))


def test_the_reference_leaves_its_last_batch_short() -> None:
    assert [len(batch) for batch in batches(np.arange(10), 4, fixed=True)] == [4, 4, 2]


def test_step_seeds_differ() -> None:
    seeds = {step_seed(seed, stage, step) for seed in (0, 1) for stage in (0, 1) for step in range(500)}
    assert len(seeds) == 2000
    assert all(0 <= seed < 2**63 for seed in seeds)


@given(
    st.lists(st.tuples(st.sampled_from("abc"), st.integers(1, 4)), min_size=1, max_size=4), st.integers(0, 9)
)
def test_proteins_are_dealt_in_equal_parts_within_a_group(kinds: list[tuple[str, int]], seed: int) -> None:
    groups, counts = [], []
    for number, (donor, proteins) in enumerate(kinds):
        groups += [f"{donor}{number}"] * 23
        counts += [proteins] * 23
    kept = assign_proteins(groups, counts, seed)
    for number, (donor, proteins) in enumerate(kinds):
        own = kept[np.array(groups) == f"{donor}{number}"]
        sizes = np.bincount(own, minlength=proteins)
        part = 23 // proteins
        assert list(sizes) == [part] * (proteins - 1) + [23 - part * (proteins - 1)]


def test_proteins_are_not_dealt_by_storage_order_and_groups_do_not_meddle() -> None:
    kept = assign_proteins(["d1"] * 300, [3] * 300, seed=3)
    assert all(len(set(kept[start : start + 100])) == 3 for start in (0, 100, 200))
    with_another = assign_proteins(["d0"] * 50 + ["d1"] * 300, [2] * 50 + [3] * 300, seed=3)
    np.testing.assert_array_equal(with_another[50:], kept)
    assert not np.array_equal(assign_proteins(["d1"] * 300, [3] * 300, seed=4), kept)
