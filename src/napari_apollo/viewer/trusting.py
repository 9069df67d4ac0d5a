"""Whether a model fits the cells, and which of its predictions can be believed, in words and by cell.

Nothing here needs a window, and no network is loaded: a model is judged by its card.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from napari_apollo.errors import ApolloError
from napari_apollo.model.card import CARD, ModelCard, read_card
from napari_apollo.predict.fit import require_fit
from napari_apollo.predict.support import BEYOND
from napari_apollo.predict.table import PREDICTED_SUPPORT

if TYPE_CHECKING:
    from napari_apollo.cells import CellStore


@dataclass(frozen=True)
class DescribedModel:
    """A model as its card describes it.

    Attributes
    ----------
    folder
        Of the model.
    card
        Its description.
    """

    folder: Path
    card: ModelCard


def described(folder: Path | str) -> DescribedModel:
    """The model of a run folder or of a model folder, by its card.

    Raises
    ------
    ModelError
        When there is no model, or its card cannot be read.
    """
    folder = Path(folder)
    place = folder if (folder / CARD).is_file() else folder / "model"
    return DescribedModel(place, read_card(place))


def why_not(folder: Path | str, store: CellStore) -> str:
    """Why a model cannot predict for the cells of a store, in words; empty when it can."""
    try:
        model = described(folder)
        require_fit(model, model.folder.parent.name, store)
    except ApolloError as error:
        return str(error)
    return ""


def fit_in_words(folder: Path | str, store: CellStore, others: Iterable[Path | str] = ()) -> tuple[str, bool]:
    """What a model would predict for the cells of a store, or why it does not fit and what would.

    Parameters
    ----------
    folder
        A run folder or a model folder.
    store
        The cells.
    others
        Further runs, of which those that fit are named.

    Returns
    -------
    words : str
        For people.
    fits : bool
        Whether it fits.
    """
    problem = why_not(folder, store)
    if problem:
        fitting = [Path(other).name for other in others if not why_not(other, store)]
        remedy = (
            f"These runs fit: {', '.join(fitting)}."
            if fitting
            else "No other run here fits; train one on these cells."
        )
        return f"{problem} {remedy}", False
    card = described(folder).card
    lines = []
    for name, panel in store.panels.items():
        lacking = [stain for stain in card.vocabulary if stain not in panel]
        if lacking and store.count(name):
            lines.append(f"{', '.join(lacking)} for the cells of {name}")
    return ("Predicts " + "; ".join(lines) + ".") if lines else "Every cell has all stains it knows.", True


def beyond_support(store: CellStore, stain: str) -> NDArray[np.bool_] | None:
    """Cells that are unlike any that a model learnt a stain from, so that its prediction is no evidence.

    Parameters
    ----------
    store
        Cells whose table has the scores of a prediction.
    stain
        Canonical name of the predicted stain.

    Returns
    -------
    ndarray of bool (cell,) or None
        True beyond support; None where nothing is known. Cells of unknown support are not beyond it.
    """
    ranks = store.table.obsm.get(PREDICTED_SUPPORT)
    if not isinstance(ranks, pd.DataFrame) or stain not in ranks:
        return None
    beyond: NDArray[np.bool_] = ranks[stain].to_numpy(np.float32) > np.float32(BEYOND)  # as it was stored
    return beyond


def support_in_words(store: CellStore, stains: Sequence[str]) -> str:
    """How many cells lie beyond support, of each stain where any does; empty where nothing is known."""
    parts = []
    known = False
    for stain in stains:
        beyond = beyond_support(store, stain)
        lacking = [name for name, panel in store.panels.items() if stain not in panel]
        own = store.obs["panel"].astype(str).isin(lacking).to_numpy()
        if beyond is None or not own.any():
            continue
        known = True
        share = float(beyond[own].mean())
        if share > 0:
            parts.append(f"{stain} {share:.0%}" if share >= 0.005 else f"{stain} under 1%")
    if parts:
        return (
            f"Grey, as unlike any cell that the model learnt the stain from: {', '.join(parts)} of the cells."
        )
    return "All predicted cells are like those that the model learnt from." if known else ""
