"""Segmenting a study: what is written, what is refused, and that a cluster gives the same."""

from __future__ import annotations

import logging
import os
import pickle
import signal
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import tifffile
from numpy.typing import NDArray
from scipy import ndimage

from napari_apollo.cells import SegmentConfig, segment
from napari_apollo.cells.segmentation import segment_image
from napari_apollo.errors import (
    Cancelled,
    ConfigError,
    DataError,
    FileError,
    LabelsError,
    StorageFull,
    StudyError,
    UnknownStain,
)
from napari_apollo.panels import Panel
from napari_apollo.progress import Step
from napari_apollo.study import Study, StudyField, open_labels

Image = NDArray[np.generic]
MakeFields = Callable[..., Study]


def dna(shape: tuple[int, int] = (150, 170), seed: int = 0) -> NDArray[np.uint16]:
    """A DNA stain with nuclei of about 14 pixels."""
    rng = np.random.default_rng(seed)
    image = np.zeros(shape)
    y, x = np.indices(shape)
    for row in range(8, shape[0], 20):
        for column in range(8, shape[1], 20):
            cy, cx = rng.normal((row, column), 1.5)
            image[(y - cy) ** 2 + (x - cx) ** 2 <= 49] = rng.uniform(0.7, 1.3)
    image = ndimage.gaussian_filter(image, 0.8) + 0.1 + rng.normal(0, 0.02, shape)
    return np.asarray(3000 * image.clip(0), dtype=np.uint16)


@pytest.fixture
def fields(tmp_path: Path) -> MakeFields:
    """Writes fields with the stains CD4 and DAPI, in this order, and returns their study."""

    def make(*images: Image, labels: NDArray[np.generic] | None = None, pixel: float | None = None) -> Study:
        rows = []
        for number, image in enumerate(images):
            path = tmp_path / f"field{number}.tif"
            other = np.random.default_rng(1).permuted(image, axis=1)
            tifffile.imwrite(
                path, np.stack([other, image]), photometric="minisblack", metadata={"axes": "CYX"}
            )
            mask = None
            if labels is not None:
                mask = tmp_path / f"masks{number}.tif"
                tifffile.imwrite(mask, labels, metadata={"axes": "YX"})
            rows.append(
                StudyField(
                    image=path,
                    panel=Panel(name="A", stains=("CD4", "DAPI")),
                    channels=("CD4", "DAPI"),
                    donor="donor",
                    condition="control",
                    labels=mask,
                    pixel_size_um=pixel,
                )
            )
        return Study(rows).to_csv(tmp_path / "study.csv")

    return make


def config(tmp_path: Path, **settings: object) -> SegmentConfig:
    return SegmentConfig(**{"output": tmp_path / "out", "engine": "threshold", **settings})


def left_in(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.rglob("*")) if folder.exists() else []


def test_labels_and_manifest_are_written(fields: MakeFields, tmp_path: Path) -> None:
    images = [dna(seed=0), dna((300, 90), seed=1)]
    study = segment(fields(*images), config(tmp_path))
    assert left_in(tmp_path / "out") == ["field0.tif", "field1.tif", "labels", "study.csv"]
    assert Study.from_csv(tmp_path / "out" / "study.csv") == study
    for field, image in zip(study, images, strict=True):
        assert field.labels is not None
        labels = open_labels(field.labels, image.shape).read()
        expected = segment_image(image, config=SegmentConfig(engine="threshold"))
        np.testing.assert_array_equal(labels, expected)
        assert labels.max() > 20


def test_the_manifest_may_be_given_by_path(fields: MakeFields, tmp_path: Path) -> None:
    given = fields(dna())
    assert given.path is not None
    assert (
        segment(given.path, config(tmp_path)).fields[0].labels == tmp_path / "out" / "labels" / "field0.tif"
    )


