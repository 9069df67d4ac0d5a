"""The engine ``threshold``: local contrast and shape, no weights."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

import numba
import numpy as np
import numpy.typing as npt
from scipy import ndimage

from napari_apollo.cells.segmentation.decode import Decoding, Maps
from napari_apollo.cells.segmentation.grid import Box
from napari_apollo.cells.segmentation.work import WorkField

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
    diameter: float = 20.0
    floor: float = 0.385
    """Lowest threshold, as a part of a typical nucleus."""
    local: float = 0.9
    """Part of the neighbourhood's brightness that a nucleus exceeds."""
    neighbourhood: float = 1.0
    """Standard deviation of the neighbourhood, in diameters."""
    half: float = 0.52
    """Part of the brightness of nuclei nearby that a nucleus exceeds."""
    vicinity: float = 0.625
    """Standard deviation of what is nearby, in diameters."""
    outline: float = 0.025
    """Standard deviation of the smoothing before the threshold, in diameters."""
    hill: float = 0.135
    """Standard deviation of the smoothing before the climb, in diameters."""
    shape: float = 0.9
    """Part of the hill that is distance to the outline; the rest is brightness."""
    decoding: Decoding = field(
        default=Decoding(reach=2**_CLIMB, separation=4.0, capture=2.0, least_area=24.0, least_votes=10.0)
    )

    @property
    def margin(self) -> int:
        """Work pixels beyond a region that it reads."""
        before = max(self._radius(self.neighbourhood), self._radius(self.outline))
        before += self._radius(self.vicinity)
        return before + math.ceil(self.diameter) + self._radius(self.hill) + 2**_CLIMB + 1

    def sized(self, samples: Sequence[npt.NDArray[np.float32]], diameter: float) -> float:
        """The estimate as it is."""
        return diameter

    def maps(self, work: WorkField, box: Box) -> Maps:
        """See a region of the work grid."""
        outer = box.grown(self.margin, work.shape)
        values = np.clip(work.read(outer), 0, 2)
        smooth = self._blurred(values, self.outline)
        around = self._blurred(values, self.neighbourhood)
        threshold = np.maximum(np.float32(self.floor), np.float32(self.local) * around)
        inside = (smooth > threshold).astype(np.float32)
        share = self._blurred(inside, self.vicinity)
        bright = self._blurred(inside * smooth, self.vicinity) / np.maximum(share, np.float32(0.02))
        threshold = np.maximum(threshold, np.float32(self.half) * bright)
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

    def _radius(self, width: float) -> int:
        return math.ceil(_TRUNCATE * width * self.diameter) + 1

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
