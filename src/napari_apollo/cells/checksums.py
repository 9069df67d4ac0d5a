"""Checksums that lie with what they guard.

Each group of a store holds, as attributes of its ``zarr.json``, the size and SHA-256 of every file below it,
and a seal over that ``zarr.json`` itself. The seal is written last: a group without one is not complete. A
part of a store (the table) can so be replaced with its checksums in one rename.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from napari_apollo.errors import StoreDamaged
from napari_apollo.progress import ShouldStop, never, stop_if_asked
from napari_apollo.storage import whole_file
from napari_apollo.tasks import available_cores

FILES = "files"
SEAL = "seal"
DESCRIPTION = "zarr.json"
_BLOCK = 1 << 20

Sums = dict[str, dict[str, int | str]]
"""Path inside the group (with ``/``) to ``{"bytes": size, "sha256": digest}``."""


def sum_of(data: bytes) -> dict[str, int | str]:
    """Size and digest of bytes that are about to be written."""
    return {"bytes": len(data), "sha256": hashlib.sha256(data).hexdigest()}


def sum_of_file(path: Path, *, synced: bool = False) -> dict[str, int | str]:
    """Size and digest of a file; ``synced`` waits until the disk has it."""
    digest = hashlib.sha256()
    size = 0
    with path.open("rb") as stream:
        if synced:
            os.fsync(stream.fileno())
        while block := stream.read(_BLOCK):
            digest.update(block)
            size += len(block)
    return {"bytes": size, "sha256": digest.hexdigest()}


def files_below(folder: Path) -> Iterator[str]:
    """Every file in a folder but its own description, as paths with ``/``, sorted."""
    for path in sorted(folder.rglob("*")):
        if path.is_file() and path != folder / DESCRIPTION:
            yield path.relative_to(folder).as_posix()


def sums_of_folder(folder: Path, *, synced: bool = False) -> Sums:
    """Checksums of every file in a folder but its own description."""
    return {name: sum_of_file(folder / name, synced=synced) for name in files_below(folder)}


def seal_group(folder: Path, attributes: Mapping[str, Any], sums: Sums | None = None) -> None:
    """Write a group's description with its attributes, checksums and seal.

    Parameters
    ----------
    folder
        The group; a description that is there keeps what else it says.
    attributes
        Added to the group's attributes.
    sums
        Checksums of the files below; None keeps those that are there.
    """
    path = folder / DESCRIPTION
    document: dict[str, Any] = {"zarr_format": 3, "node_type": "group", "attributes": {}}
    if path.exists():
        document = json.loads(path.read_text("utf-8"))
    document["attributes"] = {**document.get("attributes", {}), **attributes}
    if sums is not None:
        document["attributes"][FILES] = sums
    document["attributes"].pop(SEAL, None)
    document["attributes"][SEAL] = _digest(document)
    with whole_file(path) as partial:
        partial.write_bytes(_dump(document))


def read_group(folder: Path) -> dict[str, Any]:
    """Attributes of a sealed group.

    Raises
    ------
    StoreDamaged
        When the description is gone, unreadable, unsealed or changed.
    """
    attributes = parse_group(folder)
    check_seal(folder)
    return attributes


def parse_group(folder: Path) -> dict[str, Any]:
    """Attributes of a group, whether or not the seal holds.

    Raises
    ------
    StoreDamaged
        When the description is gone or unreadable.
    """
    try:
        attributes = json.loads((folder / DESCRIPTION).read_bytes())["attributes"]
    except FileNotFoundError as error:
        raise StoreDamaged(folder / DESCRIPTION, "the file is gone.") from error
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise StoreDamaged(folder / DESCRIPTION, "the file cannot be read as JSON.") from error
    if not isinstance(attributes, dict):
        raise StoreDamaged(folder / DESCRIPTION, "the file does not describe a group.")
    return attributes


def check_seal(folder: Path) -> None:
    """Compare a group's description with its seal.

    Raises
    ------
    StoreDamaged
        When a byte of it was changed since it was written.
    """
    data = (folder / DESCRIPTION).read_bytes()
    try:
        document = json.loads(data)
        canonical = _dump(document)
        seal = document["attributes"].pop(SEAL)
    except (ValueError, KeyError, TypeError) as error:
        raise StoreDamaged(folder / DESCRIPTION, "the file is not sealed.") from error
    if canonical != data or seal != _digest(document):
        raise StoreDamaged(folder / DESCRIPTION, "the file was changed since it was written.")


def damage_below(
    folder: Path, *, tell: Callable[[str], None] = lambda name: None, should_stop: ShouldStop = never
) -> list[str]:
    """Everything that differs from a group's checksums.

    Parameters
    ----------
    folder
        The group.
    tell
        Called with each file's path once it is checked.
    should_stop
        Asked between files.

    Returns
    -------
    list of str
        One line for each changed, missing or surplus file; empty when all is well.
    """
    try:
        sums: Sums = read_group(folder).get(FILES, {})
    except StoreDamaged as error:
        return [str(error)]
    present = set(files_below(folder))
    problems = [f"{folder / name}: the file is gone." for name in sums if name not in present]
    problems += [
        f"{folder / name}: a file that does not belong here." for name in sorted(present - set(sums))
    ]

    def check(name: str) -> tuple[str, str]:
        stop_if_asked(should_stop)
        try:
            found = sum_of_file(folder / name)
        except OSError as error:
            return name, f"the file cannot be read ({error.strerror})."
        if found["bytes"] != sums[name]["bytes"]:
            return name, f"{found['bytes']} bytes long, {sums[name]['bytes']} were written."
        return name, "" if found == sums[name] else "the file was changed since it was written."

    with ThreadPoolExecutor(available_cores()) as pool:
        for name, problem in pool.map(check, [name for name in sums if name in present]):
            if problem:
                problems.append(f"{folder / name}: {problem}")
            tell(name)
    return problems


def write_synced(path: Path, data: bytes) -> None:
    """Write a file and wait until the disk has it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("wb") as stream:
        stream.write(data)
        stream.flush()
        os.fsync(stream.fileno())


def _dump(document: Mapping[str, Any]) -> bytes:
    return (json.dumps(document, indent=1, ensure_ascii=False) + "\n").encode("utf-8")


def _digest(document: Mapping[str, Any]) -> str:
    return hashlib.sha256(_dump(document)).hexdigest()
