"""Fields measured straight from their files: the values of those in memory, bounded memory, a cluster."""

from __future__ import annotations

import json
import os
import signal
import time
import tracemalloc

import anndata
import numpy as np
import pandas as pd
import pytest
import tifffile

from napari_apollo.cells import CellStore
from napari_apollo.cells.segmentation import expand_nuclei
from napari_apollo.errors import Cancelled, FileError, ImageError, LabelsError, StudyError
from napari_apollo.measure import MeasureConfig, measure, measure_field, measure_study
from napari_apollo.measure.study import study_of_image
from napari_apollo.study import Study, StudyField

FEW = ("shape", "intensity", "neighbours")


@pytest.fixture
def files(tmp_path, field, forms):
    """Two fields of different panels with their labels."""
    second = forms.make_field(seed=4, side=96)
    fields = []
    for name, part, stains in (("a", field, ("DAPI", "CD3", "gammaH2AX")), ("b", second, ("DAPI", "CD3"))):
        tifffile.imwrite(tmp_path / f"{name}.tif", part.image[: len(stains)], photometric="minisblack")
        tifffile.imwrite(tmp_path / f"{name}_labels.tif", part.labels)
        fields.append(
            StudyField(
                image=tmp_path / f"{name}.tif",
                labels=tmp_path / f"{name}_labels.tif",
                panel="/".join(stains),
                donor=f"donor {name}",
                condition="control",
                channels=stains,
                pixel_size_um=0.5,
            )
        )
    return Study(fields), (field, second)


def test_equals_the_fields_in_memory(files):
    study, parts = files
    table = measure_study(study, MeasureConfig(workers=1, expand_px=3, tile_px=64))
    assert list(table.obs.columns) == [
        *("cell_id", "field", "image", "panel", "donor", "condition", "label", "y", "x")
    ]
    for name, part, count in (("a", parts[0], 3), ("b", parts[1], 2)):
        own = table[table.obs["field"] == name]
        wanted = measure_field(
            part.image[:count], part.labels, expand_nuclei(part.labels, 3), part.stains[:count], 0.5,
            MeasureConfig(workers=1),
        )  # fmt: skip
        np.testing.assert_array_equal(own.obs["label"], wanted.index)
        found = pd.DataFrame(own.X, index=wanted.index, columns=own.var_names)
        pd.testing.assert_frame_equal(found[list(wanted)], wanted.astype(np.float32), check_names=False)
        lacking = [column for column in found if column not in wanted]
        assert found[lacking].isna().all(axis=None)
        at = np.argwhere(part.labels == wanted.index[0]).mean(axis=0)
        np.testing.assert_allclose(own.obs[["y", "x"]].iloc[0].to_numpy(float), at)
    record = table.uns["measure"]
    assert record["measure_version"] >= 3
    assert record["pixel_size_um"] == 0.5
    assert json.loads(record["parameters"])["expand_px"] == 3
    assert (
        record["missing"]["the cell's panel does not have this stain"]
        == np.isnan(
            table[table.obs["field"] == "b"].X[:, ["gammaH2AX" in s for s in table.var["stain"]]]
        ).sum()
    )
    assert table.var.at["nucleus_area", "unit"] == "µm²"


@pytest.mark.parametrize("name", ["t.csv", "t.h5ad"])
def test_the_table_is_written(files, tmp_path, name):
    table = measure_study(files[0], MeasureConfig(families=FEW, workers=1), output=tmp_path / name)
    if name.endswith("csv"):
        back = pd.read_csv(tmp_path / name)
        np.testing.assert_allclose(back["nucleus_area"], table[:, "nucleus_area"].X[:, 0], rtol=1e-6)
        assert back["donor"].tolist() == table.obs["donor"].tolist()
    else:
        back = anndata.read_h5ad(tmp_path / name)
        np.testing.assert_array_equal(back.X, table.X)
        assert back.uns["measure"]["measure_version"] == table.uns["measure"]["measure_version"]


def test_rings_are_a_quarter_of_the_diameter_where_nothing_is_said(files):
    study, (field, _) = files
    table = measure_study(study.select(["a"]), MeasureConfig(families=("shape",), workers=1))
    areas = np.bincount(field.labels.ravel())[1:]
    ring = 0.25 * 2 * np.sqrt(np.median(areas[areas > 0]) / np.pi)
    cells = expand_nuclei(field.labels, ring)
    wanted = np.bincount(cells.ravel())[1:] * 0.25
    np.testing.assert_allclose(table[:, "cell_area"].X[:, 0], wanted[wanted > 0])


def test_a_single_image_needs_names_for_its_channels(files, tmp_path):
    image, labels = tmp_path / "a.tif", tmp_path / "a_labels.tif"
    with pytest.raises(ImageError, match="channels"):
        study_of_image(image, labels)
    study = study_of_image(image, labels, ("DAPI", "-", "gH2AX"), 0.25)
    table = measure_study(study, MeasureConfig(families=("intensity",), workers=1))
    assert set(table.var["stain"]) == {"DAPI", "gammaH2AX"}
    np.testing.assert_allclose(
        table[:, "nucleus_mean_gammaH2AX"].X[0, 0], files[1][0].values("gammaH2AX", "nucleus", 1).mean()
    )


