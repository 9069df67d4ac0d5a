from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import tifffile

from napari_apollo.errors import DataError, PanelError, StudyError
from napari_apollo.panels import UNUSED
from napari_apollo.study import Study
from napari_apollo.viewer.drafting import DraftRow, StudyDraft, stains_to_offer, suggest_stains
from napari_apollo.viewer.layerfields import fields_from_layers, is_two_panel_sample


def write(path: Path, channels: int, names: list[str] | None = None) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.arange(channels * 64 * 48, dtype=np.uint16).reshape(channels, 64, 48)
    metadata = {"axes": "CYX"} | ({"Channel": {"Name": names}} if names else {})
    tifffile.imwrite(path, pixels, ome=True, photometric="minisblack", metadata=metadata)
    return path


def test_a_study_goes_through_the_tool_unchanged(tmp_path: Path) -> None:
    """Two files of one panel in two orders, an anchor that nobody lists, and what people noted."""
    pixels = np.zeros((3, 8, 8), "u2")
    for name in "abc":
        tifffile.imwrite(tmp_path / f"{name}.tif", pixels, photometric="minisblack")
    (tmp_path / "study.csv").write_text(
        "image,panel,donor,condition,channels,note\n"
        "a.tif,T: DAPI/CD4/CD8,P1,c,DAPI;CD4;CD8,blurred\n"
        "b.tif,T: DAPI/CD4/CD8,P2,c,CD8;CD4;DAPI,\n"
        "c.tif,histones: H3K9Ac*/CD4,P3,c,CD4;-;H3K9Ac,\n"
    )
    study = Study.from_csv(tmp_path / "study.csv")
    draft = StudyDraft.of(study)
    assert draft.problems() == []
    assert draft.study() == study
    draft.study().to_csv(tmp_path / "study.csv")
    assert Study.from_csv(tmp_path / "study.csv") == study


def test_a_study_comes_back_as_it_was(small: SimpleNamespace) -> None:
    draft = StudyDraft.of(small.study)
    assert draft.problems() == []
    assert draft.study() == small.study


def test_files_that_name_their_channels_need_no_help(tmp_path: Path) -> None:
    draft = StudyDraft()
    assert draft.add([write(tmp_path / "a.ome.tif", 2, ["Hoechst 33342", "gH2AX"])]) == 1
    assert draft.rows[0].stains == ("Hoechst", "gammaH2AX")
    assert draft.problems() == []
    assert draft.study().fields[0].panel.anchor == "Hoechst"


def test_channels_without_names_are_asked_for(tmp_path: Path) -> None:
    draft = StudyDraft()
    draft.add([write(tmp_path / "a.ome.tif", 2), write(tmp_path / "b.ome.tif", 2)])
    assert [number for number, _ in draft.problems()] == [0, 1]
    assert "channel 1, channel 2" in draft.problems()[0][1]
    with pytest.raises(StudyError):
        draft.study()
    draft.assign(draft.alike(0), ["dapi", "γH2AX"])
    assert draft.problems() == []
    assert {row.stains for row in draft.rows} == {("DAPI", "gammaH2AX")}


def test_what_one_panel_shows_is_not_said_of_another(tmp_path: Path) -> None:
    """The channels of neither have names, so they look alike; correcting one must not rename the other's."""
    for panel, donor in (("dapi_cd4_cd8", "P1"), ("dapi_lamin_cd3", "P2")):
        write(tmp_path / "control" / panel / donor / "image.ome.tif", 3)
    draft = StudyDraft()
    draft.add([tmp_path])
    before = {row.donor: row.stains for row in draft.rows}
    assert before == {"P1": ("DAPI", "CD4", "CD8"), "P2": ("DAPI", "lamin", "CD3")}
    (first,) = draft.alike(0)
    draft.assign([first], ["DAPI", "CD8", "CD4"])
    after = {row.donor: row.stains for row in draft.rows}
    changed = draft.rows[0].donor
    assert after[changed] == ("DAPI", "CD8", "CD4")
    assert all(after[donor] == before[donor] for donor in before if donor != changed)


def test_a_study_whose_images_are_gone_is_shown_with_what_is_wrong(tmp_path: Path) -> None:
    paths = [write(tmp_path / f"{name}.ome.tif", 2, ["DAPI", "CD4"]) for name in "ab"]
    draft = StudyDraft()
    draft.add(paths)
    study = draft.study()
    paths[0].unlink()
    found = StudyDraft.of(study)
    ((row, words),) = found.problems()
    assert row == 0
    assert "a.ome.tif" in words
    assert "no such file" in words
    assert found.rows[1].stains == draft.rows[1].stains
    found.remove([0])
    assert found.problems() == []


def test_a_channel_may_be_left_out(tmp_path: Path) -> None:
    draft = StudyDraft()
    draft.add([write(tmp_path / "a.ome.tif", 3, ["DAPI", "CD4", "Autofluorescence"])])
    draft.assign([0], ["DAPI", "CD4", UNUSED])
    field = draft.study().fields[0]
    assert field.panel.stains == ("DAPI", "CD4")
    assert field.channels == ("DAPI", "CD4", UNUSED)


def test_a_folder_is_read_as_discovery_reads_it(tmp_path: Path) -> None:
    for donor in ("P1", "P2"):
        write(tmp_path / "control" / "dapi_cd4" / donor / "image.ome.tif", 2, ["DAPI", "CD4"])
    draft = StudyDraft()
    draft.add([tmp_path])
    assert [(row.donor, row.condition) for row in draft.rows] == [("P1", "control"), ("P2", "control")]
    assert len({row.name for row in draft.rows}) == 2
    assert draft.problems() == []


