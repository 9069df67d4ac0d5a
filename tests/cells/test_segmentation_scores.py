"""Scores against cases counted by hand."""

from __future__ import annotations

import numpy as np
import pytest

from napari_apollo.cells.segmentation.scores import Matches, match, pool
from napari_apollo.errors import DataError, InputError


def squares(*corners: tuple[int, int, int], shape: tuple[int, int] = (20, 20)) -> np.ndarray:
    labels = np.zeros(shape, np.int32)
    for label, (y, x, side) in enumerate(corners, start=1):
        labels[y : y + side, x : x + side] = label
    return labels


def test_the_same_nuclei_match_whatever_their_numbers() -> None:
    truth = squares((0, 0, 4), (10, 10, 4))
    result = np.where(truth == 1, 7, np.where(truth == 2, 3, 0))
    matches = match(truth, result)
    assert (matches.annotated, matches.found) == (2, 2)
    assert matches.f1() == 1
    assert matches.f1(0.9) == 1
    assert matches.panoptic_quality == 1


def test_overlap_is_intersection_over_union() -> None:
    # 4 x 4 against the same moved by one column: 12 pixels shared, 20 in either.
    matches = match(squares((0, 0, 4)), squares((0, 1, 4)))
    assert matches.overlaps == pytest.approx((0.6,))
    assert matches.f1(0.5) == 1
    assert matches.f1(0.6) == 0  # an overlap must exceed the threshold
    assert matches.panoptic_quality == pytest.approx(0.6)


def test_a_half_is_no_match() -> None:
    # 2 x 4 of 4 x 4: exactly one half.
    truth = squares((0, 0, 4))
    result = truth.copy()
    result[2:] = 0
    assert match(truth, result).overlaps == ()


def test_missed_and_invented_nuclei_count() -> None:
    truth = squares((0, 0, 4), (0, 10, 4), (10, 0, 4))
    result = squares((0, 0, 4), (15, 15, 3))
    matches = match(truth, result)
    assert matches.f1() == pytest.approx(2 * 1 / (3 + 2))


def test_a_split_nucleus_is_at_most_one_match() -> None:
    truth = squares((0, 0, 10))
    result = truth.copy()
    result[:, 6:10][truth[:, 6:10] > 0] = 2  # 60 and 40 of 100 pixels
    matches = match(truth, result)
    assert (matches.annotated, matches.found) == (1, 2)
    assert matches.overlaps == pytest.approx((0.6,))


def test_pooling_is_one_large_image() -> None:
    pairs = [
        (squares((0, 0, 4), (10, 10, 4)), squares((0, 1, 4))),
        (squares((3, 3, 6)), squares((3, 3, 6), (15, 15, 3))),
    ]
    one = match(np.hstack([pairs[0][0], pairs[1][0] * 10]), np.hstack([pairs[0][1], pairs[1][1] * 10]))
    assert pool(match(*pair) for pair in pairs) == one
    assert match(*pairs[0]) + match(*pairs[1]) == one


def test_nothing_on_both_sides_is_perfect_and_nothing_found_is_zero() -> None:
    empty = np.zeros((5, 5), np.int32)
    assert match(empty, empty).f1() == 1
    assert match(squares((0, 0, 3)), np.zeros((20, 20), int)).f1() == 0
    assert pool([]) == Matches(0, 0, ())


def test_what_cannot_be_compared_is_refused() -> None:
    with pytest.raises(DataError, match=r"\(5, 5\).*\(5, 6\)"):
        match(np.zeros((5, 5), int), np.zeros((5, 6), int))
    with pytest.raises(DataError, match="float64"):
        match(np.zeros((5, 5)), np.zeros((5, 5), int))
    with pytest.raises(InputError, match=r"0\.3"):
        match(squares((0, 0, 3)), squares((0, 0, 3))).f1(0.3)
