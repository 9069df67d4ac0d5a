"""Quality of the cells of a store: what was measured, the limits in force, and what other limits would do."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

if TYPE_CHECKING:
    from napari_apollo.cells import CellStore


@dataclass(frozen=True)
class Measure:
    """A measure with limits.

    Attributes
    ----------
    reason
        What cells beyond the limits are flagged with.
    title
        In words.
    low, high
        Settings of ``CropConfig`` that hold its limits; empty where there is none.
    found_low, found_high
        Names of the limits in the store's provenance.
    """

    reason: str
    title: str
    low: str = ""
    high: str = ""
    found_low: str = ""
    found_high: str = ""

    def values(self, obs: pd.DataFrame) -> NDArray[np.float64]:
        """The measure of every cell, (n,)."""
        if self.reason == "area":
            # limits are in crop pixels, the table in pixels of the field
            return (obs["nucleus_area_px"] / obs["scale"] ** 2).to_numpy(float)
        return obs[_COLUMNS[self.reason]].to_numpy(float)


_COLUMNS = {"solidity": "qc_solidity", "focus": "nucleus_focus", "saturation": "nucleus_saturation"}

MEASURES = (
    Measure("area", "Area of the nucleus (px)", "area_min", "area_max", "area_low", "area_high"),
    Measure("solidity", "Solidity", low="solidity_min", found_low="solidity_low"),
    Measure("focus", "Focus", low="focus_min", found_low="focus_low"),
    Measure("saturation", "Saturated part", high="saturation_max", found_high="saturation_high"),
)


def limits_in_force(store: CellStore) -> dict[str, float]:
    """Limits by setting of ``CropConfig``, as they were given or estimated when the cells were cut."""
    found: Mapping[str, Any] = store.provenance.get("quality", {}).get("limits", {})
    limits = {}
    for measure in MEASURES:
        for setting, name in ((measure.low, measure.found_low), (measure.high, measure.found_high)):
            if setting and found.get(name) is not None:
                limits[setting] = float(found[name])
    return limits


def count_with(obs: pd.DataFrame, limits: Mapping[str, float]) -> dict[str, int]:
    """What limits would do to the cells of a table.

    Parameters
    ----------
    obs
        Table of a cell store.
    limits
        By setting of ``CropConfig``; a measure without a limit flags nothing.

    Returns
    -------
    dict
        ``"cells"``, ``"passed"``, then cells flagged for each reason. Reasons without limits here, such as
        ``border``, stay as they are in the table.
    """
    reasons = obs["qc_reason"].astype(str).to_numpy()
    own = {measure.reason for measure in MEASURES}
    flags: dict[str, NDArray[np.bool_]] = {}
    for combination in np.unique(reasons):
        for reason in filter(None, combination.split(";")):
            if reason not in own:
                flags[reason] = flags.get(reason, np.zeros(len(obs), bool)) | (reasons == combination)
    for measure in MEASURES:
        values = measure.values(obs)
        hit = np.zeros(len(obs), bool)
        if measure.low in limits:
            hit |= values < limits[measure.low]
        if measure.high in limits:
            hit |= values > limits[measure.high]
        flags[measure.reason] = hit
    failed = np.logical_or.reduce([*flags.values(), np.zeros(len(obs), bool)])
    counts = {"cells": len(obs), "passed": int((~failed).sum())}
    return counts | {reason: int(hit.sum()) for reason, hit in sorted(flags.items()) if hit.any()}


def in_words(counts: Mapping[str, int]) -> str:
    """``1700 of 1900 cells pass; flagged: area 120, border 80``."""
    flagged = ", ".join(
        f"{name} {number}" for name, number in counts.items() if name not in ("cells", "passed")
    )
    words = f"{counts['passed']} of {counts['cells']} cells pass"
    return f"{words}; flagged: {flagged}" if flagged else words
