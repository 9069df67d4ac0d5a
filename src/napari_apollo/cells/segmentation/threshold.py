"""The engine ``threshold``: local contrast and shape, no weights."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import numba
import numpy as np
import numpy.typing as npt
from scipy import ndimage

from napari_apollo.cells.segmentation.decode import Decoding, Maps
from napari_apollo.cells.segmentation.engines import ReadWork
from napari_apollo.cells.segmentation.grid import Box

_TRUNCATE = 3.0
_CLIMB = 5  # doublings: 2**5 steps


@dataclass(frozen=True)
class ThresholdEngine:
    """Nuclei are brighter than their surroundings and thickest in the middle.

    A pixel is nucleus where the lightly smoothed image exceeds a threshold that lies between the background
    and the brightness of the neighbourhood. Pixels then climb a hill made of brightness and of the distance
    to the outline, both smoothed in proportion to the size of a nucleus; pixels that reach one top are one
    nucleus, which splits nuclei that touch.
    """

    name: str = "threshold"
    diameter: float = 16.0
    floor: float = 0.25
    """Lowest threshold, as a part of a typical nucleus."""
    local: float = 0.6
    """Part of the neighbourhood's brightness that a nucleus exceeds."""
    neighbourhood: float = 1.5
    """Standard deviation of the neighbourhood, in diameters."""
    outline: float = 0.06
    """Standard deviation of the smoothing before the threshold, in diameters."""
    hill: float = 0.14
    """Standard deviation of the smoothing before the climb, in diameters."""
    shape: float = 0.7
    """Part of the hill that is distance to the outline; the rest is brightness."""
    decoding: Decoding = field(
        default=Decoding(reach=2**_CLIMB, separation=4.0, capture=2.0, least_area=12.0, least_votes=12.0)
    )

    @property
    def margin(self) -> int:
        """Work pixels beyond a region that it may read."""
        widths = self.outline + self.hill, self.neighbourhood
        blur = max(math.ceil(_TRUNCATE * width * self.diameter) + 2 for width in widths)
        return blur + math.ceil(self.diameter) + 2**_CLIMB + 2

    def maps(self, read: ReadWork, shape: tuple[int, int], box: Box) -> Maps:
        """See a region of the work grid."""
        outer = box.grown(self.margin, shape)
        values = np.clip(read(outer), 0, 2)
        smooth = self._blurred(values, self.outline)
        around = self._blurred(values, self.neighbourhood)
        threshold = np.maximum(np.float32(self.floor), np.float32(self.local) * around)
        level = (smooth - threshold) / threshold
        foreground = np.clip(np.rint(128 + 128 * level), 0, 255).astype(np.uint8)
        cap = np.float32(self.diameter)
        distance = np.minimum(ndimage.distance_transform_edt(foreground >= 128), cap).astype(np.float32)
        hill = np.float32(self.shape) * distance / np.float32(self.diameter / 2)
        hill += np.float32(1 - self.shape) * np.minimum(smooth, np.float32(1.5))
        height = np.rint(self._blurred(hill, self.hill) * 2**16).astype(np.int32)
        landing = _climbed(height, _CLIMB)
        inner = box.within(outer)
        return Maps(np.ascontiguousarray(foreground[inner]), np.ascontiguousarray(landing[:, *inner]))

    def _blurred(self, values: npt.NDArray[np.float32], width: float) -> npt.NDArray[np.float32]:
        return np.asarray(
            ndimage.gaussian_filter(values, width * self.diameter, truncate=_TRUNCATE), dtype=np.float32
        )


@numba.njit(nogil=True, cache=True)
def _climbed(height, doublings):  # type: ignore[no-untyped-def]
    """Where 2**doublings steps to the highest of nine neighbours lead, as int16 offsets (2, y, x)."""
    rows, columns = height.shape
    step = np.zeros((2, rows, columns), np.int16)
    for y in range(rows):
        for x in range(columns):
            best = height[y, x]
            for dy in range(-1, 2):
                for dx in range(-1, 2):
                    a, b = y + dy, x + dx
                    if 0 <= a < rows and 0 <= b < columns and height[a, b] > best:
                        best = height[a, b]
                        step[0, y, x], step[1, y, x] = dy, dx
    for _ in range(doublings):
        further = np.empty_like(step)
        for y in range(rows):
            for x in range(columns):
                a, b = y + step[0, y, x], x + step[1, y, x]
                further[0, y, x] = step[0, y, x] + step[0, a, b]
                further[1, y, x] = step[1, y, x] + step[1, a, b]
        step = further
    return step
