"""The region of a cell: its nucleus, expanded."""

from __future__ import annotations

import math

import numba
import numpy as np
import numpy.typing as npt

from napari_apollo.errors import ConfigError, DataError

_NONE = np.int64(2**62)


def expand_nuclei(labels: npt.ArrayLike, distance: float) -> npt.NDArray[np.int32]:
    """Expand every nucleus without crossing its neighbours.

    A pixel belongs to the nucleus whose nearest pixel is closest, if it is no further away than ``distance``;
    the lowest number of equals. A pixel depends on nothing further away, so regions expanded on their own,
    with a margin of ``distance``, equal the whole.

    Parameters
    ----------
    labels
        Nuclei, integer (Y, X), 0 is background.
    distance
        Between pixel centres, in pixels, 0 to 1000. Micrometres over the pixel size give it.

    Returns
    -------
    ndarray
        Cell regions, int32 (Y, X), numbered as the nuclei are.

    Raises
    ------
    ConfigError
        When the distance is out of bounds.
    DataError
        When labels are not an integer image.
    """
    nuclei = np.asarray(labels)
    if not 0 <= distance <= 1000:
        raise ConfigError(f"Nuclei are expanded by 0 to 1000 pixels, not by {distance}.")
    if nuclei.ndim != 2 or nuclei.dtype.kind not in "iu":
        raise DataError(f"Labels are an integer image (Y, X), not {nuclei.dtype} of shape {nuclei.shape}.")
    nuclei = np.ascontiguousarray(nuclei, dtype=np.int32)
    if distance < 1:
        return nuclei.copy()
    return _expanded(nuclei, np.int64(math.floor(distance)), np.int64(math.floor(distance * distance)))


@numba.njit(nogil=True, cache=True)
def _expanded(labels, radius, most):  # type: ignore[no-untyped-def]
    """Smallest squared distance, then label, first along columns and then across them."""
    height, width = labels.shape
    squared = np.full((height, width), _NONE, np.int64)
    nearest = np.zeros((height, width), np.int32)
    last = np.full(width, -_NONE, np.int64)
    for y in range(height):
        for x in range(width):
            if labels[y, x]:
                last[x] = y
            if y - last[x] <= radius:
                squared[y, x] = (y - last[x]) ** 2
                nearest[y, x] = labels[last[x], x]
    last[:] = _NONE
    for y in range(height - 1, -1, -1):
        for x in range(width):
            if labels[y, x]:
                last[x] = y
            if last[x] - y <= radius:
                further = (last[x] - y) ** 2
                label = labels[last[x], x]
                if further < squared[y, x] or (further == squared[y, x] and label < nearest[y, x]):
                    squared[y, x], nearest[y, x] = further, label
    result = labels.copy()
    for y in range(height):
        for x in range(width):
            if labels[y, x]:
                continue
            best = most + 1
            for other in range(max(0, x - radius), min(width, x + radius + 1)):
                total = squared[y, other] + (x - other) ** 2
                if total < best or (total == best and total <= most and nearest[y, other] < result[y, x]):
                    best = total
                    result[y, x] = nearest[y, other]
    return result
