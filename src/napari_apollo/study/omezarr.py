"""OME-Zarr images. Filled in next."""

from __future__ import annotations

from pathlib import Path

from napari_apollo.errors import ImageError
from napari_apollo.study.source import Source


def is_zarr(path: Path) -> bool:
    """Whether a folder is a Zarr store or an array or group inside one."""
    return any((path / name).is_file() for name in ("zarr.json", ".zattrs", ".zgroup", ".zarray"))


def open_zarr(path: Path) -> Source:
    raise ImageError(path, "OME-Zarr is not read yet.")
