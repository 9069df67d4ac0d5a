"""Scores agree with definitions and with other libraries."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from skimage.metrics import structural_similarity as reference

from napari_apollo.predict.scores import cell_scores, structural_similarity, summarise


@given(seed=st.integers(0, 1000), side=st.integers(11, 24))
@settings(max_examples=15, deadline=None)
def test_structural_similarity_is_that_of_scikit_image(seed: int, side: int) -> None:
    rng = np.random.default_rng(seed)
    first, second = rng.uniform(0, 1, (2, 3, side, side))
    ours = structural_similarity(first, second)
    for one, other, found in zip(first, second, ours, strict=True):
        _, full = reference(
            one, other, data_range=1, gaussian_weights=True, sigma=1.5, use_sample_covariance=False, full=True
        )
        assert np.allclose(found, full, atol=1e-9)


def test_sums_give_the_scores_of_all_pixels_together() -> None:
    rng = np.random.default_rng(0)
    truth = rng.uniform(0, 1, (20, 12, 12))
    made = np.clip(truth + rng.normal(0, 0.2, truth.shape), 0, 1)
    region = rng.uniform(0, 1, truth.shape) > 0.4
    span = rng.uniform(100, 1000, 20)
    scores = summarise(cell_scores(made, truth, region, span))
    assert scores["cells"] == 20
    assert scores["mae"] == pytest.approx(np.abs(made - truth)[region].mean())
    units = np.abs(made - truth) * span[:, None, None]
    assert scores["mae_units"] == pytest.approx(units[region].mean())
    assert scores["pearson"] == pytest.approx(np.corrcoef(made[region], truth[region])[0, 1])
    means = [(m[r].mean(), t[r].mean()) for m, t, r in zip(made, truth, region, strict=True)]
    assert scores["intensity_pearson"] == pytest.approx(np.corrcoef(np.array(means).T)[0, 1])


def test_what_cannot_be_said_is_nan() -> None:
    truth = np.full((4, 12, 12), 0.5)
    scores = summarise(cell_scores(truth, truth, truth > 0, np.ones(4)))
    assert np.isnan(scores["pearson"])
    assert np.isnan(scores["intensity_pearson"])
    assert scores["mae"] == 0
    assert scores["ssim"] == pytest.approx(1)
    nowhere = summarise(cell_scores(truth, truth, truth < 0, np.ones(4)))
    assert nowhere["cells"] == 0
    assert np.isnan(nowhere["mae"])
