"""Studies and predictions as layers, in a viewer without a window."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import dask
import numpy as np
import pytest
import tifffile
from napari.components import ViewerModel

from napari_apollo.errors import DataError, StoreError, StudyError
from napari_apollo.panels import Panel
from napari_apollo.study import Study, StudyField
from napari_apollo.viewer import add_predictions, find_layers, open_study
from napari_apollo.viewer.layers import about
from napari_apollo.viewer.open import same_image


def pixels(layer: object) -> np.ndarray:
    data = layer.data[0] if layer.multiscale else layer.data  # type: ignore[attr-defined]
    return np.asarray(dask.compute(data, scheduler="synchronous")[0])


def test_a_study_opens_with_names_units_and_colours(small: SimpleNamespace) -> None:
    viewer = ViewerModel()
    added = open_study(viewer, small.study.path)
    assert [layer.name for layer in added] == ["DAPI", "CD4", "CD8", "nuclei"]
    assert list(viewer.layers) == added
    for layer in added:
        assert np.allclose(layer.scale, 0.5)
        assert [str(unit) for unit in layer.units] == ["micrometer"] * 2
        assert layer.axis_labels == ("y", "x")
    assert np.array_equal(pixels(added[0]), small.image[0])
    assert np.array_equal(pixels(added[3]), small.labels)
    assert added[0].contrast_limits[1] <= 5000
    assert len({str(layer.colormap.colors[-1]) for layer in added[:3]}) == 3


def test_a_stain_of_one_panel_is_shown_around_its_cells_alone(small: SimpleNamespace) -> None:
    viewer = ViewerModel()
    _, cd4, cd8, _ = open_study(viewer, small.study)
    left = np.isin(small.labels, small.table["label"][small.table["x"] < 60])
    right = (small.labels > 0) & ~left
    assert np.array_equal(pixels(cd4)[left], small.image[1][left])
    assert not pixels(cd4)[right].any()
    assert np.array_equal(pixels(cd8)[right], small.image[2][right])
    assert not ((pixels(cd4) > 0) & (pixels(cd8) > 0)).any()
    assert about(cd4).panel == "DAPI/CD4"


def test_some_stains_and_no_labels(small: SimpleNamespace) -> None:
    viewer = ViewerModel()
    added = open_study(viewer, small.study, image="half_CD8", stains=["cd8"], labels=False)
    assert [layer.name for layer in added] == ["CD8"]
    with pytest.raises(StudyError, match=r"CD19.*DAPI, CD4, CD8"):
        open_study(viewer, small.study, stains=["CD19"])
    with pytest.raises(StudyError, match=r"elsewhere.*image\.tif"):
        open_study(viewer, small.study, image="elsewhere.tif")
    assert len(viewer.layers) == 1


def test_fields_without_labels_show_the_whole_image(small: SimpleNamespace) -> None:
    bare = Study([field.model_copy(update={"labels": None}) for field in small.study])
    added = open_study(ViewerModel(), bare)
    assert [layer.name for layer in added] == ["DAPI", "CD4", "CD8"]
    assert np.array_equal(pixels(added[1]), small.image[1])


def test_predictions_lie_over_their_image(small: SimpleNamespace) -> None:
    viewer = ViewerModel()
    open_study(viewer, small.study)
    source = find_layers(viewer, role="measured", stain="DAPI")[0]
    source.translate = (3, 4)
    source.rotate = 20
    added = add_predictions(viewer, small.predictions)
    names = [layer.name for layer in added]
    assert "CD4 (predicted from DAPI)" in names
    assert "CD8 (predicted from DAPI)" in names
    assert "DAPI (reconstructed)" in names
    for layer in added:
        assert np.allclose(layer.data_to_world((5, 9)), source.data_to_world((5, 9)))
        assert layer.units == source.units
    assert viewer.layers.units is not None
    predicted = find_layers(viewer, role="predicted", stain="CD4")[0]
    known = about(predicted)
    assert known.panel == "DAPI/CD8"
    assert known.source == str(source.unique_id)
    assert known.model == small.predictions.model_name
    shown = pixels(predicted) > 0
    right = np.isin(small.labels, small.table["label"][small.table["x"] >= 60])
    assert shown[right].mean() > 0.95
    assert not shown[~right].any()


def test_the_cells_carry_their_table(small: SimpleNamespace) -> None:
    viewer = ViewerModel()
    open_study(viewer, small.study)
    cells = add_predictions(viewer, small.predictions)[-1]
    assert cells.name == "cells"
    assert np.array_equal(pixels(cells) > 0, small.labels > 0)
    features = cells.features
    assert features.columns[0] == "index"
    assert "reconstruction_error DAPI" in features
    assert "predicted_mean CD4" in features
    row = small.table.iloc[7]
    status = cells.get_status(cells.data_to_world((row["y"], row["x"])), world=True)["value"]
    assert f"label: {int(row['label'])}" in status
    wanted = features.set_index("index").loc[int(row["label"]), "cell_id"]
    assert f"cell_id: {wanted}" in status


def test_roles_and_stains_are_chosen(small: SimpleNamespace) -> None:
    viewer = ViewerModel()
    added = add_predictions(
        viewer, small.predictions.path, small.store.path, stains=["CD4"], roles=["predicted"], table=False
    )
    assert [layer.name for layer in added] == ["CD4 (predicted from DAPI)"]
    assert np.allclose(added[0].scale, 0.5)


def test_any_layer_may_be_the_source(small: SimpleNamespace) -> None:
    viewer = ViewerModel()
    theirs = viewer.add_image(
        small.image[0], scale=(500, 500), translate=(100, 0), units=("nm", "nm"), name="raw"
    )
    added = add_predictions(viewer, small.predictions, source=theirs, table=False)
    assert np.allclose(added[0].translate, (100, 0))
    assert [str(unit) for unit in added[0].units] == ["nanometer"] * 2


def test_other_cells_are_refused(small: SimpleNamespace, tmp_path: Path) -> None:
    from napari_apollo.cells import CellStoreWriter

    other = tmp_path / "other.cells.zarr"
    obs = small.store.obs[small.store.obs["panel"] == "DAPI/CD4"].iloc[:3]
    with CellStoreWriter(other, list(small.store.panels.values()), crop_size=16, dtype="uint16") as writer:
        rows = obs["row"].to_numpy()
        writer.append(
            "DAPI/CD4",
            small.store.read_images("DAPI/CD4", rows),
            small.store.read_masks("DAPI/CD4", rows),
            obs,
        )
    viewer = ViewerModel()
    with pytest.raises(StoreError, match="other cells"):
        add_predictions(viewer, small.predictions, other)
    with pytest.raises(DataError, match="no cells of elsewhere"):
        add_predictions(viewer, small.predictions, image="elsewhere")
    assert not len(viewer.layers)


@pytest.mark.parametrize(
    ("first", "second", "same"),
    [
        ("/a/b/c.tif", "/a/b/c.tif", True),
        ("/a/b/c.tif", "b/c.tif", True),
        ("/a/b/c.tif", "c.tif", True),
        ("/a/b/c.tif", "/b/c.tif", False),
        ("/a/b/c.tif", "d/c.tif", False),
        ("c.tif", "", False),
    ],
)
def test_images_are_known_by_their_paths(first: str, second: str, same: bool) -> None:
    assert same_image(first, second) is same


def test_a_study_that_was_moved_is_still_the_same(tmp_path: Path) -> None:
    here = tmp_path / "panel" / "P1" / "image.tif"
    here.parent.mkdir(parents=True)
    here.touch()
    assert same_image("/gone/panel/P1/image.tif", here)
    assert same_image(r"D:\gone\panel\P1\image.tif", here)
    assert same_image(r"panel\P1\image.tif", here)
    assert not same_image("/gone/panel/P2/image.tif", here)
    assert not same_image("/gone/image.tif", here)
    copy = tmp_path / "copy" / "panel" / "P1" / "image.tif"
    copy.parent.mkdir(parents=True)
    copy.touch()
    assert not same_image(copy, here)  # both are here, and two images


def test_measured_pixels_are_where_the_source_shows_them(small: SimpleNamespace) -> None:
    """Crops cut and put back, in a turned and scaled layer in nanometres: the same under the mouse."""
    viewer = ViewerModel()
    turned = np.array([[0.8, -0.6, 40.0], [0.6, 0.8, -25.0], [0, 0, 1]])
    source = viewer.add_image(
        small.image[0],
        scale=(500, 250),
        translate=(70, 30),
        shear=[0.2],
        rotate=33,
        affine=turned,
        units=("nm", "nm"),
    )
    pasted, *_ = add_predictions(viewer, small.predictions, source=source, roles=["measured"])
    assert pasted.name == "DAPI"
    rng = np.random.default_rng(0)
    inside = np.argwhere(small.labels > 0)
    for point in inside[rng.choice(len(inside), 40, replace=False)]:
        world = source.data_to_world(point + rng.uniform(-0.45, 0.45, 2))
        assert pasted.get_value(world, world=True) == source.get_value(world, world=True)


def test_large_images_open_in_levels() -> None:
    import dask.array as da

    from napari_apollo.viewer.open import label_pyramid, pyramid

    image = da.zeros((5001, 3000), chunks=(1024, 1024), dtype=np.uint16)
    shapes = [(5001, 3000), (2501, 1500), (1251, 750), (626, 375)]
    assert [level.shape for level in pyramid(image)] == shapes
    assert [level.shape for level in label_pyramid(image.astype(np.int32))] == shapes
    assert len(pyramid(image[:2000, :2000])) == 1


def test_results_open_in_one_call(small: SimpleNamespace) -> None:
    from napari_apollo.viewer import show_results

    viewer = ViewerModel()
    added = show_results(viewer, small.study.path, small.predictions.path)
    assert len(added) == len(viewer.layers)
    assert not find_layers(viewer, role="nuclei")[0].visible
    known = [layer.metadata["napari_apollo"] for layer in viewer.layers if layer.visible]
    shown = {(each["stain"], each["role"]) for each in known}
    first = min(layer.metadata["napari_apollo"]["stain"] for layer in find_layers(viewer, role="predicted"))
    assert shown == {("DAPI", "measured"), (first, "measured"), (first, "predicted")}


def test_channels_of_one_stain_can_be_compared_by_eye(small: SimpleNamespace) -> None:
    viewer = ViewerModel()
    open_study(viewer, small.study)
    measured = find_layers(viewer, role="measured", stain="CD4")[0]
    measured.contrast_limits = (300, 3000)
    add_predictions(viewer, small.predictions)
    for layer in find_layers(viewer, stain="CD4"):
        assert layer.contrast_limits == [300, 3000]
        assert np.allclose(layer.colormap.colors, measured.colormap.colors)


def test_a_demonstration_opens(small: SimpleNamespace, tmp_path: Path) -> None:
    from napari_apollo.demo.results import DemoResults, SampleResults
    from napari_apollo.errors import FileError
    from napari_apollo.viewer import show_demo

    def inside(path: Path) -> Path:
        return path.relative_to(small.folder)

    sample = SampleResults(
        name="s",
        title="S",
        manifest=inside(small.study.path),
        store=inside(small.store.path),
        run=Path("tiny.run"),
        predictions=inside(small.predictions.path),
        images=(),
        csv=Path("s.csv"),
        h5ad=Path("s.h5ad"),
        cells=1,
        scores=(),
        seconds={},
    )
    results = DemoResults(folder=small.folder, report=Path("report.html"), samples=(sample,), seconds=1.0)
    results.write()
    assert show_demo(ViewerModel(), small.folder)
    with pytest.raises(FileError, match="no demonstration"):
        show_demo(ViewerModel(), tmp_path)


def test_of_many_stains_the_first_are_seen(tmp_path: Path) -> None:
    """Forty stains on top of each other are white."""
    tifffile.imwrite(tmp_path / "a.tif", np.ones((40, 16, 16), np.uint16), photometric="minisblack")
    stains = ("DAPI", *(f"Marker {number}" for number in range(39)))
    field = StudyField(
        image=tmp_path / "a.tif", panel=Panel(name="many", stains=stains), donor="d", condition="c",
        field="a", channels=stains,
    )  # fmt: skip
    added = open_study(ViewerModel(), Study([field]))
    assert len(added) == 40
    assert [layer.visible for layer in added] == [number < 6 for number in range(40)]
