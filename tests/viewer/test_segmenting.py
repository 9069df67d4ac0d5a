from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import tifffile

from napari_apollo.cells import SegmentConfig
from napari_apollo.errors import DataError
from napari_apollo.study import Study
from napari_apollo.viewer import work
from napari_apollo.viewer.previewing import SIDE, side_for
from napari_apollo.viewer.segmenting import segment_fields


@pytest.fixture
def study(small: SimpleNamespace, tmp_path: Path) -> Study:
    """Two fields of one image with nuclei that can be seen, and no labels yet."""
    image = small.image // 50
    image[0] += (3000 * (small.labels > 0)).astype(np.uint16)
    tifffile.imwrite(tmp_path / "image.tif", image, photometric="minisblack")
    fields = [
        field.model_copy(update={"image": tmp_path / "image.tif", "labels": None if part else field.labels})
        for part, field in enumerate(small.study)
    ]
    return Study(fields).to_csv(tmp_path / "study.csv")


def config(folder: Path, **more: object) -> SegmentConfig:
    return SegmentConfig(output=folder / "out", engine="threshold", diameter=9, workers=1, **more)


def test_getting_ready_tells_how_large_nuclei_are(study: Study) -> None:
    field = study["half_CD4"]
    asked = {"field": field.model_dump(mode="json"), "stain": "DAPI", "name": "here"}
    found = work.ready("threshold", **asked)
    assert found is not None
    assert 7 < found < 11  # discs of a radius of 4.2 pixels
    field.image.unlink()
    assert work.ready("threshold", **asked) == found  # remembered, as previews take it
    assert work.ready("threshold") is None


def test_parts_that_are_looked_at_are_as_large_as_a_second_allows() -> None:
    assert side_for(None) == side_for(30) == SIDE
    assert side_for(1) >= 100
    assert side_for(8) < SIDE
    assert all(side_for(size) <= side_for(size + 1) for size in range(1, 40))


def test_fields_that_are_not_asked_for_keep_their_labels(study: Study, tmp_path: Path) -> None:
    before = study["half_CD4"].labels
    (tmp_path / "out" / "part").mkdir(parents=True)  # somebody's
    result = segment_fields(study, config(tmp_path), ["half_CD8"])
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["labels", "part", "study.csv"]
    assert result["half_CD4"].labels == before
    own = result["half_CD8"].labels
    assert own == tmp_path / "out" / "labels" / "half_CD8.tif"
    assert tifffile.imread(own).max() > 10
    assert Study.from_csv(tmp_path / "out" / "study.csv") == result

    first = own.read_bytes()
    result = segment_fields(result, config(tmp_path), ["half_CD4"])
    assert own.read_bytes() == first
    assert result["half_CD4"].labels == tmp_path / "out" / "labels" / "half_CD4.tif"


def test_all_fields_is_the_core_s_own(study: Study, tmp_path: Path) -> None:
    result = segment_fields(study, config(tmp_path))
    assert {field.labels.parent for field in result if field.labels} == {tmp_path / "out" / "labels"}


def test_what_fails_leaves_all_as_it_was(study: Study, tmp_path: Path) -> None:
    flat = tmp_path / "flat.tif"
    tifffile.imwrite(flat, np.full((3, 90, 120), 7, np.uint16), photometric="minisblack")
    segment_fields(study, config(tmp_path), ["half_CD8"])
    kept = (tmp_path / "out" / "labels" / "half_CD8.tif").read_bytes()
    broken = Study([field.model_copy(update={"image": flat}) for field in study])
    with pytest.raises(DataError):
        segment_fields(broken, config(tmp_path), ["half_CD8"])
    assert (tmp_path / "out" / "labels" / "half_CD8.tif").read_bytes() == kept
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["labels", "study.csv"]
