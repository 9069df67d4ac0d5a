from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pandas as pd

from napari_apollo.viewer.quality import MEASURES, count_with, in_words, limits_in_force


def table() -> pd.DataFrame:
    return pd.DataFrame(
        {
            "nucleus_area_px": [10.0, 40.0, 160.0, 50.0],
            "scale": [1.0, 1.0, 2.0, 1.0],
            "qc_solidity": [0.9, 0.5, 0.9, 0.9],
            "nucleus_focus": [1.0, 1.0, 1.0, 0.1],
            "nucleus_saturation": [0.0, 0.0, 0.2, 0.0],
            "qc_reason": ["", "solidity", "border", ""],
        }
    )


def test_areas_are_in_crop_pixels() -> None:
    assert MEASURES[0].values(table()).tolist() == [10.0, 40.0, 40.0, 50.0]


def test_counts_follow_limits_and_other_reasons_stay() -> None:
    assert count_with(table(), {}) == {"cells": 4, "passed": 3, "border": 1}
    counts = count_with(table(), {"area_min": 20.0, "solidity_min": 0.8, "saturation_max": 0.1})
    assert counts == {"cells": 4, "passed": 1, "area": 1, "border": 1, "saturation": 1, "solidity": 1}
    assert in_words(counts).startswith("1 of 4 cells pass; flagged: area 1")


def test_limits_are_those_of_the_store() -> None:
    store = SimpleNamespace(provenance={"quality": {"limits": {"area_low": 5.0, "focus_low": None}}})
    assert limits_in_force(store) == {"area_min": 5.0}
    assert limits_in_force(SimpleNamespace(provenance={})) == {}


def test_other_limits_give_what_cutting_again_gives(small: SimpleNamespace, tmp_path: object) -> None:
    """The live count is the count of ``crop`` with the same limits."""
    from pathlib import Path

    from napari_apollo.cells import CropConfig, count_reasons, crop

    path = Path(str(tmp_path))
    first = crop(small.study, CropConfig(output=path / "a.cells.zarr", size=16, workers=1))
    area = float(np.median(MEASURES[0].values(first.obs)))
    limits = {**limits_in_force(first), "area_min": area}
    again = crop(small.study, CropConfig(output=path / "b.cells.zarr", size=16, workers=1, **limits))
    assert count_with(first.obs, limits) == dict(sorted(count_reasons(again.obs).items(), key=_order))


def _order(item: tuple[str, int]) -> tuple[bool, bool, str]:
    return item[0] not in ("cells", "passed"), item[0] == "passed", item[0]
