"""Outlines have the area and centroid they claim; scattered nuclei stay apart."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from napari_apollo.simulate import shapes


def fine_polygon(radii: np.ndarray) -> np.ndarray:
    angle = 2 * np.pi * np.arange(96 * 200) / (96 * 200)
    r = np.interp(angle, 2 * np.pi * np.arange(97) / 96, np.append(radii, radii[0]))
    return np.stack([r * np.sin(angle), r * np.cos(angle)], axis=1)


@given(
    seed=st.integers(0, 10_000),
    area=st.floats(5, 200),
    elongation=st.floats(1, 2),
    indentation=st.floats(0, 0.5),
    orientation=st.floats(0, 6),
)
@settings(max_examples=40, deadline=None)
def test_area_is_as_planted_and_centroid_that_of_the_polygon(
    seed, area, elongation, indentation, orientation
) -> None:
    columns = [np.array([value]) for value in (area, elongation, indentation, orientation)]
    outline = shapes.nucleus_outlines(*columns, np.random.default_rng(seed))
    y, x = fine_polygon(outline[0]).T
    cross = x * np.roll(y, -1) - np.roll(x, -1) * y  # shoelace
    np.testing.assert_allclose(cross.sum() / 2, area, rtol=1e-5)
    np.testing.assert_allclose(shapes.outline_area(outline), area, rtol=1e-9)
    centroid = [(cross * (values + np.roll(values, -1))).sum() / (3 * cross.sum()) for values in (y, x)]
    np.testing.assert_allclose(shapes.outline_centroid(outline)[0], centroid, atol=1e-3 * np.sqrt(area))


@given(seed=st.integers(0, 10_000), width=st.floats(0.2, 3))
@settings(max_examples=25, deadline=None)
def test_cells_enclose_their_nuclei(seed: int, width: float) -> None:
    rng = np.random.default_rng(seed)
    nuclei = shapes.nucleus_outlines(
        rng.uniform(20, 80, 5), rng.uniform(1, 1.5, 5), rng.uniform(0, 0.5, 5), rng.uniform(0, 3, 5), rng
    )
    cells = shapes.cell_outlines(nuclei, np.full(5, width), rng)
    assert (cells >= nuclei + 0.2 - 1e-12).all()


@given(seed=st.integers(0, 10_000), count=st.integers(1, 80), clustered=st.floats(0, 1))
@settings(max_examples=25, deadline=None)
def test_no_two_nuclei_touch(seed: int, count: int, clustered: float) -> None:
    rng = np.random.default_rng(seed)
    nucleus = rng.uniform(3, 5, count)
    places, placed = shapes.scatter_cells(nucleus, nucleus + 1, 60.0, rng, clustered=clustered, gap=0.3)
    assert placed.any()
    lying, radii = places[placed], nucleus[placed]
    assert ((lying >= 0) & (lying < 60)).all()
    distance = np.hypot(*(lying[:, None] - lying[None]).transpose(2, 0, 1))
    needed = radii[:, None] + radii[None] + 0.3
    np.fill_diagonal(distance, np.inf)
    assert (distance >= needed - 1e-9).all()
