"""A file of JSON lines that is only ever added to, and is on the disk when a call returns.

A process that is killed, or a machine that loses power, leaves at most one unfinished line at the end;
it is cut off when the journal is opened again. A journal has one writer at a time.
"""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any, Self

from napari_apollo.errors import FileError
from napari_apollo.storage import disk_full_named, is_disk_full

Entry = dict[str, Any]


class Journal:
    """A journal open for writing.

    Parameters
    ----------
    path
        The file; made, with its folder, by the first entry where it is not there.
    head
        What the first line of a new journal says.

    Attributes
    ----------
    entries : list of dict
        All entries, the first line among them.
    closed : bool
        Whether it was closed.

    Raises
    ------
    FileError
        When another process or window has it open, or a line that is not the last cannot be read;
        the file stays as it is.
    """

    def __init__(self, path: Path | str, head: Entry | None = None) -> None:
        self.path = Path(path)
        self.entries: list[Entry] = []
        self.closed = False
        self._head = head
        self._stream: IO[bytes] | None = None
        if self.path.exists():
            self._open()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def append(self, entry: Entry) -> None:
        """Add an entry; it is on the disk when this returns.

        Raises
        ------
        FileError
            When the journal was closed, or another window began it meanwhile.
        StorageFull
            When no space is left; what was there before stays readable.
        """
        if self.closed:
            raise FileError(self.path, "the journal was closed.", "Open it again.")
        if self._stream is None:
            self._begin()
        head, self._head = self._head, None
        if head is not None and not self.entries:
            self.append(head)
        line = json.dumps(entry, ensure_ascii=False, separators=(",", ":")).encode("utf-8") + b"\n"
        with disk_full_named(self.path), _named(self.path):
            self._write(line)
        self.entries.append(entry)

    def close(self) -> None:
        """Let others write."""
        self.closed = True
        stream, self._stream = self._stream, None
        if stream is not None:
            stream.close()

    def _begin(self) -> None:
        self._open()
        if self.entries:
            self.close()
            raise FileError(self.path, "was begun by another window meanwhile.", "Open it again.")

    def _open(self) -> None:
        with disk_full_named(self.path), _named(self.path):
            self.path.parent.mkdir(parents=True, exist_ok=True)
            is_new = not self.path.exists()
            self._stream = stream = self.path.open("a+b")
        try:
            _lock(stream, self.path)
            stream.seek(0)
            content = stream.read()
            self.entries, whole = _parse(content, self.path)
            if whole < len(content):
                stream.truncate(whole)
            elif content and not content.endswith(b"\n"):
                self._write(b"\n")
            if is_new:
                _sync_folder(self.path.parent)
        except BaseException:
            self.close()
            raise

    def _write(self, line: bytes) -> None:
        assert self._stream is not None
        stream = self._stream
        start = stream.seek(0, os.SEEK_END)
        try:
            stream.write(line)
            stream.flush()
            os.fsync(stream.fileno())
        except OSError:
            with contextlib.suppress(OSError):
                stream.truncate(start)
            raise


def read_journal(path: Path | str) -> list[Entry]:
    """Entries of a journal, whoever has it open; an unfinished last line is left out.

    Raises
    ------
    FileError
        When there is no such file, or a line that is not the last cannot be read.
    """
    path = Path(path)
    try:
        content = path.read_bytes()
    except OSError as error:
        raise FileError(path, f"the journal cannot be read ({error.strerror}).") from error
    return _parse(content, path)[0]


@contextlib.contextmanager
def _named(path: Path) -> Iterator[None]:
    """Say which journal cannot be written, and why; a full disk is told by the caller."""
    try:
        yield
    except OSError as error:
        if is_disk_full(error):
            raise
        raise FileError(
            path,
            f"the journal cannot be written ({error.strerror or error}).",
            "Allow writing there, or copy the cell store to where you may write.",
        ) from error


def _parse(content: bytes, path: Path) -> tuple[list[Entry], int]:
    """Entries, and up to which byte they go."""
    entries: list[Entry] = []
    whole = 0
    for number, (line, is_last) in enumerate(_lines(content), start=1):
        if line.strip():
            entry = _entry(line)
            if entry is None and is_last:
                break  # unfinished: its writer was killed
            if entry is None:
                raise FileError(
                    path, f"line {number} is no entry of a journal.", "Mend the line, or move the file away."
                )
            entries.append(entry)
        whole += len(line)
    return entries, whole


def _lines(content: bytes) -> Iterator[tuple[bytes, bool]]:
    parts = content.split(b"\n")
    for number, part in enumerate(parts, start=1):
        if number < len(parts):
            yield part + b"\n", False
        elif part:
            yield part, True


def _entry(line: bytes) -> Entry | None:
    try:
        entry = json.loads(line.decode("utf-8"))
    except ValueError:
        return None
    return entry if isinstance(entry, dict) else None


def _lock(stream: IO[bytes], path: Path) -> None:
    """Keep other writers out; the system lets go when the process ends, however it ends."""
    taken = FileError(
        path,
        "is being written by another window or program.",
        "Close it there, or annotate under another name.",
    )
    try:
        if os.name == "nt":
            import msvcrt

            stream.seek(1 << 30)  # beyond what is read, as Windows keeps readers out of locked bytes
            msvcrt.locking(stream.fileno(), msvcrt.LK_NBLCK, 1)  # type: ignore[attr-defined,unused-ignore]
        else:
            import fcntl

            fcntl.flock(stream.fileno(), fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        raise taken from error


def _sync_folder(folder: Path) -> None:
    """Have the name of a new file on the disk, too, where the system can."""
    if os.name == "nt":
        return
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
