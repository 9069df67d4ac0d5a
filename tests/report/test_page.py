"""The page is one file, says what it was given, and its pictures are drawn from the arrays."""

from __future__ import annotations

import base64
import io
import re
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from matplotlib.image import imread

from napari_apollo.report.figures import (
    comparison_figure,
    composite,
    contact_sheet,
    counts_figure,
    curves_figure,
    field_figure,
    middle,
    stretched,
)
from napari_apollo.report.page import Page


def pictures(html: str) -> list[np.ndarray]:
    found = re.findall(r'src="data:image/png;base64,([^"]+)"', html)
    return [imread(io.BytesIO(base64.b64decode(data)), format="png") for data in found]


def test_a_page_is_one_file_that_needs_nothing_else(tmp_path: Path) -> None:
    page = Page("Report", "What was done.", {"Cells": "12"})
    section = page.section("Scores", "Held-out cells.")
    section.add_table(pd.DataFrame({"stain": ["CD4"], "r": [0.123456], "n": [7], "gap": [np.nan]}), "Scores.")
    section.add_figure(counts_figure({"border": 3, "area": 1}, total=10), "Cells by reason.")
    html = page.write(tmp_path / "report.html").read_text("utf-8")
    assert not re.findall(r'(?:src|href)="(?!data:|#)', html)
    assert "<td>0.123</td><td>7</td><td>–</td>" in html
    assert len(pictures(html)) == 1
    assert pictures(html)[0].std() > 0


def test_what_users_name_is_escaped(tmp_path: Path) -> None:
    page = Page("A & <b>", "")
    assert "A &amp; &lt;b&gt;" in page.write(tmp_path / "p.html").read_text("utf-8")


def test_composite_adds_light() -> None:
    ramp = np.arange(100.0).reshape(10, 10)
    picture = composite({"DAPI": ramp, "CD4": ramp[::-1]}, {"DAPI": "blue", "CD4": "red"})
    assert picture.shape == (10, 10, 3)
    assert picture[..., 1].max() == 0
    assert picture[-1, -1, 2] == pytest.approx(0.45, abs=0.01)  # the DNA stain is dimmed
    assert picture[0, -1, 0] > picture[0, -1, 2]
    alone = composite({"DAPI": ramp}, {"DAPI": "blue"})
    assert alone[-1, -1, 2] == 1


def test_stretching_a_constant_or_missing_image_stays_finite() -> None:
    assert np.isfinite(stretched(np.full((4, 4), 7.0))).all()
    assert np.isfinite(stretched(np.full((4, 4), np.nan))).all()


@pytest.mark.parametrize("shape", [(40, 60), (64, 32)])
def test_figures_can_be_drawn(tmp_path: Path, shape: tuple[int, int]) -> None:
    rng = np.random.default_rng(0)
    image = rng.random(shape)
    labels = np.zeros(shape, np.int32)
    labels[5:12, 5:12], labels[20:30, 10:20] = 1, 7
    page = Page("Figures")
    section = page.section("All")
    section.add_figure(
        field_figure(
            {"DAPI": image},
            {"DAPI": "white"},
            labels,
            window=middle(shape, 30),
            anchor="DAPI",
            pixel_size_um=0.5,
        ),
        "Field with 2 nuclei.",
    )
    section.add_figure(comparison_figure({"measured": image, "predicted": image * 0.5}), "Side by side.")
    section.add_figure(
        contact_sheet([{"DAPI": image}, {"DAPI": image, "CD4": image}], names=["a", "b"]), "Cells."
    )
    losses = pd.DataFrame(
        {"train": [3.0, 2.0, np.nan], "absent": np.nan}, index=pd.RangeIndex(3, name="epoch")
    )
    section.add_figure(curves_figure({"Step 1": losses}), "Curves.")
    assert len(pictures(page.write(tmp_path / "f.html").read_text("utf-8"))) == 4