def test_what_is_there_is_not_added_twice(small: SimpleNamespace) -> None:
    draft = StudyDraft()
    assert draft.add([small.study.path]) == 2
    assert draft.add([small.study.path]) == 0


def test_what_cannot_be_read_is_a_note_and_harms_nothing(tmp_path: Path, small: SimpleNamespace) -> None:
    (tmp_path / "broken.tif").write_bytes(b"no image")
    draft = StudyDraft()
    draft.add([small.study.path, tmp_path / "broken.tif", tmp_path / "absent.csv"])
    assert len(draft.rows) == 2
    assert len(draft.notes) == 2
    assert "broken.tif" in draft.notes[0]


def test_rows_are_changed_and_removed(small: SimpleNamespace) -> None:
    draft = StudyDraft.of(small.study)
    draft.change([0, 1], condition="glioma", split="test")
    assert {field.condition for field in draft.study()} == {"glioma"}
    draft.remove([0])
    assert len(draft.study()) == 1
    draft.change([0], donor="")
    assert draft.problems()


def test_suggestions() -> None:
    assert suggest_stains(["dapi", "CD8a", "", "405"]) == ("DAPI", "CD8", "", "")
    assert suggest_stains(["DAPI", "DAPI-2", "dapi"])[2] == UNUSED
    offered = stains_to_offer([DraftRow(Path("a.tif"), stains=("DAPI", "MyProtein"))])
    assert offered[:2] == ("DAPI", "MyProtein")
    assert len(set(offered)) == len(offered)


# --- open layers -----------------------------------------------------------------------------------


def test_layers_from_memory_are_written_and_named(tmp_path: Path) -> None:
    from napari.components import ViewerModel

    viewer = ViewerModel()
    for name in ("Hoechst", "CD4"):
        viewer.add_image(
            np.ones((40, 30), np.uint16),
            name=name,
            scale=(0.5, 0.5),
            units=("um", "um"),
            axis_labels=("y", "x"),
        )
    (field,) = fields_from_layers(viewer.layers, tmp_path)
    assert field.panel.stains == ("Hoechst", "CD4")
    study = Study([field])
    assert study.check() == []
    from napari_apollo.study import open_field

    assert open_field(field).pixel_size_um == (0.5, 0.5)
    assert open_field(field).shape == (40, 30)


def test_images_of_layers_replace_no_other_image(tmp_path: Path) -> None:
    from napari.components import ViewerModel

    def fields(*values: int) -> list[Any]:
        viewer = ViewerModel()
        for number, value in enumerate(values):
            for name in ("DAPI", "CD4"):
                viewer.add_image(np.full((40, 30 + number), value, np.uint16), name=name)
        return fields_from_layers(viewer.layers, tmp_path)

    (first,) = fields(1)
    assert fields(1) == [first]  # the button was pressed twice
    (other,) = fields(2)
    assert other.image != first.image
    assert tifffile.imread(first.image).max() == 1
    two = fields(3, 4)
    assert len({field.image for field in two}) == 2
    assert len(list((tmp_path / "images").iterdir())) == 4


def test_layers_that_lie_otherwise_are_no_stains_of_one_image(tmp_path: Path) -> None:
    from napari.components import ViewerModel

    for place in ({"rotate": 30}, {"scale": (2, 2)}, {"affine": np.diag([2.0, 1, 1])}, {"translate": (0, 3)}):
        viewer = ViewerModel()
        viewer.add_image(np.ones((40, 30), np.uint16), name="DAPI")
        viewer.add_image(np.ones((40, 30), np.uint16), name="CD4", **place)
        with pytest.raises(PanelError, match="one size, scale and place; CD4 differ"):
            fields_from_layers(viewer.layers, tmp_path)


def test_layers_of_a_study_give_its_fields(small: SimpleNamespace, tmp_path: Path) -> None:
    from napari.components import ViewerModel

    from napari_apollo.viewer import open_study

    viewer = ViewerModel()
    open_study(viewer, small.study)
    assert fields_from_layers(viewer.layers, tmp_path) == list(small.study)
    assert not list(tmp_path.iterdir())


def test_the_lymph_node_is_known(tmp_path: Path) -> None:
    from napari.components import ViewerModel

    from napari_apollo.viewer.sample_data import lymph_node_layers

    viewer = ViewerModel()
    for data, kwargs, _ in lymph_node_layers():
        viewer.add_image(data, **kwargs)
    fields = fields_from_layers(viewer.layers, tmp_path)
    assert is_two_panel_sample(Study(fields))
    assert not is_two_panel_sample(None)


def test_blood_cells_become_two_fields(tmp_path: Path) -> None:
    from napari.components import ViewerModel

    from napari_apollo.viewer.sample_data import blood_cell_layers

    viewer = ViewerModel()
    for data, kwargs, kind in blood_cell_layers():
        getattr(viewer, f"add_{kind}")(data, **kwargs)
    fields = fields_from_layers(viewer.layers, tmp_path)
    assert len({field.panel.name for field in fields}) == 2
    assert all(field.image.is_file() for field in fields)


def test_without_images_it_says_so(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="No image is open"):
        fields_from_layers([], tmp_path)
