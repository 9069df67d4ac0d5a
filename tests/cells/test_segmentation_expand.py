"""The cell region: the nucleus expanded."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage

from napari_apollo.cells.segmentation import expand_nuclei
from napari_apollo.errors import ConfigError, DataError


def by_hand(labels: np.ndarray, distance: float) -> np.ndarray:
    """Every pixel asks every nucleus pixel."""
    result = labels.copy()
    nuclei = np.argwhere(labels > 0)
    for y, x in np.argwhere(labels == 0):
        if len(nuclei) == 0:
            break
        squared = ((nuclei - (y, x)) ** 2).sum(axis=1)
        if squared.min() <= distance**2:
            result[y, x] = labels[tuple(nuclei[squared == squared.min()].T)].min()
    return result


@st.composite
def label_images(draw: st.DrawFn) -> np.ndarray:
    rng = np.random.default_rng(draw(st.integers(0, 10_000)))
    labels = np.zeros((draw(st.integers(1, 30)), draw(st.integers(1, 30))), np.int32)
    for label in range(1, draw(st.integers(0, 6)) + 1):
        y, x = rng.integers(0, labels.shape[0]), rng.integers(0, labels.shape[1])
        labels[y : y + rng.integers(1, 6), x : x + rng.integers(1, 6)] = label
    return labels


@given(label_images(), st.floats(0, 12))
@settings(max_examples=60, deadline=None)
def test_every_pixel_goes_to_the_nearest_nucleus(labels: np.ndarray, distance: float) -> None:
    expanded = expand_nuclei(labels, distance)
    assert expanded.dtype == np.int32
    np.testing.assert_array_equal(expanded, by_hand(labels, distance))


@given(label_images(), st.floats(0, 8), st.integers(0, 29))
@settings(max_examples=40, deadline=None)
def test_a_part_with_a_margin_is_that_part_of_the_whole(
    labels: np.ndarray, distance: float, cut: int
) -> None:
    cut = min(cut, labels.shape[0])
    margin = int(np.ceil(distance))
    part = expand_nuclei(labels[: cut + margin], distance)[:cut]
    np.testing.assert_array_equal(part, expand_nuclei(labels, distance)[:cut])


def test_the_reach_is_the_distance_between_pixel_centres() -> None:
    labels = np.zeros((41, 41), np.uint16)
    labels[20, 20] = 5
    for distance in (0.5, 1, 2.5, 7, 20):
        far = ndimage.distance_transform_edt(labels == 0)
        np.testing.assert_array_equal(expand_nuclei(labels, distance) == 5, far <= distance)


def test_neighbours_are_not_crossed() -> None:
    labels = np.zeros((5, 21), np.int32)
    labels[:, :3], labels[:, -3:] = 1, 2
    expanded = expand_nuclei(labels, 50)
    assert (expanded[:, :11] == 1).all()  # the middle column is as near to both: the lower number has it
    assert (expanded[:, 11:] == 2).all()
    assert (labels[:, 3:-3] == 0).all(), "what was given is left alone"


def test_what_cannot_be_expanded_is_refused() -> None:
    labels = np.zeros((4, 4), np.int32)
    with pytest.raises(ConfigError, match="-1"):
        expand_nuclei(labels, -1)
    with pytest.raises(ConfigError, match="nan"):
        expand_nuclei(labels, float("nan"))
    with pytest.raises(DataError, match="float64"):
        expand_nuclei(labels.astype(float), 2)
    with pytest.raises(DataError, match=r"\(1, 4, 4\)"):
        expand_nuclei(labels[None], 2)
