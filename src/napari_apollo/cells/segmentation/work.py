"""A field as engines see it: normalised, at the scale where nuclei have their canonical size."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import numpy.typing as npt

from napari_apollo.cells.segmentation.grid import Box, Grid, Read
from napari_apollo.cells.segmentation.scale import FieldScale, checked

_REMEMBERED = 24


class WorkField:
    """A field on its work grid, read on demand.

    Parameters
    ----------
    read
        Reads a region of the nucleus channel, as acquired.
    shape
        Rows and columns of the field.
    scale
        Brightness and size of the field's nuclei.
    diameter
        Size in work pixels that a typical nucleus is brought to.
    where
        What to call the field in an error.
    """

    def __init__(
        self, read: Read, shape: tuple[int, int], scale: FieldScale, diameter: float, where: str
    ) -> None:
        self.grid = Grid(shape, diameter / scale.diameter)
        self.shape = self.grid.work_shape
        self.empty = scale.empty
        self._read = read
        self._scale = scale
        self._where = where
        self._kept: dict[Box, Any] = {}

    def read(self, box: Box) -> npt.NDArray[np.float32]:
        """Region of the work grid, float32 (y, x): background 0, a typical nucleus 1.

        Raises
        ------
        DataError
            When a value is not finite.
        """
        return self._scale.normalised(self.grid.resampled(self._read_checked, box))

    def remembered(self, boxes: Sequence[Box], see: Callable[[Box], Any], threads: int) -> list[Any]:
        """What ``see`` makes of regions; made once while the field goes on to be worked on nearby.

        Parameters
        ----------
        boxes
            Regions of the work grid.
        see
            Makes of a region what depends on the field only; one field is seen in one way.
        threads
            Regions that are seen at the same time.
        """
        missing = [box for box in boxes if box not in self._kept]
        if threads > 1 and len(missing) > 1:
            with ThreadPoolExecutor(min(threads, len(missing))) as pool:
                fresh = dict(zip(missing, pool.map(see, missing), strict=True))
        else:
            fresh = {box: see(box) for box in missing}
        seen = {**self._kept, **fresh}
        self._kept = dict(list(seen.items())[-_REMEMBERED:])
        return [seen[box] for box in boxes]

    def _read_checked(self, y: slice, x: slice) -> npt.NDArray[np.float32]:
        return checked(self._read(y, x), self._where)