def test_whatever_is_wrong_is_told_before_any_work(files, tmp_path):
    study, _ = files
    bare = Study([field.model_copy(update={"labels": None}) for field in study])
    with pytest.raises(StudyError, match="no label image"):
        measure_study(bare)
    one = study["a"].model_copy(update={"pixel_size_um": None})
    with pytest.raises(StudyError, match="different units"):
        measure_study(Study([one, study["b"]]))
    with pytest.raises(FileError, match=r"\.h5ad"):
        measure_study(study, output=tmp_path / "t.parquet")
    with pytest.raises(LabelsError, match="pixels"):
        measure_study(Study([study["a"].model_copy(update={"labels": tmp_path / "b_labels.tif"})]))


def test_stopping_writes_nothing(files, tmp_path):
    with pytest.raises(Cancelled):
        measure_study(
            files[0], MeasureConfig(families=FEW), output=tmp_path / "t.csv", should_stop=lambda: True
        )
    assert not (tmp_path / "t.csv").exists()


def test_compiling_is_said_the_first_time_only(files, tmp_path, monkeypatch):
    from napari_apollo.measure import compiled

    monkeypatch.setattr(compiled, "_cache_folder", lambda: tmp_path)
    study = files[0].select(["a"])
    config = MeasureConfig(families=("shape", "intensity"), workers=1)
    stages = []
    measure_study(study, config, progress=lambda step: stages.append(step.stage))
    assert stages[0] == "Compiling"
    for module in ("gather", "shape", "intensity"):
        (tmp_path / f"{module}.kernel-1.py3.nbi").touch()
    stages.clear()
    measure_study(study, config, progress=lambda step: stages.append(step.stage))
    assert set(stages) == {"Measuring"}


class Endless:
    """A large field that exists only where it is looked at: a nucleus in every block of 128 pixels."""

    def __init__(self, side, stains=0):
        self.shape = (stains, side, side) if stains else (side, side)
        self.dtype = np.dtype(np.uint16 if stains else np.int32)
        rows, columns = np.mgrid[:128, :128]
        self.disc = np.hypot(rows - 64, columns - 64) < 11
        self.read = 0

    def __getitem__(self, area):
        rows, columns = (np.arange(part.start, part.stop) for part in area[-2:])
        here = self.disc[np.ix_(rows % 128, columns % 128)]
        if len(self.shape) == 2:
            blocks = (rows // 128)[:, None] * (self.shape[1] // 128) + columns // 128 + 1
            out = (here * blocks).astype(np.int32)
        else:
            out = np.repeat((here * 500 + columns % 97).astype(np.uint16)[None], self.shape[0], axis=0)
        self.read = max(self.read, out.nbytes)
        return out


def peak_of(side, config):
    image, labels = Endless(side, stains=2), Endless(side)
    measure_field(Endless(512, stains=2), Endless(512), None, ["DAPI", "CD3"], config=config)
    tracemalloc.start()
    table = measure_field(image, labels, None, ["DAPI", "CD3"], config=config)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert len(table) == (side // 128) ** 2
    return peak, image.read


def test_memory_is_bounded_by_the_tile_and_not_by_the_field():
    config = MeasureConfig(families=("shape",), tile_px=512, workers=1)
    small, _ = peak_of(2048, config)
    large, read = peak_of(6144, config)
    whole = 6144 * 6144 * (2 * 2 + 4)
    assert read < 2 * (512 + 128) ** 2 * 2
    # Nine times the field, and little more than its longer table.
    assert large - small < 12_000_000 < whole / 20


@pytest.mark.slow
def test_a_cluster_that_loses_a_worker_gives_the_same_tables(files, tmp_path, field, forms):
    from distributed import Client, LocalCluster

    study, _ = files
    store = forms.write_store(tmp_path / "far.cells.zarr", field)
    config = MeasureConfig(workers=1, batch=2)
    wanted = measure(forms.write_store(tmp_path / "near.cells.zarr", field), config).table.X
    fields = measure_study(study, config)
    with (
        LocalCluster(
            n_workers=2, threads_per_worker=1, processes=True, dashboard_address=None, memory_limit=0
        ) as cluster,
        Client(cluster) as client,
    ):
        killed: list[int] = []

        def kill_one(step):
            if step.stage == "Measuring" and 0 < step.done < step.total and not killed:
                killed.append(next(iter(client.run(os.getpid).values())))
                os.kill(killed[0], signal.SIGKILL)
                time.sleep(0.1)

        there = config.model_copy(update={"scheduler": cluster.scheduler_address})
        measure(store, there, progress=kill_one)
        far = measure_study(study, there)
    assert killed
    np.testing.assert_array_equal(CellStore.open(store.path).table.X, wanted)
    np.testing.assert_array_equal(far.X, fields.X)
    assert far.obs.equals(fields.obs)
