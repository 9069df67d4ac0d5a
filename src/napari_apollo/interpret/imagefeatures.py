"""Features of proteins regressed from the chromatin image: what of a protein the nucleus shows."""

from __future__ import annotations

from typing import Literal

import numpy as np
import pandas as pd

from napari_apollo.cells.store import CellStore
from napari_apollo.errors import DataError
from napari_apollo.interpret.cells import LEAST_CELLS, LatentCells, normal_scores, spread_over
from napari_apollo.interpret.imagephenotypes import images_of
from napari_apollo.predict.featurescores import FeaturePairs, feature_scores
from napari_apollo.predict.inference import Inference
from napari_apollo.probes.statistics import donor_folds
from napari_apollo.progress import Progress, ShouldStop, Step, never, silent, stop_if_asked


def regress_features(
    cells: LatentCells,
    store: CellStore,
    inference: Inference,
    *,
    architecture: Literal["small", "resnet18"] = "small",
    most_cells: int = 5000,
    folds: int = 5,
    epochs: int = 30,
    device: str = "cpu",
    seed: int = 0,
    progress: Progress = silent,
    should_stop: ShouldStop = never,
) -> pd.DataFrame:
    """Read every feature of a protein from chromatin images of cells of held-out donors.

    The images are the measured chromatin, the chromatin rebuilt from both its blocks, and rebuilt from the
    shared block alone: what a feature loses from one to the next is in the block left out. The protein's own
    image is the control. The APOLLO study compares the number of gammaH2AX foci with median intensity so, on
    other cells of the donors learnt from; here donors are held out, and features are normal scores within
    donors.

    Parameters
    ----------
    cells, store, inference
        The cells, their images, the model at work.
    architecture
        Network; one for all features of a protein.
    most_cells
        Cells of each protein at most, evenly from its donors.
    folds, epochs
        Folds of donors, or of fields of a single donor; epochs at most.
    device, seed
        Where to compute; of weights and order.

    Returns
    -------
    pandas.DataFrame
        One row a feature and image: ``feature, stain, image, cells, donors``, and ``spearman`` of what was
        read with what was measured, within donors, with ``spearman_low`` and ``spearman_high`` over donors.

    Raises
    ------
    DataError
        When no protein has features, or all cells come from one field.
    """
    from napari_apollo.predict.imageclasses import held_out_image_values

    stains = np.array(cells.stains, object)
    panels = cells.obs["panel"].astype(str).to_numpy()
    proteins = [stain for stain in inference.vocabulary if (stains == stain).any()]
    parts = []
    for number, stain in enumerate(proteins):
        columns = np.flatnonzero(stains == stain)
        have = np.isin(panels, [name for name in set(panels) if stain in store.panels[name]])
        rows = spread_over(np.flatnonzero(have), cells.donors, most_cells, seed)
        if len(rows) < LEAST_CELLS:
            continue
        values = cells.features.to_numpy(np.float64)[np.ix_(rows, columns)]
        donors = cells.donors[rows]
        units = donors if len(set(donors)) > 1 else cells.obs["field"].astype(str).to_numpy(object)[rows]
        fold_of = donor_folds(units.tolist(), folds, seed=seed)
        targets = normal_scores(values, donors)
        for kind, images in _inputs(cells, rows, store, inference, stain).items():
            stop_if_asked(should_stop)
            progress(Step("Regressing features", number, len(proteins), f"{stain} from {kind}"))
            made = held_out_image_values(
                images,
                targets,
                fold_of,
                architecture=architecture,
                epochs=epochs,
                device=device,
                seed=seed,
                should_stop=should_stop,
            )
            names = tuple(cells.features.columns.astype(str)[columns])
            found = feature_scores(FeaturePairs(names, made, targets, donors, units), seed=seed)
            parts.append(found.assign(stain=stain, image=kind))
    progress(Step("Regressing features", len(proteins), len(proteins)))
    if not parts:
        raise DataError(f"No protein has features in {LEAST_CELLS} cells.")
    table = pd.concat(parts, ignore_index=True)
    columns_kept = [
        "feature",
        "stain",
        "image",
        "cells",
        "donors",
        "spearman",
        "spearman_low",
        "spearman_high",
    ]
    return table[columns_kept]


def _inputs(
    cells: LatentCells, rows: np.ndarray, store: CellStore, inference: Inference, stain: str
) -> dict[str, np.ndarray]:
    """Images by what they are; panels may show chromatin in different stains."""
    chromatin = images_of(cells, rows, store, inference)
    own = images_of(cells, rows, store, inference, stain)
    return {
        "chromatin": chromatin["measured"],
        "chromatin, rebuilt": chromatin["reconstructed"],
        "chromatin, shared part": chromatin["reconstructed_shared"],
        "the protein's own": own["measured"],
    }
