"""A window on the results of the demonstration: ``python -m napari_apollo.viewer FOLDER``."""

from __future__ import annotations

import argparse
from pathlib import Path

import napari

from napari_apollo.demo import DemoResults
from napari_apollo.viewer import add_predictions, open_study


def main() -> None:
    """Open a demonstration's sample in napari, with what was predicted for it."""
    parser = argparse.ArgumentParser(prog="python -m napari_apollo.viewer", description=main.__doc__)
    parser.add_argument("folder", type=Path, help="folder that the demonstration wrote")
    parser.add_argument("--sample", default="lymph_node", help="name of the sample to show")
    parser.add_argument("--screenshot", type=Path, help="save a picture of the window there, and close it")
    arguments = parser.parse_args()
    viewer = open_demo(DemoResults.read(arguments.folder), arguments.sample)
    if arguments.screenshot:
        viewer.screenshot(str(arguments.screenshot), canvas_only=False, flash=False)
        viewer.close()
    else:
        napari.run()


def open_demo(results: DemoResults, sample: str) -> napari.Viewer:
    """Open a viewer on one sample of a demonstration.

    Parameters
    ----------
    results
        The demonstration.
    sample
        Name of a sample; its first image is shown.
    """
    shown = next(found for found in results.samples if found.name == sample)
    viewer = napari.Viewer(title=f"napari-apollo: {shown.title}")
    open_study(viewer, results.path(shown.manifest))
    add_predictions(viewer, results.path(shown.predictions), results.path(shown.store))
    return viewer


if __name__ == "__main__":
    main()
