"""Scores of a model of tables on held-out cells."""

from __future__ import annotations

import numpy as np

from napari_apollo.model.network import Network
from napari_apollo.progress import ShouldStop, never
from napari_apollo.train.data import CellData
from napari_apollo.train.tablelatents import predicted_batches


def score_tables(
    network: Network, cells: CellData, should_stop: ShouldStop = never
) -> dict[str, dict[str, float]]:
    """How well held-out tables are rebuilt, and predicted from each other.

    For each table: ``cells``; ``reconstruction_pearson`` and ``prediction_from_<other>_pearson``, the mean
    over features that vary of the correlation over cells, in the units of ``Network.activate`` (counts as
    log(1 + 10,000 x part)).
    """
    names = [modality.name for modality in network.architecture.modalities]
    scores: dict[str, dict[str, float]] = {}
    for target in names:
        entry: dict[str, float] = {"cells": float(cells.n_rows(target))}
        for source in names:
            found = Correlations()
            for predicted, measured in predicted_batches(network, cells, source, target, should_stop):
                found.add(predicted.reshape(len(predicted), -1), measured.reshape(len(measured), -1))
            if found.cells < 3:
                continue
            key = "reconstruction" if source == target else f"prediction_from_{source}"
            r = found.values()
            entry[f"{key}_pearson"] = round(float(np.nanmean(r)) if np.isfinite(r).any() else 0.0, 6)
        scores[target] = entry
    return scores


class Correlations:
    """Correlations over cells, feature by feature, of cells that come some at a time.

    A wide table of all held-out cells need not lie in memory. Sums are in double precision, of values less
    the mean of the first cells: sums of squares less squares of sums lose features that are large everywhere.

    Attributes
    ----------
    cells
        How many were added.
    """

    def __init__(self) -> None:
        self.cells = 0
        self._centre: tuple[np.ndarray, np.ndarray] | None = None
        self._sums: list[np.ndarray] = []

    def add(self, predicted: np.ndarray, measured: np.ndarray) -> None:
        """Take predictions and measurements (cell, feature) in."""
        if self._centre is None:
            self._centre = predicted.mean(axis=0, dtype=np.float64), measured.mean(axis=0, dtype=np.float64)
        p, m = predicted - self._centre[0], measured - self._centre[1]
        sums = [
            p.sum(axis=0),
            m.sum(axis=0),
            *(np.einsum("ij,ij->j", a, b) for a, b in ((p, p), (m, m), (p, m))),
        ]
        self._sums = (
            sums if not self.cells else [old + new for old, new in zip(self._sums, sums, strict=True)]
        )
        self.cells += len(predicted)

    def values(self) -> np.ndarray:
        """Correlations (feature,); NaN of what is constant, 0 of what varies but is predicted to be
        constant.
        """
        p, m, pp, mm, pm = self._sums
        power_p, power_m = pp - p**2 / self.cells, mm - m**2 / self.cells
        with np.errstate(invalid="ignore", divide="ignore"):
            r = (pm - p * m / self.cells) / np.sqrt(power_p * power_m)
        floor = 1e-12 * self.cells
        found: np.ndarray = np.where(power_m <= floor, np.nan, np.where(power_p <= floor, 0.0, r))
        return found


def feature_correlations(predicted: np.ndarray, measured: np.ndarray) -> np.ndarray:
    """``Correlations`` (feature,) of predictions and measurements (cell, feature) that lie in memory."""
    found = Correlations()
    found.add(predicted, measured)
    return found.values()
