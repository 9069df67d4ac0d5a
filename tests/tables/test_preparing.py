"""Preparations by name against their formulas, filters, and values that a loss cannot take."""

from __future__ import annotations

from contextlib import suppress

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy import sparse

from napari_apollo.errors import ConfigError, DataError
from napari_apollo.tables import PREPARATIONS, Table, filter_tables, prepare
from napari_apollo.tables.checking import check_values, guess_loss
from napari_apollo.tables.preparing import select_features

counts = arrays(np.int64, st.tuples(st.integers(2, 7), st.integers(2, 9)), elements=st.integers(0, 30))


def table(values: np.ndarray, *, thin: bool = True, name: str = "rna") -> Table:
    held = np.asarray(values, np.float32)
    cells = np.array([f"c{i}" for i in range(held.shape[0])], object)
    features = np.array([f"g{i}" for i in range(held.shape[1])], object)
    kept = sparse.csr_matrix(held) if thin else held
    return Table(name, kept, cells, features, pd.DataFrame(index=cells), f"{name}.h5ad")


def by_formula(values: np.ndarray, name: str) -> np.ndarray:
    x = values.astype(np.float64)
    if name == "paper":
        logs = np.log(x + 0.5)
        low, high = logs.min(axis=1, keepdims=True), logs.max(axis=1, keepdims=True)
        return (logs - low) / np.where(high > low, high - low, 1)
    if name == "binarise":
        return (x > 0).astype(float)
    if name == "log-normalise":
        total = x.sum(axis=1, keepdims=True)
        return np.log1p(1e4 * x / np.where(total > 0, total, 1))
    if name == "clr":
        return np.log1p(x / np.exp(np.log1p(x).mean(axis=1, keepdims=True)))
    if name in ("centre", "standardise"):
        spread = np.sqrt(x.var(axis=0).mean(keepdims=True) if name == "centre" else x.var(axis=0))
        return (x - x.mean(axis=0)) / np.where(spread > 0, spread, 1)
    return x


@pytest.mark.parametrize("name", PREPARATIONS)
@given(values=counts)
def test_preparations_are_their_formulas_sparse_or_not(name: str, values: np.ndarray) -> None:
    wanted = by_formula(values, name)
    for thin in (True, False):
        prepared = prepare(table(values, thin=thin), name)
        assert sparse.issparse(prepared.values) == thin
        assert np.allclose(prepared.dense(np.arange(len(values))), wanted, atol=2e-4)


@pytest.mark.parametrize("thin", [True, False])
def test_features_that_are_large_everywhere_are_standardised_exactly(thin: bool) -> None:
    values = np.array([[9, 10]] + [[10, 10]] * 6)
    for scale in (1, 100, 3000):
        for name in ("centre", "standardise"):
            made = prepare(table(values * scale, thin=thin), name).dense(np.arange(7))
            assert np.allclose(made, by_formula(values * scale, name), atol=1e-5)


@given(values=counts)
def test_the_papers_preparation_fills_zero_to_one(values: np.ndarray) -> None:
    made = prepare(table(values), "paper").dense(np.arange(len(values)))
    assert made.min() >= 0
    assert made.max() <= 1
    varied = values.min(axis=1) < values.max(axis=1)
    assert np.allclose(made[varied].max(axis=1), 1)
    assert np.allclose(made[varied].min(axis=1), 0)


@pytest.mark.parametrize("name", ["centre", "standardise"])
def test_standardising_remembers_what_it_learnt(name: str) -> None:
    first, other = np.random.default_rng(0).normal(3, 2, (2, 30, 4)) * [1, 1e-3, 1e4, 1]
    learnt = prepare(table(first, thin=False), name, learnt=np.arange(20))
    again = prepare(table(other, thin=False), name, centre=learnt.centre, scale=learnt.scale)
    assert np.allclose(again.dense(np.arange(30)), (other - first[:20].mean(0)) / learnt.scale, atol=1e-5)


def test_features_that_do_not_vary_are_not_magnified() -> None:
    values = np.full((50, 2), 1234.5, np.float32)
    values[0, 0] = np.nextafter(values[0, 0], np.float32(2000))
    assert np.abs(prepare(table(values, thin=False), "standardise").dense(np.arange(50))).max() < 1e-3


