"""Overlays on disk: valid OME-Zarr, aligned, complete, whole or not at all."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import tifffile
import zarr

from napari_apollo.cells import CellStore
from napari_apollo.errors import Cancelled, DataError, FileError, PanelMismatch
from napari_apollo.predict import Canvas, OverlayConfig, channel_name, overlay
from napari_apollo.predict.pyramid import halve_block
from napari_apollo.progress import Step
from napari_apollo.study import Study, StudyField, open_field

SHAPE = (200, 200)


@pytest.fixture(scope="module")
def placed(tmp_path_factory: pytest.TempPathFactory, make: SimpleNamespace) -> SimpleNamespace:
    """Cells of an image that exists, the study it belongs to, and predictions."""
    from napari_apollo.predict import PredictConfig, predict

    folder = tmp_path_factory.mktemp("placed")
    image = np.random.default_rng(0).integers(1, 60_000, (3, *SHAPE), dtype=np.uint16)
    tifffile.imwrite(folder / "image.tif", image, photometric="minisblack")
    store = make.store(folder / "a.cells.zarr")
    table = store.table.copy()
    table.obs["image"] = str(folder / "image.tif")
    store.write_table(table)
    model = make.model(folder / "model", store)
    predictions = predict(store, model, PredictConfig(device="cpu"))
    channels = {"DAPI/CD4": ("DAPI", "CD4", "-"), "right": ("DAPI", "CD3", "CD8")}
    study = Study(
        StudyField(
            image=folder / "image.tif",
            panel=panel,
            donor=f"donor_{number}",
            condition="c",
            field=f"field_{number}",
            pixel_size_um=0.5,
            channels=channels[name],
        )
        for number, (name, panel) in enumerate(store.panels.items())
    )
    return SimpleNamespace(folder=folder, store=store, predictions=predictions, study=study, image=image)


@pytest.fixture(scope="module")
def written(placed: SimpleNamespace) -> Path:
    (path,) = overlay(
        placed.store, placed.predictions, OverlayConfig(output=placed.folder / "out"), study=placed.study
    )
    return path


def test_it_is_valid_by_the_standard(written: Path) -> None:
    models = pytest.importorskip("ome_zarr_models")
    group = zarr.open_group(written, mode="r")
    image = models.open_ome_zarr(group)
    assert image.ome_attributes.version == "0.5"
    (multiscale,) = image.ome_attributes.multiscales
    assert [axis.name for axis in multiscale.axes] == ["c", "y", "x"]
    assert [axis.unit for axis in multiscale.axes][1:] == ["micrometer", "micrometer"]
    scale, translation = multiscale.datasets[0].coordinateTransformations
    assert scale.scale == [1, 0.5, 0.5]
    assert translation.translation == [0, 0, 0]
    labels = models.open_ome_zarr(group["labels/cells"])
    assert type(labels).__name__ == "ImageLabel"


def test_channels_are_named_coloured_and_scaled(written: Path, placed: SimpleNamespace) -> None:
    group = zarr.open_group(written, mode="r")
    channels = group.attrs["ome"]["omero"]["channels"]
    names = [channel["label"] for channel in channels]
    assert names[:4] == ["DAPI", "CD4", "CD8", "CD3"]
    assert "CD4 (predicted from DAPI)" in names
    assert "CD4 (reconstructed)" in names
    assert len(set(names)) == len(names) == group["0"].shape[0]
    by_name = {channel["label"]: channel for channel in channels}
    assert by_name["CD4"]["color"] == by_name["CD4 (predicted from DAPI)"]["color"]
    window = by_name["CD4 (predicted from DAPI)"]["window"]
    assert (window["start"], window["end"]) == tuple(placed.predictions.card.limits["CD4"])
    assert group.attrs["napari_apollo"]["model"]["weights_sha256"]


def test_what_reads_it_back_finds_pixels_in_place(written: Path, placed: SimpleNamespace) -> None:
    reader = pytest.importorskip("ome_zarr.reader")
    io = pytest.importorskip("ome_zarr.io")
    nodes = list(reader.Reader(io.parse_url(str(written)))())
    image = nodes[0]
    names = image.metadata["channel_names"]
    data = np.asarray(image.data[0])
    # every field has DAPI: the whole image; only some cells have CD4: their crops
    assert np.array_equal(data[names.index("DAPI")], placed.image[0])
    canvas = Canvas(placed.store, placed.predictions, image=str(placed.folder / "image.tif"), shape=SHAPE)
    for stain, role in (("CD4", "measured"), ("CD4", "predicted"), ("CD8", "reconstructed")):
        shown = data[names.index(channel_name(stain, role, "DAPI"))]
        assert np.array_equal(shown, canvas.layer(stain, role)[0].compute())
    labels = next(node for node in nodes if node.metadata.get("name") == "cells")
    assert np.array_equal(np.asarray(labels.data[0]), canvas.labels()[0].compute())


def test_our_own_reader_reads_it(written: Path, placed: SimpleNamespace, tmp_path: Path) -> None:
    """And never takes a prediction for a measured stain."""
    opened = open_field(StudyField(image=written, panel="DAPI/CD4", donor="d", condition="c"))
    assert opened.pixel_size_um == (0.5, 0.5)
    assert np.array_equal(opened.read(["DAPI"])[0], placed.image[0])
    config = OverlayConfig(output=tmp_path, roles=("predicted",), labels=False)
    (path,) = overlay(placed.store, placed.predictions, config)
    with pytest.raises(PanelMismatch, match="predicted from DAPI"):
        open_field(StudyField(image=path, panel="DAPI/CD4", donor="d", condition="c"))


def test_levels_are_means_of_four(
    placed: SimpleNamespace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import napari_apollo.predict.omezarr as module

    monkeypatch.setattr(module, "_CHUNK", 64)
    (path,) = overlay(placed.store, placed.predictions, OverlayConfig(output=tmp_path), study=placed.study)
    group = zarr.open_group(path, mode="r")
    levels = [np.asarray(group[str(k)]) for k in range(3)]
    assert [level.shape[1:] for level in levels] == [(200, 200), (100, 100), (50, 50)]
    for finer, coarser in pairwise(levels):
        for channel in range(len(finer)):
            assert np.array_equal(halve_block(finer[channel]), coarser[channel])
    datasets = group.attrs["ome"]["multiscales"][0]["datasets"]
    scale, translation = datasets[2]["coordinateTransformations"]
    assert scale["scale"] == [1, 2, 2]
    assert translation["translation"] == [0, 0.75, 0.75]
    labels = np.asarray(group["labels/cells/0"])
    assert np.array_equal(np.asarray(group["labels/cells/1"]), labels[::2, ::2])


def test_without_the_study_crops_are_put_back(placed: SimpleNamespace, tmp_path: Path) -> None:
    config = OverlayConfig(output=tmp_path, roles=("measured",), stains=("DAPI",), labels=False)
    (path,) = overlay(placed.store.path, placed.predictions.path, config)
    group = zarr.open_group(path, mode="r")
    assert group["0"].shape == (1, *SHAPE)
    assert "labels" not in group
    canvas = Canvas(placed.store, image=str(placed.folder / "image.tif"), shape=SHAPE)
    assert np.array_equal(np.asarray(group["0"])[0], canvas.layer("DAPI")[0].compute())
    assert (
        group.attrs["ome"]["multiscales"][0]["datasets"][0]["coordinateTransformations"][0]["scale"][1] == 0.5
    )


def test_images_of_one_name_do_not_replace_one_another(placed: SimpleNamespace, tmp_path: Path) -> None:
    """As in condition/panel/donor/image.tif, the tree that studies come as."""
    store = _moved(placed, tmp_path, lambda field: str(tmp_path / field / "image.tif"))
    for name in ("field_0", "field_1"):
        (tmp_path / name).mkdir()
        shutil.copy(placed.folder / "image.tif", tmp_path / name)
    config = OverlayConfig(output=tmp_path / "out", stains=("DAPI",), roles=("measured",), labels=False)
    paths = overlay(store, placed.predictions, config)
    assert [path.name for path in paths] == ["field_0_image.ome.zarr", "field_1_image.ome.zarr"]
    pixels = [np.asarray(zarr.open_group(path, mode="r")["0"]) for path in paths]
    assert not np.array_equal(*pixels)
    only = config.model_copy(update={"images": ("field_1",), "output": tmp_path / "only"})
    assert [path.name for path in overlay(store, placed.predictions, only)] == ["field_1_image.ome.zarr"]


def test_a_study_that_was_moved_is_known_by_its_fields(placed: SimpleNamespace, tmp_path: Path) -> None:
    store = _moved(placed, tmp_path, lambda field: "images/image.tif")  # relative to where it was cut
    config = OverlayConfig(output=tmp_path / "out", stains=("DAPI",), roles=("measured",), labels=False)
    (path,) = overlay(store, placed.predictions, config, study=placed.study)
    assert np.array_equal(np.asarray(zarr.open_group(path, mode="r")["0"])[0], placed.image[0])
    other = Study(field.model_copy(update={"field": f"x{k}"}) for k, field in enumerate(placed.study))
    with pytest.raises(DataError, match=r"has no field of the image images.image\.tif .*field_0, field_1"):
        overlay(store, placed.predictions, config, study=other)


def test_one_file_per_stain_needs_no_study(placed: SimpleNamespace, tmp_path: Path) -> None:
    for channel, stain in zip(placed.image, ("DAPI", "CD3", "CD8"), strict=True):
        tifffile.imwrite(tmp_path / f"f1_{stain}.tif", channel)
    store = _moved(placed, tmp_path, lambda field: str(tmp_path / "f1_*.tif"))
    config = OverlayConfig(output=tmp_path / "out", stains=("DAPI",), roles=("measured",))
    (path,) = overlay(store, placed.predictions, config)
    assert zarr.open_group(path, mode="r")["0"].shape == (1, *SHAPE)


def test_an_image_is_never_replaced_by_its_overlay(placed: SimpleNamespace, tmp_path: Path) -> None:
    config = OverlayConfig(output=tmp_path, stains=("DAPI",), roles=("measured",), overwrite=True)
    (image,) = overlay(placed.store, placed.predictions, config)
    store = _moved(placed, tmp_path, lambda field: str(image))
    with pytest.raises(FileError, match="is the image itself"):
        overlay(store, placed.predictions, config)


def _moved(placed: SimpleNamespace, folder: Path, image: Callable[[str], str]) -> CellStore:
    """The same cells in a store that has other paths of images."""
    shutil.copytree(placed.store.path, folder / "moved.cells.zarr")
    store = CellStore.open(folder / "moved.cells.zarr")
    table = store.table.copy()
    table.obs["image"] = [image(field) for field in table.obs["field"]]
    store.write_table(table)
    return store


def test_requests_that_cannot_be_met(placed: SimpleNamespace, tmp_path: Path, made: SimpleNamespace) -> None:
    with pytest.raises(DataError, match="no image or field 'x'"):
        overlay(placed.store, placed.predictions, OverlayConfig(output=tmp_path, images=("x",)))
    with pytest.raises(DataError, match="none of the stains CD19"):
        overlay(placed.store, placed.predictions, OverlayConfig(output=tmp_path, stains=("CD19",)))
    with pytest.raises(DataError, match=r"image\.tif: no such file"):
        overlay(made.store, made.predictions, OverlayConfig(output=tmp_path))
    assert list(tmp_path.iterdir()) == []


def test_whole_or_not_at_all(placed: SimpleNamespace, tmp_path: Path) -> None:
    steps: list[Step] = []
    config = OverlayConfig(output=tmp_path, stains=("CD4",))
    with pytest.raises(Cancelled):
        overlay(
            placed.store, placed.predictions, config, progress=steps.append, should_stop=lambda: bool(steps)
        )
    assert list(tmp_path.iterdir()) == []
    overlay(placed.store, placed.predictions, config)
    with pytest.raises(FileError, match="exists already"):
        overlay(placed.store, placed.predictions, config)
    again = OverlayConfig(output=tmp_path, stains=("CD4",), overwrite=True, images=("field_0",))
    assert overlay(placed.store, placed.predictions, again) == [tmp_path / "image.ome.zarr"]
