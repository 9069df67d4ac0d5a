from __future__ import annotations

from typing import Any

import numpy as np
import pytest

pytestmark = pytest.mark.gui


def test_curves_take_the_colours_of_the_theme_and_plain_numbers(screen: str, qtbot: Any) -> None:
    from napari_apollo.viewer.plots import CurvesPlot

    plot = CurvesPlot(left="Loss")
    qtbot.addWidget(plot)
    plot.show_curves({"training": ([1, 2], [0.31, 0.30]), "held-out": ([1, 2], [0.32, 0.31])})
    for dark, ink in ((False, "#3b3a39"), (True, "#d1d2d4")):
        plot.colour(dark=dark)
        assert [label.opts["color"] for _, label in plot._legend.items] == [ink, ink]
        assert plot.getAxis("left").autoSIPrefixScale == 1
        assert plot.getAxis("left").textPen().color().name() == ink
    plot.show_curves({"training": ([1, 2, 3], [0.3, 0.2, 0.1])})
    assert [label.text for _, label in plot._legend.items] == ["training"]


def test_limits_stay_on_the_values_and_tell_when_they_are_dragged(screen: str, qtbot: Any) -> None:
    from napari_apollo.viewer.plots import LimitsPlot

    plot = LimitsPlot("Area", low=True, high=False)
    qtbot.addWidget(plot)
    plot.show_values(np.linspace(10, 20, 500))
    with qtbot.waitSignal(plot.changed):
        plot.set_limit("low", 12.5)
    assert plot.limit("low") == 12.5
    plot.set_limit("low", 1000)
    assert plot.limit("low") < 21
    plot.show_values(np.zeros(5))
    plot.show_values(np.array([np.nan]))
