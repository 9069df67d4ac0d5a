"""Images that come as one file per stain. Filled in next."""

from __future__ import annotations

from pathlib import Path

from napari_apollo.errors import ImageError
from napari_apollo.study.source import Source


def is_pattern(path: Path) -> bool:
    """Whether a path names several files by ``*``."""
    return "*" in path.name


def open_stain_files(path: Path) -> Source:
    raise ImageError(path, "is a folder.", "Name the image file itself.")
