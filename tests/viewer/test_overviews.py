"""Large images are shown at once; their coarse levels are made beside the window, in bounded memory."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import dask.array as da
import numpy as np
import pytest
import tifffile
from napari.components import ViewerModel

from napari_apollo.study import FieldImage, Study, StudyField
from napari_apollo.viewer import find_layers, open_study, overviews, session_of
from napari_apollo.viewer.layers import About, Frame, LayerSpec, image_layer, labels_layer
from napari_apollo.viewer.open import label_pyramid, pyramid, study_layers
from napari_apollo.viewer.reader import get_reader

FRAME = Frame.from_pixel_size(0.5)


@pytest.fixture(autouse=True)
def everything_is_large(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(overviews, "AT_ONCE", 10_000)
    monkeypatch.setattr(overviews, "PART", 1024)
    monkeypatch.setattr(overviews, "KEPT", 700_000)


def spec_of(kind: str, shape: tuple[int, int]) -> LayerSpec:
    """A layer whose last row and column are odd at some levels."""
    pixels = np.random.default_rng(0).integers(0, 60_000, shape, dtype=np.uint16)
    if kind == "image":
        return image_layer(pyramid(da.from_array(pixels, chunks=1024)), About("measured", "a", "DAPI"), FRAME)
    labels = da.from_array(pixels.astype(np.int32), chunks=1024)
    return labels_layer(label_pyramid(labels), About("nuclei", "a"), FRAME)


@pytest.mark.parametrize("kind", ["image", "labels"])
@pytest.mark.parametrize("shape", [(2049, 3003), (1500, 2301), (4097, 120)])
def test_overviews_are_what_halving_the_whole_gives(kind: str, shape: tuple[int, int]) -> None:
    spec = spec_of(kind, shape)
    ready, overview = overviews.with_overview(spec)
    assert overview is not None
    assert not any(level.any() for level in overview.levels), "dark at first"
    overviews.fill([overview])
    assert isinstance(ready.data[-1], np.ndarray)
    for whole, made in zip(spec.data, ready.data, strict=True):
        np.testing.assert_array_equal(np.asarray(made), np.asarray(whole))


def test_a_part_is_read_at_a_time_from_the_middle() -> None:
    read: list[tuple[int, int]] = []

    def block(block_info: Any = None) -> np.ndarray:
        (y0, y1), (x0, x1) = block_info[None]["array-location"]
        read.append((y0, x0))
        return np.ones((y1 - y0, x1 - x0), np.uint16)

    full = da.map_blocks(block, chunks=((1024,) * 3, (1024,) * 3), dtype=np.uint16, meta=np.empty((0, 0)))
    _, overview = overviews.with_overview(image_layer(pyramid(full), About("measured", "a", "DAPI"), FRAME))
    assert overview is not None
    assert len(overview.parts) == 9
    overview.fill(overview.parts[0])
    assert read == [(1024, 1024)]
    level = overview.levels[0]
    step = 2**overview.first
    assert level[1536 // step, 1536 // step] == 1
    assert level[0, 0] == 0
    assert sum(level.size for level in overview.levels) <= overviews.KEPT


def test_what_models_say_is_left_as_it_is() -> None:
    spec = spec_of("image", (2049, 3003))
    other = image_layer(spec.data, About("predicted", "a", "CD4"), FRAME)
    assert overviews.with_overview(other) == (other, None)


@pytest.fixture
def large(small: SimpleNamespace, tmp_path: Path) -> Study:
    """A field of 2100 x 3100 pixels in tiles."""
    image = np.random.default_rng(0).integers(1, 5000, (2, 2100, 3100), dtype=np.uint16)
    tifffile.imwrite(tmp_path / "large.tif", image, tile=(256, 256), photometric="minisblack")
    (field, _) = small.study
    changed = {"image": tmp_path / "large.tif", "labels": None, "channels": ("DAPI", "CD4")}
    return Study([field.model_copy(update=changed)]).to_csv(tmp_path / "study.csv")


@pytest.fixture
def reading(monkeypatch: pytest.MonkeyPatch) -> Iterator[dict[str, Any]]:
    """Who reads pixels of fields, and how many at once; reading waits for ``go`` beside the window."""
    seen: dict[str, Any] = {"here": 0, "beside": 0, "go": threading.Event()}
    read, here = FieldImage.read, threading.get_ident()

    def watched(self: FieldImage, stains: Any = None, y: Any = slice(None), x: Any = slice(None)) -> Any:
        pixels = read(self, stains, y, x)
        if threading.get_ident() == here:
            seen["here"] += pixels.size
        else:
            seen["go"].wait(20)
            seen["beside"] += pixels.size
        return pixels

    monkeypatch.setattr(FieldImage, "read", watched)
    yield seen
    seen["go"].set()


@pytest.mark.gui
def test_a_large_field_is_shown_before_it_is_read(window: Any, large: Study, reading: dict[str, Any]) -> None:
    # The window reads what contrast limits need, and what it shows at full resolution: nothing, from afar.
    jobs = session_of(window).jobs
    dapi, cd4 = open_study(window, large)
    assert reading["here"] <= 2 * 1024**2
    assert not dapi.data[-1].any()
    assert [job.title for job in jobs.active] == ["Making the overview"]
    reading["go"].set()
    assert jobs.wait(200)
    assert reading["beside"] >= 2 * 2100 * 3100
    for layer in (dapi, cd4):
        assert (np.asarray(layer.data[-1]) > 0).all()


@pytest.mark.gui
def test_an_overview_ends_with_its_layers(window: Any, large: Study, reading: dict[str, Any]) -> None:
    jobs = session_of(window).jobs
    first, second = open_study(window, large)
    window.layers.remove(first)
    assert len(jobs.active) == 1
    window.layers.remove(second)
    assert jobs.active == ()
    reading["go"].set()
    assert jobs.wait(60)


def test_without_a_window_overviews_are_there_when_it_is_open(large: Study) -> None:
    viewer = ViewerModel()
    open_study(viewer, large)
    (layer,) = find_layers(viewer, stain="CD4")
    assert (np.asarray(layer.data[-1]) > 0).all()
    assert session_of(viewer).jobs.active == ()
    reader = get_reader(str(large.path))
    assert reader is not None
    for data, _, _ in reader(str(large.path)):
        assert (np.asarray(data[-1]) > 0).all()


LONG = (64, 4160)


@pytest.fixture
def stored(tmp_path: Path) -> SimpleNamespace:
    """An OME-TIFF of two stains with a level of a quarter and one of a sixteenth, and labels of its bars.

    The levels of the file are marked, so that it shows from where they were taken.
    """
    bars = (np.arange(LONG[1]) // 64 % 2 * np.ones((LONG[0], 1))).astype(np.uint16)
    levels = [np.stack([bars * 1000, bars * 3000])]
    for step in (4, 16):
        blocks = levels[0].reshape(2, LONG[0] // step, step, LONG[1] // step, step)
        levels.append(blocks.mean(axis=(2, 4)).astype(np.uint16) + step)
    metadata = {"axes": "CYX", "Channel": {"Name": ["DAPI", "CD4"]}}
    metadata |= {"PhysicalSizeX": 0.5, "PhysicalSizeY": 0.5}
    with tifffile.TiffWriter(tmp_path / "long.ome.tif") as file:
        file.write(levels[0], metadata=metadata, subifds=2, tile=(64, 64))
        for level in levels[1:]:
            file.write(level, subfiletype=1, tile=(64, 64))
    tifffile.imwrite(tmp_path / "labels.tif", bars.astype(np.int32))
    field = StudyField(
        image=tmp_path / "long.ome.tif",
        panel="DAPI/CD4",
        donor="P1",
        condition="c",
        labels=tmp_path / "labels.tif",
    )
    return SimpleNamespace(study=Study([field]).to_csv(tmp_path / "study.csv"), levels=levels)


def test_levels_that_the_file_holds_are_shown(stored: SimpleNamespace) -> None:
    viewer = ViewerModel()
    open_study(viewer, stored.study)
    (layer,) = find_layers(viewer, stain="CD4")
    assert layer.multiscale
    assert [level.shape for level in layer.data] == [level.shape[1:] for level in stored.levels]
    for made, level in zip(layer.data, stored.levels, strict=True):
        np.testing.assert_array_equal(np.asarray(made), level[1])
    assert isinstance(layer.data[-1], np.ndarray), "seen from afar at once"


def test_levels_of_the_file_need_no_overview(stored: SimpleNamespace) -> None:
    waited_for = [overviews.with_overview(spec)[1] for spec in study_layers(stored.study)]
    assert [overview and overview.name for overview in waited_for] == [None, None, "nuclei"]


@pytest.mark.parametrize("level", [0, 1, 2])
def test_levels_lie_over_their_labels(stored: SimpleNamespace, level: int) -> None:
    """The place in the world that napari gives the pixels of a level: a bar covers its label."""
    viewer = ViewerModel()
    open_study(viewer, stored.study)
    (image,) = find_layers(viewer, stain="CD4")
    (nuclei,) = find_layers(viewer, role="nuclei")
    factors = image.downsample_factors[level]
    pixels = np.asarray(image.data[level])[0] > 1500
    # As napari draws it: a pixel of a level covers whole pixels of the full image, edge to edge.
    first = (np.flatnonzero(pixels)[0] * factors[1] - 0.5) * image.scale[1] + image.translate[1]
    label = np.flatnonzero(np.asarray(nuclei.data[0])[0])[0]
    assert first == pytest.approx((label - 0.5) * nuclei.scale[1] + nuclei.translate[1])
    assert tuple(image.scale) == tuple(nuclei.scale) == (0.5, 0.5)
    assert np.prod(factors) * pixels.size * image.data[level].shape[0] == pytest.approx(np.prod(LONG))


def test_a_coarsest_level_that_is_still_large_is_halved_further(
    stored: SimpleNamespace, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("napari_apollo.viewer.open.TILE", 128)
    viewer = ViewerModel()
    open_study(viewer, stored.study)
    (layer,) = find_layers(viewer, stain="DAPI")
    shapes = [level.shape for level in layer.data]
    assert shapes == [(64, 4160), (16, 1040), (4, 260), (2, 130), (1, 65)]
    assert (np.asarray(layer.data[-1]) >= 16).all(), "made from the coarsest level of the file"
