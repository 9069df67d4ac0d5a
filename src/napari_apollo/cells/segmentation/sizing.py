"""How large the nuclei of a field are, and whether there is anything at all but noise."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from napari_apollo.cells.segmentation.grid import Box, Grid

_RATIO = 2**0.25
_NOISE = 2.8  # diameter in pixels at which noise answers and nuclei hardly do
_COARSE = 12.0  # diameter in pixels above which images are made coarser, to save time
_SMALL_FIRST = 0.5
_CORRECTION = 1.12  # of the bias that the preference for small sizes brings, from the annotated sets
_EVIDENT = 5.0
_EVIDENT_FEW = 50.0


@dataclass(frozen=True)
class Size:
    """Size of the bright round things in a field.

    Attributes
    ----------
    diameter
        Typical diameter, in pixels.
    evident
        Whether they answer clearly more than noise does.
    """

    diameter: float
    evident: bool


def estimate_size(samples: Sequence[npt.NDArray[np.float32]], bounds: tuple[float, float]) -> Size:
    """Typical size of bright round things.

    A disc of diameter d answers most strongly to a difference of Gaussians around the standard deviation
    d / (2 sqrt 2) (Lindeberg, IJCV 30, 79, 1998). The fourth power of the response, summed over the area,
    says which size dominates, less what white noise would give: its response falls with the diameter. A
    preference for small sizes keeps clusters and whole pieces of tissue from being taken for nuclei.

    Parameters
    ----------
    samples
        Images, float32 (y, x), background 0, nuclei about 1.
    bounds
        Smallest and largest diameter to look for, in pixels of the images. Nothing larger than a quarter
        of the images is looked for.
    """
    side = max(min(sample.shape) for sample in samples) / 4
    largest = max(bounds[0], min(bounds[1], max(16.0, side)))
    count = 1 + math.floor(math.log(largest / bounds[0], _RATIO))
    diameters = bounds[0] * _RATIO ** np.arange(count)
    clipped = [np.clip(sample, 0, 1.5) for sample in samples]
    energy = np.array([_energy(clipped, float(diameter)) for diameter in diameters])
    noise = _energy(clipped, _NOISE) * (_NOISE / diameters) ** 4
    above = energy - 1.2 * noise
    best = int(np.argmax(above / diameters**_SMALL_FIRST))
    area = sum(sample.size for sample in samples)
    needed = _EVIDENT + _EVIDENT_FEW * diameters[best] ** 2 / area
    diameter = float(np.clip(diameters[best] * _CORRECTION, *bounds))
    return Size(diameter, bool(above[best] > needed * noise[best]))


def _energy(samples: Sequence[npt.NDArray[np.float32]], diameter: float) -> float:
    """Fourth power of the response of samples to discs of one diameter, summed over image pixels."""
    total = 0.0
    for sample in samples:
        zoom = min(1.0, _COARSE / diameter)
        grid = Grid((int(sample.shape[0]), int(sample.shape[1])), zoom)
        coarse = grid.resampled(partial(region_of, sample), Box(0, grid.work_shape[0], 0, grid.work_shape[1]))
        sigma = diameter * zoom / math.sqrt(8)
        response = ndimage.gaussian_filter(coarse, sigma / _RATIO)
        response -= ndimage.gaussian_filter(coarse, sigma * _RATIO)
        total += float((np.maximum(response, 0) ** 4).sum(dtype=np.float64)) / zoom**2
    return total


def region_of(values: npt.NDArray[np.float32], y: slice, x: slice) -> npt.NDArray[np.float32]:
    """Region of an image in memory."""
    return values[y, x]
