"""What holds for a whole field: how bright its nuclei are and how large.

These numbers are taken once from windows at fixed places of the field, so no tile can see other ones.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial

import numpy as np
import numpy.typing as npt
from scipy import ndimage
from skimage.filters import threshold_otsu

from napari_apollo.cells.segmentation.grid import Box, Grid, Read
from napari_apollo.errors import DataError

_WINDOW = 1024
_MOST_WINDOWS = 12
_STRIDE = 8
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
    """

    background: float
    nucleus: float
    diameter: float

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
    values = np.concatenate([sample[::2, ::2].ravel() for sample in samples])
    low, high = float(values.min()), float(values.max())
    if low == high:
        raise DataError(f"{where}: every pixel of the nucleus channel is {low:g}; nothing is stained in it.")
    background, nucleus = _levels(values)
    if diameter is None:
        flat = FieldScale(background, nucleus, 1.0)
        bounds = _bounds(pixel_size_um)
        diameter = estimate_diameter([flat.normalised(sample) for sample in samples], bounds)
    return FieldScale(background, nucleus, float(np.clip(diameter, _SMALLEST, _LARGEST)))


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


def _levels(values: npt.NDArray[np.float32]) -> tuple[float, float]:
    """Typical background and nucleus intensity: medians on either side of Otsu's threshold of the root."""
    low = float(np.percentile(values, 1))
    root = np.sqrt(np.maximum(values - low, 0))
    if root.max() == 0:
        return low, float(values.max())
    cut = threshold_otsu(root)
    outside, inside = values[root <= cut], values[root > cut]
    return float(np.median(outside)), float(np.median(inside)) if inside.size else float(values.max())


def _region(values: npt.NDArray[np.float32], y: slice, x: slice) -> npt.NDArray[np.float32]:
    return values[y, x]


def estimate_diameter(
    samples: list[npt.NDArray[np.float32]], bounds: tuple[float, float] = (_SMALLEST, _LARGEST)
) -> float:
    """Typical diameter of bright round things.

    The scale-space maxima of the difference of Gaussians, weighted by response and area: a disc of diameter d
    answers most strongly at the standard deviation d / (2 sqrt 2) (Lindeberg, IJCV 30, 79, 1998).

    Parameters
    ----------
    samples
        Images, float32 (y, x), background 0, nuclei about 1.
    bounds
        Smallest and largest diameter to look for, in pixels of the images.

    Returns
    -------
    float
        Diameter in pixels of the images.
    """
    ratio = 2**0.25
    smallest = bounds[0]
    largest = max(smallest, min(bounds[1], max(min(sample.shape) for sample in samples)))
    count = 1 + math.ceil(math.log(largest / smallest, ratio))
    diameters = smallest * ratio ** np.arange(count)
    weights = np.zeros(count)
    for sample in samples:
        clipped = np.clip(sample, 0, 1.5)
        for index, diameter in enumerate(diameters):
            zoom = min(1.0, 12 / diameter)
            grid = Grid(clipped.shape, zoom)
            coarse = grid.resampled(
                partial(_region, clipped), Box(0, grid.work_shape[0], 0, grid.work_shape[1])
            )
            sigma = diameter * zoom / math.sqrt(8)
            response = ndimage.gaussian_filter(coarse, sigma / ratio) - ndimage.gaussian_filter(
                coarse, sigma * ratio
            )
            weights[index] += float((np.maximum(response, 0) ** 2).sum()) / zoom**2
    return float(diameters[int(np.argmax(weights))])
