"""Which cells a model never saw, told from its description and a store."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest

from napari_apollo.predict.heldout import parts_of
from napari_apollo.train.split import split_cells

SETTINGS = {"held_out": (), "test_fraction": 0.15, "validation_fraction": 0.15, "seed": 3}


@pytest.mark.parametrize("scale", [1.0, 0.5, 2.0])
def test_sides_of_a_field_are_known_again_whatever_its_pixel_size(scale: float) -> None:
    """Cells beside held-out ones are left out by a distance in pixels of the field."""
    y, x = (grid.ravel() * 9.0 for grid in np.mgrid[:20, :20])
    obs = pd.DataFrame(
        {"donor": "d", "field": "f", "panel": "p", "split": "", "qc": True, "y": y, "x": x, "scale": scale}
    )
    chosen = split_cells(obs, **SETTINGS, crop_size=round(32 * scale))  # as a training chooses
    assert chosen.by == "region"
    card = SimpleNamespace(
        training=SETTINGS,
        held_out=SimpleNamespace(
            by=chosen.by, test=chosen.test, validation=chosen.validation, cells=chosen.counts()
        ),
    )
    np.testing.assert_array_equal(parts_of(obs, card, 32), chosen.part)


def test_a_model_whose_held_out_donors_are_elsewhere_is_used_all_the_same() -> None:
    """The training named its donors; the cells at hand are of other people."""
    obs = pd.DataFrame(
        {
            "donor": ["new"] * 30 + ["east"] * 10,
            "field": "f",
            "panel": "p",
            "split": "",
            "qc": [True] * 39 + [False],
            "y": np.arange(40.0),
            "x": 0.0,
        }
    )
    held_out = SimpleNamespace(by="donor", test=("east", "west"), validation=("south",), cells={})
    card = SimpleNamespace(training=SETTINGS | {"held_out": ["east", "west"]}, held_out=held_out)
    assert parts_of(obs, card, 32).tolist() == ["train"] * 30 + ["test"] * 9 + [""]
