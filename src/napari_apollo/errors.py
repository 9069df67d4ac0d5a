"""The errors of napari-apollo.

Every error says what was wrong, where, and what would be right. Three families decide what a
command exits with: what the user gave is wrong (2), something broke while working (1), and the
user asked to stop (130).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any


class ApolloError(Exception):
    """Root of every error that napari-apollo raises on purpose.

    Pickles whatever its constructor takes, so that an error crosses from a worker to its caller.
    """

    exit_code = 1

    def __reduce__(self) -> tuple[Any, ...]:
        return _restored, (type(self), self.args, self.__dict__)


def _restored(kind: type[ApolloError], args: tuple[Any, ...], state: dict[str, Any]) -> ApolloError:
    error = kind.__new__(kind, *args)
    error.__dict__.update(state)
    return error


# --- what the user gave is wrong --------------------------------------------------------------


class InputError(ApolloError):
    """Something the user gave cannot be used as it is."""

    exit_code = 2


class ConfigError(InputError):
    """A setting is out of its bounds or contradicts another one."""


class PanelError(InputError):
    """A panel cannot be made: no DNA stain, a stain twice, an empty name."""


class UnknownStain(InputError):
    """A stain is asked for that nothing here holds.

    Parameters
    ----------
    stain
        The name as it was asked for.
    known
        The names that would be right.
    where
        What was searched: a file, a panel, a model.
    """

    def __init__(self, stain: str, known: Iterable[str], where: str) -> None:
        self.stain = stain
        self.known = tuple(known)
        self.where = where
        super().__init__(f"Stain {stain!r} is not in {where}; it holds {', '.join(self.known)}.")


class PanelMismatch(InputError):
    """The stains at hand are not the stains that are needed.

    Parameters
    ----------
    wanted, found
        Canonical stain names, in the order of their channels.
    where
        The file, store or model that does not fit.
    """

    def __init__(self, wanted: Sequence[str], found: Sequence[str], where: str) -> None:
        self.wanted = tuple(wanted)
        self.found = tuple(found)
        self.where = where
        missing = [stain for stain in self.wanted if stain not in self.found]
        surplus = [stain for stain in self.found if stain not in self.wanted]
        details = []
        if missing:
            details.append(f"missing: {', '.join(missing)}")
        if surplus:
            details.append(f"not asked for: {', '.join(surplus)}")
        twice = [stain for stain in self.wanted if self.found.count(stain) > 1]
        if twice:
            details.append(f"there more than once, so it is not known which is meant: {', '.join(twice)}")
        super().__init__(
            f"{where}: wanted the stains {', '.join(self.wanted)}, found {', '.join(self.found) or 'none'}"
            + (f" ({'; '.join(details)})." if details else ".")
        )


class StudyError(InputError):
    """The manifest, or what it names, is wrong; every problem found is listed."""

    def __init__(self, message: str, problems: Sequence[str] = ()) -> None:
        self.problems = tuple(problems)
        super().__init__("\n".join([message, *(f"  - {problem}" for problem in self.problems)]))


class FileError(InputError):
    """A file cannot be used.

    Parameters
    ----------
    path
        The file.
    problem
        What is wrong with it.
    remedy
        What would be right.
    """

    def __init__(self, path: Path | str, problem: str, remedy: str = "") -> None:
        self.path = Path(path)
        self.problem = problem
        self.remedy = remedy
        super().__init__(f"{self.path}: {problem}" + (f" {remedy}" if remedy else ""))


class ImageError(FileError):
    """An image file is unreadable, damaged, not an image, or its axes are ambiguous."""


class LabelsError(FileError):
    """A label image does not fit its image or is not a label image."""


class StoreError(FileError):
    """A cell store, or a store of predictions, cannot be used."""


class StoreDamaged(StoreError):
    """Data in a store do not match their checksums, or parts of it are gone."""


class StoreChanged(StoreError):
    """Something else wrote to a store after it was read; writing now would undo that."""


class StoreBusy(StoreError):
    """Something else has been writing to a store all the while."""


class StoreTooNew(StoreError):
    """A store was written by a newer version of napari-apollo."""


class ModelError(FileError):
    """A model folder cannot be used."""


class ModelDamaged(ModelError):
    """A model file was truncated, changed or does not fit its description."""


class ModelTooNew(ModelError):
    """A model was written by a newer version of napari-apollo."""


class RunError(FileError):
    """A run folder cannot be used, or already holds another run."""


class DataError(InputError):
    """Values cannot be worked on: not finite, constant, empty, or too few."""


# --- something broke while working ------------------------------------------------------------


class StorageFull(ApolloError):
    """No space left on the disk that is written to; nothing half-written is left behind."""


class TrainingFailed(ApolloError):
    """Training ended before its end: the loss is not finite, or the child process died."""


# --- the user asked to stop -------------------------------------------------------------------


class Cancelled(ApolloError):
    """The user asked to stop; nothing half-written is left behind."""

    exit_code = 130
