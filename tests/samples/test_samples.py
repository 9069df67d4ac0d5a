"""Bundled samples: complete, attributed, and a two-panel experiment with its truth."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from napari_apollo import samples
from napari_apollo.errors import DataError, FileError
from napari_apollo.study import Study, open_field, open_labels


def dense_labels(shape: tuple[int, int], step: int) -> np.ndarray:
    labels = np.zeros(shape, np.int32)
    number = 0
    for y in range(step // 2, shape[0], step):
        for x in range(step // 2, shape[1], step):
            number += 1
            labels[y : y + step // 2, x : x + step // 2] = number
    return labels


def test_the_studies_are_in_order() -> None:
    for study in (samples.lymph_node(), samples.u2os_wells()):
        assert study.check() == []
    (field,) = samples.lymph_node()
    assert open_field(field).stains == samples.LYMPH_NODE_STAINS
    wells = samples.u2os_wells()
    assert [field.split for field in wells] == ["train", "validation", "test", "train"]
    assert [field.condition for field in wells] == ["dose 0", "dose 4", "dose 7", "dose 10"]
    assert all(open_field(field).pixel_size_um is None for field in wells)  # nobody knows it


def test_every_file_is_attributed() -> None:
    text = samples.licences()
    folder = samples.sample_path("LICENSES.md").parent
    for path in folder.glob("*.tif*"):
        assert f"`{path.name}`" in text, path.name
    for word in ("Meyer-Bender", "Vöhringer", "MIT License", "BBBC013", "Ljosa", "Attribution 3.0"):
        assert word in text
    with pytest.raises(FileError, match="not among the bundled samples"):
        samples.sample_path("cat.tif")


@given(grid=st.tuples(st.integers(5, 8), st.integers(5, 8)), step=st.integers(8, 14))
@settings(max_examples=10, deadline=None)
def test_every_cell_is_in_exactly_one_block(grid: tuple[int, int], step: int) -> None:
    labels = dense_labels((160, 180), step)
    blocks = samples.divide_into_panels(labels, grid=grid)
    together = sum((block.labels > 0).astype(int) for block in blocks)
    assert np.array_equal(together, (labels > 0).astype(int))
    merged = np.maximum.reduce([block.labels for block in blocks])
    assert np.array_equal(merged, labels)
    for panel in samples.LYMPH_NODE_PANELS:
        assert {block.split for block in blocks if block.panel == panel} == {"train", "validation", "test"}


def test_too_few_cells_are_refused() -> None:
    with pytest.raises(DataError, match="no cells for"):
        samples.divide_into_panels(np.eye(20, dtype=np.int32))
    with pytest.raises(DataError, match=r"5 x 5 or more"):
        samples.divide_into_panels(dense_labels((100, 100), 10), grid=(2, 2))


def test_the_two_panels_hide_what_the_truth_has(tmp_path: Path) -> None:
    labels = dense_labels((500, 500), 20)
    made = samples.two_panel_study(labels, tmp_path / "two")
    study = Study.from_csv(tmp_path / "two" / "study.csv")
    assert study.check() == []
    assert set(study.panels) == {"DAPI/CD4/FOXP3", "DAPI/CD8/BCL6"}
    assert len(study) == 25
    for field in study:
        shown = open_field(field)
        assert set(shown.stains) == set(field.panel.stains)
        hidden = set(samples.LYMPH_NODE_STAINS) - set(shown.stains)
        assert len(hidden) == 2
        assert field.channels is not None
        assert field.channels.count("-") == 2
        assert open_labels(field.labels).read().any()
    cd8 = next(field for field in study if "CD8" in field.panel)
    (truth,) = Study.from_csv(tmp_path / "two" / "truth.csv")
    assert np.array_equal(open_field(cd8).read(["CD8"]), open_field(truth).read(["CD8"]))
    assert np.array_equal(open_labels(truth.labels).read(), labels)
    assert made.study == study


def test_labels_of_another_image_are_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"\(100, 100\) pixels, the lymph node is \(500, 500\)"):
        samples.two_panel_study(np.zeros((100, 100), np.int32), tmp_path)
    assert not list(tmp_path.iterdir())
