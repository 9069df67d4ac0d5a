"""The manifest: what it may look like, what comes back, and that every wrong row is named."""

from __future__ import annotations

import os
import pickle
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from napari_apollo.errors import PanelMismatch, StudyError
from napari_apollo.panels import Panel
from napari_apollo.study import Study, StudyField, read_manifest
from napari_apollo.study.fields import unique_names

HEADER = "image,panel,donor,condition\n"


@pytest.fixture
def write(tmp_path: Path):
    def write(content: str | bytes, name: str = "study.csv") -> Path:
        path = tmp_path / name
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return path

    return write


def test_a_row_is_a_field(write, tmp_path: Path) -> None:
    study = Study.from_csv(
        write(
            "image,panel,donor,condition,field,labels,pixel_size_um,split,channels,z\n"
            "img/a.ome.tif,dapi_cd4,P1,control,first,lab/a.tif,0.325,train,CD4;-;DAPI,2\n"
            "img/b.ome.tif,dapi_cd4,P2,tumour,,,,,,\n"
        )
    )
    first, second = study.fields
    assert first == StudyField(
        image=tmp_path / "img/a.ome.tif",
        panel=Panel.parse("dapi_cd4"),
        donor="P1",
        condition="control",
        field="first",
        labels=tmp_path / "lab/a.tif",
        pixel_size_um=0.325,
        split="train",
        channels=("CD4", "-", "DAPI"),
        z=2,
    )
    assert second.field == "b"
    assert second.labels is None
    assert second.z == "max"
    assert study.path == tmp_path / "study.csv"
    assert set(study.panels) == {"dapi_cd4"}


@pytest.mark.parametrize("separator", [",", ";", "\t"])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "cp1252"])
@pytest.mark.parametrize("ending", ["\n", "\r\n"])
def test_spreadsheets_write_it_in_their_ways(write, separator: str, encoding: str, ending: str) -> None:
    rows = [["Image", " panel ", "DONOR", "condition"], ["a.tif", "dapi_cd4", "Müller", "gesund"], [""]]
    text = ending.join(separator.join(row) for row in rows)
    (field,) = read_manifest(write(text.encode(encoding))).fields
    assert (field.donor, field.condition, field.panel.stains) == ("Müller", "gesund", ("DAPI", "CD4"))


@pytest.mark.parametrize("first", ["sep=;", '"sep=;"', "SEP=;"])
def test_a_line_for_excel_is_no_header(write, first: str) -> None:
    rows = "image;panel;donor;condition\r\na.tif;DAPI/CD4;P1;control, early\r\n"
    (field,) = Study.from_csv(write(f"{first}\r\n{rows}"))
    assert field.condition == "control, early"


def test_channels_may_be_separated_by_commas_in_quotes(write) -> None:
    rows = 'a.tif,dapi_cd4,P1,c,"dapi,-,CD4"\nb.tif,dapi_cd4,P1,c,dapi|cd4\n'
    text = "image,panel,donor,condition,channels\n" + rows
    first, second = read_manifest(write(text)).fields
    assert first.channels == ("DAPI", "-", "CD4")
    assert second.channels == ("DAPI", "CD4")


def test_a_panel_may_be_named_freely_where_channels_are_given(write) -> None:
    text = (
        "image,panel,donor,condition,channels\n"
        "a.tif,T cells,P1,c,DAPI;CD4;-;CD8\n"
        "b.tif,T cells,P2,c,CD8;DAPI;CD4\n"
    )
    study = Study.from_csv(write(text))
    assert study.panels == {"T cells": Panel(name="T cells", stains=("DAPI", "CD4", "CD8"))}
    again = study.to_csv(study.path.with_name("again.csv"))
    assert Study.from_csv(again.path) == study


