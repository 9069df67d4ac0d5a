"""Images that come as one file per stain: ``field1_DAPI.tif, field1_CD4.tif``, or a folder of them."""

from __future__ import annotations

import glob
import re
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from napari_apollo.errors import ImageError
from napari_apollo.panels import is_listed
from napari_apollo.study.fields import stem
from napari_apollo.study.source import Layout, Region, Source

TIFF_SUFFIXES = (".tif", ".tiff", ".btf", ".tf8")

_LABELS = re.compile(r"(?:^|[_\W])(?:labels?|masks?|segmentation|seg)(?:$|[_\W])", re.IGNORECASE)


class StackedSource:
    """Files of one channel each, read as one image."""

    def __init__(self, path: Path, members: Sequence[Source], layout: Layout) -> None:
        self.path = path
        self.layout = layout
        self._members = members

    def read(self, region: Region) -> np.ndarray:
        """Pixels of a region, every axis of the layout kept.

        Raises
        ------
        ImageError
            When one of the files is damaged.
        """
        channels, *inner = region
        return np.stack([member.read(tuple(inner)) for member in self._members[channels]])

    def coarser(self) -> list[Source]:
        """The lower resolutions that every file holds."""
        levels = zip(*[member.coarser() for member in self._members], strict=False)
        stacked = []
        for members in levels:
            first = members[0].layout
            if all(member.layout.shape == first.shape for member in members):
                stacked.append(StackedSource(self.path, members, _stacked(first, self.layout.channel_names)))
        return list(stacked)


def is_pattern(path: Path) -> bool:
    """Whether a path names several files by ``*``."""
    return "*" in path.name


def is_tiff(path: Path) -> bool:
    """Whether a file is a TIFF by its name."""
    return path.suffix.casefold() in TIFF_SUFFIXES and not path.name.startswith(".")


def looks_like_labels(path: Path) -> bool:
    """Whether a file holds labels by its name (``field1_labels.tif``, ``field1_cp_masks.tif``)."""
    return bool(_LABELS.search(stem(path)))


def members(path: Path) -> tuple[Path, ...]:
    """Files of a folder or pattern, one for each stain, in natural order."""
    pattern = "*".join(map(glob.escape, path.name.split("*")))  # "[1]" in a name is a part of it
    inside = path.parent.glob(pattern) if is_pattern(path) else path.iterdir()
    files = [file for file in inside if is_tiff(file) and not looks_like_labels(file)]
    return tuple(sorted(files, key=lambda file: natural_key(file.name)))


def natural_key(name: str) -> list[tuple[str, int]]:
    """Sorts ``ch2`` before ``ch10``."""
    return [(text, int(digits or 0)) for text, digits in re.findall(r"(\D*)(\d*)", name.casefold())]


def open_stain_files(path: Path) -> Source:
    """Open the files of a folder or pattern as one image.

    Raises
    ------
    ImageError
        When there are no files, two are of one stain, or they differ in size or kind.
    """
    from napari_apollo.study.tiff import open_tiff

    files = members(path) if path.parent.is_dir() else ()
    if not files:
        raise ImageError(
            path,
            "names no TIFF file.",
            "A folder or pattern is an image of one file per stain, for example field1_DAPI.tif.",
        )
    names = stain_names(files, path.name if is_pattern(path) else None)
    for position, name in enumerate(names):
        if name in names[:position]:
            twin = files[names.index(name)].name
            raise ImageError(
                path,
                f"has two files of the stain {name}: {twin} and {files[position].name}.",
                "Where a folder holds several fields, name each by a pattern such as field1_*.tif.",
            )
    sources = [open_tiff(file) for file in files]
    first = sources[0].layout
    for source in sources:
        layout = source.layout
        if set(layout.axes) - set("YXZ"):
            raise ImageError(
                source.path, "has several channels, in a folder of one file per stain.", "Split it."
            )
        if (layout.axes, layout.shape, layout.dtype) != (first.axes, first.shape, first.dtype):
            raise ImageError(
                source.path,
                f"is {_size(layout)}, unlike {files[0].name} ({_size(first)}).",
                "The files of one image have one size and kind of pixels.",
            )
    return StackedSource(path, sources, _stacked(first, names))


def _stacked(one: Layout, names: tuple[str, ...] | None) -> Layout:
    """Layout of images of one channel each, read as one."""
    return replace(one, axes="C" + one.axes, shape=(len(names or ()), *one.shape), channel_names=names)


def stain_names(files: Sequence[Path], pattern: str | None = None) -> tuple[str, ...]:
    """Stain of each file: what its name does not share with the others, or what ``*`` stands for."""
    if pattern is not None:
        own = re.compile("(.*)".join(map(re.escape, pattern.split("*"))), re.IGNORECASE)
        varied = [
            max(match.groups(), key=len) if (match := own.fullmatch(file.name)) else "" for file in files
        ]
        varied = [stem(Path(name)) for name in varied]
    else:
        stems = [stem(file) for file in files]
        varied = _without_shared(stems, "_ .")
        if not any(map(is_listed, varied)):
            varied = _without_shared(stems, "_ .-")
    return tuple(_stain_in(name) for name in varied)


def _without_shared(stems: Sequence[str], separators: str) -> list[str]:
    if len(stems) < 2:
        return list(stems)
    start = _whole_words(_shared(stems), separators)
    stems = [name[start:] for name in stems]
    end = _whole_words(_shared([name[::-1] for name in stems]), separators)
    return [name[: len(name) - end] for name in stems]


def _shared(names: Sequence[str]) -> str:
    """What all names begin with."""
    first = min(names)
    return first[
        : next(
            (i for i, pair in enumerate(zip(first, max(names), strict=False)) if pair[0] != pair[1]),
            len(first),
        )
    ]


def _whole_words(shared: str, separators: str) -> int:
    return 1 + max(shared.rfind(separator) for separator in separators)


def _stain_in(name: str) -> str:
    """The one word of a name that is a known stain, else the name."""
    if is_listed(name):
        return name
    listed = [word for word in re.split(r"[_\s.]+", name) if is_listed(word)]
    return listed[0] if len(listed) == 1 else name


def _size(layout: Layout) -> str:
    return f"{' x '.join(map(str, layout.shape))} {layout.dtype}"
