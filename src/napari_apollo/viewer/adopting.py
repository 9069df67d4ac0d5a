"""What the layers of a viewer say about the study, cells, run and predictions they were opened from."""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from typing import Any

from napari_apollo.errors import ApolloError
from napari_apollo.viewer.layers import about
from napari_apollo.viewer.reader import is_cell_store, is_manifest, is_predictions, is_run
from napari_apollo.viewer.state import Session


def adopt(session: Session, layers: Iterable[Any]) -> None:
    """Take what layers were opened from into a session that has nothing of the kind yet.

    So what was dropped on the window, or opened by a script, is there for the tools. Predictions bring the
    cells that they were made for.

    Parameters
    ----------
    session
        The session of the viewer.
    layers
        Its layers.
    """
    for opened in dict.fromkeys(shown.opened for layer in layers if (shown := about(layer)) is not None):
        if opened:
            take_up(session, Path(opened), only_missing=True)
    if session.predictions is not None and session.store is None:
        with suppress(ApolloError):  # the cells may lie elsewhere by now; the tools say what is missing
            session.store = _cells_of(session.predictions)


def take_up(session: Session, path: Path, *, only_missing: bool = False) -> str:
    """Open a path into the session, whatever of ours it is.

    Parameters
    ----------
    path
        A manifest, a cell store, predictions or a run folder.
    only_missing
        Leave alone what the session has already, and be silent about what cannot be opened.

    Returns
    -------
    str
        The attribute of the session that was set; empty where none was.
    """
    for name, is_one, opener in (
        ("study", is_manifest, _open_study),
        ("store", is_cell_store, _open_store),
        ("predictions", is_predictions, _open_predictions),
        ("run", is_run, _open_run),
    ):
        if not is_one(path):
            continue
        if only_missing and getattr(session, name) is not None:
            return ""
        try:
            opened = opener(path)
        except ApolloError:
            if not only_missing:
                raise
            return ""
        setattr(session, name, opened)
        return name
    return ""


def _open_study(path: Path) -> Any:
    from napari_apollo.study import Study

    return Study.from_csv(path)


def _open_store(path: Path) -> Any:
    from napari_apollo.cells import CellStore

    return CellStore.open(path)


def _open_predictions(path: Path) -> Any:
    from napari_apollo.predict import PredictionStore

    return PredictionStore.open(path)


def _cells_of(predictions: Any) -> Any:
    from napari_apollo.viewer.overlay import cell_store_of

    return cell_store_of(predictions)


def _open_run(path: Path) -> Any:
    from napari_apollo.train import Run

    return Run(path)
