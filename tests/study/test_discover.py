"""Drafts of studies from folders as people keep them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import tifffile

from napari_apollo.errors import Cancelled, ConfigError, PanelMismatch, StudyError
from napari_apollo.progress import Step
from napari_apollo.study import DiscoverConfig, Study, StudyField, discover, open_field

# The tree of the blood-cell study that APOLLO was published with, two patients a condition: panels
# differ per condition, one patient has masks without images, one image file is faulty.
TREE = {
    "controls": {"dapi_gh2ax_lamin": ["HV1", "HV2"], "dapi_cd8_cd4": ["HV1", "HV2"]},
    "meningioma": {"dapi_gh2ax_lamin_cd3": ["P27"], "dapi_cd16_cd4_cd8": ["P27", "P33"]},
    "glioma": {"dapi_gh2ax_lamin_cd3": ["P15"], "dapi_cd16_cd4_cd8": ["P15", "P29"]},
}


@pytest.fixture
def write(tmp_path: Path) -> Callable[..., Path]:
    def write(name: str, channels: int = 1, names: list[str] | None = None) -> Path:
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        pixels = np.arange(channels * 20 * 30, dtype="u2").reshape(channels, 20, 30)
        metadata = {"axes": "CYX", "Channel": {"Name": names}} if names else None
        tifffile.imwrite(path, pixels, photometric="minisblack", ome=bool(names), metadata=metadata)
        return path

    return write


@pytest.fixture
def tree(write) -> Path:
    for condition, panels in TREE.items():
        for panel, patients in panels.items():
            for patient in patients:
                for position in (1, 2):
                    name = f"{condition}/{panel}/{patient}_1_PBMCs/position {position}.tif"
                    if patient != "P29":
                        root = write(f"raw/{name}", len(panel.split("_"))).parents[4]
                    write(f"nuclei/{name}")
    (root / "raw/glioma/readme.txt").write_text("")
    faulty = root / "raw/meningioma/dapi_cd16_cd4_cd8/P33_1_PBMCs/position 1.tif"
    faulty.write_bytes(faulty.read_bytes()[:-100])
    return root


def test_a_tree_of_condition_panel_donor(tree: Path) -> None:
    study = discover(tree / "raw", DiscoverConfig(labels=tree / "nuclei", donor_ends_at="_"))
    assert len(study) == 18
    found = {(field.condition, field.panel.name, field.donor) for field in study}
    assert found == {
        (condition, panel, patient)
        for condition, panels in TREE.items()
        for panel, patients in panels.items()
        for patient in patients
        if patient != "P29"
    }
    for field in study:
        assert field.labels == tree / "nuclei" / field.image.relative_to(tree / "raw")
    notes = "\n".join(study.notes)
    assert "2 label images have no image" in notes
    assert "P29_1_PBMCs" in notes
    assert "readme.txt" in notes


def test_what_is_faulty_in_a_tree_is_found_by_checking(tree: Path) -> None:
    study = discover(tree / "raw", DiscoverConfig(labels=tree / "nuclei", donor_ends_at="_"))
    (problem,) = study.check()
    assert "P33_1_PBMCs" in problem
    assert "cut off or damaged" in problem


def test_a_draft_survives_being_written(tree: Path) -> None:
    study = discover(tree / "raw", DiscoverConfig(labels=tree / "nuclei"))
    assert Study.from_csv(study.to_csv(tree / "study.csv").path) == study


def test_the_donor_is_the_whole_folder_unless_told(tree: Path) -> None:
    study = Study.discover(tree / "raw")
    assert {field.donor for field in study if field.condition == "controls"} == {"HV1_1_PBMCs", "HV2_1_PBMCs"}
    assert all(field.labels is None for field in study)


def test_parallel_trees_below_one_folder(write, tmp_path: Path) -> None:
    for name in ("a", "b"):
        write(f"images/control/dapi_cd4/P1/{name}.tif", 2)
    write("masks/control/dapi_cd4/P1/a.tif")
    write("masks/control/dapi_cd4/P1/c.tif")
    study = discover(tmp_path)
    assert [field.labels and field.labels.name for field in study] == ["a.tif", None]
    assert any("1 label images have no image" in note for note in study.notes)
    assert any("1 images have no labels" in note for note in study.notes)


@pytest.mark.parametrize(
    "label",
    [
        "a_labels.tif",
        "a_mask.tif",
        "a_cp_masks.tif",
        "a-nuclei-labels.tif",
        "a_segmentation.tif",
        "labels/a.tif",
    ],
)
def test_labels_beside_the_images(label: str, write, tmp_path: Path) -> None:
    write("a.ome.tif", 2, ["DAPI", "CD4"])
    write("masked_cells.ome.tif", 2, ["DAPI", "CD4"])
    labels = write(label)
    study = discover(tmp_path)
    assert {field.field: field.labels for field in study} == {"a": labels, "masked_cells": None}


def test_a_flat_folder_of_files_that_name_their_channels(write, tmp_path: Path) -> None:
    write("P1_a.ome.tif", 3, ["Hoechst", "CD8a", "CK-EPCAM"])
    write("P2_a.ome.tif", 2, ["dapi", "γH2AX"])
    write("P3_a.ome.tif", 2, ["CD4", "CD8"])
    write("P4_a.tif", 2)
    study = discover(tmp_path, DiscoverConfig(donor_ends_at="_", condition="control"))
    assert [(field.donor, field.condition, field.panel.name) for field in study] == [
        ("P1", "control", "Hoechst_CD8_CK-EPCAM"),
        ("P2", "control", "DAPI_gammaH2AX"),
    ]
    assert study.check() == []
    assert len([note for note in study.notes if note.startswith("left out")]) == 2


@pytest.mark.parametrize(
    "name", ["CK8/18", "a;b", "p53: mutant", "x, y", "a|b", "marker*", "CD3_CD28", "CD3 CD28"]
)
def test_a_stain_with_a_separator_in_its_name_survives_the_manifest(write, tmp_path: Path, name: str) -> None:
    image = write("b.ome.tif", 3, ["DAPI", name, "CD8"])
    draft = discover(tmp_path).to_csv(tmp_path / "study.csv")
    study = Study.from_csv(tmp_path / "study.csv")
    assert study == draft
    assert study.check() == []
    assert np.array_equal(open_field(study.fields[0]).read([name])[0], tifffile.imread(image)[1])


def test_files_whose_channels_make_no_panel_are_named(write, tmp_path: Path) -> None:
    cycles = write("cycles.ome.tif", 3, ["DAPI", "CD4", "DAPI"])
    write("b.ome.tif", 3, ["DAPI", "CD4", "CD8"])
    (note,) = discover(tmp_path).notes
    assert str(cycles) in note
    assert "column 'channels'" in note
    field = StudyField(image=cycles, panel="DAPI/CD4", donor="d", condition="c")
    with pytest.raises(PanelMismatch, match="more than once, so it is not known which is meant: DAPI"):
        open_field(field)


def test_a_panel_for_files_that_say_nothing(write, tmp_path: Path) -> None:
    write("control/P1/a.tif", 2)
    write("P2/b.tif", 2)
    study = discover(tmp_path, DiscoverConfig(panel="dapi_cd4"))
    assert [(field.donor, field.condition) for field in study] == [("P1", "control"), ("P2", "all")]


def test_panels_without_conditions_or_donors(write, tmp_path: Path) -> None:
    write("dapi_cd4/P1/a.tif", 2)
    write("dapi_cd8/b.tif", 2)
    write("late/tumour/dapi_cd8/P3/scan 1/c.tif", 2)
    study = discover(tmp_path)
    assert {field.field: (field.condition, field.panel.name, field.donor) for field in study} == {
        "a": ("all", "dapi_cd4", "P1"),
        "b": ("all", "dapi_cd8", "b"),
        "c": ("late_tumour", "dapi_cd8", "P3"),
    }


def test_files_of_one_stain_each(write, tmp_path: Path) -> None:
    for field in ("f1", "f10"):
        for stain in ("DAPI", "CD4", "cd8a"):
            write(f"control/dapi_cd4_cd8/P1/{field}_{stain}.tif")
    write("control/dapi_cd4_cd8/P1/f1_labels.tif")
    study = discover(tmp_path)
    assert [field.field for field in study] == ["f1", "f10"]
    assert study["f1"].image.name == "f1_*.tif"
    assert study["f1"].labels is not None
    assert study.check() == []


def test_a_folder_of_stains_for_each_field(write, tmp_path: Path) -> None:
    for field in ("f1", "f2"):
        for stain in ("DAPI", "CD4", "CD8"):
            write(f"control/P1/{field}/{stain}.tif")
    study = discover(tmp_path)
    assert [(field.field, field.image.name, field.condition, field.donor) for field in study] == [
        ("f1", "f1", "control", "P1"),
        ("f2", "f2", "control", "P1"),
    ]
    assert study.check() == []


def test_a_zarr_is_one_image_with_its_labels(write, tmp_path: Path) -> None:
    import zarr

    for name, axes, shape in [("a.zarr", "cyx", (2, 20, 30)), ("a.zarr/labels/nuclei", "yx", (20, 30))]:
        group = zarr.create_group(tmp_path / name, zarr_format=3)
        zarr.create_array(tmp_path / name / "0", data=np.ones(shape, "u2"))
        ome = {
            "multiscales": [{"axes": [{"name": axis} for axis in axes], "datasets": [{"path": "0"}]}],
            "omero": {"channels": [{"label": "DAPI"}, {"label": "CD4"}]},
        }
        group.attrs["ome"] = ome
    study = discover(tmp_path)
    assert len(study) == 1
    assert study.fields[0].labels == tmp_path / "a.zarr/labels/nuclei"
    assert study.check() == []


def test_hidden_files_are_not_looked_at(write, tmp_path: Path) -> None:
    write("dapi_cd4/P1/a.tif", 2)
    write("dapi_cd4/P1/.a.tif", 2)
    write(".trash/dapi_cd4/P1/b.tif", 2)
    assert len(discover(tmp_path)) == 1


def test_links_in_a_circle(write, tmp_path: Path) -> None:
    write("dapi_cd4/P1/a.tif", 2)
    (tmp_path / "dapi_cd4/P1/again").symlink_to(tmp_path)
    assert len(discover(tmp_path)) == 1


def test_folders_without_images(tmp_path: Path, write) -> None:
    with pytest.raises(StudyError, match="no such folder"):
        discover(tmp_path / "none")
    with pytest.raises(StudyError, match="no such folder"):
        discover(tmp_path, DiscoverConfig(labels=tmp_path / "none"))
    with pytest.raises(StudyError, match="no image was found"):
        discover(tmp_path)
    write("a.tif", 2)
    with pytest.raises(StudyError, match=r"left out: .*a\.tif.*name the panel"):
        discover(tmp_path)
    with pytest.raises(ConfigError):
        DiscoverConfig(labells=tmp_path)  # type: ignore[call-arg]


def test_it_shows_progress_and_stops(tree: Path) -> None:
    steps: list[Step] = []
    discover(tree / "raw", progress=steps.append)
    assert steps[0].total == 18
    assert steps[-1].done == steps[-1].total
    with pytest.raises(Cancelled):
        discover(tree / "raw", should_stop=lambda: True)
