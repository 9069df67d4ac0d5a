"""Checking lists everything that is wrong at once, and stays silent on what is right."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile

from napari_apollo.errors import Cancelled, StudyError
from napari_apollo.progress import Step
from napari_apollo.study import Study, StudyField, channel_problems, open_field

NAMES = ["DAPI", "CD4", "CD8"]


@pytest.fixture
def row(tmp_path: Path, pixels: np.ndarray, make_field):
    """A field with its files; what is asked for is put in place of what is right."""

    def row(
        name: str,
        image: np.ndarray = pixels,
        labels: np.ndarray | None = None,
        size: float = 0.5,
        **values: Any,
    ) -> StudyField:
        path = tmp_path / f"{name}.ome.tif"
        scale = {"PhysicalSizeX": size, "PhysicalSizeY": size}
        tifffile.imwrite(path, image, metadata={"axes": "CYX", "Channel": {"Name": NAMES}, **scale})
        if labels is not None:
            tifffile.imwrite(tmp_path / f"{name}_labels.tif", labels)
            values["labels"] = tmp_path / f"{name}_labels.tif"
        return make_field(path, **{"donor": name, **values})

    return row


@pytest.fixture
def labels() -> np.ndarray:
    labels = np.zeros((37, 45), "u2")
    labels[3:9, 3:9], labels[20:30, 20:30] = 1, 5
    return labels


def problems_of(*fields: StudyField) -> str:
    return "\n".join(Study(fields).check())


def test_nothing_is_wrong_with_a_good_study(row, labels: np.ndarray) -> None:
    study = Study([row("a", labels=labels), row("b", labels=labels, condition="tumour")])
    assert study.check() == []
    found = study.examine(thorough=True)
    assert (found.problems, found.notes) == ((), ())
    assert study.require() is study


def test_everything_is_listed_at_once(row, labels: np.ndarray, pixels: np.ndarray, tmp_path: Path) -> None:
    good = row("good")
    fields = [
        good,
        good.model_copy(update={"field": "missing", "image": tmp_path / "none.tif"}),
        good.model_copy(update={"field": "lost labels", "labels": tmp_path / "none_labels.tif"}),
        row("wrong shape", labels=labels[:-1]),
        row("floats", labels=labels.astype("f4")),
        row("panel", panel="DAPI/CD16"),
        row("cut off"),
    ]
    cut = fields[-1].image
    cut.write_bytes(cut.read_bytes()[:-50])
    study = Study(fields)
    problems = study.check()
    for words in [
        "missing: ",
        "no such file",
        "lost labels: ",
        "none_labels.tif",
        "36 x 45 pixels, its image 37 x 45",
        "holds floats",
        "missing: CD16",
        "cut off or damaged",
    ]:
        assert any(words in problem for problem in problems), words
    assert len(problems) == 6
    with pytest.raises(StudyError) as caught:
        study.require()
    assert list(caught.value.problems) == problems


def test_a_donor_in_two_conditions(row) -> None:
    found = problems_of(row("a", donor="P1"), row("b", donor="P1", condition="tumour"), row("c"))
    assert "donor 'P1' is in two conditions: control (a); tumour (b)" in found
    assert len(found.splitlines()) == 1


def test_names_that_differ_in_case_alone(row) -> None:
    found = problems_of(row("a", donor="P1"), row("b", donor="p1"), row("c", donor="P 1"))
    assert "the donors 'P1' (a) and 'p1' (b) differ in case or blanks alone" in found
    assert "P 1" not in found
    found = problems_of(row("a", condition="Control"), row("b", condition="control"))
    assert "the conditions 'Control' (a) and 'control' (b)" in found


def test_a_donor_on_both_sides_of_a_split(row) -> None:
    found = problems_of(
        row("a", donor="P1", split="train"), row("b", donor="P1", split="test"), row("c", donor="P1")
    )
    assert "donor 'P1' is in two splits: train (a); test (b)" in found
    assert len(found.splitlines()) == 1


def test_the_same_cells_twice(row, labels: np.ndarray) -> None:
    field = row("a", labels=labels)
    twin = field.model_copy(update={"field": "twin"})
    assert "a, twin: the image" in problems_of(field, twin)
    other = row("b", labels=labels).labels
    assert problems_of(field, twin.model_copy(update={"labels": other})) == ""
    bare = field.model_copy(update={"labels": None})
    assert "without labels that tell them apart" in problems_of(
        bare, bare.model_copy(update={"field": "twin"})
    )


def test_pixel_sizes_far_apart(row) -> None:
    assert problems_of(row("a", size=0.2), row("b", size=0.8)) == ""
    found = problems_of(row("a", size=0.0005), row("b", size=0.5))
    assert "pixel sizes differ 1e+03-fold" in found
    assert problems_of(row("a", size=0.0005, pixel_size_um=0.5), row("b", size=0.5)) == ""


def test_what_deserves_a_look_keeps_nobody_from_working(row, labels: np.ndarray, pixels: np.ndarray) -> None:
    study = Study(
        [
            row("a", labels=labels, pixel_size_um=0.65),
            row("b", image=(pixels // 256).astype("u1")),
        ]
    )
    found = study.examine()
    assert found.problems == ()
    notes = "\n".join(found.notes)
    assert "a: 0.65 um in the manifest overrules 0.5 um in the file" in notes
    assert "1 of 2 fields have no labels: b" in notes
    assert "pixels are of several kinds" in notes


def test_channels_without_contents_are_noted(row, pixels: np.ndarray, labels: np.ndarray) -> None:
    image = pixels.copy()
    image[1], image[2] = 0, 77
    field = row("a", image=image, labels=np.zeros_like(labels))
    assert channel_problems(open_field(field)) == [
        "CD4 is zero everywhere; was it acquired?",
        "CD8 is 77 everywhere; was it acquired?",
    ]
    found = Study([field]).examine(thorough=True)
    assert found.problems == ()
    assert "a: its label image has no nucleus" in found.notes
    assert len(found.notes) == 3
    assert Study([field]).examine().notes == ()


def test_a_mask_without_numbers_is_noted(row, labels: np.ndarray) -> None:
    found = Study([row("a", labels=(labels > 0) * np.uint8(255))]).examine(thorough=True)
    assert any("the one label 255" in note for note in found.notes)


def test_a_thorough_check_finds_damage_inside(
    row, pixels: np.ndarray, labels: np.ndarray, tmp_path: Path
) -> None:
    infinite = pixels.astype("f4")
    infinite[2, 9, 9] = np.inf
    packed = tmp_path / "packed.ome.tif"
    metadata = {"axes": "CYX", "Channel": {"Name": NAMES}}
    tifffile.imwrite(packed, pixels, compression="zlib", metadata=metadata)
    with tifffile.TiffFile(packed) as file:
        offset = file.pages[2].dataoffsets[0]
    content = bytearray(packed.read_bytes())
    content[offset + 20 : offset + 60] = bytes(40)
    packed.write_bytes(content)
    study = Study(
        [
            row("a", image=infinite),
            row("b").model_copy(update={"image": packed}),
            row("c", labels=labels.astype("i4") - 1),
        ]
    )
    assert study.check() == []
    problems = study.check(thorough=True)
    assert ["a: " in problems[0], "b: " in problems[1], "c: " in problems[2]] == [True] * 3
    assert "1 pixels of CD8 are not finite" in problems[0]
    assert "packed.ome.tif: is damaged" in problems[1]
    assert "negative label -1" in problems[2]


def test_one_large_packed_strip_is_noted(tmp_path: Path, make_field) -> None:
    image = np.zeros((1, 6000, 6000), "u2")
    tifffile.imwrite(
        tmp_path / "a.tif", image, compression="zlib", rowsperstrip=6000, photometric="minisblack"
    )
    found = Study([make_field(tmp_path / "a.tif", panel="DAPI")]).examine()
    assert any("packed in pieces of 72 MB" in note for note in found.notes)


def test_checking_shows_progress_and_stops(row) -> None:
    study = Study([row("a"), row("b")])
    steps: list[Step] = []
    study.examine(progress=steps.append)
    assert [(step.done, step.total) for step in steps] == [(0, 2), (1, 2), (2, 2)]
    with pytest.raises(Cancelled):
        study.examine(should_stop=lambda: True)
