"""The APOLLO study's way of scoring predictions, kept by its name for comparison.

What is wrong with it, and is otherwise done in ``scores`` and ``verdicts``: one mode and one maximum are
taken for a whole batch of images, so a score depends on which cells share a batch; the last, short batch
weighs as much as a full one; cells stand for donors; and the truth is not treated as the prediction is.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from napari_apollo.predict.inference import Codes, Inference
from napari_apollo.predict.scores import published_l1

SHARED, FULL = "predicted", "predicted_full"
"""Predictions from chromatin alone; and with what is specific to another protein of the same cell."""


class PublishedScores:
    """Errors batch by batch."""

    def __init__(self) -> None:
        self._rows: list[dict[str, object]] = []

    def take(self, part: str, stain: str, kind: str, made: np.ndarray, truth: np.ndarray) -> None:
        """Score a batch.

        Parameters
        ----------
        part, stain, kind
            What it is; kinds are ``reconstructed``, ``reconstructed_shared``, ``predicted``,
            ``predicted_full``, and names of baselines.
        made, truth
            (n, y, x) in [0, 1].
        """
        about = {"part": part, "stain": stain, "kind": kind}
        self._rows.append({**about, "cells": len(made), "l1": batch_l1(made, truth)})

    def table(self) -> pd.DataFrame:
        """One row a part, stain and kind: ``cells``, ``batches``, ``l1``, and ``ratio`` to the model's.

        As in the study, errors of predictions and of baselines are means of batches, those of
        reconstructions means over cells; the ratio is to ``predicted`` or ``reconstructed``.
        """
        if not self._rows:
            return pd.DataFrame()
        rows: list[dict[str, Any]] = []
        for (part, stain, kind), own in pd.DataFrame(self._rows).groupby(
            ["part", "stain", "kind"], sort=False
        ):
            rebuilt = str(kind).startswith("reconstructed")
            l1 = np.average(own["l1"], weights=own["cells"] if rebuilt else None)
            about = {"part": part, "stain": stain, "kind": kind}
            rows.append({**about, "cells": int(own["cells"].sum()), "batches": len(own), "l1": float(l1)})
        of = {(row["part"], row["stain"], row["kind"]): row["l1"] for row in rows}
        for row in rows:
            whole = "reconstructed" if str(row["kind"]).startswith("reconstructed") else SHARED
            row["ratio"] = row["l1"] / of.get((row["part"], row["stain"], whole), np.nan)
        return pd.DataFrame(rows)


def batch_l1(made: np.ndarray, truth: np.ndarray) -> float:
    """Mean absolute error after the mode subtraction of a whole batch (n, y, x) at once.

    The mode is that of 256 grey levels: real numbers seldom repeat.
    """
    width = made.shape[-1]
    return float(published_l1(made.reshape(1, -1, width), truth.reshape(1, -1, width))[0])


def with_another_protein(inference: Inference, codes: Codes, stain: str) -> np.ndarray | None:
    """A stain from the chromatin's shared latent and what is specific to another protein of the cell.

    The mean over all other proteins that the cells have; the study took the one that it had assigned to each
    cell. None where they have no other.

    Parameters
    ----------
    inference
        The model at work.
    codes
        Latents of the cells.
    stain
        The stain to predict.

    Returns
    -------
    numpy.ndarray
        (n, y, x) in [0, 1].
    """
    others = [latents.specific for name, latents in codes.proteins.items() if name != stain]
    if not others:
        return None
    made = [inference.decode_with(codes.chromatin.shared, specific, stain) for specific in others]
    mean: np.ndarray = np.mean(made, axis=0)
    return mean
