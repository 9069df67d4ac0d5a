from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import tifffile
from napari.components import ViewerModel

from napari_apollo.errors import DataError
from napari_apollo.study import Study, StudyField, open_field, open_labels
from napari_apollo.viewer import open_study
from napari_apollo.viewer.writing import as_picture, write_ome_tiff, write_ome_zarr


@pytest.fixture
def layers(small: SimpleNamespace) -> list[Any]:
    viewer = ViewerModel()
    open_study(viewer, small.study)
    return [layer.as_layer_data_tuple() for layer in viewer.layers]


def field(path: Path) -> StudyField:
    return StudyField(image=path, panel="DAPI/CD4/CD8", donor="d", condition="c")


@pytest.mark.parametrize(
    ("write", "name"), [(write_ome_tiff, "out.ome.tif"), (write_ome_zarr, "out.ome.zarr")]
)
def test_what_is_written_is_read_again(
    write: Any, name: str, layers: list[Any], small: SimpleNamespace, tmp_path: Path
) -> None:
    written = write(str(tmp_path / name), layers)
    assert written[0] == str(tmp_path / name)
    image = open_field(field(tmp_path / name))
    assert Study([field(tmp_path / name)]).check() == []
    assert image.stains == ("DAPI", "CD4", "CD8")
    assert image.pixel_size_um == pytest.approx((0.5, 0.5))
    assert (image.read(["DAPI"])[0] == small.image[0]).all()


def test_labels_lie_beside_a_tiff_and_inside_a_zarr(
    layers: list[Any], small: SimpleNamespace, tmp_path: Path
) -> None:
    written = write_ome_tiff(str(tmp_path / "out.ome.tif"), layers)
    assert written[1] == str(tmp_path / "out_nuclei.tif")
    assert (tifffile.imread(written[1]) == small.labels).all()
    write_ome_zarr(str(tmp_path / "out.ome.zarr"), layers)
    inside = open_labels(tmp_path / "out.ome.zarr" / "labels" / "cells")
    assert (inside.read() == small.labels).all()


def test_predicted_channels_keep_their_full_name(small: SimpleNamespace) -> None:
    from napari_apollo.viewer import add_predictions

    viewer = ViewerModel()
    open_study(viewer, small.study)
    add_predictions(viewer, small.predictions, table=False)
    picture = as_picture([layer.as_layer_data_tuple() for layer in viewer.layers])
    assert picture.names[:3] == ("DAPI", "CD4", "CD8")
    assert "CD4 (predicted from DAPI)" in picture.names


def test_what_does_not_go_together_is_refused_and_nothing_is_written(tmp_path: Path) -> None:
    two = [(np.zeros((4, 4)), {"name": "a"}, "image"), (np.zeros((5, 4)), {"name": "b"}, "image")]
    with pytest.raises(DataError, match="different sizes"):
        write_ome_tiff(str(tmp_path / "a.ome.tif"), two)
    with pytest.raises(DataError, match="3 axes"):
        write_ome_zarr(str(tmp_path / "a.ome.zarr"), [(np.zeros((2, 4, 4)), {"name": "a"}, "image")])
    assert not list(tmp_path.iterdir())
