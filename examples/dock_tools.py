"""Drive the tools of a napari window by script: from a study to its cell store.

    python examples/dock_tools.py --folder work

On a machine without a screen: ``xvfb-run python examples/dock_tools.py``. Every call is what a button calls.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import napari

from napari_apollo.viewer import dock, session_of


def main() -> None:
    """Take the U2OS sample from its layers to a cell store."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--folder", type=Path, default=Path("u2os"), help="folder for results")
    parser.add_argument("--stay", action="store_true", help="leave the window open")
    arguments = parser.parse_args()

    viewer = napari.Viewer(show=True)
    session = session_of(viewer)
    session.folder = arguments.folder
    viewer.open_sample("napari-apollo", "u2os")

    tools = dock(viewer, "Study", "Segment and crop")
    study, segment = tools["Study"], tools["Segment and crop"]
    study.add_layers()
    study.save_study()

    segment.form.set(engine="threshold")
    segment.segment()
    session.jobs.wait(600)
    segment.crop.form.set(size=64)
    segment.crop.crop()
    session.jobs.wait(600)
    if session.store is None:
        raise SystemExit(segment.status.text())
    sys.stdout.write(f"{session.store.path}: {int(session.store.obs['qc'].sum())} cells pass.\n")
    if arguments.stay:
        napari.run()
    viewer.close()


if __name__ == "__main__":
    main()
