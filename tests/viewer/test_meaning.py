"""Interpretations and reports as the exploring tool shows them."""

from __future__ import annotations

import shutil
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import pytest

from napari_apollo.cells import CellStore
from napari_apollo.errors import FileError
from napari_apollo.interpret import InterpretConfig, interpret
from napari_apollo.measure import MeasureConfig, measure
from napari_apollo.viewer.columns import CellColumns
from napari_apollo.viewer.meaning import PARTS, Meaning
from napari_apollo.viewer.results import find_reports

QUICK = InterpretConfig(
    directions=2, permutations=10, phenotypes=False, ablation=False, probe="linear", folds=2, device="cpu"
)


@pytest.fixture(scope="module")
def meant(learnable: Path, tmp_path_factory: pytest.TempPathFactory) -> SimpleNamespace:
    """Measured discs whose first shared latent is their size, and what the latents mean."""
    folder = tmp_path_factory.mktemp("meant")
    shutil.copytree(learnable, folder / "discs.cells.zarr")
    settings = MeasureConfig(families=("shape", "intensity"), workers=1)
    store = measure(folder / "discs.cells.zarr", settings)
    table = store.table.copy()
    rng = np.random.default_rng(3)
    area = np.nan_to_num(np.asarray(table[:, "nucleus_area"].X, np.float64).ravel())
    noise = rng.normal(size=(len(area), 3))
    size = (area - area.mean()) / area.std()
    table.obsm["shared"] = np.column_stack([4 * size + 0.1 * noise[:, 0], noise[:, 1]]).astype(np.float32)
    table.obsm["chromatin_specific"] = noise[:, 1:].astype(np.float32)
    store.write_table(table)
    store = CellStore.open(store.path)
    output = folder / "interpretation"
    interpret(store, QUICK.model_copy(update={"output": output}))
    return SimpleNamespace(folder=folder, store=store, output=output)


def test_directions_are_listed_with_what_lies_along_them(meant: SimpleNamespace) -> None:
    meaning = Meaning.open(meant.output)
    listed = meaning.listed()
    assert list(listed.columns) == ["Direction", "Of", "Part"]
    assert listed["Of"].iloc[0] == "shared 1"
    along = meaning.along("shared", 1, 5)
    assert len(along) == 5
    assert along["rho"].abs().iloc[0] > 0.9
    discoveries = meaning.features.set_index(["block", "axis", "feature"])["discovery"]
    flags = [bool(discoveries[("shared", 1, feature)]) for feature in along["feature"]]
    assert flags == sorted(flags, reverse=True)


def test_shares_come_in_the_order_asked_for(meant: SimpleNamespace) -> None:
    meaning = Meaning.open(meant.output)
    names = meaning.shares["feature"].astype(str).tolist()[:3]
    found = meaning.shared_out([names[2], "nothing of the kind", names[0]])
    assert found["feature"].tolist() == [names[2], names[0]]
    assert ((found[list(PARTS)] >= 0) & (found[list(PARTS)] <= 1)).all().all()
    area = meaning.shared_out(["nucleus_area"])
    assert area["shared"].iloc[0] > 0.8


def test_a_direction_is_found_again_among_the_axes_of_all_cells(meant: SimpleNamespace) -> None:
    meaning = Meaning.open(meant.output)
    columns = CellColumns(meant.store)
    number, likeness = meaning.axis_in(columns, "shared", 1)
    assert number == 0
    assert abs(likeness) > 0.99
    size = np.corrcoef(columns.axes("shared").scores[:, 0], columns.column("nucleus_area").values)[0, 1]
    rho = meaning.along("shared", 1).set_index("feature")["rho"]["nucleus_area"]
    assert np.sign(size * likeness) == np.sign(rho)
    assert meaning.axis_in(columns, "shared", 9) is None
    assert meaning.axis_in(columns, "nowhere", 1) is None


def test_what_is_no_interpretation_is_named(meant: SimpleNamespace, tmp_path: Path) -> None:
    with pytest.raises(FileError, match=r"no interpretation.*interpretation\.json"):
        Meaning.open(tmp_path)
    shutil.copytree(meant.output, tmp_path / "broken")
    pd.DataFrame({"block": ["shared"]}).to_csv(tmp_path / "broken" / "directions.csv", index=False)
    with pytest.raises(FileError, match="no column axis, explained, name"):
        Meaning.open(tmp_path / "broken")


def test_reports_are_found_with_their_titles(meant: SimpleNamespace, tmp_path: Path) -> None:
    (report,) = find_reports(meant.folder)
    assert report.path == meant.output / "interpretation.html"
    assert report.title
    assert "<" not in report.title
    deep = tmp_path / "a" / "b" / "c" / "d"
    deep.mkdir(parents=True)
    (deep / "far.html").write_text("<title>far</title>")
    (tmp_path / "x.cells.zarr").mkdir()
    (tmp_path / "x.cells.zarr" / "no.html").write_text("<title>no</title>")
    (tmp_path / "near.html").write_text("no title")
    assert [found.title for found in find_reports(tmp_path)] == ["near"]
    assert find_reports(None) == []


@pytest.mark.gui
def test_the_tool_interprets_lists_and_opens(
    meant: SimpleNamespace, window: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from qtpy.QtGui import QDesktopServices

    from napari_apollo.viewer import dock, session_of

    opened: list[str] = []
    monkeypatch.setattr(QDesktopServices, "openUrl", lambda url: opened.append(url.toLocalFile()))
    session = session_of(window)
    session.folder = tmp_path
    session.store = meant.store
    tool = dock(window, "Explore")["Explore"]
    panel = tool.meaning
    assert panel.meaning is None
    panel.form.set(
        **{name: getattr(QUICK, name) for name in ("directions", "permutations", "probe", "device")}
    )
    panel.form.set(phenotypes=False, ablation=False)
    panel.start.click()
    assert session.jobs.wait(200)
    assert panel.meaning is not None, tool.status.text()
    assert panel.meaning.folder == tmp_path / "interpretation"
    assert panel.listed.rowCount() == len(panel.meaning.directions)
    panel.listed.cellClicked.emit(2, 0)  # the first of the chromatin's own
    assert tool.direction.block.currentData() == "chromatin_specific"
    assert "axis" in panel.about.text()
    assert panel.tied.rowCount() > 0
    assert panel.shares.in_words(0).count("%") == 3
    panel.report.click()
    assert opened == [str(tmp_path / "interpretation" / "interpretation.html")]
    tool.results.header.click()
    assert tool.results.listed.item(0, 1).text() == "interpretation"
    assert opened[0] in tool.results.listed.item(0, 0).toolTip()
    tool.results.open_button.click()
    assert opened[1] == opened[0]
    session.jobs.cancel()
    session.jobs.wait(60)


@pytest.mark.gui
def test_an_interpretation_beside_the_cells_is_shown_at_once(meant: SimpleNamespace, window: Any) -> None:
    from napari_apollo.viewer import dock, session_of

    session_of(window).store = meant.store
    tool = dock(window, "Explore")["Explore"]
    assert tool.meaning.meaning is not None
    assert tool.meaning.meaning.folder == meant.output
    assert session_of(window).jobs.wait(60)
