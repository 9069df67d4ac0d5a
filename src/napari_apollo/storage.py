"""Writing so that what is on disk appears whole or not at all.

Results are written beside their final place and renamed when complete; a run that is stopped, or a
disk that fills up, leaves what was there before as it was.
"""

from __future__ import annotations

import errno
import glob
import hashlib
import json
import os
import platform
import shutil
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from napari_apollo.errors import FileError, StorageFull, StoreBusy

_FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
_ABANDONED = 7 * 24 * 3600.0
# Nobody else names a folder so: what people call "store.old" is theirs and is never touched.
_REPLACED = ".replaced-by-napari-apollo"

_COPY = "Allow writing there, or copy it to where you may write."

PATIENCE = 600.0
"""Seconds that a writer waits for another one: the table of a million cells takes a minute."""


def is_disk_full(error: BaseException) -> bool:
    """Whether an error, or one it came from, says that the disk is full.

    Libraries below us report a full disk in their own words (zarr and tensorstore among them), so
    the chain of causes is searched for the system's code and, failing that, its message.
    """
    seen: BaseException | None = error
    while seen is not None:
        if isinstance(seen, OSError) and seen.errno in _FULL:
            return True
        if "No space left on device" in str(seen) or "Disk quota exceeded" in str(seen):
            return True
        seen = seen.__cause__ or seen.__context__
    return False


@contextmanager
def disk_full_named(target: Path) -> Iterator[None]:
    """Turn a full disk into an error that names what was being written.

    Raises
    ------
    StorageFull
        When the block fails because no space is left.
    """
    try:
        yield
    except Exception as error:
        if is_disk_full(error):
            free = shutil.disk_usage(_existing_parent(target)).free
            raise StorageFull(
                f"{target}: no space left on the disk ({free / 1e6:.0f} MB free). Make room or write "
                "elsewhere; nothing half-written was left behind."
            ) from error
        raise


@contextmanager
def whole_folder(target: Path, *, overwrite: bool = False, mark: str = "") -> Iterator[Path]:
    """Folder that appears under its name only when the block ends well.

    Parameters
    ----------
    target
        The final folder; where it is a link, the folder that it leads to.
    overwrite
        Replace a folder that exists; the old one is kept until the new one is complete.
    mark
        File that every folder of the kind that is written holds. A folder that has contents and no such file
        is somebody's, and is not replaced even where ``overwrite`` is set.

    Yields
    ------
    pathlib.Path
        Where to write: ``<name>.partial-...`` beside the target. What a writer that was killed left there is
        removed first.

    Raises
    ------
    FileError
        When the target exists and ``overwrite`` is not set, or is something else than what is written.
    StorageFull
        When no space is left.
    """
    target = _followed(target)
    with place_named(target):
        recover_folder(target)
    require_replaceable(target, overwrite=overwrite, mark=mark)
    partial = _partial(target)
    try:
        with disk_full_named(target):
            with place_named(target):
                target.parent.mkdir(parents=True, exist_ok=True)
                sweep_partials(target)
                partial.mkdir()
            yield partial
            replace_folder(partial, target)
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def require_replaceable(target: Path, *, overwrite: bool, mark: str = "") -> None:
    """Refuse a folder that may not be written, before any work; see `whole_folder` for the parameters.

    Raises
    ------
    FileError
        When it exists and ``overwrite`` is not set, is a file, or holds something else.
    """
    target = Path(target)
    if not target.exists():
        return
    if not overwrite:
        raise FileError(target, "exists already.", "Name another place, or allow to overwrite it.")
    if not target.is_dir():
        raise FileError(target, "is a file, and a folder is to be written.", "Name another place.")
    if mark and not (target / mark).exists() and any(target.iterdir()):
        raise FileError(
            target,
            f"holds other files (and no {mark}), so it is not replaced, although overwriting is allowed.",
            "Name another place.",
        )


@contextmanager
def whole_file(target: Path) -> Iterator[Path]:
    """File that appears under its name, or replaces the old one, only when the block ends well.

    Yields
    ------
    pathlib.Path
        Where to write; it keeps the suffix of the target. Where the target is a link, the file that it
        leads to is replaced.

    Raises
    ------
    StorageFull
        When no space is left.
    """
    target = _followed(target)
    partial = _partial(target, target.suffix)
    with disk_full_named(target), place_named(target):
        target.parent.mkdir(parents=True, exist_ok=True)
        sweep_partials(target)
        partial.touch()
    try:
        with disk_full_named(target):
            yield partial
            _flush(partial)
            partial.replace(target)
    finally:
        partial.unlink(missing_ok=True)


