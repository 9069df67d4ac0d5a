"""What is dropped on napari: ours opens, anything else is left to others."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from imagecodecs import png_encode
from napari.components import ViewerModel
from napari.layers import Layer

from napari_apollo.viewer.reader import get_reader
from napari_apollo.viewer.sample_data import lymph_node_layers, u2os_layers


def add(viewer: ViewerModel, layers: list[tuple]) -> list[Layer]:
    return [viewer.add_layer(Layer.create(*layer)) for layer in layers]


def test_a_manifest_opens_its_first_image(small: SimpleNamespace) -> None:
    path = str(small.study.path)
    layers = get_reader(path)(path)
    assert [layer[1]["name"] for layer in layers] == ["DAPI", "CD4", "CD8", "nuclei"]
    assert len(add(ViewerModel(), layers)) == 4


def test_a_cell_store_opens_as_stacks_of_crops(small: SimpleNamespace) -> None:
    path = str(small.store.path)
    viewer = ViewerModel()
    added = add(viewer, get_reader([path])([path]))
    assert [layer.name for layer in added] == [
        "DAPI, cells of DAPI/CD4",
        "CD4, cells of DAPI/CD4",
        "masks of DAPI/CD4",
        "DAPI, cells of DAPI/CD8",
        "CD8, cells of DAPI/CD8",
        "masks of DAPI/CD8",
    ]
    count = small.store.count("DAPI/CD4")
    assert added[1].data.shape == (count, 16, 16)
    assert np.array_equal(np.asarray(added[1].data[3]), small.store.read_images("DAPI/CD4", [3])[0, 1])
    assert added[0].axis_labels == ("cell", "y", "x")
    assert viewer.layers.units is not None


def test_predictions_open_over_their_image(small: SimpleNamespace) -> None:
    path = str(small.predictions.path)
    layers = get_reader(path)(path)
    names = [layer[1]["name"] for layer in layers]
    assert "CD4 (predicted from DAPI)" in names
    assert names[-1] == "cells"
    cells = add(ViewerModel(), layers)[-1]
    assert cells.features.columns[0] == "index"


def test_a_run_opens_its_previews(tmp_path: Path) -> None:
    run = tmp_path / "lymph.run"
    (run / "previews").mkdir(parents=True)
    for name in ("config.json", "status.json"):
        (run / name).write_text("{}")
    assert get_reader(str(run))(str(run)) == []
    for epoch in (10, 20):
        sheet = np.full((50, 40), epoch, np.uint8)
        (run / "previews" / f"latents_{epoch:05d}.png").write_bytes(png_encode(sheet))
    ((data, kwargs, kind),) = get_reader(str(run))(str(run))
    assert kind == "image"
    assert data.shape == (2, 50, 40)
    assert kwargs["axis_labels"] == ("epoch", "y", "x")
    add(ViewerModel(), [(data, kwargs, kind)])


@pytest.mark.parametrize("name", ["points.csv", "empty.csv", "binary.csv", "folder", "x.zarr"])
def test_anything_else_is_left_to_others(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    if path.suffix == ".csv":
        content = {
            "points.csv": b"index,axis-0,axis-1\n0,1,2\n",
            "empty.csv": b"",
            "binary.csv": b"\xff\x00\xfe" * 99,
        }
        path.write_bytes(content[name])
    else:
        path.mkdir()
    assert get_reader(str(path)) is None
    assert get_reader(str(tmp_path / "absent")) is None


def test_the_lymph_node_sample_has_two_panels() -> None:
    viewer = ViewerModel()
    added = {layer.name: layer for layer in add(viewer, lymph_node_layers())}
    assert list(added) == ["DAPI", "CD4", "CD8", "FOXP3", "BCL6"]
    assert (added["DAPI"].data > 0).mean() > 0.9
    assert not ((added["CD4"].data > 0) & (added["CD8"].data > 0)).any()
    assert ((added["CD4"].data > 0) & (added["FOXP3"].data > 0)).any()
    assert viewer.layers.units is not None


def test_the_wells_of_the_second_sample_lie_side_by_side() -> None:
    viewer = ViewerModel()
    added = add(viewer, u2os_layers())
    assert len(added) == 8
    assert added[1].name == "FKHR, well A02, dose 0"
    assert {tuple(layer.translate) for layer in added} == {(0, 0), (0, 660), (0, 1320), (0, 1980)}
