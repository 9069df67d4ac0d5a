"""Images and label images below a folder, told apart by where they are and what they are called."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from napari_apollo.panels import Role, is_listed, role_of
from napari_apollo.study.fields import stem
from napari_apollo.study.omezarr import is_zarr
from napari_apollo.study.stainfiles import is_tiff, looks_like_labels, natural_key

_IMAGE_FOLDERS = {"images", "image", "raw", "img", "imgs"}
_LABEL_FOLDERS = {"labels", "label", "masks", "mask", "segmentation", "segmentations"}
_LABEL_WORDS = re.compile(
    r"[_\W]*(?:^|[_\W])(?:cp[_\W]*)?(?:nuclei[_\W]*|nuclear[_\W]*)?(?:labels?|masks?|segmentation|seg)(?=$|[_\W])",
    re.IGNORECASE,
)


@dataclass(frozen=True)
class Found:
    """An image or label image.

    Attributes
    ----------
    path
        A file, an OME-Zarr, a folder of one file per stain, or a pattern of such files.
    folders
        Folders between the root and the image; those that only say ``images`` or ``labels`` left out.
    """

    path: Path
    folders: tuple[str, ...]


def find_files(root: Path, labels_root: Path | None = None) -> tuple[list[Found], list[Found], list[Path]]:
    """Images, label images and other files below a folder, in natural order.

    Parameters
    ----------
    root
        Where the images are.
    labels_root
        Where all label images are, when not among the images.
    """
    images: list[Found] = []
    labels: list[Found] = []
    strays: list[Path] = []
    for folder, names in _folders(root, skip=labels_root):
        own = tuple(part for part in folder.relative_to(root).parts)
        kept = tuple(part for part in own if part.casefold() not in _IMAGE_FOLDERS | _LABEL_FOLDERS)
        in_labels = any(part.casefold() in _LABEL_FOLDERS for part in own)
        files = [path for path in names if is_tiff(path) or (path.is_dir() and is_zarr(path))]
        strays += [path for path in names if path not in files]
        found_labels = [path for path in files if in_labels or looks_like_labels(path)]
        labels += [Found(path, kept) for path in found_labels]
        images += _images(folder, kept, [path for path in files if path not in found_labels])
    if labels_root is not None:
        labels = [Found(path, folders) for path, folders in _label_tree(labels_root)]
    return images, labels, strays


def label_key(path: Path) -> str:
    """What the names of an image and its labels share: the stem without ``_labels`` and the like."""
    name = stem(path).replace("*", "")
    return (_LABEL_WORDS.sub("", name) or name).strip("_ .-").casefold()


def _folders(root: Path, skip: Path | None) -> Iterator[tuple[Path, list[Path]]]:
    """Every folder with its files and OME-Zarr; neither hidden ones nor the inside of a Zarr."""
    waiting = [root]
    seen: set[Path] = set()
    while waiting:
        folder = waiting.pop()
        if folder.resolve() in seen:
            continue  # links lead in a circle, or to what was met already
        seen.add(folder.resolve())
        inside = sorted(
            (path for path in folder.iterdir() if not path.name.startswith(".")),
            key=lambda path: natural_key(path.name),
        )
        deeper = [path for path in inside if path.is_dir() and not is_zarr(path)]
        waiting += [path for path in reversed(deeper) if skip is None or not path.samefile(skip)]
        yield folder, [path for path in inside if path not in deeper]


def _images(folder: Path, folders: tuple[str, ...], files: Sequence[Path]) -> list[Found]:
    """Images of a folder; files of one stain each become one image."""
    groups: dict[str, list[tuple[Path, str]]] = {}
    for path in files:
        template, stain = _template(path)
        if stain:
            groups.setdefault(template, []).append((path, stain))
    images, taken = [], set()
    for template, members in groups.items():
        stains = [stain for _, stain in members]
        if len(members) < 2 or len(set(stains)) < len(stains):
            continue
        if not any(role_of(stain) is Role.ANCHOR for stain in stains):
            continue
        taken |= {path for path, _ in members}
        bare = template.partition("*")[0] == "" and "*" + members[0][0].suffix == template
        if bare and folders:
            images.append(Found(folder, folders[:-1]))
        else:
            images.append(Found(folder / template, folders))
    images += [Found(path, folders) for path in files if path not in taken]
    return sorted(images, key=lambda image: natural_key(image.path.name))


def _template(path: Path) -> tuple[str, str]:
    """File name with its stain replaced by ``*``, and the stain; empty where not exactly one is told."""
    name = stem(path)
    words = [word for word in re.split(r"[_\s.]+", name) if word and is_listed(word)]
    if len(words) != 1:
        words = [name] if is_listed(name) else []
    if not words:
        words = [tail for tail in [name.rpartition("-")[2]] if is_listed(tail)]
    if not words:
        return "", ""
    at = name.rindex(words[0])
    return name[:at] + "*" + name[at + len(words[0]) :] + path.name[len(name) :], words[0]


def _label_tree(root: Path) -> Iterator[tuple[Path, tuple[str, ...]]]:
    for folder, names in _folders(root, skip=None):
        for path in names:
            if is_tiff(path) or (path.is_dir() and is_zarr(path)):
                yield path, folder.relative_to(root).parts
