"""Every tool at some scaling of the screen, from the results of the demonstration: to see what is cut off.

    napari-apollo demo --output demo
    python docs/make_scaled_pictures.py demo --scale 1.25 --output scaled

Needs a screen of the size that is asked for: ``xvfb-run -s "-screen 0 2732x1536x24" python ...``. Controls
that are narrower than they need to be are listed.
"""

from __future__ import annotations

import os
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import numpy as np
import typer

if TYPE_CHECKING:
    from hands import Hands


def main(
    demo: Annotated[Path, typer.Argument(help="What the demonstration wrote.")],
    output: Annotated[Path, typer.Option(help="Folder that gets the pictures.")] = Path("scaled"),
    themes: Annotated[str, typer.Option(help="Themes, separated by commas.")] = "dark,light",
    scale: Annotated[float, typer.Option(help="Scaling of the screen, such as 1.25.")] = 1.0,
    size: Annotated[str, typer.Option(help="Width x height of the window in pixels.")] = "1366x740",
) -> None:
    """Open every tool, and take its picture from top to end."""
    os.environ["QT_SCALE_FACTOR"] = str(scale)
    from hands import Hands, copy_of_lymph_node

    width, height = (int(side) for side in size.split("x"))
    hands = Hands(output, themes.split(","), size=(width, height), scale=scale)
    with tempfile.TemporaryDirectory() as folder:
        sample = copy_of_lymph_node(demo, Path(folder))
        open_results(hands, sample)
        for name in ("Study", "Segment and crop", "Train", "Overlay", "Explore", "Annotate", "Measure"):
            show(hands, name)
        hands.session.jobs.wait(60)
        hands.viewer.close()


def open_results(hands: Hands, sample: Path) -> None:
    """What the demonstration left: study, cells, predictions."""
    from napari_apollo.cells import CellStore
    from napari_apollo.predict import PredictionStore
    from napari_apollo.study import Study
    from napari_apollo.viewer import show_results

    predictions = sample / "lymph_node.predictions.zarr"
    show_results(hands.viewer, sample / "two_panels" / "study.csv", predictions)
    hands.session.study = Study.from_csv(sample / "two_panels" / "study.csv")
    hands.session.store = CellStore.open(sample / "lymph_node.cells.zarr")
    hands.session.predictions = PredictionStore.open(predictions)


def show(hands: Hands, name: str) -> None:
    """A tool at its top, in its middle and at its end, its folds open."""
    from napari_apollo.viewer.parts import Fold

    tool = hands.dock(name)
    if name in ("Explore", "Annotate"):
        hands.session.selection = np.array([12])
    hands.settle(2)
    hands.picture(f"{name.split()[0].lower()}_top")
    for fold in tool.findChildren(Fold):
        fold.header.setChecked(True)
    hands.settle(1)
    for line in cut_off(tool):
        print(f"{name}: {line}")
    for part, where in ((0.5, "middle"), (1.0, "end")):
        if hands.scroll(tool, part):
            hands.picture(f"{name.split()[0].lower()}_{where}")
    hands.close(tool)


def cut_off(tool: Any) -> list[str]:
    """Controls with less room than they ask for, and those that stick out of the tool."""
    from qtpy.QtCore import QPoint
    from qtpy.QtWidgets import QAbstractButton, QCheckBox, QLabel

    found = []
    for kind in (QAbstractButton, QCheckBox, QLabel):
        for part in tool.findChildren(kind):
            if not part.isVisibleTo(tool) or not part.width() or (kind is QLabel and part.wordWrap()):
                continue
            right = part.mapTo(tool, QPoint(0, 0)).x() + part.width()
            text = part.text() or part.toolTip()
            if part.width() + 1 < part.minimumSizeHint().width():
                found.append(f"{text!r} has {part.width()} of {part.minimumSizeHint().width()} pixels")
            if right > tool.width() + 1:
                found.append(f"{text!r} ends {right - tool.width()} pixels beyond the tool")
    return list(dict.fromkeys(found))


if __name__ == "__main__":
    typer.run(main)
