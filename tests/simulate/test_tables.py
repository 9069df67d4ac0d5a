"""The simulated tables follow the laws they are documented to follow."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from napari_apollo.errors import ConfigError
from napari_apollo.simulate import TABLE_SETS, TableSet, simulate_tables
from napari_apollo.simulate.tables import BLOCK_OF, FACTORS

PAPER_SETS = ("1", "2", "3", "4", "5")
MIXING = ("1", "4", "5")


@pytest.fixture(scope="module")
def many() -> dict[str, TableSet]:
    return {name: simulate_tables(name, cells=20_000, seed=5) for name in TABLE_SETS}


def factor(tables: TableSet, name: str) -> np.ndarray:
    return tables.factors[:, FACTORS.index(name)]


@pytest.mark.parametrize(
    ("name", "x", "y"), [("1", 80, 40), ("2", 40, 30), ("3", 80, 40), ("4", 40, 30), ("5", 80, 40)]
)
def test_sizes_are_the_papers(name: str, x: int, y: int) -> None:
    tables = simulate_tables(name)
    assert tables.x.shape == (2048, x)
    assert tables.y.shape == (2048, y)
    assert tables.factors.shape == (2048, 5)


@pytest.mark.parametrize("name", PAPER_SETS)
def test_noise_of_every_factor_has_its_published_law(many: dict[str, TableSet], name: str) -> None:
    tables = many[name]
    z1, z2, z3, z4, z5 = tables.factors.T
    noise = {
        "Z2": (z2 - z1, stats.gamma(5, scale=np.sqrt(0.0045))),
        "Z4": (z4 - z3 - (2 * z2 if name in MIXING else 0), stats.gamma(2, scale=2 * np.sqrt(0.00125))),
    }
    if name in MIXING:
        noise["Z5"] = (z5 - z2, stats.gamma(3, scale=2 * np.sqrt(0.0075)))
    for values, law in noise.values():
        assert stats.kstest(values, law.cdf).pvalue > 1e-3
    if name not in MIXING:  # a fresh coin plus gamma noise: moments of the sum
        law = stats.gamma(3, scale=2 * np.sqrt(0.0075))
        assert z5.mean() == pytest.approx(0.5 + law.mean(), abs=0.02)
        assert z5.var() == pytest.approx(0.25 + law.var(), abs=0.01)
    for coin in (z1, z3):
        assert set(np.unique(coin)) == {0.0, 1.0}
        assert coin.mean() == pytest.approx(0.5, abs=0.02)


@pytest.mark.parametrize("name", [*PAPER_SETS, "private", "confounded"])
def test_who_depends_on_whom(many: dict[str, TableSet], name: str) -> None:
    correlation = np.abs(np.corrcoef(many[name].factors.T))
    edges = {("Z1", "Z2"), ("Z3", "Z4")}
    if name in MIXING:
        edges |= {(a, b) for a in ("Z1", "Z2") for b in ("Z4", "Z5")} | {("Z4", "Z5")}
    for i, first in enumerate(FACTORS):
        for j, second in enumerate(FACTORS[:i]):
            if (second, first) in edges:
                assert correlation[i, j] > 0.2, (second, first)
            else:
                assert correlation[i, j] < 0.03, (second, first)


@pytest.mark.parametrize("name", list(TABLE_SETS))
def test_observations_are_noise_free_and_of_the_rank_of_their_parents(name: str) -> None:
    tables = simulate_tables(name)
    ranks = {"determined": (3, 3), "confounded": (2, 1)}.get(name, (4, 3))
    for values, rank in zip((tables.x, tables.y), ranks, strict=True):
        assert np.linalg.matrix_rank(values - values.mean(axis=0), tol=1e-9 * np.abs(values).max()) == rank
    np.testing.assert_array_equal(tables.x, tables.factors @ tables.x_loadings.T)


@pytest.mark.parametrize("name", list(TABLE_SETS))
def test_features_load_on_their_parents_and_on_nothing_else(name: str) -> None:
    tables = simulate_tables(name)
    for modality, loadings in (("x", tables.x_loadings), ("y", tables.y_loadings)):
        for row, parents in zip(loadings, tables.parents(modality), strict=True):
            assert {FACTORS[i] for i in np.flatnonzero(row)} == set(parents)
            assert all(BLOCK_OF[parent] in ("shared", modality) for parent in parents)


def test_loadings_are_standard_normal_and_four_times_that_in_set_5() -> None:
    def drawn(name: str, single: bool) -> np.ndarray:
        values = []
        for seed in range(40):
            tables = simulate_tables(name, cells=10, seed=seed)
            for modality, loadings in (("x", tables.x_loadings), ("y", tables.y_loadings)):
                rows = [(len(parents) == 1) == single for parents in tables.parents(modality)]
                values.append(loadings[rows][loadings[rows] != 0])
        return np.concatenate(values)

    for name, gain in (("1", 1.0), ("5", 4.0)):
        assert stats.kstest(drawn(name, single=True), stats.norm(scale=gain).cdf).pvalue > 1e-3
        assert stats.kstest(drawn(name, single=False), stats.norm().cdf).pvalue > 1e-3


@given(seed=st.integers(0, 2**32), cells=st.integers(50, 400))
@settings(max_examples=20, deadline=None)
def test_private_variation_is_ten_times_the_shared_one(seed: int, cells: int) -> None:
    tables = simulate_tables("private", cells=cells, seed=seed)
    private = np.array([BLOCK_OF[name] != "shared" for name in FACTORS])
    for loadings in (tables.x_loadings, tables.y_loadings):
        given_by = [
            np.var(tables.factors[:, columns] @ loadings[:, columns].T, axis=0).sum()
            for columns in (private, ~private)
        ]
        assert given_by[0] / given_by[1] == pytest.approx(10)


def test_private_factors_are_functions_of_the_shared_ones_where_said_so(many: dict[str, TableSet]) -> None:
    z1, z2, z3, z4, z5 = many["determined"].factors.T
    np.testing.assert_array_equal(z3, z1)
    np.testing.assert_array_equal(z4, z2**2)
    np.testing.assert_array_equal(z5, np.exp(-z2))


def test_neither_modality_alone_can_tell_a_confounded_shared_factor(many: dict[str, TableSet]) -> None:
    tables = many["confounded"]
    z1 = factor(tables, "Z1")
    for values in (tables.x, tables.y):
        # The best guess from one modality: the mean over cells alike in all that it shows.
        component = np.linalg.svd(values - values.mean(axis=0), full_matrices=False)[0][:, 0]
        bins = np.digitize(component, np.quantile(component, np.linspace(0, 1, 41)[1:-1]))
        guess = np.array([z1[bins == b].mean() for b in range(40)])[bins]
        assert 0.2 < 1 - np.var(z1 - guess) / np.var(z1) < 0.8


def test_the_same_seed_gives_the_same_bytes_and_another_one_does_not() -> None:
    first, again, other = (simulate_tables(3, seed=seed) for seed in (7, 7, 8))
    assert first.x.tobytes() == again.x.tobytes()
    assert first.y.tobytes() == again.y.tobytes()
    assert first.x.tobytes() != other.x.tobytes()


def test_split_holds_out_5_and_10_percent() -> None:
    split = simulate_tables(1).split()
    assert [(split == name).sum() for name in ("train", "validation", "test")] == [2048 - 102 - 205, 102, 205]
    np.testing.assert_array_equal(split, simulate_tables(2).split())


def test_anndata_holds_truth_beside_the_values() -> None:
    tables = simulate_tables(2, cells=50)
    x, y = tables.to_anndata("x"), tables.to_anndata("y")
    assert list(x.obs_names) == list(y.obs_names)
    np.testing.assert_array_equal(x.obs[list(FACTORS)], tables.factors)
    np.testing.assert_array_equal(y.X, tables.y)
    np.testing.assert_allclose(tables.factors @ x.varm["loadings"].T, x.X)
    assert list(x.var["parents"].iloc[[0, 10, 20, 30]]) == ["Z4", "Z3", "Z2", "Z1"]


def test_unknown_sets_and_too_few_cells_are_refused() -> None:
    with pytest.raises(ConfigError, match="there are 1, 2, 3, 4, 5, private"):
        simulate_tables(6)
    with pytest.raises(ConfigError, match="at least 10"):
        simulate_tables(1, cells=9)
    with pytest.raises(ConfigError, match="together below 1"):
        simulate_tables(1).split(validation=0.5, test=0.5)
