"""Gains over the mean image: against plain sums, in words, and by chance no oftener than they say."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from napari_apollo.probes.gains import Gains, gains_over, pearson_of_sums, region_sums, verdict_of_scores
from napari_apollo.probes.statistics import Interval


def frame(made: np.ndarray, other: np.ndarray, truth: np.ndarray, donors: int) -> pd.DataFrame:
    region = np.ones(truth.shape, bool)
    cells = pd.DataFrame(region_sums(made, truth, region))
    beside = pd.DataFrame(region_sums(np.broadcast_to(other, truth.shape), truth, region))
    donor = [f"d{k * donors // len(truth)}" for k in range(len(truth))]
    return pd.concat([cells, beside.add_prefix("mean_")], axis=1).assign(donor=donor)


def test_gains_are_those_of_all_pixels_together() -> None:
    rng = np.random.default_rng(0)
    truth = rng.uniform(size=(24, 6, 6))
    made, mean = 0.5 * truth + 0.2, rng.uniform(size=(6, 6))
    found = gains_over(frame(made, mean, truth, 6), "mean")
    shown = np.broadcast_to(mean, truth.shape)
    assert found.error.value == pytest.approx(np.abs(shown - truth).mean() - np.abs(made - truth).mean())
    both = [np.corrcoef(own.ravel(), truth.ravel())[0, 1] for own in (made, shown)]
    assert found.pattern.value == pytest.approx(both[0] - both[1])
    assert found.error.low <= found.error.value <= found.error.high
    assert found.better
    assert found.verdict() == "better than the mean image"
    assert verdict_of_scores({**found.numbers(), "donors": 6, "mae": 0.1}) == found.verdict()


def test_what_is_the_same_everywhere_goes_with_nothing() -> None:
    rng = np.random.default_rng(1)
    truth = rng.uniform(size=(12, 4, 4))
    found = gains_over(frame(np.full(truth.shape, 0.5), np.full((4, 4), 0.5), truth, 4), "mean")
    assert (found.error.value, found.pattern.value) == (0, 0)
    assert found.verdict() == "within chance of the mean image"
    assert np.isnan(pearson_of_sums([4.0], [2.0], [1.0], [1.0], [1.0], [0.5])).all()


def gains(error: tuple[float, float], pattern: tuple[float, float], donors: int = 5) -> Gains:
    intervals = (Interval(sum(ends) / 2, *ends, 0.95, donors) for ends in (error, pattern))
    return Gains(*intervals)


@pytest.mark.parametrize(
    ("error", "pattern", "words"),
    [
        ((0.01, 0.02), (0.1, 0.2), "better than the mean image"),
        ((-0.013, 0.015), (-0.1, 0.3), "within chance of the mean image"),
        (
            (-0.013, 0.015),
            (0.1, 0.3),
            "more like the truth in pattern than the mean image, within chance of it",
        ),
        (
            (0.01, 0.02),
            (-0.1, 0.2),
            "closer in intensity than the mean image, within chance of it in pattern",
        ),
        ((0.01, 0.02), (-0.2, -0.1), "closer in intensity than the mean image, but less like the truth"),
        ((-0.02, -0.01), (0.1, 0.3), "more like the truth in pattern than the mean image, but further off"),
        ((-0.02, -0.01), (-0.1, 0.3), "no better than the mean image"),
        ((-0.02, 0.01), (-0.3, -0.1), "no better than the mean image"),
    ],
)
def test_words_go_by_intervals(error: tuple[float, float], pattern: tuple[float, float], words: str) -> None:
    found = gains(error, pattern)
    assert found.verdict().startswith(words)
    assert found.better == (words == "better than the mean image")


def test_few_donors_are_never_sure() -> None:
    nan = float("nan")
    few = Gains(Interval(0.1, nan, nan, 0.95, 1), Interval(0.2, nan, nan, 0.95, 1))
    assert not few.better
    assert few.verdict() == "better than the mean image in 1 donor, too few to tell it from chance"
    worse = Gains(Interval(-0.1, nan, nan, 0.95, 2), Interval(-0.2, nan, nan, 0.95, 2))
    assert worse.verdict() == "no better than the mean image"
    cells = pd.DataFrame({"donor": ["a"], "pixels": [4]})
    names = ["pixels", "made_sum", "truth_sum", "made_squared", "truth_squared", "product", "error"]
    cells = cells.assign(**dict.fromkeys([*names[1:], *(f"mean_{name}" for name in names)], nan))
    assert gains_over(cells, "mean").verdict().startswith("no mean image to compare with")
    assert verdict_of_scores({"gain": 0.1}) == ""
    known = {"gain": 0.1, "pearson_gain": 0.2, "gain_low": None, "donors": 1}
    assert verdict_of_scores(known) == few.verdict()


def test_a_prediction_that_knows_nothing_is_seldom_called_better() -> None:
    """Donors differ in level; what is made knows nothing of them, and is nearer only by chance."""
    rng = np.random.default_rng(2)
    called = 0
    for _ in range(200):
        shift = 0.05 * rng.normal(size=6).repeat(5)[:, None, None]
        truth = 0.5 + shift + 0.1 * rng.normal(size=(30, 3, 3))
        made = 0.5 + 0.05 * rng.normal(size=6).repeat(5)[:, None, None] + np.zeros(truth.shape)
        mean = 0.5 + 0.05 * rng.normal() + 0.01 * rng.normal(size=(3, 3))
        called += gains_over(frame(made, mean, truth, 6), "mean").better
    assert called <= 12  # 2.5 % is nominal for each of two; 12 of 200 is the binomial bound of 2.5 % at 0.995
