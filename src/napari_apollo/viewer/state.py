"""What a viewer's tools share: the study, the cells, the run, the predictions, the selected cells.

One session belongs to one viewer, with or without a window. Tools read it and listen to it; no tool
calls another one. A script may set the same values, and the tools follow.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, Generic, TypeVar
from weakref import WeakKeyDictionary, ref

import numpy as np
from psygnal import Signal

from napari_apollo.viewer.jobs import Jobs, executor_for

if TYPE_CHECKING:
    from napari_apollo.cells import CellStore
    from napari_apollo.predict import PredictionStore
    from napari_apollo.study import Study
    from napari_apollo.train import Run

Value = TypeVar("Value")


class _Shared(Generic[Value]):
    """An attribute that tells when another object is put in its place."""

    def __set_name__(self, owner: type, name: str) -> None:
        self._name = name

    def __get__(self, session: Session | None, owner: type) -> Any:
        return self if session is None else session.__dict__.get(self._name)

    def __set__(self, session: Session, value: Value | None) -> None:
        if session.__dict__.get(self._name) is value:
            return
        session.__dict__[self._name] = value
        getattr(session, f"{self._name}_changed").emit(value)


class Session:
    """What the tools of one viewer share.

    Attributes
    ----------
    study : Study or None
        The fields that are worked on.
    store : CellStore or None
        Their cells. After its table was written anew, set it to ``CellStore.open(store.path)``.
    run : Run or None
        The training that is watched, or whose model is used.
    predictions : PredictionStore or None
        What was predicted for the cells.
    folder : Path or None
        Where results go unless a tool is told otherwise; beside the study's manifest where not set.
    selection : ndarray of int64 (n,)
        Selected cells, as positions in the store's table, rising.
    jobs
        Work under way for this viewer.

    Every attribute but ``jobs`` has a signal: ``study_changed``, ``store_changed``, ``run_changed``,
    ``predictions_changed``, ``folder_changed`` and ``selection_changed``, each with the new value.
    """

    study_changed = Signal(object)
    store_changed = Signal(object)
    run_changed = Signal(object)
    predictions_changed = Signal(object)
    folder_changed = Signal(object)
    selection_changed = Signal(object)

    study: _Shared[Study] = _Shared()
    store: _Shared[CellStore] = _Shared()
    run: _Shared[Run] = _Shared()
    predictions: _Shared[PredictionStore] = _Shared()
    folder: _Shared[Path] = _Shared()

    def __init__(self, jobs: Jobs | None = None) -> None:
        self.jobs = jobs or Jobs()
        self._selection = np.zeros(0, np.int64)
        self.store_changed.connect(self._forget_selection)

    @property
    def selection(self) -> np.ndarray:
        """Selected cells, int64 (n,), positions in the store's table, rising."""
        return self._selection

    @selection.setter
    def selection(self, cells: Any) -> None:
        chosen = np.unique(np.asarray(cells, np.int64))
        if np.array_equal(chosen, self._selection):
            return
        self._selection = chosen
        self.selection_changed.emit(chosen)

    def renew(self, name: str, opened: Any, before: Any) -> bool:
        """Put an object in the place of the one that it was made from; whether that was still there.

        Parameters
        ----------
        name
            ``study`` or ``store``.
        opened
            The new object.
        before
            What was there when the work began. Where people opened another one meanwhile, that stays.
        """
        now = getattr(self, name)
        if now is not before and (now is None or now.path != before.path):
            return False
        selection = self._selection
        setattr(self, name, opened)
        if name == "store" and now.n_cells == opened.n_cells:
            self.selection = selection  # the same cells, of which more is known
        return True

    @property
    def place(self) -> Path | None:
        """Where results go: ``folder``, else the folder of the study's manifest or of the store."""
        if self.folder is not None:
            return Path(self.folder)
        for owner in (self.study, self.store):
            if owner is not None and owner.path is not None:
                return Path(owner.path).absolute().parent
        return None

    def _forget_selection(self, store: CellStore | None) -> None:
        self.selection = ()


_sessions: WeakKeyDictionary[Any, Session] = WeakKeyDictionary()


def session_of(viewer: Any) -> Session:
    """The session of a viewer, made when first asked for; it goes when the viewer goes.

    Parameters
    ----------
    viewer
        A napari viewer, or the proxy that widgets are given, or a ``ViewerModel`` without a window,
        where jobs then run at once, in the calling thread.
    """
    viewer = getattr(viewer, "__wrapped__", viewer)
    if viewer not in _sessions:
        _sessions[viewer] = Session(Jobs(executor_for(viewer)))
    return _sessions[viewer]


def weak_call(owner: Any, method: str) -> Callable[..., None]:
    """A callback that does nothing once its owner is gone, for events that keep strong references."""
    alive = ref(owner)

    def call(*arguments: Any) -> None:
        target = alive()
        if target is not None:
            getattr(target, method)(*arguments)

    return call
