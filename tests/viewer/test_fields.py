from __future__ import annotations

import pytest

from napari_apollo.cells import CropConfig, SegmentConfig
from napari_apollo.config import OperationConfig
from napari_apollo.measure import MeasureConfig
from napari_apollo.predict import EvaluateConfig, PredictConfig
from napari_apollo.train import TrainConfig
from napari_apollo.viewer.fields import describe, problems_of, title_of

CONFIGS = (SegmentConfig, CropConfig, MeasureConfig, TrainConfig, PredictConfig, EvaluateConfig)


@pytest.mark.parametrize("config", CONFIGS)
def test_every_field_has_words_for_people(config: type[OperationConfig]) -> None:
    for name, spec in describe(config).items():
        assert spec.help, name
        assert len(spec.tooltip) > 10, name
        assert spec.title[0].isupper(), name


def test_kinds_bounds_and_choices_are_those_of_the_config() -> None:
    specs = describe(CropConfig)
    assert specs["checks"].kind == "choices"
    assert "border" in specs["checks"].choices
    assert (specs["tile"].kind, specs["tile"].low, specs["tile"].high) == ("whole", 64, 16384)
    assert specs["size"].optional
    assert specs["size"].kind == "number"
    assert specs["output"].kind == "path"
    assert specs["overwrite"].kind == "flag"
    assert describe(SegmentConfig)["engine"].choices == ("nuclei", "threshold", "labels")
    assert describe(TrainConfig)["held_out"].kind == "texts"


def test_wrong_values_are_told_by_field() -> None:
    found = problems_of(SegmentConfig, {"diameter": "wide", "tile": 3})
    assert set(found) == {"diameter", "tile"}
    assert found["tile"].startswith("Should be greater than or equal to 64")
    assert problems_of(SegmentConfig, {"diameter": 20}) == {}


def test_what_concerns_several_fields_has_no_field() -> None:
    found = problems_of(CropConfig, {"area_min": 9, "area_max": 3})
    assert set(found) == {""}
    assert found[""] == "“Area min” (9) must be less than “Area max” (3)."


def test_titles() -> None:
    assert title_of("pixel_size_um") == "Pixel size (µm)"
    assert title_of("um") == "Um"