def test_filters_are_those_of_the_reference() -> None:
    rna = np.array([[1, 1, 0, 0], [1, 1, 0, 0], [1, 0, 0, 1], [0, 0, 0, 1]])
    atac = np.array([[1, 1], [1, 1], [1, 1], [1, 1]])
    kept = filter_tables(
        {"rna": table(rna), "atac": table(atac, name="atac")}, least_cells=2, least_features=2
    )
    # g2 is nowhere. c3 has one gene and goes from both; then g3 is in one cell, and c2 has one gene left.
    assert list(kept["rna"].cells) == ["c0", "c1"]
    assert list(kept["atac"].cells) == ["c0", "c1"]
    assert list(kept["rna"].features) == ["g0", "g1"]
    with pytest.raises(DataError, match=r"Nothing is left of rna\.h5ad"):
        filter_tables({"rna": table(rna)}, least_cells=4, least_features=1)


@pytest.mark.parametrize(
    ("change", "loss", "message"),
    [
        ((1, 2, np.nan), "gaussian", r"1 values are not finite; the first is nan, cell 'c1', feature 'g2'"),
        ((1, 2, np.inf), "nb", r"not finite; the first is inf, cell 'c1', feature 'g2'"),
        ((2, 0, -3), "nb", r"are negative, which the loss 'nb' cannot take; the first is -3, cell 'c2'"),
        ((0, 1, 1.5), "poisson", r"no whole numbers.*first is 1.5, cell 'c0', feature 'g1'.*layer"),
        ((0, 1, -1), "bernoulli", r"negative"),
    ],
)
@pytest.mark.parametrize("thin", [True, False])
def test_values_that_cannot_be_used_are_named(
    change: tuple[int, int, float], loss: str, message: str, thin: bool
) -> None:
    values = np.ones((3, 4))
    values[change[0], change[1]] = change[2]
    with pytest.raises(DataError, match=message):
        check_values(table(values, thin=thin), loss)


def test_preparations_and_losses_must_go_together() -> None:
    values = np.array([[1, 3], [2, 1]])
    with pytest.raises(
        ConfigError, match=r"the loss 'nb' cannot go with the preparation 'clr'; none would do"
    ):
        check_values(table(values), "nb", "clr")
    with pytest.raises(DataError, match=r"above 1, which the loss 'bernoulli' .* Say prepare binarise"):
        check_values(table(values), "bernoulli")
    with pytest.raises(DataError, match=r"negative, which the preparation 'clr' cannot take"):
        check_values(table(-values), "gaussian", "clr")
    check_values(table(values), "bce", "paper")
    check_values(table(-values), "gaussian", "standardise")


def test_empty_cells_and_features_are_named() -> None:
    values = np.ones((4, 5))
    values[2] = 0
    with pytest.raises(
        DataError, match=r"1 cells are 0 throughout: c2. They can be left out by least_features = 1"
    ):
        check_values(table(values), "nb")
    with pytest.raises(DataError, match=r"1 features are 0 throughout: g3. .* least_cells = 1"):
        check_values(table(np.ones((4, 5)) * (np.arange(5) != 3)), "nb")
    check_values(table(values), "gaussian")  # of features 0 is a value as any other


def test_the_loss_goes_by_the_values() -> None:
    assert guess_loss(table(np.array([[0, 3], [2, 1]]))) == "nb"
    assert guess_loss(table(np.array([[0, 1], [1, 1]]))) == "bernoulli"
    assert guess_loss(table(np.array([[0.5, 1], [1, 1]]))) == "gaussian"
    assert guess_loss(table(np.array([[-1, 1], [1, 1]]))) == "gaussian"


def test_features_are_found_by_name() -> None:
    values = np.arange(6).reshape(2, 3)
    chosen = select_features(table(values), np.array(["g2", "g0"], object))
    assert np.array_equal(chosen.values.toarray(), values[:, [2, 0]])
    with pytest.raises(DataError, match="lacks 1 of 2 features that the model knows: g9"):
        select_features(table(values), np.array(["g2", "g9"], object))


@settings(max_examples=40)
@given(seed=st.integers(0, 10_000), least=st.tuples(st.integers(1, 3), st.integers(1, 3)))
def test_nothing_that_is_asked_to_be_left_out_is_left_empty(seed: int, least: tuple[int, int]) -> None:
    """Cells that go for the sake of one table leave features of the other empty."""
    rng = np.random.default_rng(seed)
    tables = {name: table(rng.random((14, 9)) < 0.25, name=name) for name in ("a", "b")}
    left: dict[str, Table] = {}
    with suppress(DataError):  # of some, nothing is left at all
        left = filter_tables(tables, least_cells=least[0], least_features=least[1])
    for each in left.values():
        check_values(each, "nb")
        assert list(each.cells) == list(left["a"].cells)


def test_unknown_preparations_are_refused() -> None:
    with pytest.raises(ConfigError, match="prepare = 'zscore'"):
        prepare(table(np.ones((2, 2))), "zscore")
