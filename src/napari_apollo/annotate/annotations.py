"""What one person says about cells: classes, the class of each cell, cells left out; with undo and redo.

Every action is one entry of a journal, undo and redo among them, so what is replayed is what was done.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Self

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from napari_apollo.annotate.journal import Entry, Journal
from napari_apollo.annotate.places import Places
from napari_apollo.errors import FileError, InputError

CLASS_COLOURS = (
    "#e69f00", "#56b4e9", "#00b585", "#f0e442", "#cc79a7", "#d55e00", "#7f9cff", "#b08cff", "#c0c0c0",
)  # fmt: skip
"""Colours of new classes: Okabe and Ito (Color Universal Design, 2008), the darkest lightened."""

KIND = "napari-apollo annotations"
VERSION = 1


@dataclass
class _Change:
    """Values to set; applying it gives the change that takes it back."""

    labels: dict[str, str] = field(default_factory=dict)
    excluded: dict[str, bool] = field(default_factory=dict)
    classes: dict[str, str] | None = None


class Annotations:
    """Annotations of one person.

    Parameters
    ----------
    annotator
        Name of the person.
    journal
        Where every action is written at once; it is replayed first. Without one, nothing is kept.
    places
        Where the cells lie now. With it, words about a cell that lay elsewhere are left aside: segmenting
        anew gave its name to another nucleus.

    Attributes
    ----------
    classes : dict of str to str
        Colour ``#rrggbb`` of each class, in the order of their number keys.
    labels : dict of str to str
        Class of each annotated cell, by ``cell_id``.
    excluded : set of str
        Cells left out.
    strays : set of str
        Cells of which something was said when another nucleus had their name; it does not count.

    Raises
    ------
    FileError
        When the journal holds something else, or was written by a newer version.

    Examples
    --------
    >>> mine = Annotations("Ada")
    >>> mine.label(["a:1", "a:2"], "round")
    >>> mine.undo()
    True
    >>> mine.labels
    {}
    """

    def __init__(self, annotator: str, journal: Journal | None = None, places: Places | None = None) -> None:
        self.annotator = annotator
        self.strays: set[str] = set()
        self._places = places
        self.classes: dict[str, str] = {}
        self.labels: dict[str, str] = {}
        self.excluded: set[str] = set()
        self._undo: list[_Change] = []
        self._redo: list[_Change] = []
        self._listeners: list[Callable[[], None]] = []
        self._journal = journal
        for number, entry in enumerate(journal.entries if journal is not None else (), start=1):
            self._replay(entry, number)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @classmethod
    def replayed(
        cls,
        annotator: str,
        entries: Iterable[Entry],
        where: Any = "journal",
        places: Places | None = None,
    ) -> Self:
        """Annotations as entries of a journal leave them, to be read only."""
        made = cls(annotator, places=places)
        for number, entry in enumerate(entries, start=1):
            made._replay(entry, number, where)
        return made

    def close(self) -> None:
        """Close the journal."""
        if self._journal is not None:
            self._journal.close()

    def listen(self, callback: Callable[[], None]) -> Callable[[], None]:
        """Have a callback called after every action; returns a call that ends it."""
        self._listeners.append(callback)

        def leave() -> None:
            if callback in self._listeners:
                self._listeners.remove(callback)

        return leave

    # --- actions -------------------------------------------------------------------------------

    def add_class(self, name: str, colour: str | None = None) -> None:
        """Add a class, or give one another colour; the next free one where none is named.

        Raises
        ------
        InputError
            When the name is empty or the colour is not ``#rrggbb``.
        """
        name = _clean(name)
        colour = colour or self.classes.get(name) or self._free_colour()
        if len(colour) != 7 or colour[0] != "#" or any(c not in "0123456789abcdefABCDEF" for c in colour[1:]):
            raise InputError(f"{colour!r} is no colour; write #rrggbb.")
        if self.classes.get(name) != colour:
            self._do({"do": "class", "name": name, "colour": colour})

    def rename_class(self, name: str, to: str) -> None:
        """Give a class another name; its cells follow.

        Raises
        ------
        InputError
            When there is no such class, or the other name is taken.
        """
        self._require(name)
        to = _clean(to)
        if to == name:
            return
        if to in self.classes:
            raise InputError(f"There is a class {to!r} already.")
        self._do({"do": "rename", "name": name, "to": to})

    def remove_class(self, name: str) -> None:
        """Remove a class; its cells have none then."""
        self._require(name)
        self._do({"do": "remove", "name": name})

    def label(self, cells: Iterable[str], name: str) -> None:
        """Give cells a class, made where it is new; an empty name takes theirs away."""
        cells = [str(cell) for cell in cells]
        if name:
            name = _clean(name)
            if name not in self.classes:
                self.add_class(name)
        cells = [cell for cell in cells if self.labels.get(cell, "") != name]
        if cells:
            self._do({"do": "label", "cells": cells, "name": name})

    def exclude(self, cells: Iterable[str], excluded: bool = True) -> None:
        """Leave cells out, or take them in again."""
        cells = [cell for cell in map(str, cells) if (cell in self.excluded) != excluded]
        if cells:
            self._do({"do": "exclude", "cells": cells, "excluded": excluded})

    def undo(self) -> bool:
        """Take the last action back; whether there was one."""
        return self._step("undo")

    def redo(self) -> bool:
        """Do again what was taken back last; whether there was something."""
        return self._step("redo")

    # --- what stands -----------------------------------------------------------------------------

    @property
    def can_undo(self) -> bool:
        """Whether there is an action to take back."""
        return bool(self._undo)

    @property
    def can_redo(self) -> bool:
        """Whether something was taken back."""
        return bool(self._redo)

    def codes(self, cells: Sequence[str] | NDArray[Any]) -> NDArray[np.int16]:
        """Number of each cell's class in ``classes``, int16 (n,); -1 where it has none."""
        number = {name: code for code, name in enumerate(self.classes)}
        labels = self.labels
        return np.fromiter(
            (number[labels[cell]] if cell in labels else -1 for cell in cells), np.int16, len(cells)
        )

    def excluded_among(self, cells: Sequence[str] | NDArray[Any]) -> NDArray[np.bool_]:
        """Whether each cell is left out, bool (n,)."""
        return np.fromiter((cell in self.excluded for cell in cells), bool, len(cells))

    def counts(self, obs: pd.DataFrame) -> pd.DataFrame:
        """Annotated cells by class (rows) and donor (columns), with a column ``all``.

        Parameters
        ----------
        obs
            Table of a cell store.
        """
        codes = self.codes(obs["cell_id"].to_numpy())
        names = list(self.classes)
        donors = obs["donor"].astype(str).to_numpy()
        known = codes >= 0
        frame = pd.crosstab(
            pd.Categorical(np.array([*names, ""], object)[codes[known]], names), donors[known], dropna=False
        )
        frame = frame.reindex(index=names, columns=sorted(set(donors)), fill_value=0)
        frame.index.name, frame.columns.name = "class", "donor"
        frame.insert(0, "all", frame.sum(axis=1))
        return frame

    # --- how it is done ----------------------------------------------------------------------------

    def _do(self, entry: Entry) -> None:
        if self._places is not None and "cells" in entry:
            entry = {**entry, "places": self._places.of(entry["cells"])}
        change = self._change(entry)
        self._write(entry)
        self._undo.append(self._apply(change))
        self._redo.clear()
        self._tell()

    def _step(self, which: str) -> bool:
        source, target = (self._undo, self._redo) if which == "undo" else (self._redo, self._undo)
        if not source:
            return False
        self._write({"do": which})
        target.append(self._apply(source.pop()))
        self._tell()
        return True

    def _write(self, entry: Entry) -> None:
        if self._journal is not None:
            at = datetime.now(UTC).isoformat(timespec="seconds")
            self._journal.append({**entry, "at": at})

    def _replay(self, entry: Entry, number: int, where: Any = None) -> None:
        place = self._journal.path if self._journal is not None else where
        try:
            if number == 1 and "kind" in entry:
                _check_head(entry, place)
            elif entry["do"] in ("undo", "redo"):
                is_undo = entry["do"] == "undo"
                source, target = (self._undo, self._redo) if is_undo else (self._redo, self._undo)
                target.append(self._apply(source.pop()))
            else:
                self._undo.append(self._apply(self._change(entry)))
                self._redo.clear()
        except (KeyError, IndexError, TypeError, ValueError, InputError) as error:
            if isinstance(error, FileError):
                raise
            raise FileError(
                place, f"line {number} is no action that can be replayed: {entry}.", "Move the file away."
            ) from error

    def _change(self, entry: Entry) -> _Change:
        """What an action sets, as things stand now."""
        kind = entry["do"]
        if kind == "label":
            return _Change(labels={cell: entry["name"] for cell in self._meant(entry)})  # noqa: C420
        if kind == "exclude":
            return _Change(excluded={cell: entry["excluded"] for cell in self._meant(entry)})  # noqa: C420
        name = entry["name"]
        if kind == "class":
            return _Change(classes={**self.classes, name: entry["colour"]})
        self._require(name)
        own = [cell for cell, label in self.labels.items() if label == name]
        if kind == "rename":
            to = str(entry["to"])
            classes = {to if old == name else old: colour for old, colour in self.classes.items()}
            return _Change(labels=dict.fromkeys(own, to), classes=classes)
        if kind == "remove":
            classes = {old: colour for old, colour in self.classes.items() if old != name}
            return _Change(labels=dict.fromkeys(own, ""), classes=classes)
        raise KeyError(kind)

    def _meant(self, entry: Entry) -> list[str]:
        """Cells of an action that still are the nuclei that they were."""
        cells: list[str] = entry["cells"]
        if self._places is None or "places" not in entry:
            return cells
        kept = self._places.same(cells, entry["places"])
        self.strays.update(set(cells).difference(kept))
        return kept

    def _apply(self, change: _Change) -> _Change:
        before = _Change(classes=self.classes if change.classes is not None else None)
        for cell, name in change.labels.items():
            before.labels[cell] = self.labels.get(cell, "")
            _put(self.labels, cell, name)
        for cell, excluded in change.excluded.items():
            before.excluded[cell] = cell in self.excluded
            (self.excluded.add if excluded else self.excluded.discard)(cell)
        if change.classes is not None:
            self.classes = change.classes
        return before

    def _tell(self) -> None:
        for callback in list(self._listeners):
            callback()

    def _require(self, name: str) -> None:
        if name not in self.classes:
            raise InputError(f"There is no class {name!r}; there are {', '.join(self.classes) or 'none'}.")

    def _free_colour(self) -> str:
        free = [colour for colour in CLASS_COLOURS if colour not in self.classes.values()]
        return free[0] if free else CLASS_COLOURS[len(self.classes) % len(CLASS_COLOURS)]


def head_of(annotator: str, store: str) -> Entry:
    """First line of a journal."""
    return {"kind": KIND, "version": VERSION, "annotator": annotator, "store": store}


def _check_head(head: Mapping[str, Any], where: Any) -> None:
    if head["kind"] != KIND:
        raise FileError(where, f"is a journal of {head['kind']!r}, not of annotations.")
    if int(head["version"]) > VERSION:
        raise FileError(
            where,
            f"was written by a newer napari-apollo (version {head['version']}, known up to {VERSION}).",
            "Update napari-apollo.",
        )


def _put(labels: dict[str, str], cell: str, name: str) -> None:
    if name:
        labels[cell] = name
    else:
        labels.pop(cell, None)


def _clean(name: str) -> str:
    cleaned = " ".join(str(name).split())
    if not cleaned:
        raise InputError("A class needs a name.")
    return cleaned
