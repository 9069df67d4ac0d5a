"""The command line: thin commands over the functions that widgets and scripts call, too."""

from __future__ import annotations

import sys


def main() -> None:
    """Run ``napari-apollo``; the exit status is 0 done, 2 wrong input, 1 fault, 130 cancelled."""
    from napari_apollo.cli.app import app

    sys.exit(app())