def test_one_panel_in_two_orders_never_swaps_channels(write, tmp_path: Path) -> None:
    rows = "a.tif,T: DAPI/CD4/CD8,P1,control{}\nb.tif,T: DAPI/CD8/CD4,P2,control{}\n"
    with pytest.raises(StudyError, match="line 3: panel 'T' lists DAPI, CD8, CD4, and DAPI, CD4, CD8"):
        Study.from_csv(write(HEADER + rows.format("", "")))
    told = rows.format(",DAPI;CD4;CD8", ",DAPI;CD8;CD4")
    study = Study.from_csv(write(HEADER.replace("condition", "condition,channels") + told))
    assert [field.panel.stains for field in study] == [("DAPI", "CD4", "CD8")] * 2
    assert [field.channels for field in study] == [("DAPI", "CD4", "CD8"), ("DAPI", "CD8", "CD4")]


def test_several_rows_may_name_one_image(write) -> None:
    text = (
        "image,panel,donor,condition,labels,channels\n"
        "a.tif,dapi_cd4,P1,c,first.tif,DAPI;CD4;-\n"
        "a.tif,dapi_cd8,P1,c,second.tif,DAPI;-;CD8\n"
    )
    assert [field.field for field in read_manifest(write(text)).fields] == ["a_dapi_cd4", "a_dapi_cd8"]


def test_names_that_clash_take_up_folders(write) -> None:
    rows = ["c/P1/f.tif", "c/P2/f.tif", "d/P1/f.tif", "d/P1/g.tif"]
    fields = read_manifest(write(HEADER + "".join(f"{row},dapi_cd4,P,c\n" for row in rows))).fields
    assert [field.field for field in fields] == ["c_P1_f", "c_P2_f", "d_P1_f", "g"]


def test_every_wrong_row_is_named_at_once_with_its_line(write) -> None:
    path = write(
        "image,panel,donor,condition,field,pixel_size_um,split,channels,z\n"
        "a.tif,dapi_cd4,P1,c,one,,,,\n"
        ",dapi_cd4,,c,two,,,,\n"
        "b.tif,T cells,P1,c,three,,,,\n"
        "\n"
        "c.tif,dapi_cd4,P1,c,four,-1,tain,,\n"
        "d.tif,dapi_cd4,P1,c,ONE,,,,\n"
        "e.tif,dapi_cd4,P1,c,five,,,DAPI;CD8,\n"
        "f.tif,dapi_cd4,P1,c,a/b,,,,\n"
        "g.tif,dapi_cd4,P1,c,six,,,,first\n"
        "h.tif,dapi_cd4,P1,c,seven,,,,,,surplus\n"
    )
    with pytest.raises(StudyError) as caught:
        Study.from_csv(path)
    problems = caught.value.problems
    for line, words in [
        (3, "no image and no donor"),
        (4, "no DNA stain"),
        (6, "pixel_size_um = '-1'"),
        (6, "split = 'tain'"),
        (7, "stands in line 2 already"),
        (8, "missing: CD4"),
        (9, "cannot name files"),
        (10, "z = 'first'"),
        (11, "11 cells for 9 columns"),
    ]:
        assert any(problem.startswith(f"line {line}:") and words in problem for problem in problems), words
    assert len(problems) == 9
    assert str(path) in str(caught.value)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("", "column 'image' is missing"),
        ("image,donor\na.tif,P1\n", "column 'panel' is missing"),
        (HEADER, "names no image"),
        (HEADER.replace("donor", "image"), "stands 2 times"),
        (b"\x89PNG\r\n\x1a\n\x00\x00", "is not text"),
        (b"\xff\xfe\x00", "is not text"),
        (HEADER + 'a.tif,"dapi_cd4,P1,c\n', "no donor and no condition"),
    ],
)
def test_what_is_no_manifest_is_refused(write, content: str | bytes, words: str) -> None:
    with pytest.raises(StudyError, match=words):
        read_manifest(write(content))


def test_a_manifest_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(StudyError, match="cannot be read"):
        read_manifest(tmp_path / "none.csv")
    with pytest.raises(StudyError, match="cannot be read"):
        read_manifest(tmp_path)


def test_columns_that_mean_nothing_are_problems_of_the_study(write) -> None:
    study = Study.from_csv(
        write("image,panel,donor,condition,pixelsize_um,age,note\na.tif,dapi_cd4,P,c,1,2,3\n")
    )
    assert len(study.unknown_columns) == 2
    assert "did you mean 'pixel_size_um'?" in study.unknown_columns[0]
    assert "'age'" in study.unknown_columns[1]
    assert set(study.unknown_columns) <= set(study.check())


