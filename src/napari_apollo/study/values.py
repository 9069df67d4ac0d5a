"""Whether pixel values can be worked on."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from napari_apollo.errors import ImageError
from napari_apollo.progress import ShouldStop, never, stop_if_asked

if TYPE_CHECKING:
    from napari_apollo.study.images import FieldImage
    from napari_apollo.study.labels import LabelImage

_ROWS_OF = 1 << 24


def require_finite(
    pixels: np.ndarray, path: Path, stains: Sequence[str], *, origin: tuple[int, int] = (0, 0)
) -> None:
    """Refuse pixels that are no numbers.

    Parameters
    ----------
    pixels
        (stain, y, x); integers pass at once.
    path
        File they come from.
    stains
        Name of each channel.
    origin
        ``(y, x)`` of the first pixel in the image.

    Raises
    ------
    ImageError
        Naming the stain, the number of such pixels and the place of the first.
    """
    if pixels.dtype.kind != "f":
        return
    for stain, channel in zip(stains, pixels, strict=True):
        wrong = ~np.isfinite(channel)
        if wrong.any():
            y, x = np.unravel_index(int(wrong.argmax()), wrong.shape)
            raise ImageError(
                path,
                f"{int(wrong.sum())} pixels of {stain} are not finite (NaN or infinite), the first at y "
                f"{int(y) + origin[0]}, x {int(x) + origin[1]}.",
                "Replace them, for example by the value of their surroundings, and save the image again.",
            )


def channel_problems(image: FieldImage, *, should_stop: ShouldStop = never) -> list[str]:
    """What is suspicious about the contents of each channel: all zero, or one value throughout.

    Reads the whole image, a band of rows at a time.

    Returns
    -------
    list of str
        One sentence for each such stain; empty when all channels vary.

    Raises
    ------
    ImageError
        When the file is damaged, or holds values that are no numbers.
    """
    lows, highs = [], []
    for rows in _bands(image.shape, should_stop):
        band = image.read(y=rows).reshape(len(image.stains), -1)
        lows.append(band.min(axis=1))
        highs.append(band.max(axis=1))
    low, high = np.min(lows, axis=0), np.max(highs, axis=0)
    return [
        f"{stain} is {'zero' if value == 0 else value} everywhere; was it acquired?"
        for stain, value, top in zip(image.stains, low, high, strict=True)
        if value == top
    ]


def label_problems(labels: LabelImage, *, should_stop: ShouldStop = never) -> list[str]:
    """What is suspicious about a label image: that it has no label, or only one.

    Raises
    ------
    LabelsError
        When the file is damaged, or holds labels that are none.
    """
    lows, highs = [], []
    for rows in _bands(labels.shape, should_stop):
        band = labels.read(y=rows)
        positive = band[band > 0]
        if positive.size:
            lows.append(int(positive.min()))
            highs.append(int(positive.max()))
    if not lows:
        return ["its label image has no nucleus"]
    if min(lows) == max(highs):
        return [
            f"its label image has the one label {lows[0]}; is it a mask whose nuclei have no numbers yet?"
        ]
    return []


def _bands(shape: tuple[int, int], should_stop: ShouldStop) -> Iterator[slice]:
    rows = max(1, _ROWS_OF // shape[1])
    for start in range(0, shape[0], rows):
        stop_if_asked(should_stop)
        yield slice(start, min(start + rows, shape[0]))
