"""Which cells a model never learns from, decided before anything is trained.

Whole donors where there are enough of them, else whole fields; of a single field its two sides, which
is the weakest kind and is called so. The choice depends on the seed and on names alone.
"""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import pandas as pd

from napari_apollo.errors import ConfigError, DataError

TRAIN, VALIDATION, TEST = "train", "validation", "test"

MIN_TRAIN, MIN_HELD_OUT = 32, 8
"""Least numbers of cells to learn from, and to validate or test on."""


@dataclass(frozen=True)
class Split:
    """Parts of the cells.

    Attributes
    ----------
    part
        (cell,) of ``train``, ``validation``, ``test``, or ``""`` for cells that belong to none:
        those of an image that lie beside a held-out one.
    by
        What was held out as a whole for the test: ``split`` (the study said so), ``donor``,
        ``field`` or ``region``.
    test, validation
        Names of what was held out.
    fields
        Where the study stated the split, which names nothing: fields of cells in ``train``, ``validation``.
    """

    part: np.ndarray
    by: str
    test: tuple[str, ...]
    validation: tuple[str, ...]
    fields: Mapping[str, tuple[str, ...]] = dataclasses.field(default_factory=dict)

    def cells(self, part: str) -> np.ndarray:
        """Positions (n,) int64 of the cells of a part."""
        return np.flatnonzero(self.part == part)

    def counts(self) -> dict[str, int]:
        """Number of cells of each part."""
        return {part: int((self.part == part).sum()) for part in (TRAIN, VALIDATION, TEST)}

    @property
    def left_out(self) -> int:
        """Number of cells that belong to no part."""
        return int((self.part == "").sum())


def split_cells(
    obs: pd.DataFrame,
    *,
    held_out: tuple[str, ...] = (),
    test_fraction: float = 0.15,
    validation_fraction: float = 0.15,
    seed: int = 3,
    crop_size: int = 0,
) -> Split:
    """Choose validation and test cells.

    Parameters
    ----------
    obs
        One row a cell, with ``donor``, ``field``, ``panel``, ``y``, ``x`` (pixels) and ``split``
        (``train``, ``validation``, ``test``, or empty).
    held_out
        Donors or fields to test on; they override ``split``.
    test_fraction, validation_fraction
        Parts of the cells, and of the remaining ones, that a choice made here aims at.
    seed
        Of that choice.
    crop_size
        In pixels of the fields; where sides of one field are held out, cells nearer than half a
        crop to them are left out of everything.

    Raises
    ------
    ConfigError
        When a name in ``held_out`` is neither a donor nor a field.
    DataError
        When too few cells are left of a part, a panel would have none to learn from, or ``split`` says what
        is no part.
    """
    part = _from_study(obs)
    by = "split"
    test: tuple[str, ...] = ("split",)
    validation: tuple[str, ...] = ("split",)
    if held_out:
        by, chosen = _named(obs, held_out)
        part[part == TEST] = TRAIN
        part[chosen] = TEST
        test = held_out
    elif not (part == TEST).any():
        # What the study keeps for validation stays what it is.
        by, chosen, test = _choose(obs, part != VALIDATION, test_fraction, seed, "test", enough=3)
        part[chosen] = TEST
    if not (part == VALIDATION).any():
        _, chosen, validation = _choose(obs, part != TEST, validation_fraction, seed, "validation", enough=2)
        part[chosen] = VALIDATION
    _leave_gap(obs, part, crop_size / 2)
    names = obs["field"].astype(str).to_numpy()
    learnt = (TRAIN, VALIDATION) if by == "split" else ()
    fields = {name: tuple(sorted(set(names[part == name].tolist()))) for name in learnt}
    split = Split(part, by, test, validation, fields)
    _check(obs, split)
    return split


def _from_study(obs: pd.DataFrame) -> np.ndarray:
    part = np.full(len(obs), TRAIN, dtype=object)
    if "split" in obs:
        stated = obs["split"].astype(object).fillna("").astype(str).to_numpy()
        # Of a word that nobody knows, cells for the test would be learnt from.
        if unknown := sorted(set(stated.tolist()) - {"", TRAIN, VALIDATION, TEST}):
            raise DataError(
                f"split is {', '.join(map(repr, unknown[:5]))} for some cells; "
                f"{TRAIN}, {VALIDATION}, {TEST} or nothing would be right."
            )
        for name in (VALIDATION, TEST):
            part[stated == name] = name
    return part


def _named(obs: pd.DataFrame, names: tuple[str, ...]) -> tuple[str, np.ndarray]:
    for by in ("donor", "field"):
        known = obs[by].astype(str)
        if set(names) <= set(known):
            return by, known.isin(names).to_numpy()
    unknown = [name for name in names if name not in set(obs["donor"].astype(str))]
    donors = ", ".join(sorted(set(obs["donor"].astype(str)))[:20])
    fields = ", ".join(sorted(set(obs["field"].astype(str)))[:20])
    raise ConfigError(
        f"held_out names {', '.join(unknown)}: neither all donors ({donors}) nor all fields ({fields})."
    )


