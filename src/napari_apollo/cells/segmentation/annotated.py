"""Sets of annotated nuclei: images beside label images, split into a training and a held-out part."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import tifffile

from napari_apollo.errors import FileError, ImageError, LabelsError

HELD_OUT = 0.3
"""Part of every kind of image in a set that is never trained on."""


@dataclass(frozen=True)
class AnnotatedImage:
    """An image and its nuclei.

    Attributes
    ----------
    name
        ``<set>/<file stem>``.
    image
        Intensities (Y, X); of a colour image the brightest colour.
    labels
        Nuclei, integer (Y, X), 0 is background.
    held_out
        Whether it is kept from training.
    """

    name: str
    image: npt.NDArray[np.generic]
    labels: npt.NDArray[np.integer]
    held_out: bool


def annotated_images(folder: Path) -> Iterator[AnnotatedImage]:
    """Images of a set, in the order of their names.

    Parameters
    ----------
    folder
        Holds ``images/*.tif`` and ``labels/*.tif`` of the same names.

    Raises
    ------
    FileError
        When there are no images.
    ImageError, LabelsError
        When an image has no labels, or labels of another shape.
    """
    paths = sorted((folder / "images").glob("*.tif"))
    if not paths:
        raise FileError(folder, "holds no images/*.tif.", "Name a folder with images/ and labels/ in it.")
    kept = held_out([path.stem for path in paths])
    for path in paths:
        beside = folder / "labels" / path.name
        if not beside.is_file():
            raise ImageError(path, "has no labels.", f"Put them at {beside}.")
        image, labels = tifffile.imread(path), tifffile.imread(beside)
        image = image.max(axis=-1) if image.ndim == 3 else image
        if labels.shape != image.shape:
            raise LabelsError(beside, f"has the shape {labels.shape}, its image {image.shape}.")
        yield AnnotatedImage(f"{folder.name}/{path.stem}", image, labels, path.stem in kept)


def held_out(names: list[str]) -> set[str]:
    """Names of a set that are kept from training.

    Names such as ``normal_12`` tell a kind of specimen; of every kind, and of all names that tell none, those
    whose SHA-256 is lowest are kept. The choice depends on the names alone.
    """
    kinds: dict[str, list[str]] = {}
    for name in names:
        kind = re.fullmatch(r"([A-Za-z]+)_\d+", name)
        kinds.setdefault(kind[1] if kind else "", []).append(name)
    chosen: set[str] = set()
    for members in kinds.values():
        ranked = sorted(members, key=lambda name: hashlib.sha256(name.encode()).hexdigest())
        chosen.update(ranked[: round(HELD_OUT * len(ranked))])
    return chosen


def typical_diameter(labels: npt.NDArray[np.integer]) -> float:
    """Diameter in pixels of the nucleus that the middle foreground pixel belongs to."""
    areas = np.bincount(labels.ravel())[1:]
    areas = np.sort(areas[areas > 0])
    middle = areas[np.searchsorted(np.cumsum(areas), areas.sum() / 2)]
    return float(np.sqrt(4 * middle / np.pi))
