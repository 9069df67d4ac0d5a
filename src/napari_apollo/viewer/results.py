"""Pages that were written about runs, predictions and cells: where they lie, and what they are called."""

from __future__ import annotations

import html
import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

_DEPTH = 3
_HEAD = 4096
_MOST = 200
_TITLE = re.compile(r"<title>(.*?)</title>", re.DOTALL | re.IGNORECASE)


@dataclass(frozen=True)
class Report:
    """A page.

    Attributes
    ----------
    path
        The file.
    title
        What it is about.
    """

    path: Path
    title: str


def find_reports(place: Path | None) -> list[Report]:
    """Pages below a folder, at most three folders deep, the newest first.

    Parameters
    ----------
    place
        Where results go; nothing is found where it is None.
    """
    if place is None or not place.is_dir():
        return []
    files = sorted(_pages(place, _DEPTH), key=lambda path: path.stat().st_mtime, reverse=True)
    return [Report(path, _title(path)) for path in files[:_MOST]]


def _pages(folder: Path, depth: int) -> Iterator[Path]:
    """Pages, without looking into stores, whose files are many."""
    with os.scandir(folder) as entries:
        for entry in sorted(entries, key=lambda entry: entry.name):
            if entry.name.startswith("."):
                continue
            if entry.is_file() and entry.name.endswith(".html"):
                yield Path(entry.path)
            elif depth and entry.is_dir(follow_symlinks=False) and not entry.name.endswith(".zarr"):
                yield from _pages(Path(entry.path), depth - 1)


def _title(path: Path) -> str:
    with path.open("r", encoding="utf-8", errors="replace") as stream:
        found = _TITLE.search(stream.read(_HEAD))
    return html.unescape(found.group(1)).strip() if found and found.group(1).strip() else path.stem