def test_what_people_noted_is_kept(write, tmp_path: Path) -> None:
    rows = 'a.tif,DAPI/CD4,P1,control,"blurred, upper left",\nb.tif,DAPI/CD4,P2,control,,old slide\n'
    study = Study.from_csv(write("image,panel,donor,condition,Note on focus,comment\n" + rows))
    assert [field.remarks for field in study] == [
        (("Note on focus", "blurred, upper left"),),
        (("comment", "old slide"),),
    ]
    study.with_labels({"a": tmp_path / "l.tif"}).to_csv(tmp_path / "again.csv")
    again = Study.from_csv(tmp_path / "again.csv")
    assert [field.remarks for field in again] == [field.remarks for field in study]
    assert again.unknown_columns == ()


def test_paths_are_written_relative_to_the_manifest(tmp_path: Path, make_field) -> None:
    study = Study([make_field(tmp_path / "data/img/a.tif", labels=tmp_path / "out/labels/a.tif")])
    (tmp_path / "out").mkdir()
    path = study.to_csv(tmp_path / "out/study.csv").path
    assert "../data/img/a.tif" in path.read_text()
    assert ",labels/a.tif" in path.read_text()
    assert Study.from_csv(path) == study


@pytest.mark.skipif(os.name == "nt", reason="names are always Unicode there")
def test_a_name_that_is_not_utf8_is_told(tmp_path: Path, make_field) -> None:
    study = Study([make_field(tmp_path / os.fsdecode(b"Pati\xebnt.tif"))])
    with pytest.raises(StudyError, match="rename the file"):
        study.to_csv(tmp_path / "study.csv")
    assert list(tmp_path.iterdir()) == []


def test_absolute_and_windows_paths_are_read(write, tmp_path: Path) -> None:
    (tmp_path / "img").mkdir()
    study = Study.from_csv(write(HEADER + f"{tmp_path / 'x.tif'},dapi_cd4,P1,c\nimg\\b.tif,dapi_cd4,P1,c\n"))
    assert [field.image for field in study] == [tmp_path / "x.tif", tmp_path / "img/b.tif"]


@given(
    st.lists(
        st.sampled_from(list("abc/\\.,;|:*-_\"'\n\r\t 019\0é")) | st.sampled_from(["dapi", "cd4", "nan"]),
        max_size=80,
    ).map("".join),
    st.sampled_from(
        [HEADER, "image,panel,donor,condition,field,labels,pixel_size_um,split,channels,z\n", ""]
    ),
)
def test_any_text_is_a_manifest_or_a_typed_error(tmp_path_factory, text: str, header: str) -> None:
    path = tmp_path_factory.getbasetemp() / "any.csv"
    path.write_bytes((header + text).encode())
    try:
        manifest = read_manifest(path)
    except StudyError as error:
        assert str(error).startswith(str(path))  # noqa: PT017
    else:
        assert manifest.fields


@given(st.binary(max_size=60))
def test_any_bytes_are_a_manifest_or_a_typed_error(tmp_path_factory, content: bytes) -> None:
    path = tmp_path_factory.getbasetemp() / "any.csv"
    path.write_bytes(HEADER.encode() + content)
    try:
        read_manifest(path)
    except StudyError as error:
        assert str(path) in str(error)  # noqa: PT017


texts = st.text(
    st.characters(codec="utf-8", categories=("L", "N", "P", "S", "Zs")), min_size=1, max_size=12
).filter(lambda text: text.strip() == text)
rows = st.fixed_dictionaries(
    {
        "image": st.from_regex(r"[a-z]{1,6}(/[A-Z0-9 ;,_-]{0,5}[a-z]){0,2}\.tif", fullmatch=True).map(Path),
        "panel": st.sampled_from(
            [Panel.parse("dapi_cd4"), Panel(name="T", stains=("Hoechst", "CK EPCAM", "DAPI"))]
        ),
        "donor": texts,
        "condition": texts,
        "labels": st.none() | st.just(Path("labels/x.tif")),
        "pixel_size_um": st.none() | st.floats(0.001, 900),
        "split": st.sampled_from([None, "train", "validation", "test"]),
        "z": st.just("max") | st.integers(0, 50),
    }
)


