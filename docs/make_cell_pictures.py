"""Pictures of the tools Explore, Annotate and Measure, from the results of the demonstration.

    napari-apollo demo --output demo
    python docs/make_cell_pictures.py demo --output docs/images/tools

The folder is copied first, as annotations are written beside the cell store. Needs a screen;
a virtual one of 1366 x 768 will do: ``xvfb-run -s "-screen 0 1366x768x24" python ...``.
"""

from __future__ import annotations

import os
import shutil
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer

SCREEN = (1366, 740)


def main(
    demo: Annotated[Path, typer.Argument(help="What the demonstration wrote.")],
    output: Annotated[Path, typer.Option(help="Folder that gets the pictures.")] = Path("docs/images/tools"),
    themes: Annotated[str, typer.Option(help="Themes, separated by commas.")] = "dark,light",
    scale: Annotated[float, typer.Option(help="Scaling of the screen, such as 1.25.")] = 1.0,
) -> None:
    """Drive the window as a person would, and take its picture at every step."""
    if scale != 1.0:
        os.environ["QT_SCALE_FACTOR"] = str(scale)
    output = output.absolute()
    output.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as folder:
        sample = shutil.copytree(demo / "lymph_node", Path(folder) / "lymph_node")
        Story(sample, output, themes.split(","), scale).tell()


class Story:
    """One person, one set of results, one window."""

    def __init__(self, sample: Path, output: Path, themes: list[str], scale: float) -> None:
        import napari

        from napari_apollo.cells import CellStore
        from napari_apollo.predict import PredictionStore
        from napari_apollo.viewer import session_of, show_results

        self.output, self.themes = output, themes
        self.viewer = napari.Viewer(show=True)
        self.viewer.window.resize(int(SCREEN[0] / scale), int(SCREEN[1] / scale))
        predictions = sample / "lymph_node.predictions.zarr"
        show_results(self.viewer, sample / "two_panels" / "study.csv", predictions)
        self.session = session_of(self.viewer)
        self.session.store = CellStore.open(sample / "lymph_node.cells.zarr")
        self.session.predictions = PredictionStore.open(predictions)

    def tell(self) -> None:
        """Every step."""
        self.explore()
        self.annotate()
        self.measure()
        self.session.jobs.wait(60)
        self.viewer.close()

    def explore(self) -> None:
        """A lasso in the scatter, then one cell, then a direction."""
        from qtpy.QtCore import QPoint, Qt
        from qtpy.QtTest import QTest

        tool = self.dock("Explore")
        tool.recolour("panel")
        self.settle(1)
        port = tool.cloud.viewport()
        width, height = port.width(), port.height()
        around = [(0.60, 0.25), (0.72, 0.2), (0.8, 0.35), (0.78, 0.6), (0.66, 0.62), (0.58, 0.45)]
        self.drag(port, [QPoint(int(x * width), int(y * height)) for x, y in around])
        self.settle(1)
        if len(self.session.selection) < 2:
            raise RuntimeError("the lasso selected nothing")
        self.picture("explore_lasso")
        brightest = tool.explorer.columns.column("nucleus_dna").values
        self.session.selection = [int(np.argsort(brightest)[-200])]
        self.settle(1)
        tool.direction.choose("shared", 0)
        self.until(lambda: bool(tool.direction.pictures._columns) and not tool.direction._decoder.busy)
        tool.direction.slider.setFocus()
        for _ in range(2):
            QTest.keyClick(tool.direction.slider, Qt.Key.Key_PageUp)
        self.session.jobs.wait(60)
        self.until(lambda: not tool.direction._decoder.busy)
        self.bottom(tool)
        self.picture("explore_direction")
        self.close(tool)

    def annotate(self) -> None:
        """Name cells by key, have the others suggested."""
        from qtpy.QtCore import Qt
        from qtpy.QtTest import QTest

        tool = self.dock("Annotate")
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
        self.settle(1)
        self.picture("annotate")
        QTest.mouseClick(tool.suggest_button, Qt.MouseButton.LeftButton)
        self.session.jobs.wait(60)
        tool.order.name = "Most uncertain first"
        tool.refresh()
        tool.paint_classes()
        tool.gallery.go_to(5)
        self.settle(1.5)
        self.picture("annotate_suggestions")
        self.session.selection = []
        self.close(tool)

    def measure(self) -> None:
        """Paint the cells by a feature."""
        tool = self.dock("Measure")
        tool.show_feature("nucleus_area_px")
        tool.paint_cells()
        self.session.selection = np.arange(300)
        self.picture("measure")

    # --- hands ----------------------------------------------------------------------------------

    def dock(self, name: str) -> Any:
        """Open a tool."""
        from napari_apollo.viewer import dock

        tool = dock(self.viewer, name)[name]
        self.settle(0.6)
        return tool

    def close(self, tool: Any) -> None:
        """Close a tool's dock."""
        self.viewer.window.remove_dock_widget(tool)
        self.settle()

    def drag(self, port: Any, places: list[Any]) -> None:
        """Draw with the left button held down."""
        from qtpy.QtCore import QEvent, QPointF, Qt
        from qtpy.QtGui import QMouseEvent
        from qtpy.QtWidgets import QApplication

        left, none = Qt.MouseButton.LeftButton, Qt.MouseButton.NoButton
        steps = [(QEvent.Type.MouseButtonPress, places[0], left, left)]
        steps += [(QEvent.Type.MouseMove, place, none, left) for place in places]
        steps += [(QEvent.Type.MouseButtonRelease, places[-1], left, none)]
        for kind, place, button, buttons in steps:
            screen = QPointF(port.mapToGlobal(place))
            event = QMouseEvent(kind, QPointF(place), screen, button, buttons, Qt.KeyboardModifier.NoModifier)
            QApplication.sendEvent(port, event)
            self.settle(0.05)

    def bottom(self, tool: Any) -> None:
        """Scroll a tool to its end."""
        from qtpy.QtWidgets import QScrollArea

        bar = tool.findChild(QScrollArea).verticalScrollBar()
        bar.setValue(bar.maximum())
        self.settle()

    def picture(self, name: str) -> None:
        """Take a picture in every theme."""
        from imagecodecs import jpeg_encode

        for theme in self.themes:
            self.viewer.theme = theme
            self.settle(0.8)
            self.viewer.status, self.viewer.help = "Ready", ""
            self.settle(0.1)
            shot = self.viewer.screenshot(canvas_only=False, flash=False)
            path = self.output / f"{name}_{theme}.jpg"
            path.write_bytes(jpeg_encode(shot[..., :3].copy(), level=88))
            print(path.name, shot.shape)
        self.viewer.theme = self.themes[0]

    def until(self, condition: Callable[[], bool], seconds: float = 120) -> None:
        """Until something has come about."""
        end = time.monotonic() + seconds
        while not condition():
            if time.monotonic() > end:
                raise RuntimeError("it did not come about in time")
            self.settle(0.2)

    def settle(self, seconds: float = 0.3) -> None:
        """Let the window draw."""
        from qtpy.QtWidgets import QApplication

        end = time.monotonic() + seconds
        while time.monotonic() < end:
            QApplication.processEvents()
            time.sleep(0.01)


if __name__ == "__main__":
    typer.run(main)
