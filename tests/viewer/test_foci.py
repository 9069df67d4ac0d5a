"""Foci lie where their image does and say what they are."""

from __future__ import annotations

import numpy as np
import pytest

from napari_apollo.errors import Cancelled, DataError
from napari_apollo.viewer import add_foci, find_layers

napari = pytest.importorskip("napari")

SPOTS = np.array([[20.0, 20.0], [20.0, 44.0], [48.0, 30.0]])


@pytest.fixture
def viewer():
    from napari.components import ViewerModel

    return ViewerModel()


@pytest.fixture
def nucleus():
    rows, columns = np.mgrid[:64, :64]
    labels = (np.hypot(rows - 32, columns - 32) < 28).astype(np.int32) * 7
    light = 300 + sum(500 * np.exp(-((rows - y) ** 2 + (columns - x) ** 2) / 2 / 1.3**2) for y, x in SPOTS)
    noise = np.random.default_rng(0).normal(scale=10, size=light.shape)
    return np.rint(light + noise).astype(np.uint16), labels


def layers_of(viewer, nucleus, **frame):
    light, labels = nucleus
    return viewer.add_labels(labels, name="nuclei", **frame), viewer.add_image(light, name="γH2AX", **frame)


def test_points_lie_on_their_image_in_the_world(viewer, nucleus):
    frame = {
        "scale": (0.25, 0.25),
        "translate": (10.0, -3.0),
        "rotate": 30,
        "units": ("um", "um"),
        "axis_labels": ("y", "x"),
    }
    labels, image = layers_of(viewer, nucleus, **frame)
    points = add_foci(viewer, labels, image)
    assert points in viewer.layers
    assert points.name == "gammaH2AX foci"
    np.testing.assert_allclose(points.data[np.lexsort(points.data.T[::-1])], SPOTS, atol=0.5)
    for spot in points.data:
        np.testing.assert_allclose(points.data_to_world(spot), image.data_to_world(spot))
    assert points.units == image.units
    assert points.axis_labels == image.axis_labels


def test_points_carry_features_and_say_what_they_are(viewer, nucleus):
    labels, image = layers_of(viewer, nucleus)
    points = add_foci(viewer, labels, image)
    assert list(points.features.columns) == ["cell", "height", "area", "intensity", "background"]
    assert points.features["cell"].tolist() == [7, 7, 7]
    np.testing.assert_allclose(points.features["height"], 500, rtol=0.15)
    assert find_layers(viewer, role="foci", stain="gammaH2AX") == [points]
    assert points.metadata["napari_apollo"]["source"] == str(image.unique_id)


def test_finding_again_replaces_the_layer(viewer, nucleus):
    labels, image = layers_of(viewer, nucleus)
    first = add_foci(viewer, labels, image)
    second = add_foci(viewer, labels, image)
    assert first not in viewer.layers
    assert find_layers(viewer, role="foci") == [second]


def test_a_pyramid_is_searched_at_its_finest_level(viewer, nucleus):
    light, labels = nucleus
    fine = viewer.add_image([light, light[::2, ::2]], name="53BP1", multiscale=True)
    nuclei = viewer.add_labels([labels, labels[::2, ::2]], multiscale=True)
    assert len(add_foci(viewer, nuclei, fine).data) == 3


def test_no_foci_give_an_empty_layer(viewer, nucleus):
    light, labels = nucleus
    flat = viewer.add_image(np.full_like(light, 5), name="53BP1")
    points = add_foci(viewer, viewer.add_labels(labels), flat)
    assert points.data.shape == (0, 2)


def test_layers_that_do_not_fit_are_named(viewer, nucleus):
    labels, _ = layers_of(viewer, nucleus)
    stack = viewer.add_image(np.zeros((3, 64, 64)), name="stack")
    with pytest.raises(DataError, match="stack"):
        add_foci(viewer, labels, stack, "53BP1")


def test_stopping_leaves_the_viewer_as_it_was(viewer, nucleus):
    labels, image = layers_of(viewer, nucleus)
    with pytest.raises(Cancelled):
        add_foci(viewer, labels, image, should_stop=lambda: True)
    assert len(viewer.layers) == 2
