"""Scores of a finished model on the test cells, computed once and written into its file."""

from __future__ import annotations

import numpy as np
import pandas as pd

from napari_apollo.model.apollo import Apollo
from napari_apollo.model.modality import CHROMATIN, PROTEIN
from napari_apollo.probes.gains import gains_over, region_sums
from napari_apollo.train.dataset import TEST, TRAIN, Dataset

_MOST = 2000
"""Cells per panel that are looked at, spread evenly; sampling more would not change two digits."""


def score_model(model: Apollo, dataset: Dataset) -> dict[str, dict[str, float]]:
    """How well test cells are rebuilt, and their proteins predicted from chromatin alone.

    For each stain: ``*_mae``, mean absolute error over cells and pixels, in parts of the normalised
    range; ``*_pearson``, correlation over all pixels of all cells. ``reconstruction`` goes through the
    full decoder, ``prediction`` from the chromatin's shared latent; ``mean`` is the mean image of the
    stain's training cells, the least a prediction should beat. ``gain`` and ``pearson_gain`` are by how
    much it does so within cells, with the ends of their intervals over ``donors``: see ``probes.gains``. The
    chromatin of a model whose chromatin is conditional is encoded with the protein each cell was assigned.

    Returns
    -------
    dict
        Stain, then name of the score.
    """
    collected: dict[str, dict[str, list[np.ndarray]]] = {}
    compared: dict[str, list[pd.DataFrame]] = {}
    means = _mean_images(dataset)
    for name, panel in dataset.panels.items():
        cells = _spread(dataset, TEST, name)
        if not len(cells):
            continue
        rows = dataset.obs["row"].to_numpy(np.int64)[cells]
        images = dataset.store.normalised(name, rows)
        region = dataset.store.read_masks(name, rows) > 0
        donors = dataset.obs["donor"].astype(str).to_numpy(object)[cells]
        assigned = [dataset.stain(cell, dataset.protein[cell]) for cell in cells]
        anchor = images[:, [panel.index(panel.anchor)]]
        by_chromatin = model.encode(anchor, CHROMATIN, assigned)
        pairs = [
            (
                panel.anchor,
                anchor[:, 0],
                {
                    "reconstruction": model.decode(
                        by_chromatin.shared, by_chromatin.specific, CHROMATIN, assigned
                    )
                },
            )
        ]
        for stain in panel.proteins:
            own = images[:, [panel.index(stain)]]
            latents = model.encode(own, PROTEIN, stain)
            pairs.append(
                (
                    stain,
                    own[:, 0],
                    {
                        "reconstruction": model.decode(latents.shared, latents.specific, PROTEIN, stain),
                        "prediction": model.decode(by_chromatin.shared, None, PROTEIN, stain),
                        "mean": np.broadcast_to(means[stain], own[:, 0].shape),
                    },
                )
            )
        for stain, truth, made in pairs:
            entry = collected.setdefault(stain, {})
            for key, values in {"truth": truth, **made}.items():
                entry.setdefault(key, []).append(values)
            if "prediction" in made:
                of_cells = _compared(made, truth, region)
                compared.setdefault(stain, []).append(of_cells.assign(donor=donors))
    return {
        stain: _scores(entry) | _gains(compared.get(stain, [])) for stain, entry in sorted(collected.items())
    }


def _compared(made: dict[str, np.ndarray], truth: np.ndarray, region: np.ndarray) -> pd.DataFrame:
    """Sums over the cells of the prediction, and of the mean image under its prefix."""
    own, mean = (pd.DataFrame(region_sums(made[key], truth, region)) for key in ("prediction", "mean"))
    return pd.concat([own, mean.add_prefix("mean_")], axis=1)


def _gains(compared: list[pd.DataFrame]) -> dict[str, float]:
    """What the prediction gains over the mean image; ends that cannot be made are left out."""
    if not compared:
        return {}
    gains = gains_over(pd.concat(compared, ignore_index=True), "mean")
    known = {name: round(value, 6) for name, value in gains.numbers().items() if np.isfinite(value)}
    return {"donors": float(gains.donors), **known}


def _scores(entry: dict[str, list[np.ndarray]]) -> dict[str, float]:
    truth = np.concatenate(entry["truth"])
    scores: dict[str, float] = {"cells": float(len(truth))}
    for key in ("reconstruction", "prediction", "mean"):
        if key in entry:
            made = np.concatenate(entry[key])
            scores[f"{key}_mae"] = round(float(np.abs(made - truth).mean()), 6)
            scores[f"{key}_pearson"] = round(pearson(made, truth), 6)
    return scores


def pearson(first: np.ndarray, second: np.ndarray) -> float:
    """Correlation over all values; 0 where either is constant."""
    first = first.astype(np.float64).ravel() - float(first.mean(dtype=np.float64))
    second = second.astype(np.float64).ravel() - float(second.mean(dtype=np.float64))
    scale = float(np.sqrt((first @ first) * (second @ second)))
    return float(first @ second) / scale if scale > 0 else 0.0


def _mean_images(dataset: Dataset) -> dict[str, np.ndarray]:
    """Mean image (y, x) of each protein over its training cells."""
    sums: dict[str, tuple[np.ndarray, int]] = {}
    for name, panel in dataset.panels.items():
        cells = _spread(dataset, TRAIN, name)
        images = dataset.store.normalised(name, dataset.obs["row"].to_numpy(np.int64)[cells])
        for stain in panel.proteins:
            total, count = sums.get(stain, (np.zeros(images.shape[2:]), 0))
            sums[stain] = (
                total + images[:, panel.index(stain)].sum(axis=0, dtype=np.float64),
                count + len(cells),
            )
    return {stain: (total / count).astype(np.float32) for stain, (total, count) in sums.items()}


def _spread(dataset: Dataset, part: str, panel: str) -> np.ndarray:
    cells = dataset.split.cells(part)
    own = cells[(dataset.obs["panel"].to_numpy(object) == panel)[cells]]
    return own[:: max(1, -(-len(own) // _MOST))]
