"""Conditions from images: measured, rebuilt and predicted ones side by side."""

from __future__ import annotations

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from napari_apollo.cells.store import CellStore
from napari_apollo.interpret.cells import LEAST_CELLS, LatentCells
from napari_apollo.interpret.discriminant import balanced, recall_by_sample
from napari_apollo.interpret.samples import Samples, samples_of
from napari_apollo.predict.inference import Inference
from napari_apollo.probes.statistics import draw_donors, intervals_of
from napari_apollo.progress import Progress, ShouldStop, Step, never, silent, stop_if_asked

KINDS = ("measured", "reconstructed", "reconstructed_shared", "predicted")


def classify_images(
    cells: LatentCells,
    store: CellStore,
    inference: Inference,
    *,
    label: NDArray[np.object_],
    architecture: str = "small",
    most_cells: int = 5000,
    folds: int = 5,
    device: str = "cpu",
    seed: int = 0,
    progress: Progress = silent,
    should_stop: ShouldStop = never,
) -> tuple[pd.DataFrame, dict[str, pd.DataFrame]]:
    """Classify held-out donors' cells from images of each stain: measured, rebuilt, from the shared part,
    predicted.

    Parameters
    ----------
    cells, store, inference
        The cells, their images, the model at work.
    label
        (cell,) what is classified.
    architecture
        ``small`` or ``resnet18``.
    most_cells
        Cells of each stain at most, evenly from its donors.
    folds
        Folds of donors; one decides when to stop, which is why three are needed.
    device, seed
        Where to compute; of weights and order.

    Returns
    -------
    table : pandas.DataFrame
        One row a stain and kind, with the columns of ``Phenotypes.table`` but ``p`` and ``q``: every
        permutation would be a training.
    confusion : dict
        As in ``Phenotypes``.
    """
    from napari_apollo.predict.imageclasses import held_out_image_classes

    panels = cells.obs["panel"].astype(str).to_numpy()
    stains = dict.fromkeys(
        stain
        for name in sorted(set(panels))
        for stain in (store.panels[name].anchor, *inference.known(store.panels[name]))
    )
    samples = samples_of(label, cells.donors, cells.obs["field"].astype(str), folds=folds, seed=seed)
    rows, confusion = [], {}
    for number, stain in enumerate(stains):
        stop_if_asked(should_stop)
        have = np.isin(panels, [name for name in set(panels) if stain in store.panels[name]])
        chosen = _spread(np.flatnonzero(have & (samples.of >= 0)), cells.donors, most_cells, seed)
        own = samples.label[samples.of[chosen]]
        if len(chosen) < LEAST_CELLS or len(set(own)) < len(samples.classes):
            continue
        for kind, images in _images(cells, chosen, store, inference, stain).items():
            name = f"images: {stain} {kind.replace('_', ' ')}"
            progress(Step("Classifying images", number, len(stains), name))
            predicted = held_out_image_classes(
                images,
                own,
                samples.fold[samples.of[chosen]],
                architecture=architecture,  # type: ignore[arg-type]
                device=device,
                seed=seed,
                should_stop=should_stop,
            )
            row, confused = _scored(name, predicted, samples, samples.of[chosen], seed)
            rows.append(row)
            confusion[name] = confused
    progress(Step("Classifying images", len(stains), len(stains)))
    return pd.DataFrame(rows), confusion


def _spread(rows: NDArray[np.int64], donors: NDArray[np.object_], most: int, seed: int) -> NDArray[np.int64]:
    shuffled = np.random.default_rng(seed).permutation(rows)
    turn = pd.Series(donors[shuffled]).groupby(donors[shuffled]).cumcount().to_numpy()
    return np.sort(shuffled[np.argsort(turn, kind="stable")[:most]])


def _images(
    cells: LatentCells, chosen: NDArray[np.int64], store: CellStore, inference: Inference, stain: str
) -> dict[str, NDArray[np.float32]]:
    """Kind to (cell, y, x) in [0, 1]; chromatin has no prediction."""
    out: dict[str, NDArray[np.float32]] = {}
    panels = cells.obs["panel"].astype(str).to_numpy()[chosen]
    for name in sorted(set(panels)):
        panel, at = store.panels[name], np.flatnonzero(panels == name)
        for start in range(0, len(at), inference.batch_size):
            places = at[start : start + inference.batch_size]
            rows = cells.obs["row"].to_numpy(np.int64)[chosen[places]]
            raw = store.read_images(name, rows)
            images = inference.normalisation.apply(raw, panel.stains, store.groups(name, rows))
            codes = inference.encode(images, panel)
            own = None if stain == panel.anchor else stain
            made = {
                "measured": images[:, panel.index(stain)],
                "reconstructed": inference.rebuild(codes, own),
                "reconstructed_shared": inference.rebuild(codes, own, shared_only=True),
            }
            if own is not None:
                made["predicted"] = inference.predict(images[:, panel.index(panel.anchor)], codes, stain)
            for kind, values in made.items():
                empty = np.zeros((len(chosen), *values.shape[1:]), np.float32)
                out.setdefault(kind, empty)[places] = values
    return out


def _scored(
    name: str, predicted: NDArray[np.int64], samples: Samples, sample_of: NDArray[np.int64], seed: int
) -> tuple[dict[str, object], pd.DataFrame]:
    present, sample = np.unique(sample_of, return_inverse=True)
    label, classes = samples.label[present], len(samples.classes)
    tested = predicted >= 0
    hit = predicted[tested] == label[sample[tested]]
    recall = recall_by_sample(hit, sample[tested], len(label), empty=np.nan)
    drawn = draw_donors(len(label), strata=label.tolist(), draws=1000, seed=seed)
    values = balanced(recall, label, classes, drawn.counts)
    low, high = intervals_of(values[:, None], drawn.chances, drawn.donors)
    shares = np.stack([recall_by_sample(predicted == k, sample, len(label)) for k in range(classes)], 1)
    confused = pd.DataFrame(
        [shares[label == k].mean(axis=0) for k in range(classes)],
        index=pd.Index(samples.classes, name="true"),
        columns=list(samples.classes),
    )
    row: dict[str, object] = {
        "input": name,
        "kind": "images",
        "cells": len(predicted),
        "donors": len(set(samples.unit[present])),
        "classes": classes,
        "accuracy": float(balanced(recall, label, classes)[0]),
        "low": float(low[0]),
        "high": float(high[0]),
        "chance": 1 / classes,
        "called": float((shares.argmax(axis=1) == label).mean()),
        "p": np.nan,
        "q": np.nan,
    }
    return row, confused
