"""Finding nuclei: what the engines see, and that tiles, threads and order change nothing."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy import ndimage

from napari_apollo.cells import SegmentConfig
from napari_apollo.cells.segmentation import engine_names, get_engine, segment_image
from napari_apollo.cells.segmentation.scores import match
from napari_apollo.errors import ConfigError, DataError

ENGINES = pytest.mark.parametrize("engine", engine_names())


def field_of_nuclei(
    shape: tuple[int, int], diameter: float, spacing: float, seed: int = 0, noise: float = 0.03
) -> tuple[NDArray[np.uint16], NDArray[np.int32]]:
    """Ellipses of varying size and brightness on a jittered grid, blurred, with noise; and their labels."""
    rng = np.random.default_rng(seed)
    labels = np.zeros(shape, np.int32)
    bright = np.zeros(shape)
    y, x = np.indices(shape)
    for row in np.arange(spacing / 2, shape[0], spacing):
        for column in np.arange(spacing / 2, shape[1], spacing):
            cy, cx = rng.normal((row, column), 0.08 * spacing)
            ry, rx = diameter / 2 * rng.uniform(0.8, 1.2, 2)
            inside = (((y - cy) / ry) ** 2 + ((x - cx) / rx) ** 2 <= 1) & (labels == 0)
            labels[inside] = labels.max() + 1
            bright[inside] = rng.uniform(0.6, 1.4)
    image = ndimage.gaussian_filter(bright, 0.04 * diameter) + 0.1 + rng.normal(0, noise, shape)
    return (2000 * image.clip(0)).astype(np.uint16), labels


@ENGINES
@pytest.mark.parametrize(("diameter", "spacing"), [(9, 13), (20, 26), (60, 80)])
def test_nuclei_of_any_size_are_found_without_being_told(
    engine: str, diameter: float, spacing: float
) -> None:
    image, truth = field_of_nuclei((6 * round(spacing), 7 * round(spacing)), diameter, spacing)
    labels = segment_image(image, config=SegmentConfig(engine=engine))
    assert labels.shape == image.shape
    assert labels.dtype == np.int32
    assert match(truth, labels).f1() > 0.9


@ENGINES
def test_touching_nuclei_are_split(engine: str) -> None:
    image, truth = field_of_nuclei((200, 200), 20, 19)
    assert match(truth, segment_image(image, config=SegmentConfig(engine=engine))).f1() > 0.85


@ENGINES
def test_labels_are_consecutive_and_each_nucleus_is_one_piece(engine: str) -> None:
    image, _ = field_of_nuclei((180, 240), 18, 22)
    labels = segment_image(image, config=SegmentConfig(engine=engine))
    assert set(np.unique(labels)) == set(range(labels.max() + 1))
    pieces = [ndimage.label(labels == label, np.ones((3, 3)))[1] for label in range(1, labels.max() + 1)]
    assert pieces == [1] * len(pieces)


@ENGINES
def test_numbers_rise_in_reading_order(engine: str) -> None:
    image, _ = field_of_nuclei((200, 200), 18, 30)
    labels = segment_image(image, config=SegmentConfig(engine=engine))
    rows = [y for y, _ in ndimage.center_of_mass(labels > 0, labels, range(1, labels.max() + 1))]
    assert max(np.maximum.accumulate(rows) - rows) < 15, "seeds lie within their nuclei"


@ENGINES
@given(
    seed=st.integers(0, 50),
    diameter=st.floats(8, 40),
    crowding=st.floats(0.9, 1.6),
    height=st.integers(90, 260),
    width=st.integers(90, 260),
    tile=st.integers(64, 250),
)
@settings(max_examples=8, deadline=None)
def test_tiles_change_nothing(
    engine: str, seed: int, diameter: float, crowding: float, height: int, width: int, tile: int
) -> None:
    image, _ = field_of_nuclei((height, width), diameter, crowding * diameter, seed, noise=0.1)
    whole = segment_image(image, config=SegmentConfig(engine=engine))
    tiled = segment_image(image, config=SegmentConfig(engine=engine, tile=tile))
    np.testing.assert_array_equal(tiled, whole)


@pytest.mark.parametrize("engine", ["threshold"])
@given(seed=st.integers(0, 1000))
@settings(max_examples=6, deadline=None)
def test_tiles_change_nothing_where_nothing_is_a_nucleus(engine: str, seed: int) -> None:
    # Structures of all sizes, which no setting of the engine was made for.
    rng = np.random.default_rng(seed)
    image = sum(ndimage.gaussian_filter(rng.normal(size=(150, 170)), s) * s for s in (0.5, 2, 5, 12))
    config = SegmentConfig(engine=engine, diameter=14)
    whole = segment_image(image, config=config)
    tiled = segment_image(image, config=config.model_copy(update={"tile": 64}))
    assert whole.max() > 3
    np.testing.assert_array_equal(tiled, whole)


@ENGINES
def test_tiles_change_nothing_on_real_tissue(engine: str, sample: NDArray[np.uint16]) -> None:
    config = SegmentConfig(engine=engine)
    whole = segment_image(sample, config=config)
    assert whole.max() > 100
    tiled = segment_image(sample, config=config.model_copy(update={"tile": 97}))
    np.testing.assert_array_equal(tiled, whole)


@pytest.fixture(scope="module")
def sample() -> NDArray[np.uint16]:
    """Nuclei of the lymph node that comes with the package."""
    from importlib.resources import as_file, files

    import tifffile

    with as_file(files("napari_apollo") / "samples" / "lymph_node.tiff") as path:
        return np.asarray(tifffile.imread(path, key=0))[:240, :240]


@ENGINES
def test_units_of_the_intensity_do_not_matter(engine: str) -> None:
    image, _ = field_of_nuclei((150, 150), 16, 22)
    config = SegmentConfig(engine=engine)
    scaled = segment_image(image.astype(np.float64) * 4 + 512, config=config)
    assert match(segment_image(image, config=config), scaled).f1(0.9) == 1


@ENGINES
def test_a_hot_pixel_and_a_dead_corner_do_not_matter(engine: str) -> None:
    image, truth = field_of_nuclei((150, 150), 16, 22)
    image[70, 70] = 65535
    image[:20, :20] = 0
    assert match(truth, segment_image(image, config=SegmentConfig(engine=engine))).f1() > 0.85


def test_a_given_diameter_is_used_in_either_unit() -> None:
    image, truth = field_of_nuclei((200, 200), 20, 30)
    pixels = segment_image(image, config=SegmentConfig(diameter=20))
    micrometres = SegmentConfig(diameter=10, diameter_unit="um")
    np.testing.assert_array_equal(segment_image(image, pixel_size_um=0.5, config=micrometres), pixels)
    np.testing.assert_array_equal(segment_image(image, pixel_size_um=(0.25, 1.0), config=micrometres), pixels)
    assert match(truth, pixels).f1() > 0.9
    large = segment_image(image, config=SegmentConfig(diameter=80))
    assert large.max() < pixels.max() / 2, "what is far smaller than a nucleus is no nucleus"


@ENGINES
@pytest.mark.parametrize("kind", ["poisson", "normal"])
def test_noise_holds_no_nuclei(engine: str, kind: str) -> None:
    rng = np.random.default_rng(0)
    noise = rng.poisson(4, (200, 200)) if kind == "poisson" else rng.normal(100, 5, (200, 200))
    assert segment_image(noise, config=SegmentConfig(engine=engine)).max() == 0


@ENGINES
@pytest.mark.parametrize("shape", [(1, 1), (1, 40), (3, 3), (40, 7)])
def test_tiny_images_are_worked_on(engine: str, shape: tuple[int, int]) -> None:
    image = np.arange(np.prod(shape), dtype=np.uint16).reshape(shape)
    if image.size == 1:
        with pytest.raises(DataError, match="0"):
            segment_image(image, config=SegmentConfig(engine=engine))
    else:
        assert segment_image(image, config=SegmentConfig(engine=engine)).shape == shape


@pytest.mark.parametrize(
    ("image", "told"),
    [
        (np.zeros((50, 50), np.uint8), "every pixel .* is 0"),
        (np.full((50, 50), 7.5), r"every pixel .* is 7\.5"),
        (np.where(np.eye(50) > 0, np.nan, 1.0), "not finite"),
        (np.where(np.eye(50) > 0, np.inf, 1.0), "not finite"),
        (np.zeros((3, 50, 50)), r"\(3, 50, 50\)"),
        (np.zeros((0, 50)), r"\(0, 50\)"),
    ],
)
def test_images_without_nuclei_to_find_are_refused(image: NDArray[np.generic], told: str) -> None:
    with pytest.raises(DataError, match=told):
        segment_image(image)


def test_a_value_that_is_not_finite_far_from_all_samples_is_found() -> None:
    image = np.random.default_rng(0).normal(size=(2200, 2200)).astype(np.float32)
    image[:600, :600] *= 20  # where the samples are taken
    image[2000, 2000] = np.nan
    with pytest.raises(DataError, match="not finite"):
        segment_image(image, config=SegmentConfig(engine="threshold", tile=1024, diameter=80))


def test_settings_that_make_no_sense_are_refused() -> None:
    image, _ = field_of_nuclei((60, 60), 16, 22)
    with pytest.raises(ConfigError, match="pixel size"):
        segment_image(image, config=SegmentConfig(diameter=8, diameter_unit="um"))
    with pytest.raises(ConfigError, match="labels"):
        segment_image(image, config=SegmentConfig(engine="labels"))
    with pytest.raises(ConfigError, match="cellpose"):
        get_engine("cellpose")
    for wrong in ({"diameter": 0}, {"tile": 10}, {"engine": "otsu"}, {"diameter_unit": "nm"}):
        with pytest.raises(ConfigError, match=next(iter(wrong))):
            SegmentConfig(**wrong)


def test_engines_say_what_they_are() -> None:
    for name in engine_names():
        engine = get_engine(name)
        assert engine.name == name
        assert dataclasses.is_dataclass(engine)
        assert engine.decoding.reach >= engine.diameter, "nuclei of twice the usual size are whole"
