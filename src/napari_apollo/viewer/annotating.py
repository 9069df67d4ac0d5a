"""An annotation session: what the annotation tool does, for scripts as well.

Nothing here needs a window.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray

from napari_apollo.annotate import (
    Annotations,
    Suggestions,
    agreement_table,
    cell_features,
    export_annotations,
    open_annotations,
    read_annotations,
    suggest,
    write_annotations,
)
from napari_apollo.errors import InputError
from napari_apollo.progress import Progress, ShouldStop, Step, never, silent, stop_if_asked
from napari_apollo.viewer.columns import CellColumns, Column
from napari_apollo.viewer.sorting import TABLE_ORDER, Shown, cells_shown

if TYPE_CHECKING:
    from napari_apollo.cells import CellStore


class AnnotationSession:
    """One person annotates the cells of one store.

    Parameters
    ----------
    store
        The cells.
    annotator
        Name of the person.

    Attributes
    ----------
    annotations : Annotations
        What the person said; every action is on the disk when it returns.
    suggestions : Suggestions or None
        What the classifier said last.

    Raises
    ------
    FileError
        When another window has this person's journal open.

    Examples
    --------
    >>> with AnnotationSession(store, "Ada") as session:  # doctest: +SKIP
    ...     session.label([0, 4, 9], "dividing")
    ...     session.label([1, 2, 3], "resting")
    ...     session.use(session.suggest())
    ...     next_ones = session.shown("not annotated", "Most uncertain first")[:20]
    """

    def __init__(self, store: CellStore, annotator: str) -> None:
        self.store = store
        self.columns = CellColumns(store)
        self.cell_ids = store.obs["cell_id"].to_numpy()
        self.annotations: Annotations = open_annotations(store, annotator)
        self.suggestions: Suggestions | None = None
        self._features: NDArray[np.float32] | None = None

    def __enter__(self) -> AnnotationSession:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Let others write this person's journal."""
        self.annotations.close()

    # --- actions ---------------------------------------------------------------------------------

    def label(self, cells: ArrayLike, name: str) -> None:
        """Give cells (positions in the table) a class; an empty name takes theirs away."""
        self.annotations.label(self._ids(cells), name)

    def exclude(self, cells: ArrayLike) -> None:
        """Leave cells out; where all are out already, take them in again."""
        ids = self._ids(cells)
        inside = [cell for cell in ids if cell not in self.annotations.excluded]
        self.annotations.exclude(ids, bool(inside))

    def class_of_key(self, key: int) -> str:
        """Class of a number key; empty for 0.

        Raises
        ------
        InputError
            When no class has the key.
        """
        names = list(self.annotations.classes)
        if key > len(names):
            others = f", or use 1 to {len(names)}" if names else ""
            raise InputError(f"There is no class {key} yet; add one{others}.")
        return names[key - 1] if key else ""

    def suggest(self, *, progress: Progress = silent, should_stop: ShouldStop = never) -> Suggestions:
        """What the classifier says, having learnt from the annotations as they stand; nothing is changed.

        Raises
        ------
        DataError
            When fewer than two classes have examples, or cells have neither latents nor measurements.
        """
        codes = self.codes
        codes[self.excluded] = -1
        classes = tuple(self.annotations.classes)
        if self._features is None:
            progress(Step("Collecting latents and measurements"))
            self._features = cell_features(self.store.table)
        stop_if_asked(should_stop)
        progress(Step("Learning from the annotated cells"))
        found = suggest(self._features, codes, classes)
        stop_if_asked(should_stop)
        return found

    def use(self, suggestions: Suggestions | None) -> None:
        """Take up suggestions."""
        self.suggestions = suggestions

    def accept(self, cells: ArrayLike) -> int:
        """Give cells without a class the one that is suggested; how many there were."""
        if self.suggestions is None:
            return 0
        asked: NDArray[np.int64] = np.asarray(cells, np.int64)
        asked = asked[(self.codes[asked] < 0) & ~self.excluded[asked]]
        said = self.suggestions.codes[asked]
        for number, name in enumerate(self.suggestions.classes):
            own = asked[said == number]
            if name in self.annotations.classes and len(own):
                self.label(own, name)
        return len(asked)

    def write(self, *, progress: Progress = silent, should_stop: ShouldStop = never) -> Path:
        """Put everybody's annotations into the table of the store; its path comes back."""
        progress(Step("Writing annotations into the store"))
        write_annotations(self.store)
        return self.store.path

    def export(self, path: Path | str) -> Path:
        """Write everybody's annotations as CSV."""
        return export_annotations(self.store, path)

    # --- what stands -----------------------------------------------------------------------------

    @property
    def codes(self) -> NDArray[np.int16]:
        """Number of each cell's class, -1 for none."""
        return self.annotations.codes(self.cell_ids)

    @property
    def excluded(self) -> NDArray[np.bool_]:
        """Whether each cell is left out."""
        return self.annotations.excluded_among(self.cell_ids)

    @property
    def suggested(self) -> NDArray[np.int16]:
        """Number of each cell's suggested class in the annotator's classes, -1 for none."""
        if self.suggestions is None:
            return np.full(len(self.cell_ids), -1, np.int16)
        names = list(self.annotations.classes)
        place = np.array(
            [names.index(name) if name in names else -1 for name in self.suggestions.classes], np.int16
        )
        return place[self.suggestions.codes]

    @property
    def column(self) -> Column:
        """The classes as a column, to paint the cells by."""
        classes = self.annotations.classes
        codes = self.codes.astype(np.float64)
        codes[self.excluded] = -1
        return Column("annotation", "groups", codes, tuple(classes), tuple(classes.values()))

    def shown(
        self,
        shown: Shown = "all",
        order: str = TABLE_ORDER,
        *,
        rising: bool = False,
        selection: ArrayLike = (),
    ) -> NDArray[np.int64]:
        """Positions of the cells that a gallery shows; see ``sorting.cells_shown``."""
        return cells_shown(
            self.columns, self.annotations, self.suggestions,
            shown=shown, order=order, rising=rising, selection=selection,
        )  # fmt: skip

    def counts(self) -> pd.DataFrame:
        """Annotated cells by class and donor."""
        return self.annotations.counts(self.store.obs)

    def agreement(self) -> pd.DataFrame:
        """Every pair of annotators of this store: cells in common, part agreed on, Cohen's kappa."""
        return agreement_table({name: own.labels for name, own in read_annotations(self.store).items()})

    def _ids(self, cells: Any) -> Iterable[str]:
        return [str(cell) for cell in self.cell_ids[np.asarray(cells, np.int64)]]


def suggestions_in_words(found: Suggestions) -> str:
    """How good suggestions are, for people."""
    words = f"Learnt from {found.examples} cells"
    if np.isfinite(found.accuracy):
        return f"{words}; right for {found.accuracy:.0%} of them when asked without having seen them."
    return f"{words}; with three of every class it can be told how good this is."


def default_annotator() -> str:
    """Name of the person who is logged in."""
    return os.environ.get("USER") or os.environ.get("USERNAME") or "annotator"
