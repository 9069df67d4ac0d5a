"""Drafts of studies from folders of images."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from napari_apollo.config import OperationConfig
from napari_apollo.errors import StudyError

if TYPE_CHECKING:
    from napari_apollo.study.study import Study


class DiscoverConfig(OperationConfig):
    """How a folder of images is read as a study."""


def discover(folder: Path | str, config: DiscoverConfig | None = None) -> Study:
    """Draft of a study from a folder of images."""
    raise StudyError(f"{folder}: folders are not read yet.")
