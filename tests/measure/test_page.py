"""The page of features is made from the code and is current."""

from __future__ import annotations

from pathlib import Path

import pytest

from napari_apollo.measure import MeasureConfig
from napari_apollo.measure.config import ALL_FAMILIES
from napari_apollo.measure.engine import FAMILIES, columns_of
from napari_apollo.measure.page import features_page
from napari_apollo.measure.registry import Context

PAGE = Path(__file__).parents[2] / "docs" / "features.md"


def test_page_is_current():
    assert PAGE.read_text("utf-8") == features_page(), (
        "make it again: python -m napari_apollo.measure.page docs/features.md"
    )


@pytest.mark.parametrize("stains", [("DAPI",), ("DAPI", "CD3", "gammaH2AX", "lamin"), ("actin", "CD4")])
def test_every_column_is_defined_and_has_a_name_of_its_own(stains):
    anchor = "DAPI" if "DAPI" in stains else ""
    columns = columns_of(Context(stains, anchor, MeasureConfig(name_space="both")))
    names = [column.name for column in columns]
    assert len(set(names)) == len(names)
    for column in columns:
        assert column.feature.formula, column.name
        assert column.feature.unit_in("µm"), column.name


def test_every_family_can_be_chosen_and_is_on_the_page():
    assert {*FAMILIES, "neighbours"} - {"compat"} == set(ALL_FAMILIES)
    text = features_page()
    for name in (*ALL_FAMILIES, "volume", "compat"):
        assert f"\n## {name}\n" in text


def test_there_are_as_many_published_names_as_published():
    columns = FAMILIES["compat"].columns(
        Context(("DAPI",), "DAPI", MeasureConfig(name_space="compat", compat_lags_px=(1, 5, 20)))
    )
    # 202 published columns less the running number of the nucleus.
    assert len(columns) == 201
