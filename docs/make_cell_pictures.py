"""Pictures of the tools Overlay, Explore, Annotate and Measure, from the results of the demonstration.

    napari-apollo demo --output demo
    python docs/make_cell_pictures.py demo --output docs/images/tools

The folder is copied first, as annotations are written beside the cell store. Needs a screen;
a virtual one of 1366 x 768 will do: ``xvfb-run -s "-screen 0 1366x768x24" python ...``.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import numpy as np
import typer

if TYPE_CHECKING:
    from hands import Hands


def main(
    demo: Annotated[Path, typer.Argument(help="What the demonstration wrote.")],
    run: Annotated[
        Path | None,
        typer.Option(help="Run of the objective agreement that predicts, to show its uncertainty."),
    ] = None,
    output: Annotated[Path, typer.Option(help="Folder that gets the pictures.")] = Path("docs/images/tools"),
    themes: Annotated[str, typer.Option(help="Themes, separated by commas.")] = "dark,light",
    scale: Annotated[float, typer.Option(help="Scaling of the screen, such as 1.25.")] = 1.0,
) -> None:
    """Drive the window as a person would, and take its picture at every step."""
    if scale != 1.0:
        os.environ["QT_SCALE_FACTOR"] = str(scale)
    from hands import Hands, copy_of_lymph_node

    hands = Hands(output, themes.split(","), scale=scale)
    with tempfile.TemporaryDirectory() as folder:
        sample = copy_of_lymph_node(demo, Path(folder))
        if run is not None:
            shutil.copytree(run, sample / run.name)  # where the tools look for runs
        Story(hands, sample).tell(run)


SHOWN = ("DAPI", "CD4")


class Story:
    """One set of results in one window."""

    def __init__(self, hands: Hands, sample: Path) -> None:
        from napari_apollo.cells import CellStore
        from napari_apollo.predict import PredictionStore
        from napari_apollo.viewer import show_results

        self.hands, self.session = hands, hands.session
        self.session.folder = sample
        predictions = sample / "lymph_node.predictions.zarr"
        show_results(hands.viewer, sample / "two_panels" / "study.csv", predictions)
        self.session.store = CellStore.open(sample / "lymph_node.cells.zarr")
        self.session.predictions = PredictionStore.open(predictions)

    def tell(self, run: Path | None) -> None:
        """Every step."""
        self.overlay(run)
        self.explore()
        self.annotate()
        self.measure()
        self.session.jobs.wait(60)
        self.hands.viewer.close()

    def overlay(self, run: Path | None) -> None:
        """Predict with a run, else with that of the demonstration; show what can be believed, compare."""
        from qtpy.QtCore import Qt

        tool = self.hands.dock("Overlay")
        tool.refresh_runs()
        if run is not None:
            tool.run_box.setCurrentIndex(tool.run_box.findText(run.name))
            tool.form.set(uncertainty=8)
        self.hands.click(tool, "Predict")
        self.hands.wait(600)
        for role in ("reconstructed", *(("uncertainty",) if run is not None else ())):
            tool.roles[role].setChecked(True)
        self.hands.fold(tool, "Stains")
        for number in range(tool.stains.count()):
            item = tool.stains.item(number)
            shown = item.text() in SHOWN
            item.setCheckState(Qt.CheckState.Checked if shown else Qt.CheckState.Unchecked)
        self.hands.click(tool, "Show layers")
        self.hands.wait(600)
        self.hands.fold(tool, "Stains")
        self.hands.picture("overlay")
        tool.stain.setCurrentText(SHOWN[-1])
        self.hands.click(tool, "Side by side")
        self.hands.picture("side_by_side")
        self.hands.click(tool, "Side by side")
        self.hands.close(tool)

    def explore(self) -> None:
        """A lasso in the scatter, then one cell, then a direction."""
        from qtpy.QtCore import QPoint, Qt
        from qtpy.QtTest import QTest

        tool = self.hands.dock("Explore")
        tool.recolour("panel")
        self.hands.settle(1)
        port = tool.cloud.viewport()
        width, height = port.width(), port.height()
        around = [(0.60, 0.25), (0.72, 0.2), (0.8, 0.35), (0.78, 0.6), (0.66, 0.62), (0.58, 0.45)]
        self.hands.drag(port, [QPoint(int(x * width), int(y * height)) for x, y in around])
        self.hands.settle(1)
        if len(self.session.selection) < 2:
            raise RuntimeError("the lasso selected nothing")
        self.hands.picture("explore_lasso")
        brightest = tool.explorer.columns.column("nucleus_dna").values
        self.session.selection = [int(np.argsort(brightest)[-200])]
        self.hands.settle(1)
        tool.direction.choose("shared", 0)
        self.hands.until(lambda: bool(tool.direction.pictures._columns) and not tool.direction._decoder.busy)
        tool.direction.slider.setFocus()
        for _ in range(2):
            QTest.keyClick(tool.direction.slider, Qt.Key.Key_PageUp)
        self.session.jobs.wait(60)
        self.hands.until(lambda: not tool.direction._decoder.busy)
        tool.reveal(tool.direction.tied)
        self.hands.settle()
        self.hands.picture("explore_direction")
        tool.meaning.header.setChecked(True)
        tool.meaning.form.set(permutations=30, phenotypes=False, ablation=False, directions=4)
        self.hands.click(tool, "Interpret")
        self.session.jobs.wait(600)
        self.hands.until(lambda: tool.meaning.meaning is not None)
        self.session.jobs.wait(60)
        tool.results.header.setChecked(True)
        self.hands.settle()
        self.hands.scroll(tool, 1.0)
        tool.reveal(tool.meaning.listed)
        self.hands.settle()
        self.hands.picture("explore_meaning")
        self.hands.close(tool)

    def annotate(self) -> None:
        """Name cells by key, have the others suggested."""
        from qtpy.QtCore import Qt
        from qtpy.QtTest import QTest

        tool = self.hands.dock("Annotate")
        tool.annotate_as("ada")
        said = tool.annotation
        for name in ("small", "large"):
            said.annotations.add_class(name)
        area = said.columns.column("nucleus_area_px").values
        order = np.argsort(area)
        tool.order.name = "nucleus_area_px"
        tool.refresh()
        tool.gallery.setFocus()
        tool.gallery.go_to(0)
        for key in "2222222x2":
            QTest.keyClick(tool.gallery, key)
        said.label(order[300:330], "small")
        said.label(order[-80:-50], "large")
        self.hands.settle(1)
        self.hands.picture("annotate")
        QTest.mouseClick(tool.suggesting.suggest_button, Qt.MouseButton.LeftButton)
        self.session.jobs.wait(60)
        tool.order.name = "Most uncertain first"
        tool.refresh()
        tool.paint_classes()
        tool.gallery.go_to(5)
        self.hands.settle(1.5)
        self.hands.picture("annotate_suggestions")
        self.session.selection = []
        self.hands.close(tool)

    def measure(self) -> None:
        """Paint the cells by a feature."""
        tool = self.hands.dock("Measure")
        tool.show_feature("nucleus_area_px")
        tool.paint_cells()
        self.session.selection = np.arange(300)
        self.hands.picture("measure")


if __name__ == "__main__":
    typer.run(main)
