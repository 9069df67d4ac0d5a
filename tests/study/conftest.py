"""Small studies and images that the tests of reading and checking share."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from napari_apollo.study import StudyField


@pytest.fixture
def make_field() -> Callable[..., StudyField]:
    """A field of an image, with what is not asked about filled in."""

    def make(image: Path, panel: str = "DAPI/CD4/CD8", **values: Any) -> StudyField:
        return StudyField(**{"image": image, "panel": panel, "donor": "P1", "condition": "control", **values})

    return make