@given(st.lists(rows, min_size=1, max_size=5), st.booleans())
def test_a_study_survives_being_written_and_read(tmp_path_factory, rows: list[dict], channels: bool) -> None:
    folder = tmp_path_factory.mktemp("study")
    fields = [
        StudyField(
            **{
                **row,
                "image": folder / row["image"],
                "labels": row["labels"] and folder / row["labels"],
                "field": f"field {number}",
                "channels": ("-", *row["panel"].stains) if channels else None,
            }
        )
        for number, row in enumerate(rows)
    ]
    study = Study(fields)
    assert Study.from_csv(study.to_csv(folder / "study.csv").path) == study


def test_fields_are_frozen_and_picklable(tmp_path: Path, make_field) -> None:
    field = make_field(tmp_path / "a.tif", channels="CD8;dapi;-;cd4")
    assert pickle.loads(pickle.dumps(field)) == field
    assert field.channels == ("CD8", "DAPI", "-", "CD4")
    with pytest.raises(ValidationError, match="frozen"):
        field.donor = "other"
    with pytest.raises(StudyError, match="pixel_size_um = -1"):
        make_field(tmp_path / "a.tif", pixel_size_um=-1)


def test_channels_have_to_hold_the_panel(tmp_path: Path, make_field) -> None:
    with pytest.raises(PanelMismatch, match="missing: CD8"):
        make_field(tmp_path / "a.tif", channels=("DAPI", "CD4"))


@given(
    st.lists(
        st.tuples(st.from_regex(r"([ab]/){0,3}[cC](\.ome)?\.tif", fullmatch=True), st.sampled_from("pq")),
        min_size=1,
        max_size=8,
    )
)
def test_names_are_unique_also_where_case_does_not_count(rows: list[tuple[str, str]]) -> None:
    names = unique_names([Path(image) for image, _ in rows], [panel for _, panel in rows])
    assert len({name.casefold() for name in names}) == len(rows)


def test_a_study_is_put_together_with_care(tmp_path: Path, make_field) -> None:
    one, two = make_field(tmp_path / "a.tif"), make_field(tmp_path / "x/a.tif")
    with pytest.raises(StudyError, match="two fields are called 'a'"):
        Study([one, two])
    other = make_field(tmp_path / "b.tif", panel=Panel(name="DAPI/CD4/CD8", stains=("DAPI", "CD16")))
    with pytest.raises(StudyError, match="give each its own name"):
        Study([one, other])


def test_one_stain_is_spelt_in_one_way_throughout(tmp_path: Path, make_field) -> None:
    study = Study(
        make_field(tmp_path / f"{name}.tif", f"{name}: {stains}", field=name)
        for name, stains in (("A", "DAPI/CK-EPCAM"), ("B", "ck epcam/DAPI/CD3"), ("C", "CD3/DAPI"))
    )
    assert [field.panel.stains for field in study] == [
        ("DAPI", "CK-EPCAM"),
        ("CK-EPCAM", "DAPI", "CD3"),
        ("CD3", "DAPI"),
    ]
    assert Study.from_csv(study.to_csv(tmp_path / "study.csv").path) == study


def test_selecting_fields_and_giving_them_labels(tmp_path: Path, make_field) -> None:
    study = Study([make_field(tmp_path / f"{name}.tif") for name in "abc"])
    assert [field.field for field in study.select(["c", "a"])] == ["a", "c"]
    labelled = study.with_labels({"b": tmp_path / "b_labels.tif"})
    assert [field.labels for field in labelled] == [None, tmp_path / "b_labels.tif", None]
    assert study["b"].labels is None
    assert labelled["b"].labels is not None
    with pytest.raises(StudyError, match="No field is called 'd'"):
        study.select(["d"])
    with pytest.raises(StudyError, match="there are a, b, c"):
        study.with_labels({"d": tmp_path})
