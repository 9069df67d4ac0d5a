"""Models of old load for ever: one of each kind that was ever written, with what it said then.

``v1`` was written by the first version of the model file, ``v1-distributions`` by the first whose encoders
give distributions. Another kind, or a new schema version, gets a folder of its own; these are never written
again.
"""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from napari_apollo.model import Apollo
from napari_apollo.model.card import SCHEMA_VERSION

ARCHIVE = Path(__file__).parent / "archive"
MODELS = sorted(path.name for path in ARCHIVE.iterdir())


def test_every_schema_version_is_in_the_archive() -> None:
    assert {int(name.split("-")[0][1:]) for name in MODELS} == set(range(1, SCHEMA_VERSION + 1))


@pytest.mark.parametrize("name", MODELS)
def test_an_archived_model_says_what_it_said(name: str) -> None:
    model = Apollo.load(ARCHIVE / name)
    assert model.card.vocabulary == ("CD3", "gammaH2AX")
    assert model.card.held_out.test == ("P3",)
    assert model.card.licence == "CC0-1.0"
    y, x = np.mgrid[:16, :16]
    image = ((np.sin(y / 3) + np.cos(x / 4)) / 4 + 0.5).astype(np.float32)[None, None]
    images = np.concatenate([image, image[:, :, ::-1] ** 2])
    expected = json.loads((ARCHIVE / name / "expected.json").read_text("utf-8"))
    for modality, stain in (("chromatin", None), ("protein", "CD3")):
        latents, known = model.encode(images, modality, stain), expected[modality]
        np.testing.assert_allclose(latents.shared, known["shared"], atol=1e-5)
        np.testing.assert_allclose(latents.specific, known["specific"], atol=1e-5)
        rebuilt = model.decode(latents.shared, latents.specific, modality, stain)
        predicted = model.decode(latents.shared, None, "protein", "gammaH2AX")
        np.testing.assert_allclose(rebuilt.mean((1, 2)), known["rebuilt_mean"], atol=1e-5)
        np.testing.assert_allclose(predicted.mean((1, 2)), known["predicted_mean"], atol=1e-5)
