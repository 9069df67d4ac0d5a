"""Where annotations lie: a folder beside the cell store, one journal for each person."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING

from napari_apollo.annotate.annotations import Annotations, head_of
from napari_apollo.annotate.journal import Journal, read_journal
from napari_apollo.annotate.places import Places
from napari_apollo.errors import InputError

if TYPE_CHECKING:
    from napari_apollo.cells import CellStore

SUFFIX = ".annotations"
_JOURNAL = ".jsonl"


def annotation_folder(store: CellStore | Path | str) -> Path:
    """``NAME.annotations`` beside ``NAME.cells.zarr``.

    It outlives a store that is cut anew; words about nuclei that were segmented anew are left aside.
    """
    path = Path(store if isinstance(store, (str, Path)) else store.path).absolute()
    return path.with_name(path.name.removesuffix(".zarr").removesuffix(".cells") + SUFFIX)


def annotators_of(store: CellStore | Path | str) -> list[str]:
    """People with a journal for a store, by name."""
    folder = annotation_folder(store)
    return sorted(path.name.removesuffix(_JOURNAL) for path in folder.glob(f"*{_JOURNAL}"))


def open_annotations(store: CellStore | Path | str, annotator: str) -> Annotations:
    """Annotations of a person, to go on with; close them at the end.

    Raises
    ------
    InputError
        When the name has no letter or digit.
    FileError
        When another window writes them, or their journal is damaged.
    """
    name = _file_name(annotator)
    path = annotation_folder(store) / f"{name}{_JOURNAL}"
    store_name = Path(store if isinstance(store, (str, Path)) else store.path).name
    journal = Journal(path, head_of(annotator, store_name))
    try:
        return Annotations(name, journal, _places(store))
    except BaseException:
        journal.close()
        raise


def read_annotations(store: CellStore | Path | str) -> dict[str, Annotations]:
    """Annotations of everybody, by name, to be read only."""
    folder = annotation_folder(store)
    places = _places(store) if folder.is_dir() else None
    return {
        name: Annotations.replayed(name, read_journal(path), path, places)
        for name in annotators_of(store)
        for path in (folder / f"{name}{_JOURNAL}",)
    }


def _places(store: CellStore | Path | str) -> Places | None:
    """Where the cells lie; None where there is no store (yet)."""
    from napari_apollo.cells import CellStore

    if isinstance(store, (str, Path)):
        if not Path(store).is_dir():
            return None
        store = CellStore.open(store)
    return Places(store.obs)


def _file_name(annotator: str) -> str:
    """A name that every file system takes and that can name a column of a table."""
    name = re.sub(r"[^\w.-]+", "_", annotator.strip()).strip("._")
    if not name:
        raise InputError(f"{annotator!r} cannot name an annotator; use letters or digits.")
    return name