def test_label_files_are_tiled_deflated_bigtiffs_with_their_pixel_size(
    fields: MakeFields, tmp_path: Path
) -> None:
    segment(fields(dna((300, 280)), pixel=0.4), config(tmp_path))
    with tifffile.TiffFile(tmp_path / "out" / "labels" / "field0.tif") as file:
        page = file.pages[0]
        assert file.is_bigtiff
        assert page.is_tiled
        assert page.compression == tifffile.COMPRESSION.ADOBE_DEFLATE
        assert (page.dtype, page.shape) == (np.int32, (300, 280))
        numerator, denominator = page.tags["XResolution"].value
        assert numerator / denominator == pytest.approx(1e4 / 0.4)
        assert page.tags["ResolutionUnit"].value == tifffile.RESUNIT.CENTIMETER


@pytest.mark.parametrize("engine", ["threshold", "nuclei"])
def test_tiles_and_threads_change_nothing(fields: MakeFields, tmp_path: Path, engine: str) -> None:
    study = fields(dna((200, 260)), dna((90, 90), seed=3))
    first = segment(study, config(tmp_path, engine=engine, workers=1))
    second = segment(study, config(tmp_path, engine=engine, output=tmp_path / "b", tile=90, workers=3))
    for one, two in zip(first, second, strict=True):
        assert one.labels is not None
        assert two.labels is not None
        assert one.labels.read_bytes() == two.labels.read_bytes()


def test_the_stain_is_the_anchor_or_the_one_asked_for(fields: MakeFields, tmp_path: Path) -> None:
    study = fields(dna())
    anchor = segment(study, config(tmp_path))
    named = segment(study, config(tmp_path, stain="dapi", output=tmp_path / "named"))
    assert anchor.fields[0].labels is not None
    assert named.fields[0].labels is not None
    assert anchor.fields[0].labels.read_bytes() == named.fields[0].labels.read_bytes()
    with pytest.raises(UnknownStain, match=r"CD8.*CD4, DAPI"):
        segment(study, config(tmp_path, stain="CD8", output=tmp_path / "wrong"))
    assert not (tmp_path / "wrong").exists() or left_in(tmp_path / "wrong") == []


def test_micrometres_use_the_pixel_size(fields: MakeFields, tmp_path: Path) -> None:
    study = segment(fields(dna(), pixel=0.5), config(tmp_path, diameter=7, diameter_unit="um"))
    assert study.fields[0].labels is not None
    labels = open_labels(study.fields[0].labels).read()
    pixels = segment_image(dna(), config=SegmentConfig(engine="threshold", diameter=14))
    np.testing.assert_array_equal(labels, pixels)
    with pytest.raises(ConfigError, match="pixel size"):
        segment(fields(dna()), config(tmp_path, diameter=7, diameter_unit="um", overwrite=True))


def test_progress_is_told_for_every_field_and_tile(fields: MakeFields, tmp_path: Path) -> None:
    steps: list[Step] = []
    segment(fields(dna(), dna(seed=1)), config(tmp_path, tile=100), progress=steps.append)
    looking = [step for step in steps if step.stage == "Looking at the fields"]
    working = [step for step in steps if step.stage == "Segmenting"]
    assert (looking[-1].done, looking[-1].total) == (2, 2)
    assert "px" in looking[-1].detail
    assert (working[-1].done, working[-1].total) == (8, 8)
    assert any("field1" in step.detail and "nuclei" in step.detail for step in working)


