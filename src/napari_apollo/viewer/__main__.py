"""``python -m napari_apollo.viewer PATH ...``: what is there, in a napari window."""

from __future__ import annotations

import sys
from pathlib import Path


def main(paths: list[str]) -> int:
    """Open a demonstration's folder, or anything that the reader opens, and wait until the window closes."""
    import napari

    from napari_apollo.demo.results import DemoResults
    from napari_apollo.errors import ApolloError
    from napari_apollo.viewer.show import show_demo

    viewer = napari.Viewer(title="napari-apollo")
    try:
        for path in paths:
            if DemoResults.are_in(Path(path)):
                show_demo(viewer, path)
            else:
                viewer.open(path, plugin="napari-apollo")
    except ApolloError as error:
        viewer.close()
        sys.stderr.write(f"{error}\n")
        return error.exit_code
    napari.run()
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
