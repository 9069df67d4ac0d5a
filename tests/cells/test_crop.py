"""From a labelled study to a store: the same cells whatever the tiles, workers and numbers."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import tifffile
from numpy.typing import NDArray

from napari_apollo.cells import CellStore, CropConfig, crop
from napari_apollo.cells.cutting import cut
from napari_apollo.cells.segmentation import expand_nuclei
from napari_apollo.errors import (
    Cancelled,
    ConfigError,
    DataError,
    FileError,
    ImageError,
    LabelsError,
    StudyError,
)
from napari_apollo.panels import Panel
from napari_apollo.progress import Step
from napari_apollo.study import Study, StudyField

MakeStudy = Callable[..., Study]
MakeField = Callable[..., tuple[NDArray, NDArray]]


def contents(path: Path) -> dict[str, bytes]:
    return {str(each.relative_to(path)): each.read_bytes() for each in path.rglob("*") if each.is_file()}


def test_the_cells_of_a_study(make_study: MakeStudy, make_field: MakeField, tmp_path: Path) -> None:
    fields = [make_field(seed=1), make_field((140, 160), seed=2)]
    study = make_study(fields, splits=["train", "test"])
    config = CropConfig(output=tmp_path / "s.cells.zarr", size=32, expand=3, tile=64, workers=2)
    steps: list[Step] = []
    store = crop(study, config, progress=steps.append)
    obs = store.obs
    assert store.verify() == []
    assert store.crop_size == 32
    for (image, labels), field in zip(fields, study, strict=True):
        own = obs[obs["field"] == field.field]
        assert sorted(own["label"]) == sorted(np.unique(labels[labels > 0]))
        assert set(own["donor"]) == {field.donor}
        assert set(own["image"]) == {str(field.image)}
        assert set(own["split"]) == {field.split}
        points = {k: np.argwhere(labels == k) for k in own["label"]}
        centroid = np.array([points[k].mean(0) for k in own["label"]])
        np.testing.assert_allclose(own[["y", "x"]], centroid)
        centre = np.floor(centroid + 0.5).astype(int)
        np.testing.assert_array_equal(own[["centre_y", "centre_x"]], centre)
        np.testing.assert_array_equal(own["nucleus_area_px"], [len(points[k]) for k in own["label"]])
        images, masks = cut(image, labels, expand_nuclei(labels, 3), centre, own["label"].to_numpy(), 32)
        np.testing.assert_array_equal(store.read_images("A", own["row"]), images)
        np.testing.assert_array_equal(store.read_masks("A", own["row"]), masks)
    assert list(obs["cell_id"]) == [f"{f}:{k}" for f, k in zip(obs["field"], obs["label"], strict=True)]
    counts = store.provenance["quality"]["counts"]
    assert counts["cells"] == store.n_cells == len(obs)
    assert counts["passed"] == obs["qc"].sum()
    assert counts["border"] == obs["qc_reason"].str.contains("border").sum() > 0
    assert store.provenance["problems"] == []
    cutting = [step for step in steps if step.stage == "Cutting"]
    assert "MB of memory" in cutting[0].detail
    assert (cutting[-1].done, cutting[-1].total) == (len(obs), len(obs))


@pytest.mark.parametrize("neighbours", ["keep", "blank"])
def test_tiles_and_workers_change_nothing(
    make_study: MakeStudy, make_field: MakeField, tmp_path: Path, neighbours: str
) -> None:
    study = make_study([make_field((700, 620), seed=3), make_field(seed=4)])
    stores = []
    for position, (tile, workers) in enumerate([(16384, 1), (512, 2), (64, 2)]):
        path = tmp_path / f"s{position}.cells.zarr"
        config = CropConfig(output=path, size=24, tile=tile, workers=workers, neighbours=neighbours)
        stores.append(crop(study, config))
    first = contents(stores[0].path)
    for store in stores[1:]:
        assert contents(store.path) == first


def test_numbers_of_labels_change_only_names(
    make_study: MakeStudy, make_field: MakeField, tmp_path: Path
) -> None:
    """Other numbers, with gaps, far apart: the same cells in the same order."""
    image, labels = make_field(seed=5)
    numbers = np.random.default_rng(0).choice(2_000_000_000, labels.max() + 1, replace=False).astype(np.int32)
    numbers[0] = 0
    one = crop(make_study([(image, labels)]), CropConfig(output=tmp_path / "1.cells.zarr"))
    two = crop(
        make_study([(image, numbers[labels])], folder="other"), CropConfig(output=tmp_path / "2.cells.zarr")
    )
    np.testing.assert_array_equal(numbers[one.obs["label"]], two.obs["label"])
    rows = np.arange(one.n_cells)
    np.testing.assert_array_equal(one.read_images("A", rows), two.read_images("A", rows))
    np.testing.assert_array_equal(one.read_masks("A", rows), two.read_masks("A", rows))
    columns = ["y", "x", "qc", "qc_reason", *(name for name in one.obs if name.startswith("nucleus"))]
    pd.testing.assert_frame_equal(
        one.obs[columns].reset_index(drop=True), two.obs[columns].reset_index(drop=True)
    )
    assert one.normalisation == two.normalisation


def test_channels_are_found_by_name(make_study: MakeStudy, make_field: MakeField, tmp_path: Path) -> None:
    image, labels = make_field(seed=6)
    one = crop(make_study([(image, labels)]), CropConfig(output=tmp_path / "1.cells.zarr"))
    study = make_study([(image[[2, 0, 1]], labels)], folder="other")
    field = study.fields[0].model_copy(update={"channels": ("CD8", "DAPI", "CD4")})
    two = crop(Study([field]), CropConfig(output=tmp_path / "2.cells.zarr"))
    np.testing.assert_array_equal(
        one.read_images("A", range(one.n_cells)), two.read_images("A", range(two.n_cells))
    )


def test_two_panels_of_one_image(make_study: MakeStudy, make_field: MakeField, tmp_path: Path) -> None:
    """Part of the cells with one panel, the rest with the other, both from the same file."""
    image, labels = make_field(seed=7)
    base = make_study([(image, labels)])
    half = tmp_path / "half.tif"
    other = tmp_path / "other.tif"
    tifffile.imwrite(half, np.where(labels % 2, labels, 0).astype(np.int32))
    tifffile.imwrite(other, np.where(labels % 2, 0, labels).astype(np.int32))
    path = base.fields[0].image
    study = Study(
        [
            StudyField(
                image=path, field=name, panel=panel, donor="d", condition="c", labels=mask, channels=channels
            )
            for name, panel, mask, channels in [
                ("first", "dapi_cd4", half, ("DAPI", "CD4", "-")),
                ("second", "dapi_cd8", other, ("DAPI", "-", "CD8")),
            ]
        ]
    )
    store = crop(study, CropConfig(output=tmp_path / "s.cells.zarr", size=32))
    assert set(store.panels) == {"dapi_cd4", "dapi_cd8"}
    for name, channels, odd in (("dapi_cd4", [0, 1], 1), ("dapi_cd8", [0, 2], 0)):
        own = store.obs.iloc[store.rows(name)]
        assert set(own["label"] % 2) == {odd}
        masks = tifffile.imread(half if odd else other)
        centre, ids = own[["centre_y", "centre_x"]].to_numpy(), own["label"].to_numpy()
        images, _ = cut(image[channels], masks, None, centre, ids, 32)
        np.testing.assert_array_equal(store.read_images(name, own["row"]), images)


# --- pixel sizes --------------------------------------------------------------------------------


def test_fields_are_brought_to_one_pixel_size(make_study: MakeStudy, tmp_path: Path) -> None:
    """The same scene at two magnifications gives nearly the same crops."""
    y, x = np.indices((400, 400)) / 400
    smooth = 2000 * (1.2 + np.sin(9 * y) * np.cos(7 * x)) + 400 * np.sin(40 * x)
    discs = np.zeros((400, 400), np.int32)
    for k, (cy, cx) in enumerate([(a, b) for a in range(60, 380, 80) for b in range(60, 380, 80)], start=1):
        discs[(np.hypot(*np.indices((400, 400)) - np.array([cy, cx])[:, None, None])) < 20] = k
    fine = np.stack([smooth + 20000 * (discs > 0), 5000 - smooth, smooth]).astype(np.uint16)
    coarse = fine.reshape(3, 200, 2, 200, 2).mean((2, 4)).astype(np.uint16)
    coarse_labels = np.ascontiguousarray(discs[1::2, 1::2])
    study = make_study(
        [(coarse, coarse_labels), (coarse, coarse_labels), (fine, discs)],
        pixel_sizes=[0.5, 0.502, 0.25],
    )
    store = crop(study, CropConfig(output=tmp_path / "s.cells.zarr", size=16, unit="um", expand=1))
    assert store.pixel_size_um == 0.5
    assert store.crop_size == 32
    obs = store.obs
    by_field = obs.groupby("field")["scale"].unique()
    assert [list(values) for values in by_field] == [[1.0], [1.0], [2.0]]
    one, two = (obs[obs["field"] == field].set_index("label").sort_index() for field in ("field0", "field2"))
    np.testing.assert_allclose(one["nucleus_area_um2"], two["nucleus_area_um2"], rtol=0.05)
    np.testing.assert_allclose(one["nucleus_dna"], two["nucleus_dna"], rtol=0.1)
    images = [store.read_images("A", each["row"]).astype(float) for each in (one, two)]
    assert np.abs(images[0] - images[1]).mean() < 0.03 * images[0].mean()
    masks = [store.read_masks("A", each["row"]) for each in (one, two)]
    assert (masks[0] == masks[1]).mean() > 0.92
    forced = crop(
        study, CropConfig(output=tmp_path / "t.cells.zarr", size=32, pixel_size_um=1.0, deviations=5)
    )
    assert forced.pixel_size_um == 1.0
    assert forced.obs.groupby("field")["scale"].first().round(2).tolist() == [2.0, 1.99, 4.0]


def test_pixel_sizes_that_do_not_fit(make_study: MakeStudy, make_field: MakeField, tmp_path: Path) -> None:
    field = make_field()
    path = tmp_path / "s.cells.zarr"
    with pytest.raises(StudyError, match=r"some fields only[\s\S]*field1"):
        crop(make_study([field, field], pixel_sizes=[0.5, None]), CropConfig(output=path))
    with pytest.raises(ConfigError, match="pixel size of the fields is not known"):
        crop(make_study([field]), CropConfig(output=path, size=10, unit="um"))
    with pytest.raises(ConfigError, match="pixel size of no field is known"):
        crop(make_study([field]), CropConfig(output=path, pixel_size_um=0.5))
    assert not path.exists()


# --- what a user may get wrong ------------------------------------------------------------------


def test_settings_that_contradict(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="area_min"):
        CropConfig(area_min=10, area_max=5)
    with pytest.raises(ConfigError, match="neighbours"):
        CropConfig(neighbours="erase")
    with pytest.raises(ConfigError, match="checks"):
        CropConfig(checks=("colour",))


def test_a_store_that_is_there_stays(make_study: MakeStudy, make_field: MakeField, tmp_path: Path) -> None:
    study = make_study([make_field()])
    config = CropConfig(output=tmp_path / "s.cells.zarr")
    crop(study, config)
    before = contents(config.output)
    steps: list[Step] = []
    with pytest.raises(FileError, match="exists already"):
        crop(study, config, progress=steps.append)
    assert steps == []  # refused before any work
    assert contents(config.output) == before
    again = crop(study, config.model_copy(update={"overwrite": True}))
    assert contents(again.path) == before


def test_fields_without_labels_are_named(
    make_study: MakeStudy, make_field: MakeField, tmp_path: Path
) -> None:
    study = make_study([make_field(), make_field()])
    fields = [study.fields[0], study.fields[1].model_copy(update={"labels": None})]
    with pytest.raises(StudyError, match=r"Segment the study first[\s\S]*field1"):
        crop(Study(fields), CropConfig(output=tmp_path / "s.cells.zarr"))


def test_an_empty_field_is_recorded_and_an_empty_study_refused(
    make_study: MakeStudy, make_field: MakeField, tmp_path: Path
) -> None:
    image, labels = make_field()
    nothing = np.zeros_like(labels)
    config = CropConfig(output=tmp_path / "s.cells.zarr")
    with pytest.raises(DataError, match="None of the 1 fields has a nucleus"):
        crop(make_study([(image, nothing)]), config)
    store = crop(make_study([(image, labels), (image, nothing)]), config)
    assert store.provenance["problems"] == ["Field field1 has no nucleus."]
    assert set(store.obs["field"]) == {"field0"}


@pytest.mark.parametrize("value", [0, 7])
def test_a_constant_channel_is_named_or_recorded(
    make_study: MakeStudy, make_field: MakeField, tmp_path: Path, value: int
) -> None:
    image, labels = make_field()
    dead = image.copy()
    dead[1] = value
    study = make_study([(image, labels), (dead, labels)])
    config = CropConfig(output=tmp_path / "s.cells.zarr", normalise_by="field")
    with pytest.raises(DataError, match=rf"CD4 is {value} in every pixel of field field1"):
        crop(study, config)
    assert not config.output.exists()
    store = crop(study, config.model_copy(update={"constant_stains": "record"}))
    assert len(store.provenance["problems"]) == 2
    assert "CD4" not in store.normalisation.constants["field1"]
    assert np.isfinite(store.normalised("A", range(store.n_cells))).all()


def test_pixels_that_are_no_numbers_are_named(
    make_study: MakeStudy, make_field: MakeField, tmp_path: Path
) -> None:
    image, labels = make_field(dtype=np.float32)
    image[2, 5, 9] = np.nan
    config = CropConfig(output=tmp_path / "s.cells.zarr")
    with pytest.raises(ImageError, match=r"field0\.tif.*CD8 are not finite.*y 5, x 9"):
        crop(make_study([(image, labels)]), config)
    image[2, 5, 9] = 0
    store = crop(make_study([(image, labels)]), config)
    assert store.dtype("A") == np.float32


def test_pixels_that_cannot_be_stored_are_named(
    make_study: MakeStudy, make_field: MakeField, tmp_path: Path
) -> None:
    image, labels = make_field()
    study = make_study([(image, labels), (image.astype(np.uint64), labels)])
    with pytest.raises(DataError, match=r"field1\.tif: pixels of uint64 cannot be stored"):
        crop(study, CropConfig(output=tmp_path / "s.cells.zarr"))


@pytest.mark.parametrize("names", [("A", "A"), ("A", "B")])
def test_pixels_of_two_scales_are_named_before_any_is_read(
    make_study: MakeStudy, make_field: MakeField, tmp_path: Path, names: tuple[str, str]
) -> None:
    image, labels = make_field()
    study = make_study([(image, labels), (image.astype(np.float32) / 65535, labels)])
    panels = [Panel(name=name, stains=study.fields[0].panel.stains) for name in names]
    study = Study(f.model_copy(update={"panel": panel}) for f, panel in zip(study, panels, strict=True))
    steps: list[Step] = []
    with pytest.raises(DataError, match=r"field0\.tif holds uint16 and .*field1\.tif holds float32"):
        crop(study, CropConfig(output=tmp_path / "s.cells.zarr"), progress=steps.append)
    assert steps == []


def test_one_label_for_two_nuclei_is_flagged(
    make_study: MakeStudy, make_field: MakeField, tmp_path: Path
) -> None:
    image, labels = make_field((300, 300))
    first, last = labels[labels > 0].min(), labels.max()
    twice = np.where(labels == last, first, labels)
    store = crop(make_study([(image, twice)]), CropConfig(output=tmp_path / "s.cells.zarr", size=32))
    obs = store.obs.set_index("label")
    assert len(obs) == len(np.unique(twice)) - 1
    assert "larger-than-crop" in obs.loc[first, "qc_reason"]


def test_labels_of_floats_are_refused(make_study: MakeStudy, make_field: MakeField, tmp_path: Path) -> None:
    image, labels = make_field()
    with pytest.raises((LabelsError, StudyError), match="float"):
        crop(make_study([(image, labels.astype(np.float32))]), CropConfig(output=tmp_path / "s.cells.zarr"))


def test_a_nucleus_larger_than_its_crop_is_flagged(make_study: MakeStudy, tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    labels = np.zeros((200, 200), np.int32)
    labels[20:60, 20:60] = 1
    labels[100:112, 100:112] = 2
    image = rng.integers(50, 500, (3, 200, 200)).astype(np.uint16)
    store = crop(make_study([(image, labels)]), CropConfig(output=tmp_path / "s.cells.zarr", size=24))
    reasons = store.obs.set_index("label")["qc_reason"]
    assert reasons[1] == "larger-than-crop"
    assert reasons[2] == ""


def test_stopping_leaves_nothing(make_study: MakeStudy, make_field: MakeField, tmp_path: Path) -> None:
    study = make_study([make_field((600, 600), spacing=20)])
    config = CropConfig(output=tmp_path / "out" / "s.cells.zarr", tile=64, size=64, workers=1)
    seen: list[Step] = []
    with pytest.raises(Cancelled):
        crop(study, config, progress=seen.append, should_stop=lambda: any(s.stage == "Cutting" for s in seen))
    assert list((tmp_path / "out").iterdir()) == []


# --- normalisation ------------------------------------------------------------------------------


@pytest.mark.parametrize("by", ["panel", "donor", "field"])
@pytest.mark.parametrize("method", ["percentile", "minmax"])
def test_constants_of_a_study(
    make_study: MakeStudy, make_field: MakeField, tmp_path: Path, by: str, method: str
) -> None:
    fields = [make_field(seed=k) for k in range(3)]
    study = make_study(fields, donors=["a", "a", "c"], splits=["train", "train", "test"])
    config = CropConfig(
        output=tmp_path / "s.cells.zarr", normalise_by=by, normalise=method, low_percentile=2, size=64
    )
    store = crop(study, config)
    group = {"panel": ["A"] * 3, "donor": ["a", "a", "c"], "field": ["field0", "field1", "field2"]}[by]
    assert (store.normalisation.by, store.normalisation.method) == (by, method)
    expand = store.provenance["expand_px"]
    for name in [*set(group), "*"]:
        pixels = [
            image[1] if method == "minmax" else image[1][expand_nuclei(labels, expand) > 0]
            for position, (image, labels) in enumerate(fields)
            if (position != 2 and name in ("*", "A")) or group[position] == name != "A"
        ]
        flat = np.concatenate([each.reshape(-1) for each in pixels])
        expected = (
            (flat.min(), flat.max())
            if method == "minmax"
            else tuple(np.percentile(flat, [2, 99.8], method="inverted_cdf"))
        )
        assert store.normalisation.constants[name]["CD4"] == expected


# --- many machines ------------------------------------------------------------------------------


@pytest.mark.slow
def test_a_cluster_that_loses_a_worker_gives_the_same_store(
    make_study: MakeStudy, make_field: MakeField, tmp_path: Path
) -> None:
    from distributed import Client, LocalCluster

    study = make_study([make_field((600, 600), spacing=20, seed=8)])
    local = crop(study, CropConfig(output=tmp_path / "local.cells.zarr", tile=128))
    with (
        LocalCluster(
            n_workers=2, threads_per_worker=1, processes=True, dashboard_address=None, memory_limit=0
        ) as cluster,
        Client(cluster) as client,
    ):
        killed: list[int] = []

        def kill_one(step: Step) -> None:
            if step.stage == "Cutting" and 0 < step.done < step.total and not killed:
                process = next(iter(client.run(os.getpid).values()))
                killed.append(process)
                os.kill(process, signal.SIGKILL)
                time.sleep(0.1)

        config = CropConfig(output=tmp_path / "far.cells.zarr", tile=128, scheduler=cluster.scheduler_address)
        far = crop(study, config, progress=kill_one)
    assert killed
    assert contents(far.path) == contents(local.path)


@pytest.mark.realdata
def test_a_real_field(data_dir: Path, tmp_path: Path) -> None:
    from napari_apollo.cells import SegmentConfig, segment

    panel = Panel.parse("DAPI/CD4/CD8/FOXP3/BCL6")
    field = StudyField(
        image=data_dir / "lymph_node_codex" / "lymph_node.tiff",
        panel=panel,
        donor="d",
        condition="c",
        channels=panel.stains,
    )
    study = segment(Study([field]), SegmentConfig(output=tmp_path / "labels"))
    store = crop(study.path, CropConfig(output=tmp_path / "s.cells.zarr", workers=2))
    assert store.crop_size == 32
    assert store.n_cells > 1500
    assert 0.7 < store.obs["qc"].mean() < 0.95
    image = tifffile.imread(field.image)
    rows = np.random.default_rng(0).integers(0, store.n_cells, 50)
    crops = store.read_images(panel.name, rows)
    for k, row in enumerate(rows):
        y, x = store.obs[["centre_y", "centre_x"]].iloc[row]
        if 16 <= y < 484 and 16 <= x < 484:
            np.testing.assert_array_equal(crops[k], image[:, y - 16 : y + 16, x - 16 : x + 16])
    assert isinstance(CellStore.open(store.path).obs, pd.DataFrame)
