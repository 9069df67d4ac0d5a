"""Scores of a model of tables on held-out cells."""

from __future__ import annotations

import numpy as np

from napari_apollo.model.network import Network
from napari_apollo.train.data import CellData
from napari_apollo.train.tablelatents import predict_cells


def score_tables(network: Network, cells: CellData) -> dict[str, dict[str, float]]:
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
            predicted, measured, which = predict_cells(network, cells, source, target)
            if len(which) < 3:
                continue
            key = "reconstruction" if source == target else f"prediction_from_{source}"
            r = feature_correlations(predicted.reshape(len(which), -1), measured.reshape(len(which), -1))
            entry[f"{key}_pearson"] = round(float(np.nanmean(r)) if np.isfinite(r).any() else 0.0, 6)
        scores[target] = entry
    return scores


def feature_correlations(predicted: np.ndarray, measured: np.ndarray) -> np.ndarray:
    """Correlation over cells (feature,) of predictions and measurements (cell, feature); NaN where constant.

    A feature that varies among cells but is predicted to be constant has 0.
    """
    p = predicted - predicted.mean(axis=0, dtype=np.float64)
    m = measured - measured.mean(axis=0, dtype=np.float64)
    power_p, power_m = (p**2).sum(axis=0), (m**2).sum(axis=0)
    product = (p * m).sum(axis=0)
    with np.errstate(invalid="ignore", divide="ignore"):
        r = product / np.sqrt(power_p * power_m)
    floor = 1e-12 * len(p)
    result: np.ndarray = np.where(power_m <= floor, np.nan, np.where(power_p <= floor, 0.0, r))
    return result
