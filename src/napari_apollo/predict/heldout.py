"""Which cells of a store a model learnt from, and which it never saw."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from napari_apollo.errors import ConfigError, DataError
from napari_apollo.train.split import TEST, TRAIN, VALIDATION, split_cells

if TYPE_CHECKING:
    from napari_apollo.model import ModelCard

_SETTINGS = ("held_out", "test_fraction", "validation_fraction", "seed")


def parts_of(obs: pd.DataFrame, card: ModelCard, crop_size: int) -> np.ndarray:
    """Part of the data each cell belonged to when the model was trained.

    Where the cells are those of the training, its choice is made again and is the same. Of another
    store, the donors or fields that the model names as held out are ``test`` or ``validation``, and
    the rest is taken for ``train``: nothing is called unseen that may have been seen. A model that went by
    the split of its study goes by that of the store, but for fields that it learnt from.

    Parameters
    ----------
    obs
        Table of the store.
    card
        Description of the model.
    crop_size
        Side of a crop in pixels.

    Returns
    -------
    numpy.ndarray
        (cell,) of ``train``, ``validation``, ``test``; ``""`` for cells that are in none: those that
        failed the quality check, and those too close to held-out ones.
    """
    part = np.full(len(obs), "", object)
    used = np.flatnonzero(obs["qc"].to_numpy(bool))
    again = _choose_again(obs.iloc[used].reset_index(drop=True), card, crop_size)
    if again is not None:
        part[used] = again
        return part
    part[used] = TRAIN
    for name, units in ((VALIDATION, card.held_out.validation), (TEST, card.held_out.test)):
        if card.held_out.by in ("donor", "field"):
            named = obs["donor"].astype(str).isin(units) | obs["field"].astype(str).isin(units)
        else:
            named = obs["split"].astype(str) == name
            # The study may state another split than the one that was learnt by.
            learnt = [
                field
                for part_of, fields in card.held_out.fields.items()
                if part_of != name
                for field in fields
            ]
            named &= ~obs["field"].astype(str).isin(learnt)
        part[named.to_numpy() & (part != "")] = name
    return part


def _choose_again(used: pd.DataFrame, card: ModelCard, crop_size: int) -> np.ndarray | None:
    """The choice of the training, or None where these are not its cells."""
    if not set(_SETTINGS) <= set(card.training):
        return None
    settings = {name: card.training[name] for name in _SETTINGS}
    settings["held_out"] = tuple(settings["held_out"])
    # As the training measures it: in field pixels, which crops of another pixel size are more or fewer of.
    in_fields = round(crop_size * float(used["scale"].max())) if "scale" in used and len(used) else crop_size
    try:
        split = split_cells(used, **settings, crop_size=in_fields)
    except (ConfigError, DataError):  # such as donors held out that are not among these cells
        return None
    same = (split.by, split.test, split.validation) == (
        card.held_out.by,
        card.held_out.test,
        card.held_out.validation,
    )
    return split.part if same and split.counts() == card.held_out.cells else None
