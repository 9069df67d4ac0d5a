"""Which cells a model never saw, told from its description and a store."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest

from napari_apollo.model import HeldOut
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
        held_out=HeldOut(by=chosen.by, test=chosen.test, validation=chosen.validation, cells=chosen.counts()),
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
    held_out = HeldOut(by="donor", test=("east", "west"), validation=("south",), cells={})
    card = SimpleNamespace(training=SETTINGS | {"held_out": ["east", "west"]}, held_out=held_out)
    assert parts_of(obs, card, 32).tolist() == ["train"] * 30 + ["test"] * 9 + [""]


def test_a_split_that_was_changed_since_calls_nothing_unseen_that_was_learnt_from() -> None:
    """The study stated which fields are for the test; cells are cut again, and it states others."""
    fields = [f"f{number}" for number in range(6)]
    obs = pd.DataFrame(
        {
            "donor": "d",
            "field": np.repeat(fields, 20),
            "panel": "p",
            "split": np.repeat(["train", "train", "train", "validation", "test", "test"], 20),
            "qc": True,
            "y": np.tile(np.arange(20.0), 6),
            "x": 0.0,
        }
    )
    chosen = split_cells(obs, **SETTINGS)
    assert chosen.by == "split"
    held_out = HeldOut(
        by=chosen.by,
        test=chosen.test,
        validation=chosen.validation,
        cells=chosen.counts(),
        fields=dict(chosen.fields),
    )
    card = SimpleNamespace(training=SETTINGS, held_out=held_out)
    assert parts_of(obs, card, 32).tolist() == obs["split"].tolist()
    changed = obs.assign(
        split=np.repeat(["test", "train", "test", "test", "test", "validation"], 20),
        field=np.repeat(["f0", "f1", "new", "f3", "f4", "f5"], 20),
    ).iloc[1:]  # a cell less, too
    parts = pd.Series(parts_of(changed, card, 32)).groupby(changed["field"].to_numpy()).unique()
    assert {name: list(own) for name, own in parts.items()} == {
        "f0": ["train"],
        "f1": ["train"],
        "f3": ["train"],
        "f4": ["test"],
        "f5": ["validation"],
        "new": ["test"],
    }