def test_a_field_without_nuclei_is_told_and_kept_empty(
    fields: MakeFields, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    noise = np.random.default_rng(0).poisson(20, (120, 120)).astype(np.uint16)
    steps: list[Step] = []
    with caplog.at_level(logging.WARNING):
        study = segment(fields(dna(), noise), config(tmp_path), progress=steps.append)
    assert study.fields[1].labels is not None
    assert not open_labels(study.fields[1].labels).read().any()
    assert "field1" in caplog.text
    assert any("field1: no nuclei" in step.detail for step in steps)
    with pytest.raises(DataError, match="any of the 1 fields"):
        segment(fields(noise), config(tmp_path, output=tmp_path / "b"))
    assert left_in(tmp_path / "b") == []


@pytest.mark.parametrize(
    ("image", "told"),
    [
        (np.zeros((64, 64), np.uint16), "every pixel .* is 0"),
        (np.full((64, 64), 31, np.uint8), "every pixel .* is 31"),
        (np.where(np.eye(64) > 0, np.nan, 3.0).astype(np.float32), "not finite"),
    ],
)
def test_bad_pixels_name_their_field_and_leave_nothing(
    fields: MakeFields, tmp_path: Path, image: Image, told: str
) -> None:
    study = fields(dna().astype(image.dtype), image)
    with pytest.raises((DataError, FileError), match=told) as error:
        segment(study, config(tmp_path))
    assert "field1" in str(error.value)
    assert left_in(tmp_path / "out") == []


def test_a_study_with_problems_is_refused_before_work(fields: MakeFields, tmp_path: Path) -> None:
    study = fields(dna(), dna(seed=1))
    study.fields[1].image.unlink()
    steps: list[Step] = []
    with pytest.raises(StudyError, match=r"field1\.tif"):
        segment(study, config(tmp_path), progress=steps.append)
    assert not any(step.stage == "Segmenting" for step in steps)


def test_what_is_there_is_kept_unless_it_may_be_overwritten(fields: MakeFields, tmp_path: Path) -> None:
    study = fields(dna())
    segment(study, config(tmp_path))
    (tmp_path / "out" / "notes.txt").write_text("mine")
    before = {path: path.read_bytes() for path in (tmp_path / "out").rglob("*") if path.is_file()}
    with pytest.raises(FileError, match="exists"):
        segment(study, config(tmp_path, diameter=30))
    assert {path: path.read_bytes() for path in before} == before
    segment(study, config(tmp_path, diameter=30, overwrite=True))
    assert (tmp_path / "out" / "notes.txt").read_text() == "mine"
    labels = tmp_path / "out" / "labels" / "field0.tif"
    assert labels.read_bytes() != before[labels]


def test_the_manifest_itself_is_never_written_over(fields: MakeFields, tmp_path: Path) -> None:
    study = fields(dna())
    (tmp_path / "study.csv").write_text((tmp_path / "study.csv").read_text().replace("donor", "note,donor"))
    before = (tmp_path / "study.csv").read_bytes()
    for overwrite in (False, True):
        with pytest.raises(FileError, match=r"study\.csv: (exists already|is the study itself)"):
            segment(study, config(tmp_path, output=tmp_path, overwrite=overwrite))
    assert (tmp_path / "study.csv").read_bytes() == before
    assert not (tmp_path / "labels").exists()
    labelled = segment(study, config(tmp_path))
    segment(labelled, config(tmp_path, overwrite=True))  # its own result may be made anew


@pytest.mark.parametrize("after", [0, 3])
def test_stopping_leaves_what_was_there(fields: MakeFields, tmp_path: Path, after: int) -> None:
    study = fields(dna(), dna(seed=1))
    segment(study, config(tmp_path))
    before = {path: path.read_bytes() for path in (tmp_path / "out").rglob("*") if path.is_file()}
    steps: list[Step] = []
    with pytest.raises(Cancelled):
        segment(
            study,
            config(tmp_path, diameter=30, overwrite=True, tile=64),
            progress=steps.append,
            should_stop=lambda: sum(step.stage == "Segmenting" for step in steps) >= after,
        )
    after_it = {path: path.read_bytes() for path in (tmp_path / "out").rglob("*") if path.is_file()}
    assert after_it == before


def test_a_full_disk_is_told_and_leaves_nothing(
    fields: MakeFields, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import errno

    def full(*_: object, **__: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    study = fields(dna())
    monkeypatch.setattr(tifffile, "imwrite", full)
    with pytest.raises(StorageFull, match="labels"):
        segment(study, config(tmp_path))
    assert left_in(tmp_path / "out") == []


# --- labels that exist ------------------------------------------------------------------------


def masks(shape: tuple[int, int] = (150, 170)) -> NDArray[np.uint16]:
    labels = np.zeros(shape, np.uint16)
    labels[10:30, 10:30], labels[40:60, 90:110], labels[100:140, 20:60] = 1, 2, 3
    return labels


def test_labels_that_exist_are_taken_as_they_are(fields: MakeFields, tmp_path: Path) -> None:
    study = segment(fields(dna(), labels=masks()), config(tmp_path, engine="labels", tile=64))
    assert study.fields[0].labels == tmp_path / "out" / "labels" / "field0.tif"
    np.testing.assert_array_equal(open_labels(study.fields[0].labels).read(), masks())


def test_gaps_are_refused_or_closed(fields: MakeFields, tmp_path: Path) -> None:
    gappy = masks() * 2
    study = fields(dna(), labels=gappy)
    with pytest.raises(LabelsError, match=r"masks0\.tif.*gaps.*1, 3, 5"):
        segment(study, config(tmp_path, engine="labels"))
    assert left_in(tmp_path / "out") == []
    closed = segment(study, config(tmp_path, engine="labels", relabel=True))
    assert closed.fields[0].labels is not None
    np.testing.assert_array_equal(open_labels(closed.fields[0].labels).read(), masks())


@pytest.mark.parametrize(
    ("labels", "told"),
    [
        (masks().astype(np.float32), "float"),
        (masks((150, 171)), "150 x 171"),
        (np.stack([masks(), masks()]), "masks0"),
        (masks().astype(np.int16) - 1, "negative label -1"),
    ],
)
def test_labels_that_do_not_fit_are_refused(
    fields: MakeFields, tmp_path: Path, labels: Image, told: str
) -> None:
    with pytest.raises((LabelsError, StudyError), match=told):
        segment(fields(dna(), labels=labels), config(tmp_path, engine="labels"))
    assert left_in(tmp_path / "out") == []


def test_labels_that_are_missing_are_told(fields: MakeFields, tmp_path: Path) -> None:
    with pytest.raises(LabelsError, match=r"field0.*no label image"):
        segment(fields(dna()), config(tmp_path, engine="labels"))


# --- elsewhere --------------------------------------------------------------------------------


def test_errors_of_tasks_come_back_whole_from_other_processes() -> None:
    error = LabelsError("a.tif", "has gaps.", "Close them.")
    again = pickle.loads(pickle.dumps(error))
    assert (type(again), str(again)) == (LabelsError, str(error))


@pytest.mark.slow
def test_a_cluster_that_loses_a_worker_gives_the_same_labels(fields: MakeFields, tmp_path: Path) -> None:
    from distributed import Client, LocalCluster

    study = fields(dna((500, 500)), dna((300, 300), seed=2))
    local = segment(study, config(tmp_path, output=tmp_path / "local"))
    with (
        LocalCluster(
            n_workers=2, threads_per_worker=1, processes=True, dashboard_address=None, memory_limit=0
        ) as cluster,
        Client(cluster) as client,
    ):
        killed: list[int] = []

        def kill_one(step: Step) -> None:
            if step.stage == "Segmenting" and 0 < step.done < step.total and not killed:
                killed.append(next(iter(client.run(os.getpid).values())))
                os.kill(killed[0], signal.SIGKILL)

        far = segment(
            study,
            config(tmp_path, output=tmp_path / "far", tile=100, scheduler=cluster.scheduler_address),
            progress=kill_one,
        )
        with pytest.raises(DataError, match="field0"):
            segment(
                fields(np.zeros((64, 64), np.uint16)),
                config(tmp_path, output=tmp_path / "bad", scheduler=cluster.scheduler_address),
            )
    assert killed
    for one, two in zip(local, far, strict=True):
        assert one.labels is not None
        assert two.labels is not None
        assert one.labels.read_bytes() == two.labels.read_bytes()
