"""Crops equal a plain loop, and depend on nothing but the pixels around a cell."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from napari_apollo.cells.cutting import cut
from napari_apollo.errors import ConfigError, DataError


def plain(
    image: NDArray,
    labels: NDArray,
    cells: NDArray | None,
    centres: NDArray,
    ids: NDArray,
    size: int,
    mode: str,
) -> tuple[NDArray, NDArray]:
    """The rule of the architecture page, pixel by pixel."""
    cells = labels if cells is None else cells
    images = np.zeros((len(ids), len(image), size, size), image.dtype)
    masks = np.zeros((len(ids), size, size), np.uint8)
    for k, (own, (cy, cx)) in enumerate(zip(ids, centres, strict=True)):
        for i in range(size):
            for j in range(size):
                y, x = cy + i - size // 2, cx + j - size // 2
                if not (0 <= y < labels.shape[0] and 0 <= x < labels.shape[1]):
                    continue
                nucleus, cell = labels[y, x], cells[y, x]
                mine = nucleus == own or (nucleus == 0 and cell == own)
                other = not mine and (nucleus != 0 or cell != 0)
                masks[k, i, j] = 2 if nucleus == own else int(mine)
                if mode == "keep" or mine or (mode == "blank" and not other):
                    images[k, :, i, j] = image[:, y, x]
    return images, masks


@st.composite
def scenes(draw: st.DrawFn) -> tuple[NDArray, NDArray, NDArray | None, NDArray, NDArray, int]:
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    shape = draw(st.integers(1, 23)), draw(st.integers(1, 23))
    dtype = draw(st.sampled_from([np.uint8, np.uint16, np.int16, np.float32]))
    image = (rng.random((draw(st.integers(1, 3)), *shape)) * 200).astype(dtype)
    blocks = rng.integers(0, 4, (shape[0] // 4 + 1, shape[1] // 4 + 1))
    coarse = np.kron(blocks, np.ones((4, 4), int))[: shape[0], : shape[1]]
    cells = coarse.astype(np.int32) * 7
    labels = np.where(rng.random(shape) < 0.6, cells, 0).astype(np.int32)
    count = draw(st.integers(0, 6))
    centres = rng.integers(-30, 55, (count, 2))
    ids = rng.integers(0, 4, count) * 7 + draw(st.integers(0, 1))
    return image, labels, draw(st.sampled_from([cells, None])), centres, ids, draw(st.integers(1, 18))


MODES = ["keep", "blank", "isolate"]


@pytest.mark.parametrize("mode", MODES)
@given(scene=scenes(), threads=st.sampled_from([1, 2, 5]))
@settings(max_examples=60, deadline=None)
def test_equals_a_plain_loop(mode: str, scene: tuple, threads: int) -> None:
    image, labels, cells, centres, ids, size = scene
    ids = np.where(ids == 0, 7, ids)
    images, masks = cut(image, labels, cells, centres, ids, size, mode, threads=threads)
    expected_images, expected_masks = plain(image, labels, cells, centres, ids, size, mode)
    assert images.dtype == image.dtype
    np.testing.assert_array_equal(images, expected_images)
    np.testing.assert_array_equal(masks, expected_masks)


def scene(shape: tuple[int, int] = (90, 80), count: int = 12) -> tuple[NDArray, ...]:
    rng = np.random.default_rng(3)
    image = rng.integers(0, 60000, (3, *shape)).astype(np.uint16)
    cells = np.kron(rng.permutation(20 * 20).reshape(20, 20), np.ones((5, 5), int))[: shape[0], : shape[1]]
    labels = np.where(rng.random(shape) < 0.5, cells, 0).astype(np.int32)
    ids = rng.choice(np.unique(labels[labels > 0]), count, replace=False)
    centres = np.array([np.floor(np.argwhere(labels == k).mean(0) + 0.5) for k in ids]).astype(int)
    return image, labels, cells.astype(np.int32), centres, ids


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("scale", [1.0, 1.37, 0.6])
def test_depends_on_nothing_but_the_neighbourhood(mode: str, scale: float) -> None:
    image, labels, cells, centres, ids = scene()
    images, masks = cut(image, labels, cells, centres, ids, 12, mode, scale=scale)

    order = np.random.default_rng(0).permutation(len(ids))
    again = cut(image, labels, cells, centres[order], ids[order], 12, mode, scale=scale)
    np.testing.assert_array_equal(again[0], images[order])
    np.testing.assert_array_equal(again[1], masks[order])

    names = np.random.default_rng(1).permutation(5000)[: int(cells.max()) + 1] + 1
    names[0] = 0
    again = cut(image, names[labels], names[cells], centres, names[ids], 12, mode, scale=scale)
    np.testing.assert_array_equal(again[0], images)
    np.testing.assert_array_equal(again[1], masks)

    again = cut(image[[2, 0, 1]], labels, cells, centres, ids, 12, mode, scale=scale)
    np.testing.assert_array_equal(again[0], images[:, [2, 0, 1]])

    # A tile that holds the crop's reach gives the same crop.
    for k in range(len(ids)):
        low = np.maximum(0, centres[k] - 13)
        part = slice(low[0], centres[k, 0] + 13), slice(low[1], centres[k, 1] + 13)
        tile = cut(
            image[:, *part], labels[part], cells[part], centres[[k]] - low, ids[[k]], 12, mode, scale=scale
        )
        np.testing.assert_array_equal(tile[0][0], images[k])
        np.testing.assert_array_equal(tile[1][0], masks[k])


@pytest.mark.parametrize("mode", MODES)
def test_padding_the_field_with_zeros_changes_nothing(mode: str) -> None:
    image, labels, cells, centres, ids = scene()
    images, masks = cut(image, labels, cells, centres, ids, 40, mode)
    wide = [np.pad(plane, 17) for plane in (labels, cells)]
    again = cut(np.pad(image, ((0, 0), (17, 17), (17, 17))), *wide, centres + 17, ids, 40, mode)
    np.testing.assert_array_equal(again[0], images)
    np.testing.assert_array_equal(again[1], masks)


def test_a_cell_at_the_corner_is_padded_with_zeros() -> None:
    image = np.full((1, 10, 10), 9, np.uint8)
    labels = np.zeros((10, 10), np.int32)
    labels[:3, :3] = 4
    images, masks = cut(image, labels, None, np.array([[1, 1]]), np.array([4]), 8)
    # Pixel (i, j) lies at centre + (i - 4, j - 4): rows and columns 0 to 2 are outside.
    assert (images[0, 0, :3] == 0).all()
    assert (images[0, 0, :, :3] == 0).all()
    assert (images[0, 0, 3:, 3:] == 9).all()
    assert (masks[0, 3:6, 3:6] == 2).all()
    assert masks[0].astype(int).sum() == 18


def test_a_cell_wholly_outside_is_empty() -> None:
    image = np.full((2, 10, 10), 9, np.uint16)
    images, masks = cut(image, np.ones((10, 10), np.int32), None, np.array([[500, -70]]), np.array([1]), 8)
    assert not images.any()
    assert not masks.any()


def plain_resampled(image: NDArray, centre: NDArray, size: int, scale: float) -> NDArray:
    """Triangular filter as wide as the coarser pixel, normalised over what lies in the field."""
    out = np.zeros((len(image), size, size))
    wide = max(1.0, scale)
    height, width = image.shape[1:]
    for i in range(size):
        for j in range(size):
            y, x = centre[0] + (i - size // 2) * scale, centre[1] + (j - size // 2) * scale
            if not (0 <= np.floor(y + 0.5) < height and 0 <= np.floor(x + 0.5) < width):
                continue
            wy = np.clip(1 - np.abs(np.arange(height) - y) / wide, 0, None)
            wx = np.clip(1 - np.abs(np.arange(width) - x) / wide, 0, None)
            weights = np.outer(wy, wx)
            out[:, i, j] = (image * weights).sum((1, 2)) / weights.sum()
    return out


@pytest.mark.parametrize("scale", [0.5, 0.77, 1.3, 2.0, 3.1])
def test_resampling_equals_its_definition(scale: float) -> None:
    image, labels, cells, centres, ids = scene((50, 60), 8)
    images, _ = cut(image.astype(np.float64), labels, cells, centres, ids, 14, scale=scale)
    for k in range(len(ids)):
        np.testing.assert_allclose(images[k], plain_resampled(image, centres[k], 14, scale), rtol=1e-9)
    whole, _ = cut(image, labels, cells, centres, ids, 14, scale=scale)
    assert whole.dtype == np.uint16
    np.testing.assert_array_equal(whole, np.floor(images + 0.5))


def test_resampling_keeps_a_ramp_where_the_geometry_says() -> None:
    # Intensity is the position itself: the value of a crop pixel tells where its centre lies.
    y, x = np.indices((200, 200)).astype(np.float32)
    images, _ = cut(
        np.stack([y, x]),
        np.zeros((200, 200), np.int32),
        None,
        np.array([[100, 90]]),
        np.array([1]),
        16,
        scale=1.7,
    )
    expected = (np.arange(16) - 8) * 1.7
    np.testing.assert_allclose(images[0, 0], np.broadcast_to(100 + expected[:, None], (16, 16)), atol=0.1)
    np.testing.assert_allclose(images[0, 1], np.broadcast_to(90 + expected, (16, 16)), atol=0.1)


@pytest.mark.parametrize("scale", [0.5, 2.5])
def test_nothing_leaks_in_from_a_blanked_neighbour(scale: float) -> None:
    image = np.full((1, 60, 60), 100, np.uint16)
    image[:, :, 30:] = 60000
    labels = np.zeros((60, 60), np.int32)
    labels[:, :30], labels[:, 30:] = 1, 2
    images, masks = cut(image, labels, None, np.array([[30, 29]]), np.array([1]), 12, "blank", scale=scale)
    assert (images[0, 0][masks[0] == 2] == 100).all()
    assert (images[0, 0][masks[0] == 0] == 0).all()


@pytest.mark.parametrize(
    ("change", "error"),
    [
        ({"size": 0}, ConfigError),
        ({"scale": 0.0}, ConfigError),
        ({"scale": float("nan")}, ConfigError),
        ({"neighbours": "erase"}, ConfigError),
        ({"image": np.zeros((4, 4))}, DataError),
        ({"image": np.zeros((1, 4, 4), complex)}, DataError),
        ({"labels": np.zeros((4, 5), int)}, DataError),
        ({"labels": np.zeros((4, 4))}, DataError),
        ({"cells": np.zeros((5, 4), int)}, DataError),
        ({"centres": np.zeros((2, 2), int)}, DataError),
        ({"centres": np.zeros((1, 2))}, DataError),
    ],
)
def test_what_cannot_be_cut_is_refused(change: dict, error: type[Exception]) -> None:
    arguments = {
        "image": np.zeros((1, 4, 4), np.uint8),
        "labels": np.zeros((4, 4), np.int32),
        "cells": None,
        "centres": np.zeros((1, 2), int),
        "ids": np.array([1]),
        "size": 4,
    }
    with pytest.raises(error):
        cut(**{**arguments, **change})


def test_no_cells_give_empty_arrays() -> None:
    images, masks = cut(
        np.zeros((2, 4, 4), np.uint8), np.zeros((4, 4), int), None, np.zeros((0, 2), int), np.zeros(0, int), 6
    )
    assert images.shape == (0, 2, 6, 6)
    assert masks.shape == (0, 6, 6)
