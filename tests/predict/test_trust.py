"""Intervals that hold what they say, support, spread; scores of features against plain correlations."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from napari_apollo.cells import CellStore
from napari_apollo.errors import ConfigError, DataError, ModelError
from napari_apollo.predict import PredictConfig, predict
from napari_apollo.predict.conformal import fit_interval, stain_intervals
from napari_apollo.predict.featurescores import FeaturePairs, feature_scores
from napari_apollo.predict.intervals import coexpression, score_intervals
from napari_apollo.predict.scores import cell_scores, published_l1, summarise
from napari_apollo.predict.support import fit_support


def study(rng: np.random.Generator, donors: int, cells: int, between: float) -> tuple[np.ndarray, ...]:
    """Predicted values, skewed truth whose noise grows with them, and donors that differ."""
    donor = np.repeat(np.arange(donors), cells)
    x = rng.gamma(3, size=donors * cells)
    shift = between * rng.normal(size=donors)[donor]
    y = 2 * np.sqrt(x) + shift + 0.2 * (1 + x) * rng.standard_t(5, size=len(x))
    return x, y, donor


@pytest.mark.parametrize(("between", "donors"), [(0.0, 8), (0.3, 12)])
def test_nominal_90_percent_covers_unseen_donors(between: float, donors: int) -> None:
    rng = np.random.default_rng(3)
    covered, stated = [], []
    for _ in range(12):
        found = fit_interval(*study(rng, donors, 120, between))
        x, y, _ = study(rng, 10, 100, between)
        low, high = found.interval(x)
        covered.append(np.mean((low <= y) & (y <= high)))
        stated.append(found.coverage.mean())
    assert 0.87 <= np.mean(covered) <= 0.93
    assert 0.87 <= np.mean(stated) <= 0.93


def test_counts_and_missing_values() -> None:
    rng = np.random.default_rng(4)
    x, _, donor = study(rng, 8, 150, 0)
    y = rng.poisson(x).astype(float)
    x[::7] = np.nan
    found = fit_interval(x, y, donor)
    low, high = found.interval(x)
    assert np.isnan(low[0])
    assert 0.87 <= np.nanmean(np.where(np.isnan(low), np.nan, (low <= y) & (y <= high))) <= 0.96
    assert len(found.units) == 8


def test_what_intervals_need() -> None:
    x, y, donor = study(np.random.default_rng(5), 2, 50, 0)
    with pytest.raises(DataError, match="intervals need 30 cells of 3"):
        fit_interval(x, y, donor)
    with pytest.raises(DataError, match="the same in all cells"):
        fit_interval(x, np.ones_like(y), np.arange(len(x)) % 5)
    with pytest.raises(ConfigError):
        fit_interval(x, y, donor, level=1.0)


def test_a_table_of_intervals_by_donor_or_field() -> None:
    rng = np.random.default_rng(6)
    x, y, donor = study(rng, 6, 80, 0.1)
    names = np.array([f"d{k}" for k in donor], object)
    made, truth = np.column_stack([x, x]), np.column_stack([y, np.full_like(y, np.nan)])
    found = stain_intervals(FeaturePairs(("a", "b"), made, truth, names, names))
    table = found.table.set_index("feature")
    assert 0.85 < table.loc["a", "coverage"] < 0.95
    assert table.loc["a", "unit"] == "donor"
    assert 0 < table.loc["a", "width"] < 1.2
    assert "intervals need" in table.loc["b", "note"]
    one = np.full(len(x), "d", object)
    by_field = stain_intervals(FeaturePairs(("a",), made[:, :1], truth[:, :1], one, names)).table
    assert by_field["unit"].iloc[0] == "field"


def test_intervals_of_cells_that_lack_the_stain() -> None:
    rng = np.random.default_rng(12)
    x, y, donor = study(rng, 6, 80, 0.1)
    names = np.array([f"d{k}" for k in donor], object)
    noise = rng.normal(size=len(x))
    pairs = FeaturePairs(
        ("a", "noise"), np.column_stack([x, noise]), np.column_stack([y, noise[::-1]]), names, names
    )
    found = stain_intervals(pairs)
    new, truth, _ = study(rng, 5, 60, 0.1)
    made = np.column_stack([new, rng.normal(size=300)])
    table = found.of_cells(("a", "noise"), made, np.array([f"c{k}" for k in range(300)], object))
    assert set(table["feature"]) == {"a"}  # of noise nothing is said
    assert 0.84 < np.mean((table["low"] <= truth) & (truth <= table["high"])) < 0.96
    assert list(table["predicted"]) == list(new)


@pytest.mark.parametrize(("between", "donors", "cells"), [(1.0, 3, 60), (0.3, 3, 35), (1.0, 6, 60)])
def test_few_donors(between: float, donors: int, cells: int) -> None:
    """Three donors as far apart as their cells: quantiles of what was seen cover less than they say, and of
    distances from what two of them say, more."""
    rng = np.random.default_rng(13)
    covered = []
    for _ in range(80):
        found = fit_interval(*study(rng, donors, cells, between))
        x, y, _ = study(rng, 12, 30, between)
        low, high = found.interval(x)
        covered.append(np.mean((low <= y) & (y <= high)))
    assert 0.87 <= np.mean(covered) <= 0.93


def test_feature_scores_are_correlations_within_donors() -> None:
    rng = np.random.default_rng(7)
    x = rng.normal(size=(90, 2))
    y = x + rng.normal(size=(90, 2))
    donors = np.repeat(["a", "b", "c"], 30).astype(object)
    shift = np.repeat([0.0, 50.0, -20.0], 30)[:, None]
    y[:, 1] = 3.0
    table = feature_scores(FeaturePairs(("f", "flat"), x + shift, y + shift, donors, donors)).set_index(
        "feature"
    )
    within = [
        np.concatenate([v[donors == d] - v[donors == d].mean() for d in "abc"]) for v in (x[:, 0], y[:, 0])
    ]
    assert table.loc["f", "pearson"] == pytest.approx(stats.pearsonr(*within)[0])
    assert table.loc["f", "pearson_low"] <= table.loc["f", "pearson"] <= table.loc["f", "pearson_high"]
    one = FeaturePairs(("f",), x[:, :1], y[:, :1], np.full(90, "a", object), donors)
    assert feature_scores(one)["spearman"].iloc[0] == pytest.approx(stats.spearmanr(x[:, 0], y[:, 0])[0])
    same = FeaturePairs(("f",), x[:, :1], np.ones((90, 1)), donors, donors)
    assert feature_scores(same)["pearson"].isna().all()


def test_score_intervals_hold_the_scores() -> None:
    rng = np.random.default_rng(8)
    truth = rng.uniform(size=(60, 12, 12))
    made = np.clip(truth + 0.2 * rng.normal(size=truth.shape), 0, 1)
    cells = cell_scores(made, truth, np.ones(truth.shape, bool), np.full(60, 100.0))
    cells["donor"] = np.repeat([f"d{k}" for k in range(6)], 10)
    scores, ends = summarise(cells), score_intervals(cells)
    assert ends["donors"] == 6
    for name in ("mae", "mae_units", "pearson", "intensity_pearson", "ssim", "published_l1"):
        assert ends[f"{name}_low"] <= scores[name] <= ends[f"{name}_high"]
    assert np.isnan(score_intervals(cells.assign(donor="d"))["mae_low"])


def test_published_error_of_a_single_image_by_hand() -> None:
    made = np.array([[[51, 51, 51], [102, 0, 255], [51, 51, 51]]]) / 255
    truth = np.zeros((1, 3, 3))
    # The mode, 51, goes; what is below it is 0; the largest, 204, becomes 1.
    assert published_l1(made, truth)[0] == pytest.approx((51 / 204 + 1) / 9)
    both = published_l1(np.concatenate([made, made / 2]), np.zeros((2, 3, 3)))
    assert both[0] == pytest.approx(published_l1(made, truth)[0])
    assert published_l1(np.ones((1, 3, 3)), truth)[0] == 0


def test_pairs_of_stains() -> None:
    rng = np.random.default_rng(9)
    levels = rng.normal(size=400) + 10
    frames = []
    for stain, truth, made in (
        ("a", levels, levels),
        ("b", levels + rng.normal(size=400), rng.normal(size=400) + 10),
    ):
        frames.append(
            pd.DataFrame(
                {"cell_id": np.arange(400), "stain": stain, "pixels": 1, "made_sum": made, "truth_sum": truth}
            )
        )
    cells = pd.concat(frames).assign(part="test", kind="predicted")
    cells["donor"] = cells["cell_id"] % 5
    (row,) = coexpression(cells).to_dict("records")
    assert row["measured"] == pytest.approx(0.7, abs=0.08)
    assert abs(row["made"]) < 0.15
    assert row["high"] < 0


def test_support_flags_what_is_far_from_training() -> None:
    rng = np.random.default_rng(10)
    train = rng.normal(size=(600, 3))
    donors = np.arange(600) % 6
    found = fit_support(train, donors)
    near, far = rng.normal(size=(500, 3)), rng.normal(size=(50, 3)) + 8
    assert found.beyond(near).mean() < 0.04
    assert found.beyond(far).all()
    missing = np.full((2, 3), np.nan)
    assert found.beyond(missing).all()
    assert np.isnan(found.rank(missing)).all()
    assert fit_support(train, np.zeros(600)).beyond(near).mean() < 0.04
    with pytest.raises(DataError, match="too few for support"):
        fit_support(train[:5], donors[:5])


def test_spread_and_support_of_predictions(make: SimpleNamespace, tmp_path: Path) -> None:
    store = make.store(tmp_path / "a.cells.zarr")
    sure = make.model(tmp_path / "points", store)
    with pytest.raises(ModelError, match="gives no posterior"):
        predict(store, sure, PredictConfig(device="cpu", uncertainty=4))
    model = make.model(tmp_path / "model", store, codes=True)
    found = predict(store, model, PredictConfig(device="cpu", uncertainty=4, also_measured=True))
    assert found.stains("right", "uncertainty") == ("CD3", "CD4", "CD8")
    spread = found.read("right", "uncertainty", "CD3", np.arange(5))
    assert spread.shape == (5, 16, 16)
    assert (spread >= 0).all()
    assert spread.max() > 0
    table = CellStore.open(store.path).table
    uncertain, support = table.obsm["predicted_uncertainty"], table.obsm["predicted_support"]
    masks = store.read_masks("right", np.arange(5)) > 0
    rows = store.rows("right")[:5]
    by_hand = [image[mask].mean() for image, mask in zip(spread, masks, strict=True)]
    assert np.allclose(uncertain["CD3"].to_numpy()[rows], by_hand, rtol=0.02)
    learnt = (table.obs["split"] == "train").to_numpy()
    assert np.nanmean(support["CD3"].to_numpy()[learnt]) < 0.9
    again = predict(
        store, model, PredictConfig(device="cpu", uncertainty=4, also_measured=True, overwrite=True)
    )
    assert np.array_equal(again.read("right", "uncertainty", "CD3", np.arange(5)), spread)
