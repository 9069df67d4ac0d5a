"""A real window under a (virtual) screen, through the viewer that plugins are given."""

from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from napari_apollo.viewer import add_predictions, find_layers, open_study

pytestmark = pytest.mark.gui


@pytest.fixture
def viewer(screen: str, request: pytest.FixtureRequest) -> Any:
    make: Callable[..., Any] = request.getfixturevalue("make_napari_viewer_proxy")
    return make(show=True)


def test_the_whole_overlay_in_a_window(viewer: Any, small: SimpleNamespace) -> None:
    open_study(viewer, small.study)
    add_predictions(viewer, small.predictions)
    predicted = find_layers(viewer, role="predicted", stain="CD4")
    assert [layer.name for layer in predicted] == ["CD4 (predicted from DAPI)"]
    for layer in viewer.layers:
        layer.visible = layer.name in ("CD4 (predicted from DAPI)",)
    viewer.reset_view()
    shot = viewer.screenshot(canvas_only=True, flash=False)
    # orange over black, on the right half alone: the cells that were never given CD4
    lit = shot[..., 0].astype(int) > 60
    assert lit.any()
    columns = np.flatnonzero(lit.any(axis=0))
    assert columns.min() > shot.shape[1] * 0.4


def test_what_is_under_the_mouse(viewer: Any, small: SimpleNamespace) -> None:
    open_study(viewer, small.study)
    cells = add_predictions(viewer, small.predictions, roles=["predicted"])[-1]
    row = small.table.iloc[3]
    world = cells.data_to_world((row["y"], row["x"]))
    assert cells.get_value(world, world=True) == row["label"]


def test_drop_and_samples(viewer: Any, small: SimpleNamespace) -> None:
    added = viewer.open(small.study.path, plugin="napari-apollo")
    assert [layer.name for layer in added] == ["DAPI", "CD4", "CD8", "nuclei"]
    viewer.layers.clear()
    added = viewer.open_sample("napari-apollo", "lymph_node")
    assert [layer.name for layer in added] == ["DAPI", "CD4", "CD8", "FOXP3", "BCL6"]
