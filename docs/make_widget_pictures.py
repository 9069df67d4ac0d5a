"""Pictures of the tools up to the training: the lymph node taken along by clicks and keys in the real window.

    python docs/make_widget_pictures.py --output docs/images/tools

Needs a screen; a virtual one of 1366 x 768 will do: ``xvfb-run -s "-screen 0 1366x768x24" python ...``.
"""

from __future__ import annotations

import os
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from hands import Hands


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
    from hands import Hands

    hands = Hands(output, themes.split(","), scale=scale)
    with tempfile.TemporaryDirectory() as folder:
        os.chdir(folder)
        Story(hands, preset, epochs).tell()


class Story:
    """One sample in one window."""

    def __init__(self, hands: Hands, preset: str, epochs: int) -> None:
        self.hands, self.viewer, self.session = hands, hands.viewer, hands.session
        self.preset, self.epochs = preset, epochs
        self.session.folder = Path("apollo")  # relative: the pictures name no place of this machine

    def tell(self) -> None:
        """Every step."""
        self.viewer.open_sample("napari-apollo", "lymph_node")
        self.study()
        self.segment()
        self.train()
        self.viewer.close()

    def study(self) -> None:
        """Put the study together."""
        tool = self.hands.dock("Study")
        self.hands.click(tool, "Use open layers")
        self.hands.picture("study")
        self.hands.click(tool, "Save study")
        self.hands.close(tool)

    def segment(self) -> None:
        """Segment, correct, crop."""
        tool = self.hands.dock("Segment and crop")
        self.hands.click(tool, "Show")
        self.viewer.scene.camera.zoom *= 2.5
        self.hands.until(lambda: not tool.preparing)
        self.only("DAPI")
        self.hands.click(tool, "Preview in view")
        self.hands.wait()
        self.hands.picture("preview")
        self.hands.click(tool, "Segment")
        self.hands.wait()
        self.hands.fold(tool, "Correct by hand")
        self.hands.click(tool, "Correct the field shown")
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
        self.hands.picture("correct")
        tool.correct.merge()
        tool.correct.undo()
        self.hands.fold(tool, "Correct by hand")
        self.hands.click(tool, "Show")
        self.hands.click(tool, "Crop cells")
        self.hands.wait()
        tool.reveal(tool.crop.plots["focus"])
        self.hands.picture("quality")
        self.hands.close(tool)

    def only(self, *stains: str) -> None:
        """Show some stains, as the eyes of the layer list do."""
        from napari_apollo.viewer.layers import about

        for layer in self.viewer.layers:
            shown = about(layer)
            layer.visible = shown is None or shown.stain in ("", *stains)

    def train(self) -> None:
        """Train and watch."""
        tool = self.hands.dock("Train")
        self.hands.until(lambda: bool(tool.estimate.text()))
        tool.form.set(preset=self.preset, previews_every=1)
        if self.epochs:
            tool.form.set(latent_epochs=self.epochs, encoder_epochs=self.epochs)
        config = tool.form.config()
        self.hands.until(lambda: not self.session.jobs.active)
        self.hands.picture("train")
        self.hands.click(tool, "Start training")
        enough = config.latent_epochs + (config.encoder_epochs + 1) // 2
        self.hands.until(
            lambda: len(self.session.run.metrics()) >= enough or self.session.run.status().over, 2400
        )
        tool.look()
        tool.reveal(tool.preview)
        self.hands.picture("training")
        self.hands.until(lambda: self.session.run.status().over, 2400)
        tool.look()
        self.hands.close(tool)


if __name__ == "__main__":
    typer.run(main)
