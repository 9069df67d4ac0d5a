"""Whether pixel values can be worked on."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from napari_apollo.errors import ImageError


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