@contextmanager
def one_writer(target: Path, patience: float = PATIENCE) -> Iterator[None]:
    """Let one writer at a time change something that others may write to, too.

    The lock lies beside the target as ``.<name>.lock`` and stays there, empty: removing it would let two in.
    The system gives it back when a process ends, however that happens.

    Parameters
    ----------
    target
        What is written to, in this process or another, on this machine or another that shares the disk.
    patience
        Seconds to wait for the one before.

    Raises
    ------
    StoreBusy
        When that one has not ended in time.
    FileError
        When nothing may be written there.
    """
    import filelock

    lock = filelock.FileLock(target.with_name(f".{target.name}.lock"), timeout=patience)
    try:
        with place_named(target, _COPY):
            lock.acquire()
    except filelock.Timeout as error:
        raise StoreBusy(
            target,
            f"another program has been writing to it for {patience:.0f} s.",
            "Wait until that is done, or end it, and try again.",
        ) from error
    try:
        yield
    finally:
        lock.release()


def write_json(target: Path, content: Any) -> None:
    """Write JSON whole or not at all, keys in the order given, readable by people."""
    with whole_file(target) as partial:
        partial.write_bytes(_json_bytes(content) + b"\n")


def _json_bytes(content: Any) -> bytes:
    """JSON in UTF-8, readable by people; names of files that are not UTF-8 are escaped and come back."""
    try:
        return json.dumps(content, indent=2, ensure_ascii=False).encode("utf-8")
    except UnicodeEncodeError:
        return json.dumps(content, indent=2).encode("ascii")


def replace_folder(source: Path, target: Path) -> None:
    """Put a complete folder in the place of another one.

    Two renames, as no system call swaps folders everywhere; ``recover_folder`` mends the moment
    between them.
    """
    old = _replaced(target)
    shutil.rmtree(old, ignore_errors=True)
    if target.exists():
        target.rename(old)
    source.rename(target)
    shutil.rmtree(old, ignore_errors=True)


def recover_folder(target: Path) -> None:
    """Undo a replacement that was interrupted between its two renames."""
    target = _followed(target)
    old = _replaced(target)
    if not old.exists() or target.exists():
        return
    # Another process may be between its renames just now; it needs microseconds.
    time.sleep(0.1)
    if old.exists() and not target.exists():
        old.rename(target)


def sweep_partials(target: Path) -> None:
    """Remove what writers of a target left behind when they were killed.

    A partial file or folder is removed when it comes from a process of this machine that is no longer there,
    or when nothing in it was touched for a week.
    """
    for path in target.parent.glob(f"{glob.escape(target.name)}.partial-*"):
        try:
            if _is_stale(path):
                _remove(path)
        except FileNotFoundError:
            continue  # its writer finished meanwhile


def require_writable(target: Path) -> None:
    """Refuse a place beside which nothing may be written, before work whose results go there.

    Raises
    ------
    FileError
        Naming it.
    """
    probe = _partial(target)
    with place_named(target, _COPY):
        probe.touch()
        probe.unlink()


@contextmanager
def place_named(target: Path, remedy: str = "Name another place.") -> Iterator[None]:
    """Turn a place that may not be written to into an error that says so, before any work."""
    try:
        yield
    except OSError as error:
        refused = isinstance(error, (PermissionError, FileExistsError, NotADirectoryError))
        if not refused and error.errno not in (errno.EROFS, errno.ENAMETOOLONG):
            raise
        raise FileError(target, f"cannot be written: {error.strerror}.", remedy) from error


def absolute(path: Path | str) -> Path:
    """Where a path is, from whatever folder it was said; links stay, as they are the user's."""
    return Path(os.path.normpath(Path(path).absolute()))


def _followed(target: Path) -> Path:
    """Where a link leads (people keep large data on another disk); a name without ``..`` at its end."""
    target = Path(target)
    return target.resolve() if target.is_symlink() or target.name in ("", "..") else target


def _replaced(target: Path) -> Path:
    """Where a folder is while another one takes its place."""
    return target.with_name(f"{target.name}{_REPLACED}")


def _partial(target: Path, suffix: str = "") -> Path:
    return target.with_name(f"{target.name}.partial-{_here()}-{os.getpid()}-{uuid.uuid4().hex[:8]}{suffix}")


def _here() -> str:
    """Stands for this machine without giving its name away."""
    return hashlib.sha256(platform.node().encode()).hexdigest()[:8]


def _is_stale(path: Path) -> bool:
    parts = path.name.rpartition(".partial-")[2].split("-")
    if len(parts) == 3 and parts[0] == _here() and parts[1].isdigit() and not _is_running(int(parts[1])):
        return True
    inside = path.rglob("*") if path.is_dir() else ()
    newest = max(each.stat().st_mtime for each in (path, *inside))
    return time.time() - newest > _ABANDONED


def _is_running(process: int) -> bool:
    if os.name == "nt":
        return True  # a signal would end the process there; what it leaves goes when it is old
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def _remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)


def _existing_parent(path: Path) -> Path:
    path = path.absolute()
    while not path.exists():
        path = path.parent
    return path


def _flush(path: Path) -> None:
    with path.open("rb") as stream:
        os.fsync(stream.fileno())
