"""OME-Zarr of both Zarr formats, and what is no OME-Zarr image."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import zarr

from napari_apollo.errors import ImageError, InputError, LabelsError
from napari_apollo.study import open_field, open_labels

SPACE = {"type": "space", "unit": "micrometer"}
KNOWN_AXES = {
    "t": {"name": "t", "type": "time"},
    "c": {"name": "c", "type": "channel"},
    "z": {"name": "z", **SPACE},
    "y": {"name": "y", **SPACE},
    "x": {"name": "x", **SPACE},
}


def write_ome_zarr(
    path: Path,
    pixels: np.ndarray,
    axes: str = "cyx",
    *,
    version: str = "0.5",
    names: list[str] | None = None,
    scale: list[float] | None = None,
    chunks: tuple[int, ...] | None = None,
    shards: tuple[int, ...] | None = None,
    extra: dict[str, Any] | None = None,
) -> Path:
    """An OME-Zarr image written by hand from the specification, with a pyramid of two levels."""
    new = version == "0.5"
    group = zarr.create_group(path, zarr_format=3 if new else 2, overwrite=True)
    datasets = []
    for level in (0, 1):
        part = pixels[(..., slice(None, None, 1 + level), slice(None, None, 1 + level))]
        zarr.create_array(
            path / str(level),
            zarr_format=3 if new else 2,
            data=np.ascontiguousarray(part),
            chunks=chunks or tuple(min(16, length) for length in part.shape),
            shards=shards if new and level == 0 else None,
        )
        factors = [
            value * (1 + level if axis in "yx" else 1)
            for axis, value in zip(axes, scale or [1.0] * len(axes), strict=True)
        ]
        datasets.append(
            {"path": str(level), "coordinateTransformations": [{"type": "scale", "scale": factors}]}
        )
    multiscale = {
        "version": version,
        "axes": [KNOWN_AXES[axis] for axis in axes],
        "datasets": datasets,
        **(extra or {}),
    }
    metadata: dict[str, Any] = {"multiscales": [multiscale]}
    if names:
        metadata["omero"] = {"channels": [{"label": name, "color": "FFFFFF"} for name in names]}
    group.attrs.update({"ome": {"version": version, **metadata}} if new else metadata)
    return path


@pytest.mark.parametrize("version", ["0.4", "0.5"])
def test_names_scale_and_pixels(version: str, tmp_path: Path, pixels: np.ndarray, make_field) -> None:
    path = write_ome_zarr(
        tmp_path / "a.ome.zarr", pixels, version=version, names=["cd8", "dapi", "CD-4"], scale=[1, 0.25, 0.5]
    )
    image = open_field(make_field(path))
    assert image.field.field == "a"
    assert image.pixel_size_um == (0.25, 0.5)
    assert image.shape == (37, 45)
    np.testing.assert_array_equal(image.read(), pixels[[1, 2, 0]])
    np.testing.assert_array_equal(image.lazy(), pixels[[1, 2, 0]])
    np.testing.assert_array_equal(image.read(["CD4"], slice(3, 30), slice(15, 17)), pixels[2:, 3:30, 15:17])


def test_sharded_arrays(tmp_path: Path, pixels: np.ndarray, make_field) -> None:
    path = write_ome_zarr(tmp_path / "a.zarr", pixels, chunks=(1, 8, 8), shards=(1, 32, 32))
    image = open_field(make_field(path))
    assert image.block == (8, 8)
    np.testing.assert_array_equal(image.read(), pixels)


@pytest.mark.parametrize("axes", ["czyx", "tczyx"])
def test_stacks_give_their_maximum_or_one_plane(axes: str, tmp_path: Path, make_field) -> None:
    stack = np.random.default_rng(0).integers(0, 60000, (3, 4, 20, 30), dtype="u2")
    path = write_ome_zarr(tmp_path / "a.zarr", stack.reshape((1,) * (len(axes) - 4) + stack.shape), axes)
    np.testing.assert_array_equal(open_field(make_field(path)).read(), stack.max(axis=1))
    np.testing.assert_array_equal(open_field(make_field(path, z=3)).read(), stack[:, 3])


def test_big_endian_pixels_become_native(tmp_path: Path, pixels: np.ndarray, make_field) -> None:
    path = write_ome_zarr(tmp_path / "a.zarr", pixels.astype(">u2"), version="0.4")
    image = open_field(make_field(path))
    assert image.read().dtype.isnative
    np.testing.assert_array_equal(image.read(), pixels)


def test_the_scale_of_all_levels_counts_too(tmp_path: Path, pixels: np.ndarray, make_field) -> None:
    everywhere = {"coordinateTransformations": [{"type": "scale", "scale": [1, 0.5, 0.5]}]}
    path = write_ome_zarr(tmp_path / "a.zarr", pixels, scale=[1, 2, 2], extra=everywhere)
    assert open_field(make_field(path)).pixel_size_um == (1.0, 1.0)


def test_a_scale_without_a_unit_is_no_pixel_size(tmp_path: Path, pixels: np.ndarray, make_field) -> None:
    axes = [{"name": name, "type": "space"} for name in "cyx"]
    path = write_ome_zarr(tmp_path / "a.zarr", pixels, scale=[1, 0.5, 0.5], extra={"axes": axes})
    assert open_field(make_field(path)).pixel_size_um is None


def test_the_only_image_of_a_group_is_meant(tmp_path: Path, pixels: np.ndarray, make_field) -> None:
    group = zarr.create_group(tmp_path / "a.zarr", zarr_format=2)
    group.attrs["bioformats2raw.layout"] = 3
    write_ome_zarr(tmp_path / "a.zarr" / "0", pixels, version="0.4")
    np.testing.assert_array_equal(open_field(make_field(tmp_path / "a.zarr")).read(), pixels)
    write_ome_zarr(tmp_path / "a.zarr" / "1", pixels, version="0.4")
    with pytest.raises(ImageError, match=r"holds 2 images \(0, 1\)"):
        open_field(make_field(tmp_path / "a.zarr"))
    np.testing.assert_array_equal(open_field(make_field(tmp_path / "a.zarr" / "1")).read(), pixels)


def test_plates_are_told_apart(tmp_path: Path, make_field) -> None:
    zarr.create_group(tmp_path / "a.zarr", zarr_format=3, attributes={"ome": {"plate": {}}})
    with pytest.raises(ImageError, match="is a plate"):
        open_field(make_field(tmp_path / "a.zarr"))


def test_plain_arrays_need_named_axes(tmp_path: Path, pixels: np.ndarray, make_field) -> None:
    zarr.create_array(tmp_path / "a.zarr", data=pixels)
    with pytest.raises(ImageError, match="does not say what its axes are"):
        open_field(make_field(tmp_path / "a.zarr"))
    zarr.create_array(tmp_path / "b.zarr", data=pixels.transpose(1, 2, 0), dimension_names=["y", "x", "c"])
    np.testing.assert_array_equal(open_field(make_field(tmp_path / "b.zarr")).read(), pixels)


def test_labels_inside_an_image(tmp_path: Path, pixels: np.ndarray) -> None:
    write_ome_zarr(tmp_path / "a.zarr", pixels)
    labels = np.arange(37 * 45, dtype="i4").reshape(37, 45)
    path = write_ome_zarr(tmp_path / "a.zarr" / "labels" / "nuclei", labels, "yx")
    np.testing.assert_array_equal(open_labels(path, (37, 45)).read(), labels)
    np.testing.assert_array_equal(open_labels(path).lazy(), labels)
    with pytest.raises(LabelsError, match="no label image of one plane"):
        open_labels(tmp_path / "a.zarr")


# --- damage ------------------------------------------------------------------------------------------


def test_an_image_without_chunks(tmp_path: Path, pixels: np.ndarray, make_field) -> None:
    path = write_ome_zarr(tmp_path / "a.zarr", pixels)
    shutil.rmtree(path / "0" / "c")
    with pytest.raises(ImageError, match="not one chunk was written"):
        open_field(make_field(path))


@pytest.mark.parametrize("version", ["0.4", "0.5"])
def test_a_chunk_that_was_cut_off(version: str, tmp_path: Path, pixels: np.ndarray, make_field) -> None:
    path = write_ome_zarr(tmp_path / "a.zarr", pixels, version=version)
    image = open_field(make_field(path))
    chunk = next(file for file in (path / "0").rglob("*") if file.is_file() and file.name[0].isdigit())
    chunk.write_bytes(chunk.read_bytes()[:-20])
    with pytest.raises(ImageError, match=r"a\.zarr: is damaged"):
        image.read()


@pytest.mark.parametrize(
    "change",
    [
        lambda ome: ome["multiscales"].append(ome["multiscales"][0]),
        lambda ome: ome["multiscales"][0]["datasets"].clear(),
        lambda ome: ome["multiscales"][0]["datasets"][0].update(path="none"),
        lambda ome: ome["multiscales"][0]["axes"].pop(),
        lambda ome: ome["multiscales"][0]["axes"][0].update(name="lambda"),
        lambda ome: ome["multiscales"][0]["axes"][0].update(name="y"),
        lambda ome: ome["multiscales"][0]["axes"][0].pop("name"),
        lambda ome: ome.pop("multiscales"),
        lambda ome: ome.update(multiscales=None),
    ],
)
def test_metadata_that_make_no_sense(change: Any, tmp_path: Path, pixels: np.ndarray, make_field) -> None:
    path = write_ome_zarr(tmp_path / "a.zarr", pixels)
    metadata = json.loads((path / "zarr.json").read_text())
    change(metadata["attributes"]["ome"])
    (path / "zarr.json").write_text(json.dumps(metadata))
    with pytest.raises(ImageError, match=r"a\.zarr: "):
        open_field(make_field(path))


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("shape", [3, 10**12, 10**12]),
        ("shape", [3, 37]),
        ("shape", [3, 0, 45]),
        ("data_type", "bool"),
        ("data_type", "complex64"),
        ("data_type", "nonsense"),
        ("chunk_grid", {"name": "regular", "configuration": {"chunk_shape": [3, 10**6, 10**6]}}),
        ("codecs", [{"name": "unheard of"}]),
    ],
)
def test_arrays_that_cannot_be(key: str, value: Any, tmp_path: Path, pixels: np.ndarray, make_field) -> None:
    path = write_ome_zarr(tmp_path / "a.zarr", pixels)
    array = path / "0" / "zarr.json"
    array.write_text(json.dumps({**json.loads(array.read_text()), key: value}))
    with pytest.raises(ImageError, match=r"a\.zarr: "):
        open_field(make_field(path))


@pytest.mark.parametrize("version", ["0.4", "0.5"])
def test_flipped_bits_end_in_a_typed_error_or_in_pixels(
    version: str, tmp_path: Path, pixels: np.ndarray, make_field
) -> None:
    path = write_ome_zarr(tmp_path / "a.zarr", pixels, version=version, names=["DAPI", "CD4", "CD8"])
    files = sorted(
        file for file in path.rglob("*") if file.is_file() and "1" not in file.relative_to(path).parts[:1]
    )
    random = np.random.default_rng(0)
    for number in range(150):
        file = files[number % len(files)]
        content = file.read_bytes()
        flipped = bytearray(content)
        flipped[random.integers(len(flipped))] ^= 1 << int(random.integers(8))
        file.write_bytes(flipped)
        try:
            image = open_field(make_field(path))
            read = image.read()
        except InputError as error:
            assert str(path) in str(error)  # noqa: PT017
        else:
            assert read.shape == (3, *image.shape)
            assert read.dtype == image.dtype
        file.write_bytes(content)


def test_metadata_that_are_no_json(tmp_path: Path, pixels: np.ndarray, make_field) -> None:
    path = write_ome_zarr(tmp_path / "a.zarr", pixels)
    (path / "zarr.json").write_bytes((path / "zarr.json").read_bytes()[:-30])
    with pytest.raises(ImageError, match="is damaged"):
        open_field(make_field(path))
    (tmp_path / "empty.zarr").mkdir()
    with pytest.raises(ImageError, match="is no Zarr"):
        open_field(make_field(tmp_path / "empty.zarr"))
