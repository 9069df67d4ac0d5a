"""Images that come as one file per stain."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import tifffile

from napari_apollo.errors import ImageError, PanelMismatch
from napari_apollo.study import open_field
from napari_apollo.study.stainfiles import natural_key, stain_names


def write(folder: Path, names: list[str], pixels: np.ndarray) -> Path:
    folder.mkdir(exist_ok=True)
    for name, page in zip(names, pixels, strict=True):
        tifffile.imwrite(folder / name, page)
    return folder


@pytest.mark.parametrize(
    "names",
    [
        ["DAPI.tif", "CD4.tif", "CD8.tif"],
        ["field1_DAPI.tif", "field1_CD4.tif", "field1_cd8a.tif"],
        ["DAPI_field1.ome.tif", "CD4_field1.ome.tif", "CD8_field1.ome.tif"],
        ["f1-DAPI.tif", "f1-CD4.tif", "f1-CD8.tif"],
        ["c1_DAPI_x.tiff", "c2_CD4_x.tiff", "c10_CD8_x.tiff"],
    ],
)
def test_a_folder_of_stains(names: list[str], tmp_path: Path, pixels: np.ndarray, make_field) -> None:
    folder = write(tmp_path / "field1", names, pixels)
    tifffile.imwrite(folder / "field1_labels.tif", np.ones((37, 45), "u2"))
    (folder / "notes.txt").write_text("not an image")
    image = open_field(make_field(folder))
    np.testing.assert_array_equal(image.read(), pixels)
    np.testing.assert_array_equal(image.read(["CD8"], slice(2, 9), slice(40, 99)), pixels[2:, 2:9, 40:])


def test_a_pattern_names_one_field_of_several(tmp_path: Path, pixels: np.ndarray, make_field) -> None:
    for number in (1, 10):
        write(tmp_path, [f"f{number}_{stain}.tif" for stain in ("CD8", "DAPI", "CD4")], pixels + number)
    image = open_field(make_field(tmp_path / "f1_*.tif"))
    assert image.field.field == "f1"
    np.testing.assert_array_equal(image.read(), pixels[[1, 2, 0]] + 1)
    with pytest.raises(ImageError, match=r"two files of the stain CD4.*by a pattern"):
        open_field(make_field(tmp_path))


def test_brackets_in_a_name_are_a_part_of_it(tmp_path: Path, pixels: np.ndarray, make_field) -> None:
    write(tmp_path, [f"f[1] ü_{stain}.tif" for stain in ("CD8", "DAPI", "CD4")], pixels)
    image = open_field(make_field(tmp_path / "f[1] ü_*.tif"))
    np.testing.assert_array_equal(image.read(), pixels[[1, 2, 0]])


def test_a_stain_that_is_not_listed_is_found_by_its_name(
    tmp_path: Path, pixels: np.ndarray, make_field
) -> None:
    folder = write(tmp_path / "f", ["a_DAPI.tif", "a_MyStain.tif", "a_CK-EPCAM.tif"], pixels)
    image = open_field(make_field(folder, panel="DAPI/ck epcam/mystain"))
    np.testing.assert_array_equal(image.read(), pixels[[0, 2, 1]])


def test_stacks_of_planes(tmp_path: Path, make_field) -> None:
    stack = np.random.default_rng(0).integers(0, 60000, (3, 4, 20, 30), dtype="u2")
    for name, planes in zip(["DAPI", "CD4", "CD8"], stack, strict=True):
        tifffile.imwrite(tmp_path / f"{name}.tif", planes, imagej=True, metadata={"axes": "ZYX"})
    np.testing.assert_array_equal(open_field(make_field(tmp_path)).read(), stack.max(axis=1))


def test_what_does_not_fit_together(tmp_path: Path, pixels: np.ndarray, make_field) -> None:
    folder = write(tmp_path / "f", ["DAPI.tif", "CD4.tif", "CD8.tif"], pixels)
    with pytest.raises(PanelMismatch, match="missing: CD16"):
        open_field(make_field(folder, panel="DAPI/CD16"))
    tifffile.imwrite(folder / "CD8.tif", pixels[2, :-1])
    with pytest.raises(ImageError, match=r"CD8\.tif: is 36 x 45 uint16, unlike CD4\.tif \(37 x 45"):
        open_field(make_field(folder))
    tifffile.imwrite(folder / "CD8.tif", pixels[2].astype("f4"))
    with pytest.raises(ImageError, match="float32, unlike"):
        open_field(make_field(folder))
    tifffile.imwrite(folder / "CD8.tif", pixels, photometric="minisblack")
    with pytest.raises(ImageError, match="has several channels"):
        open_field(make_field(folder))
    (folder / "CD8.tif").write_bytes(b"")
    with pytest.raises(ImageError, match=r"CD8\.tif: is empty"):
        open_field(make_field(folder))


def test_a_folder_without_images(tmp_path: Path, make_field) -> None:
    (tmp_path / "a.txt").write_text("")
    for path in (tmp_path, tmp_path / "f1_*.tif", tmp_path / "none" / "f1_*.tif"):
        with pytest.raises(ImageError, match="names no TIFF file"):
            open_field(make_field(path))


def test_what_names_share_is_not_the_stain() -> None:
    files = [Path(name) for name in ("s1_PD-1_x.tif", "s1_PD-L1_x.tif", "s1_DAPI_x.tif")]
    assert stain_names(files) == ("PD-1", "PD-L1", "DAPI")
    assert stain_names([Path("s1_DAPI.tif")]) == ("DAPI",)


def test_natural_order() -> None:
    assert sorted(["ch10", "ch2", "CH1"], key=natural_key) == ["CH1", "ch2", "ch10"]
