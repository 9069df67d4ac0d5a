"""Lower resolutions that image files hold: found, read by stain, refused where they do not fit."""

from __future__ import annotations

import pickle
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import tifffile
import zarr

from napari_apollo.study import FieldImage, StudyField, open_field

STAINS = ("DAPI", "CD4", "CD8")
MakeField = Callable[..., StudyField]


def halved(pixels: np.ndarray) -> np.ndarray:
    """Mean of every 2 x 2 pixels (c, y, x); an odd last row or column is left out."""
    y, x = (side // 2 for side in pixels.shape[1:])
    blocks = pixels[:, : 2 * y, : 2 * x].reshape(len(pixels), y, 2, x, 2)
    return blocks.mean(axis=(2, 4)).astype(pixels.dtype)


def write_subifds(path: Path, levels: list[np.ndarray], **options: object) -> Path:
    """An OME-TIFF whose coarse levels are SubIFDs, as Bio-Formats writes them."""
    metadata = {"axes": "CYX", "Channel": {"Name": list(STAINS)}, "PhysicalSizeX": 0.5, "PhysicalSizeY": 0.5}
    with tifffile.TiffWriter(path) as file:
        file.write(levels[0], metadata=metadata, subifds=len(levels) - 1, tile=(16, 16), **options)
        for level in levels[1:]:
            file.write(level, subfiletype=1, tile=(16, 16), **options)
    return path


def write_ome_zarr(path: Path, levels: list[np.ndarray], begins: list[float], scales: list[float]) -> Path:
    """An OME-Zarr image whose levels have these scales and translations, in micrometres."""
    group = zarr.create_group(path, zarr_format=3)
    datasets = []
    for number, (level, begin, scale) in enumerate(zip(levels, begins, scales, strict=True)):
        group.create_array(str(number), data=level, chunks=(1, 16, 16))
        place = [{"type": "scale", "scale": [1.0, scale, scale]}]
        place.append({"type": "translation", "translation": [0.0, begin, begin]})
        datasets.append({"path": str(number), "coordinateTransformations": place})
    space = {"type": "space", "unit": "micrometer"}
    axes = [{"name": "c", "type": "channel"}, {"name": "y", **space}, {"name": "x", **space}]
    group.attrs["ome"] = {
        "version": "0.5",
        "multiscales": [{"axes": axes, "datasets": datasets}],
        "omero": {"channels": [{"label": stain} for stain in STAINS]},
    }
    return path


@pytest.fixture
def levels(pixels: np.ndarray) -> list[np.ndarray]:
    """The image of 37 x 45 pixels, halved twice."""
    first = halved(pixels)
    return [pixels, first, halved(first)]


def check(image: FieldImage, levels: list[np.ndarray]) -> None:
    """The levels are those of the file, whichever stains are asked for."""
    coarser = image.coarser()
    assert [level.shape for level in coarser] == [level.shape[1:] for level in levels[1:]]
    for level, pixels in zip(coarser, levels[1:], strict=True):
        np.testing.assert_array_equal(level.read(), pixels[[0, 2]])
        np.testing.assert_array_equal(level.read(["CD8"], slice(2, 5), slice(3, 7))[0], pixels[2, 2:5, 3:7])
        np.testing.assert_array_equal(np.asarray(level.lazy()), pixels[[0, 2]])
        np.testing.assert_array_equal(pickle.loads(pickle.dumps(level)).read(), pixels[[0, 2]])
        whole = np.array(image.shape) * image.pixel_size_um
        np.testing.assert_allclose(np.array(level.shape) * level.pixel_size_um, whole)


@pytest.mark.parametrize("options", [{}, {"compression": "deflate"}])
def test_subifds_of_an_ome_tiff(
    tmp_path: Path, levels: list[np.ndarray], make_field: MakeField, options: dict[str, str]
) -> None:
    path = write_subifds(tmp_path / "a.ome.tif", levels, **options)
    check(open_field(make_field(path, "DAPI/CD8")), levels)
    # The manifest's pixel size is that of full resolution.
    check(open_field(make_field(path, "DAPI/CD8", pixel_size_um=0.25)), levels)


def test_pages_that_are_marked_as_reduced(
    tmp_path: Path, levels: list[np.ndarray], make_field: MakeField
) -> None:
    with tifffile.TiffWriter(tmp_path / "a.tif") as file:
        for number, level in enumerate(levels):
            file.write(level, photometric="minisblack", planarconfig="separate", subfiletype=min(number, 1))
    field = make_field(tmp_path / "a.tif", "DAPI/CD8", channels=STAINS, pixel_size_um=0.5)
    check(open_field(field), levels)


def test_one_file_per_stain(tmp_path: Path, levels: list[np.ndarray], make_field: MakeField) -> None:
    for number, stain in enumerate(STAINS):
        with tifffile.TiffWriter(tmp_path / f"a_{stain}.tif") as file:
            file.write(levels[0][number], subifds=2, tile=(16, 16))
            for level in levels[1:]:
                file.write(level[number], subfiletype=1, tile=(16, 16))
    check(open_field(make_field(tmp_path / "a_*.tif", "DAPI/CD8", pixel_size_um=0.5)), levels)


@pytest.mark.parametrize("begins", [[0.0, 0.0, 0.0], [0.0, 0.25, 0.75], [7.0, 7.25, 7.75]])
def test_levels_of_ome_zarr(
    tmp_path: Path, levels: list[np.ndarray], make_field: MakeField, begins: list[float]
) -> None:
    # Of pixels of 0.5 um: every second one, or the mean of blocks, whose centre is half a pixel further in.
    path = write_ome_zarr(tmp_path / "a.ome.zarr", levels, begins, [0.5, 1.0, 2.0])
    check(open_field(make_field(path, "DAPI/CD8")), levels)


@pytest.mark.parametrize(
    ("begins", "scales"),
    [([0.0, 1.0], [0.5, 1.0]), ([0.0, -0.75], [0.5, 1.0]), ([0.0, 0.25], [0.5, 1.2])],
    ids=["beyond", "before", "larger"],
)
def test_a_level_that_lies_elsewhere_is_left_out(
    tmp_path: Path,
    levels: list[np.ndarray],
    make_field: MakeField,
    begins: list[float],
    scales: list[float],
    caplog: pytest.LogCaptureFixture,
) -> None:
    path = write_ome_zarr(tmp_path / "a.ome.zarr", levels[:2], begins, scales)
    image = open_field(make_field(path, "DAPI/CD8"))
    assert image.coarser() == ()
    assert "does not lie over" in caplog.text
    np.testing.assert_array_equal(image.read(), levels[0][[0, 2]])


def test_what_is_no_reduction_of_the_image_is_left_out(
    tmp_path: Path, levels: list[np.ndarray], make_field: MakeField
) -> None:
    # A square thumbnail, a part, another kind of pixels, a level as large as the image.
    others = [levels[1][:, :16, :16], levels[0][:, :18], levels[1].astype("u1"), levels[0]]
    path = write_subifds(tmp_path / "a.ome.tif", [levels[0], *others, levels[1]])
    (only,) = open_field(make_field(path, "DAPI/CD8")).coarser()
    np.testing.assert_array_equal(only.read(), levels[1][[0, 2]])


def test_a_level_that_is_missing_or_damaged_is_left_out(
    tmp_path: Path, levels: list[np.ndarray], make_field: MakeField
) -> None:
    path = write_ome_zarr(tmp_path / "a.ome.zarr", levels, [0.0, 0.0, 0.0], [0.5, 1.0, 2.0])
    (path / "1" / "zarr.json").write_text("{")
    (only,) = open_field(make_field(path, "DAPI/CD8")).coarser()
    assert only.shape == levels[2].shape[1:]


def test_most_images_have_one_resolution(tmp_path: Path, pixels: np.ndarray, make_field: MakeField) -> None:
    tifffile.imwrite(tmp_path / "a.ome.tif", pixels, metadata={"axes": "CYX"})
    assert open_field(make_field(tmp_path / "a.ome.tif", channels=STAINS)).coarser() == ()
