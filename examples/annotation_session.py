"""Annotate cells by script, as the tool Annotate does: classes, undo, suggestions, agreement, export.

    napari-apollo demo --output demo
    python examples/annotation_session.py demo/lymph_node/lymph_node.cells.zarr

Every action is in a journal beside the cell store when it returns; opened under the same name again, the
session goes on where it was. Here a rule stands in for the person: nuclei of the largest third are "large".
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import numpy as np

from napari_apollo import CellStore
from napari_apollo.viewer.annotating import AnnotationSession, suggestions_in_words


def tell(text: str) -> None:
    """Say something."""
    sys.stdout.write(f"{text}\n")


def main() -> None:
    """Annotate a few cells, have the others suggested, and write everything down."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("store", type=Path, help="cell store, with latents or measurements")
    parser.add_argument("--annotators", nargs="+", default=["ada", "bob"], help="who annotates")
    parser.add_argument("--rounds", type=int, default=3, help="rounds of twenty cells each")
    parser.add_argument("--output", type=Path, default=Path("annotations.csv"), help="table to write")
    arguments = parser.parse_args()

    store = CellStore.open(arguments.store)
    area = (
        store.obs["nucleus_area_px"].to_numpy()
        if "nucleus_area_px" in store.obs
        else store.obs["y"].to_numpy()
    )
    for number, name in enumerate(arguments.annotators):
        rng = np.random.default_rng(number)
        limit = np.quantile(area, 2 / 3) * (1 + 0.1 * number)  # people differ a little
        with AnnotationSession(store, name) as session:
            session.annotations.add_class("small", "#56b4e9")
            session.annotations.add_class("large", "#e69f00")
            cells = rng.choice(store.n_cells, 20, replace=False)
            for _ in range(arguments.rounds):
                session.label(cells[area[cells] <= limit], "small")
                session.label(cells[area[cells] > limit], "large")
                session.use(session.suggest())
                tell(f"{name}: {suggestions_in_words(session.suggestions)}")
                cells = session.shown("not annotated", "Most uncertain first")[:20]
            session.label(cells, "large")
            session.annotations.undo()  # that was a mistake
            session.exclude(session.shown("not annotated", "Most uncertain first")[:1])
            tell(session.counts().to_string())
            tell(session.agreement().to_string(index=False))
            session.export(arguments.output)
            session.write()
    annotated = CellStore.open(arguments.store).obs["annotation"]
    tell(f"{(annotated != '').sum()} cells of the store have a class; see also {arguments.output}")


if __name__ == "__main__":
    main()
