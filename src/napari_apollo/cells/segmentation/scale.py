"""What holds for a whole field: how bright its nuclei are and how large.

These numbers are taken once from windows at fixed places of the field, so no tile can see other ones.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from skimage.filters import threshold_otsu

from napari_apollo.cells.segmentation.engines import NucleusEngine
from napari_apollo.cells.segmentation.grid import Box, Read
from napari_apollo.cells.segmentation.sizing import estimate_size
from napari_apollo.errors import DataError

_WINDOW = 512
_MOST_WINDOWS = 12
_STRIDE = 8
SAMPLED = 2
"""Every how many-th row and column intensities are sampled from."""
_SMALLEST, _LARGEST = 4.0, 400.0
_MICROMETRES = 3.0, 40.0


@dataclass(frozen=True)
class FieldScale:
    """Brightness and size of the nuclei of a field.

    Attributes
    ----------
    background, nucleus
        Typical intensity outside and inside of nuclei, in the image's units.
    diameter
        Typical diameter of a nucleus, in image pixels.
    empty
        Whether nothing in the field stands out from noise.
    """

    background: float
    nucleus: float
    diameter: float
    empty: bool = False

    def normalised(self, values: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
        """Intensities with 0 at the background and 1 at a typical nucleus."""
        return (values - np.float32(self.background)) / np.float32(self.nucleus - self.background)


def windows(read: Read, shape: tuple[int, int]) -> list[Box]:
    """Parts of a field that stand for the whole.

    Parameters
    ----------
    read
        Reads a region of the nucleus channel.
    shape
        Rows and columns of the field.

    Returns
    -------
    list of Box
        The whole of a small field; of a large one, those windows of a fixed lattice that hold the strongest
        contrast, in raster order.
    """
    boxes = list(_lattice(shape))
    if len(boxes) <= _MOST_WINDOWS:
        return [Box(0, shape[0], 0, shape[1])]
    contrast = []
    for box in boxes:
        sample = read(*box.slices)[_STRIDE // 2 :: _STRIDE, _STRIDE // 2 :: _STRIDE]
        finite = np.asarray(sample[np.isfinite(sample)], dtype=np.float32)
        low, high = np.percentile(finite, [20, 95]) if finite.size else (0.0, 0.0)
        contrast.append(float(high - low))
    chosen = np.argsort(-np.array(contrast), kind="stable")[:_MOST_WINDOWS]
    return [boxes[index] for index in sorted(chosen)]


def _lattice(shape: tuple[int, int]) -> Iterator[Box]:
    for y in range(0, shape[0], _WINDOW):
        for x in range(0, shape[1], _WINDOW):
            yield Box(y, min(shape[0], y + _WINDOW), x, min(shape[1], x + _WINDOW))


def survey(
    read: Read,
    shape: tuple[int, int],
    where: str,
    engine: NucleusEngine,
    diameter: float | None = None,
    pixel_size_um: tuple[float, float] | None = None,
) -> FieldScale:
    """Measure a field.

    Parameters
    ----------
    read
        Reads a region of the nucleus channel, in intensity units as acquired.
    shape
        Rows and columns of the field.
    where
        What to call the field in an error.
    engine
        Asked for a second opinion on the size of nuclei.
    diameter
        Diameter of a nucleus in image pixels, where it is known.
    pixel_size_um
        Height and width of a pixel, where known: nuclei are then looked for between 3 and 40 micrometres.

    Raises
    ------
    DataError
        When values are not finite, or all the same.
    """
    samples = [checked(read(*box.slices), where) for box in windows(read, shape)]
    values = np.concatenate([sample[::SAMPLED, ::SAMPLED].ravel() for sample in samples])
    low, high = float(values.min()), float(values.max())
    if low == high:
        raise DataError(f"{where}: every pixel of the nucleus channel is {low:g}; nothing is stained in it.")
    background, nucleus = intensity_levels(values)
    flat = FieldScale(background, nucleus, 1.0)
    samples = [flat.normalised(sample) for sample in samples]
    bounds = _bounds(pixel_size_um)
    size = estimate_size(samples, bounds)
    if diameter is None:
        better = engine.sized(samples, size.diameter) if size.evident else size.diameter
        diameter = float(np.clip(better, *bounds))
    return FieldScale(background, nucleus, float(np.clip(diameter, _SMALLEST, _LARGEST)), not size.evident)


def _bounds(pixel_size_um: tuple[float, float] | None) -> tuple[float, float]:
    if pixel_size_um is None:
        return _SMALLEST, _LARGEST
    pixel = math.sqrt(pixel_size_um[0] * pixel_size_um[1])
    low, high = (float(np.clip(size / pixel, _SMALLEST, _LARGEST)) for size in _MICROMETRES)
    return low, high


def checked(values: npt.NDArray[np.generic], where: str) -> npt.NDArray[np.float32]:
    """Values as float32.

    Raises
    ------
    DataError
        When one is not finite.
    """
    result = np.asarray(values, dtype=np.float32)
    if values.dtype.kind == "f" and not np.isfinite(result).all():
        raise DataError(f"{where}: the nucleus channel holds values that are not finite (NaN or infinite).")
    return result


def intensity_levels(values: npt.NDArray[np.float32]) -> tuple[float, float]:
    """Typical background and nucleus intensity: medians on either side of Otsu's threshold.

    The threshold is that of intensities raised to 3/4: of intensities as they are it would follow a few
    bright specks, and of their root the noise of the background.
    """
    low = float(np.percentile(values, 1))
    raised = np.maximum(values - low, 0) ** 0.75
    if raised.max() == 0:
        return low, float(values.max())
    inside = raised > threshold_otsu(raised)
    background = float(np.median(values[~inside]))
    return background, float(np.median(values[inside])) if inside.any() else float(values.max())
