"""Conditions from images: measured, rebuilt and predicted ones side by side."""

from __future__ import annotations

from typing import Literal

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from napari_apollo.cells.store import CellStore
from napari_apollo.interpret.cells import LEAST_CELLS, LatentCells, spread_over
from napari_apollo.interpret.discriminant import balanced, recall_by_sample, shares_called
from napari_apollo.interpret.samples import Samples, accuracy_interval, permuted_labels, samples_of
from napari_apollo.predict.inference import Inference
from napari_apollo.probes.statistics import donor_folds, p_of
from napari_apollo.progress import Progress, ShouldStop, Step, never, silent, stop_if_asked

_TEST_BATCHES = 25
_TEST_CELLS = 40  # of a sample


def classify_images(
    cells: LatentCells,
    store: CellStore,
    inference: Inference,
    *,
    label: NDArray[np.object_],
    architecture: Literal["small", "resnet18"] = "small",
    most_cells: int = 5000,
    folds: int = 5,
    permutations: int = 0,
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
    permutations
        Trainings on permuted conditions of donors that p-values are made from; none without. Observed and
        permuted conditions are then compared by the same short trainings: two folds of donors, about 25
        batches, 40 cells of a donor and condition.
    device, seed
        Where to compute; of weights and order.

    Returns
    -------
    table : pandas.DataFrame
        One row a stain and kind, with the columns of ``Phenotypes.table``; ``p`` is NaN without permutations,
        ``q`` is to be made over all inputs.
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
        chosen = spread_over(np.flatnonzero(have & (samples.of >= 0)), cells.donors, most_cells, seed)
        own = samples.label[samples.of[chosen]]
        if len(chosen) < LEAST_CELLS or len(set(own)) < len(samples.classes):
            continue
        for kind, images in images_of(cells, chosen, store, inference, stain).items():
            name = f"images: {stain} {kind.replace('_', ' ')}"
            progress(Step("Classifying images", number, len(stains), name))
            predicted = held_out_image_classes(
                images,
                own,
                samples.fold[samples.of[chosen]],
                architecture=architecture,
                device=device,
                seed=seed,
                should_stop=should_stop,
            )
            row, confused = _scored(name, predicted, samples, samples.of[chosen], seed)
            if permutations:
                row["p"] = _p_value(
                    images, samples, samples.of[chosen], architecture, permutations, device, seed, should_stop
                )
            rows.append(row)
            confusion[name] = confused
    progress(Step("Classifying images", len(stains), len(stains)))
    return pd.DataFrame(rows), confusion


def images_of(
    cells: LatentCells,
    chosen: NDArray[np.int64],
    store: CellStore,
    inference: Inference,
    stain: str | None = None,
) -> dict[str, NDArray[np.float32]]:
    """Images of a stain by kind, (cell, y, x) in [0, 1]; chromatin has no prediction.

    Parameters
    ----------
    cells, store, inference
        The cells, their images, the model at work.
    chosen
        Positions of the cells; all have the stain.
    stain
        Of the images; the chromatin, whatever stain shows it in the cell's panel, where not given.
    """
    out: dict[str, NDArray[np.float32]] = {}
    panels = cells.obs["panel"].astype(str).to_numpy()[chosen]
    for name in sorted(set(panels)):
        panel, at = store.panels[name], np.flatnonzero(panels == name)
        for start in range(0, len(at), inference.batch_size):
            places = at[start : start + inference.batch_size]
            rows = cells.obs["row"].to_numpy(np.int64)[chosen[places]]
            images = inference.normalised(store, name, rows)
            codes = inference.encode(images, panel)
            own = None if stain == panel.anchor else stain
            made = {
                "measured": images[:, panel.index(own or panel.anchor)],
                "reconstructed": inference.rebuild(codes, own),
                "reconstructed_shared": inference.rebuild(codes, own, shared_only=True),
            }
            if own is not None:
                made["predicted"] = inference.predict(images[:, panel.index(panel.anchor)], codes, own)
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
    low, high = accuracy_interval(recall, label, samples.unit[present], samples.within, classes, seed)
    confusion, called = shares_called(predicted, sample, label, classes)
    names = list(samples.classes)
    confused = pd.DataFrame(confusion, index=pd.Index(names, name="true"), columns=names)
    row: dict[str, object] = {
        "input": name,
        "kind": "images",
        "cells": len(predicted),
        "donors": len(set(samples.unit[present])),
        "classes": classes,
        "accuracy": float(balanced(recall, label, classes)[0]),
        "low": low,
        "high": high,
        "chance": 1 / classes,
        "called": called,
        "p": np.nan,
        "q": np.nan,
    }
    return row, confused


def _p_value(
    images: NDArray[np.float32],
    samples: Samples,
    sample_of: NDArray[np.int64],
    architecture: Literal["small", "resnet18"],
    permutations: int,
    device: str,
    seed: int,
    should_stop: ShouldStop,
) -> float:
    """Of the accuracy of short trainings among those with the conditions of donors permuted."""
    from napari_apollo.predict.imageclasses import BATCH, held_out_image_classes

    shuffled = np.random.default_rng(seed).permutation(len(sample_of))
    turn = pd.Series(sample_of[shuffled]).groupby(sample_of[shuffled]).cumcount().to_numpy()
    rows = np.sort(shuffled[turn < _TEST_CELLS])
    present, sample = np.unique(sample_of[rows], return_inverse=True)
    unit, label, classes = samples.unit[present], samples.label[present], len(samples.classes)
    fold = donor_folds(unit.tolist(), 2, seed=seed)
    epochs = max(1, round(_TEST_BATCHES / max(1, len(rows) / 2 / BATCH)))

    def accuracy(of: NDArray[np.int64]) -> float:
        predicted = held_out_image_classes(
            images[rows],
            of[sample],
            fold[sample],
            architecture=architecture,
            epochs=epochs,
            device=device,
            seed=seed,
            should_stop=should_stop,
        )
        tested = predicted >= 0
        recall = recall_by_sample(
            predicted[tested] == of[sample][tested], sample[tested], len(of), empty=np.nan
        )
        return float(balanced(recall, of, classes)[0])

    null = np.array([accuracy(of) for of in permuted_labels(label, unit, samples.within, permutations, seed)])
    observed = np.array([accuracy(label)])
    return float(p_of(observed, null[np.isfinite(null)])[0])
