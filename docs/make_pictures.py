"""Pictures of the real window for the README and the docs.

    python docs/make_pictures.py --study demo/lymph_node/two_panels/study.csv \
        --predictions demo/lymph_node/lymph_node.predictions.zarr --output docs/images

Needs a screen, a virtual one will do: ``xvfb-run python docs/make_pictures.py ...``.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer

ZOOM = 3.2


def main(
    study: Annotated[Path, typer.Option(help="Manifest of the study.")],
    predictions: Annotated[Path, typer.Option(help="What was predicted for it.")],
    output: Annotated[Path, typer.Option(help="Folder that gets the pictures.")] = Path("docs/images"),
    protein: Annotated[str, typer.Option(help="Stain shown measured and predicted.")] = "CD4",
) -> None:
    """Open the window, arrange it as people would, and take its picture."""
    import napari
    from imagecodecs import png_encode

    from napari_apollo.viewer import compare, find_layers, show_results

    output.mkdir(parents=True, exist_ok=True)
    viewer = napari.Viewer(show=True)
    viewer.window.resize(1500, 900)
    show_results(viewer, study, predictions)

    def picture(name: str, *, canvas_only: bool = False) -> None:
        _settle()
        shot = viewer.screenshot(canvas_only=canvas_only, flash=False)
        shot = _without_margins(shot) if canvas_only else shot
        (output / f"{name}.png").write_bytes(png_encode(shot[..., :3].copy(), level=9))
        print(output / f"{name}.png", shot.shape)

    def only(*layers: Any) -> None:
        for layer in viewer.layers:
            layer.visible = layer in layers

    measured = find_layers(viewer, role="measured")
    predicted = find_layers(viewer, role="predicted", stain=protein)
    cells = find_layers(viewer, role="cells")
    anchor = measured[0]
    for theme in ("dark", "light"):
        viewer.theme = theme
        only(*measured)
        picture(f"two_panels_{theme}")
        only(anchor, *find_layers(viewer, role="measured", stain=protein), *predicted)
        picture(f"overlay_{theme}")
    viewer.theme = "dark"
    own = find_layers(viewer, role="measured", stain=protein)
    viewer.camera.zoom *= ZOOM
    only(*own, *predicted, *cells)
    picture("close_up", canvas_only=True)
    compare.side_by_side(viewer, protein)
    compare.own_contrast(viewer, protein)  # as the tool does: predictions are fainter
    for layer in list(viewer.layers):
        if not layer.visible:
            viewer.layers.remove(layer)
    viewer.canvas.grid.shape = (1, len(viewer.layers))
    viewer.reset_view()
    picture("side_by_side", canvas_only=True)
    viewer.close()


def _without_margins(shot: np.ndarray) -> np.ndarray:
    """Picture (y, x, colour) without the black rows and columns around it."""
    rows, columns = (np.flatnonzero((shot[..., :3] > 8).any(axis=(axis, 2))) for axis in (1, 0))
    return shot[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]


def _settle() -> None:
    from qtpy.QtWidgets import QApplication

    for _ in range(20):
        QApplication.processEvents()


if __name__ == "__main__":
    typer.run(main)