def _choose(
    obs: pd.DataFrame, among: np.ndarray, fraction: float, seed: int, purpose: str, enough: int
) -> tuple[str, np.ndarray, tuple[str, ...]]:
    """Kind of unit, chosen cells (bool), and names of the chosen units."""
    for by in ("donor", "field"):
        units = obs[by].astype(str).where(pd.Series(among, index=obs.index), "").to_numpy()
        names = sorted(set(units) - {""})
        if len(names) < enough:
            continue
        chosen = _hashed_choice(obs, units, names, fraction, seed, purpose)
        if chosen:
            return by, np.isin(units, chosen), tuple(chosen)
    return _side(obs, among, fraction, seed, purpose)


def _hashed_choice(
    obs: pd.DataFrame, units: np.ndarray, names: list[str], fraction: float, seed: int, purpose: str
) -> list[str]:
    """Units in the order of their hash, until the fraction is reached; no panel loses its last unit."""
    panel = obs["panel"].astype(str).to_numpy()
    wanted = fraction * int((units != "").sum())
    sizes = {name: int((units == name).sum()) for name in names}
    chosen: list[str] = []
    total = 0
    for name in sorted(names, key=lambda name: hash_of(seed, purpose, name)):
        rest = (units != "") & ~np.isin(units, [*chosen, name])
        if set(panel[rest]) != set(panel[units != ""]) or total + sizes[name] > max(
            2 * wanted, min(sizes.values())
        ):
            continue
        chosen.append(name)
        total += sizes[name]
        if total >= wanted:
            break
    return chosen


def _side(
    obs: pd.DataFrame, among: np.ndarray, fraction: float, seed: int, purpose: str
) -> tuple[str, np.ndarray, tuple[str, ...]]:
    """The outermost cells on one side of each field; test and validation take opposite sides."""
    chosen = np.zeros(len(obs), bool)
    names = []
    fields, pictures = obs["field"].astype(str).to_numpy(), _pictures(obs)
    for field in sorted(set(fields[among])):
        own = np.flatnonzero(among & (fields == field))
        # The same side of all fields of one image, so that none learns from what another keeps.
        first_of_image = min(fields[pictures == pictures[own[0]]])
        turn = hash_of(seed, "side", first_of_image)[0] % 4
        axis, first = ("y", "x")[turn % 2], (turn < 2) == (purpose == "test")
        place = obs[axis].to_numpy(dtype=float)[own]
        count = max(1, round(fraction * len(own)))
        order = np.argsort(place, kind="stable")
        chosen[own[order[:count] if first else order[-count:]]] = True
        side = {("y", True): "top", ("y", False): "bottom", ("x", True): "left", ("x", False): "right"}
        names.append(f"{field} ({side[axis, first]})")
    return "region", chosen, tuple(names)


def _leave_gap(obs: pd.DataFrame, part: np.ndarray, distance: float) -> None:
    """Leave out training and validation cells that lie within ``distance`` of cells of the same image which
    are held out from them: a crop shows what is around its cell. Fields, even donors, may share an image.
    """
    from scipy.spatial import cKDTree

    places = obs[["y", "x"]].to_numpy(dtype=float)
    pictures = _pictures(obs)
    for picture in sorted(set(pictures)):
        own = pictures == picture
        for held, dropped in ((TEST, (TRAIN, VALIDATION)), (VALIDATION, (TRAIN,))):
            near_to = np.flatnonzero(own & (part == held))
            candidates = np.flatnonzero(own & np.isin(part, dropped))
            if len(near_to) and len(candidates):
                gap, _ = cKDTree(places[near_to]).query(places[candidates], p=np.inf)
                part[candidates[gap < distance]] = ""


def _pictures(obs: pd.DataFrame) -> np.ndarray:
    """What each cell (cell,) was cut from: the image; the field where that is not known."""
    field = "field:" + obs["field"].astype(str)
    if "image" not in obs:
        return field.to_numpy(object)
    image = obs["image"].astype(object).fillna("").astype(str)
    return image.where(image != "", field).to_numpy(object)


def _check(obs: pd.DataFrame, split: Split) -> None:
    counts = split.counts()
    for part, least in ((TRAIN, MIN_TRAIN), (VALIDATION, MIN_HELD_OUT), (TEST, MIN_HELD_OUT)):
        if counts[part] < least:
            raise DataError(
                f"{counts[part]} cells to {_USE[part]} are too few; {least} or more are needed. There are "
                f"{len(obs)} cells that passed the quality check; add fields, or hold out less."
            )
    panel = obs["panel"].astype(str).to_numpy()
    missing = sorted(set(panel) - set(panel[split.cells(TRAIN)]))
    if missing:
        raise DataError(
            f"No cell of panel {', '.join(missing)} is left to learn from: all are held out. Hold out "
            "donors or fields of which other ones have the same panel."
        )


_USE = {TRAIN: "learn from", VALIDATION: "decide when to stop", TEST: "test on"}


def hash_of(*parts: object) -> bytes:
    """By what names are drawn: it does not depend on the other names."""
    return hashlib.sha256(":".join(str(part) for part in parts).encode()).digest()
