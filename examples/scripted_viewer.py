"""Open the results of the demonstration in napari by script, and save a picture.

    napari-apollo demo --output demo
    python examples/scripted_viewer.py demo --output overlay.png

On a machine without a screen: ``xvfb-run python examples/scripted_viewer.py demo``.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import napari
from skimage.io import imsave

from napari_apollo.viewer import add_predictions, find_layers, open_study


def main() -> None:
    """Lay what was predicted for the lymph node over its image."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("demo", type=Path, help="folder that 'napari-apollo demo' wrote")
    parser.add_argument("--stain", default="CD8", help="predicted stain to show")
    parser.add_argument("--output", type=Path, default=Path("overlay.png"), help="picture to save")
    parser.add_argument("--stay", action="store_true", help="leave the window open")
    arguments = parser.parse_args()

    sample = arguments.demo / "lymph_node"
    viewer = napari.Viewer(show=True)
    open_study(viewer, sample / "two_panels" / "study.csv")
    add_predictions(viewer, sample / "lymph_node.predictions.zarr")

    shown = [
        *find_layers(viewer, role="measured", stain="DAPI"),
        *find_layers(viewer, role="measured", stain=arguments.stain),
        *find_layers(viewer, role="predicted", stain=arguments.stain),
    ]
    for layer in viewer.layers:
        layer.visible = layer in shown
    viewer.reset_view()
    imsave(arguments.output, viewer.screenshot(flash=False)[..., :3], check_contrast=False)
    if arguments.stay:
        napari.run()
    viewer.close()


if __name__ == "__main__":
    main()
