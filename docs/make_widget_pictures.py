"""Pictures of the tools: the lymph node taken through the chain by clicks and keys in the real window.

    python docs/make_widget_pictures.py --output docs/images/tools

Needs a screen; a virtual one of 1366 x 768 will do: ``xvfb-run -s "-screen 0 1366x768x24" python ...``.
"""

from __future__ import annotations

import os
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import typer

SCREEN = (1366, 740)
SHOWN = ("DAPI", "CD4")


def main(
    output: Annotated[Path, typer.Option(help="Folder that gets the pictures.")] = Path("docs/images/tools"),
    themes: Annotated[str, typer.Option(help="Themes, separated by commas.")] = "dark,light",
    preset: Annotated[str, typer.Option(help="Preset of the training.")] = "agreement",
    epochs: Annotated[int, typer.Option(help="Epochs of each step; 0 takes the preset's.")] = 0,
    scale: Annotated[float, typer.Option(help="Scaling of the screen, such as 1.25.")] = 1.0,
) -> None:
    """Drive the window as a person would, and take its picture at every step."""
    if scale != 1.0:
        os.environ["QT_SCALE_FACTOR"] = str(scale)
    output = output.absolute()
    output.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as folder:
        os.chdir(folder)
        Story(output, themes.split(","), preset, epochs, scale).tell()


class Story:
    """One person, one sample, one window."""

    def __init__(self, output: Path, themes: list[str], preset: str, epochs: int, scale: float) -> None:
        import napari

        from napari_apollo.viewer import session_of

        self.output, self.themes = output, themes
        self.preset, self.epochs = preset, epochs
        self.viewer = napari.Viewer(show=True)
        self.viewer.window.resize(int(SCREEN[0] / scale), int(SCREEN[1] / scale))
        self.session = session_of(self.viewer)
        self.session.folder = Path("apollo")  # relative: the pictures name no place of this machine

    def tell(self) -> None:
        """Every step."""
        self.viewer.open_sample("napari-apollo", "lymph_node")
        self.study()
        self.segment()
        self.train()
        self.overlay()
        self.viewer.close()

    def study(self) -> None:
        """Put the study together."""
        tool = self.dock("Study")
        self.click(tool, "Use open layers")
        self.picture("study")
        self.click(tool, "Save study")
        self.close(tool)

    def segment(self) -> None:
        """Segment, correct, crop."""
        tool = self.dock("Segment and crop")
        self.click(tool, "Show")
        self.viewer.scene.camera.zoom *= 2.5
        self.click(tool, "Preview in view")
        self.wait()
        self.picture("preview")
        self.click(tool, "Segment")
        self.wait()
        self.fold(tool, "Correct by hand")
        self.click(tool, "Correct the field shown")
        layer = tool.correct.layer
        rows, columns = (layer.data > 0).nonzero()
        self.viewer.scene.camera.center = tuple(
            layer.data_to_world((float(rows.mean()), float(columns.mean())))
        )
        self.viewer.scene.camera.zoom *= 2.4
        numbers = sorted(set(layer.data[layer.data > 0].tolist()))
        for number in numbers[20:23]:
            tool.correct.pick_at(number, add=True)
        tool.reveal(tool.correct)
        self.picture("correct")
        tool.correct.merge()
        tool.correct.undo()
        self.fold(tool, "Correct by hand")
        self.click(tool, "Show")
        self.click(tool, "Crop cells")
        self.wait()
        tool.reveal(tool.crop.plots["focus"])
        self.picture("quality")
        self.close(tool)

    def train(self) -> None:
        """Train and watch."""
        tool = self.dock("Train")
        self.until(lambda: bool(tool.estimate.text()))
        tool.form.set(preset=self.preset, previews_every=1)
        if self.epochs:
            tool.form.set(latent_epochs=self.epochs, encoder_epochs=self.epochs)
        config = tool.form.config()
        self.until(lambda: not self.session.jobs.active)
        self.picture("train")
        self.click(tool, "Start training")
        enough = config.latent_epochs + (config.encoder_epochs + 1) // 2
        self.until(lambda: len(self.session.run.metrics()) >= enough or self.session.run.status().over, 2400)
        tool.look()
        tool.reveal(tool.preview)
        self.picture("training")
        self.until(lambda: self.session.run.status().over, 2400)
        tool.look()
        self.close(tool)

    def overlay(self) -> None:
        """Predict and compare."""
        from qtpy.QtCore import Qt

        tool = self.dock("Overlay")
        self.click(tool, "Predict")
        self.wait(600)
        tool.roles["reconstructed"].setChecked(True)
        self.fold(tool, "Stains")
        for number in range(tool.stains.count()):
            item = tool.stains.item(number)
            item.setCheckState(Qt.CheckState(2 if item.text() in SHOWN else 0))
        self.click(tool, "Show layers")
        self.wait(600)
        self.picture("overlay")
        tool.stain.setCurrentText(SHOWN[-1])
        self.click(tool, "Side by side")
        self.picture("side_by_side")

    # --- hands ----------------------------------------------------------------------------------

    def dock(self, name: str) -> Any:
        """Open a tool from the menu's entry."""
        from napari_apollo.viewer import dock

        tool = dock(self.viewer, name)[name]
        self.settle()
        return tool

    def close(self, tool: Any) -> None:
        """Close a tool's dock."""
        self.viewer.window.remove_dock_widget(tool)
        self.settle()

    def click(self, tool: Any, text: str) -> None:
        """Click a button by its text, where a person could."""
        from qtpy.QtCore import Qt
        from qtpy.QtTest import QTest
        from qtpy.QtWidgets import QPushButton

        found = [each for each in tool.findChildren(QPushButton) if each.text() == text]
        tool.reveal(found[0])
        self.settle()
        if not found[0].isEnabled():
            raise RuntimeError(f"{text} cannot be clicked: {tool.status.text()}")
        QTest.mouseClick(found[0], Qt.MouseButton.LeftButton)
        self.settle()

    def fold(self, tool: Any, title: str) -> None:
        """Open or close a fold by key."""
        from qtpy.QtCore import Qt
        from qtpy.QtTest import QTest

        from napari_apollo.viewer.parts import Fold

        found = next(each for each in tool.findChildren(Fold) if each.header.text() == title)
        found.header.setFocus()
        QTest.keyClick(found.header, Qt.Key.Key_Space)
        self.settle()

    def picture(self, name: str) -> None:
        """Take a picture in every theme."""
        from imagecodecs import jpeg_encode

        for theme in self.themes:
            self.viewer.theme = theme
            self.settle(0.6)
            self.viewer.status, self.viewer.help = "Ready", ""
            self.settle(0.1)
            shot = self.viewer.screenshot(canvas_only=False, flash=False)
            path = self.output / f"{name}_{theme}.jpg"
            path.write_bytes(jpeg_encode(shot[..., :3].copy(), level=88))
            print(path.name, shot.shape)
        self.viewer.theme = self.themes[0]

    def wait(self, seconds: float = 300) -> None:
        """Until the work is done."""
        if not self.session.jobs.wait(seconds):
            raise RuntimeError("the work did not end in time")
        self.settle()

    def until(self, condition: Callable[[], bool], seconds: float = 300) -> None:
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
