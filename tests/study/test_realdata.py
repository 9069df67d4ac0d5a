"""Real images: names, sizes and scale as their descriptions say."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import tifffile

from napari_apollo.errors import ImageError
from napari_apollo.study import DiscoverConfig, Study, StudyField, discover, open_field, open_labels

pytestmark = pytest.mark.realdata

MIBI = "dsDNA/H3K9Ac/CD45/CD20/CD3/CD4/CD8/CD68/HLA-DR/HLA-Class-1/Ki67/PD-1/CD163/Vimentin/NaKATPase"


def field_of(path: Path, panel: str, **values: object) -> StudyField:
    return StudyField(image=path, panel=panel, donor="P", condition="c", **values)


def test_a_plain_tiff_is_named_by_its_panel(data_dir: Path) -> None:
    path = data_dir / "lymph_node_codex" / "lymph_node.tiff"
    image = open_field(field_of(path, "DAPI/CD4/CD8/FOXP3/BCL6"))
    assert (image.shape, image.dtype, image.pixel_size_um) == ((500, 500), np.uint16, None)
    np.testing.assert_array_equal(image.read(), tifffile.imread(path))
    with pytest.raises(ImageError, match="has 5 channels"):
        open_field(field_of(path, "DAPI/CD4/FOXP3"))


def test_two_panels_of_one_image(data_dir: Path) -> None:
    path = data_dir / "lymph_node_codex" / "lymph_node.tiff"
    whole = tifffile.imread(path)
    first = open_field(field_of(path, "DAPI/CD4/FOXP3", channels="DAPI;CD4;-;FOXP3;-"))
    second = open_field(field_of(path, "DAPI/CD8/BCL6", channels="DAPI;-;CD8;-;BCL6"))
    np.testing.assert_array_equal(first.read(), whole[[0, 1, 3]])
    np.testing.assert_array_equal(second.read(), whole[[0, 2, 4]])


@pytest.mark.parametrize(
    ("folder", "panel", "number", "shape"),
    [
        ("breast_mif", "DAPI/PDL1/GZMB/PD1/CK-EPCAM/CD8/FOXP3", 2, (500, 500)),
        ("u2os_fkhr_bbbc013", "DNA/FKHR", 48, (640, 640)),
        ("lymphoid_mibi", MIBI, 4, (1024, 1024)),
    ],
)
def test_names_in_ome_headers(
    folder: str, panel: str, number: int, shape: tuple[int, int], data_dir: Path
) -> None:
    study = discover(data_dir / folder)
    assert len(study) == number
    assert study.check() == []
    for field in list(study)[:4]:
        assert field.panel.stains == field_of(field.image, panel).panel.stains
        image = open_field(field)
        assert (image.shape, image.dtype, image.pixel_size_um) == (shape, np.uint8, None)
        np.testing.assert_array_equal(image.read(), tifffile.imread(field.image))
        reverse = open_field(field, stains=field.panel.stains[::-1])
        np.testing.assert_array_equal(reverse.read(), image.read()[::-1])


@pytest.mark.parametrize(("folder", "number"), [("kromp", 40), ("dsb2018", 150)])
def test_annotated_nuclei_are_paired(folder: str, number: int, data_dir: Path) -> None:
    study = discover(data_dir / "nuclei_gt" / folder, DiscoverConfig(panel="DAPI"))
    assert len(study) == number
    assert all(field.labels is not None and field.labels.stem == field.image.stem for field in study)
    for field in list(study)[:10]:
        labels = open_labels(field.labels, tifffile.imread(field.image).shape[:2])
        np.testing.assert_array_equal(labels.read(), tifffile.imread(field.labels))


def test_colour_images_are_told_apart(data_dir: Path) -> None:
    study = discover(data_dir / "nuclei_gt" / "kromp", DiscoverConfig(panel="DAPI"))
    problems = study.check()
    assert problems
    assert all("has 3 channels without names (Y=" in problem for problem in problems)


def test_a_study_of_real_images_survives_being_written(data_dir: Path, tmp_path: Path) -> None:
    study = discover(data_dir / "breast_mif")
    assert Study.from_csv(study.to_csv(tmp_path / "study.csv").path) == study
