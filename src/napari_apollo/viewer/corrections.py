"""Correcting nuclei by hand: merge, split, delete, with napari's own undo.

Every change goes through ``Labels.data_setitem``, so that it stands in the same history as painting
and filling, and napari's undo takes it back. What was not saved when the layer or the window goes is kept
beside the label image, and comes back.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any
from zlib import crc32

import numpy as np
from numpy.typing import NDArray

from napari_apollo.errors import DataError
from napari_apollo.study import open_labels
from napari_apollo.viewer.writing import save_labels

if TYPE_CHECKING:
    from napari.layers import Labels

LARGEST = 200_000_000
"""Pixels of a label image that is brought into memory to be corrected."""

_BY_HAND = "corrected_by_hand"


class Correction:
    """A label image that is being corrected in a layer.

    Parameters
    ----------
    path
        The label image, which ``save`` writes.
    shape
        Its (y, x).
    pixel_size_um
        Written into it, where known.
    left
        What a layer shows that nobody saved or kept.

    Attributes
    ----------
    data
        Labels int32 (y, x), to be changed in place. Where corrections were left unsaved, these.
    restored
        Whether they are such.

    Raises
    ------
    DataError
        When there are more than ``LARGEST`` pixels.
    """

    def __init__(
        self,
        path: Path,
        shape: tuple[int, int],
        pixel_size_um: tuple[float, float] | None = None,
        left: NDArray[np.integer] | None = None,
    ) -> None:
        self.path, self.pixel_size_um = path, pixel_size_um
        both = self.aside.is_file() and path.is_file()
        self.restored = both and self.aside.stat().st_mtime_ns > path.stat().st_mtime_ns
        self.data = in_memory(open_labels(self.aside if self.restored else path, shape).lazy())
        self._kept = _state(self.data)
        self._saved = None if self.restored else self._kept
        if left is not None and left.shape == self.data.shape and not np.array_equal(left, self.data):
            self.data, self.restored = left.astype(np.int32), True

    @property
    def aside(self) -> Path:
        """Where corrections are kept that were not saved."""
        return self.path.with_name(f"{self.path.stem}.unsaved.tif")

    @property
    def unsaved(self) -> bool:
        """Whether the label image is not what is shown."""
        return _state(self.data) != self._saved

    @property
    def touched(self) -> bool:
        """Whether anything was changed since it was opened, kept or saved."""
        return _state(self.data) not in (self._kept, self._saved)

    def keep(self) -> bool:
        """Keep what is not saved beside the label image; whether there was anything to keep."""
        now = _state(self.data)
        if now == self._saved:
            self.give_up()  # what was kept before was undone
            return False
        if now != self._kept or not self.aside.is_file():
            save_labels(self.aside, self.data, self.pixel_size_um)
            self._kept = now
        return True

    def save(self) -> int:
        """Write the label image; the number of nuclei comes back.

        Nuclei keep their numbers: by these their cells and annotations know them.
        """
        save_labels(self.path, self.data, self.pixel_size_um, remarks={_BY_HAND: True})
        self._saved = _state(self.data)
        self.give_up()
        return int((np.unique(self.data) > 0).sum())

    def give_up(self) -> None:
        """Forget corrections that were kept and not saved."""
        self.aside.unlink(missing_ok=True)


def _state(labels: NDArray[np.integer]) -> int:
    """A number that differs where labels differ."""
    return crc32(np.ascontiguousarray(labels).data)


def is_by_hand(path: Path) -> bool:
    """Whether a label image was saved after corrections by hand."""
    import tifffile

    try:
        with tifffile.TiffFile(path) as file:
            return any(said.get(_BY_HAND, False) for said in file.shaped_metadata or ())
    except (OSError, tifffile.TiffFileError):
        return False


def merge(layer: Labels, ids: Sequence[int]) -> int:
    """Make one nucleus of several; it keeps the lowest number, which is returned.

    Raises
    ------
    DataError
        When fewer than two are given, or one is not there.
    """
    chosen = _present(layer, ids)
    if len(chosen) < 2:
        raise DataError("Select two or more nuclei to merge them.")
    kept = min(chosen)
    _set(layer, np.isin(_pixels(layer), [number for number in chosen if number != kept]), kept)
    return kept


def delete(layer: Labels, ids: Sequence[int]) -> None:
    """Take nuclei out.

    Raises
    ------
    DataError
        When none is given, or one is not there.
    """
    chosen = _present(layer, ids)
    if not chosen:
        raise DataError("Select the nuclei to delete.")
    _set(layer, np.isin(_pixels(layer), chosen), 0)


def split(layer: Labels, number: int) -> int:
    """Cut a nucleus in two across its neck; the number of the new one is returned.

    Raises
    ------
    DataError
        When the nucleus is not there, or too small to be cut.
    """
    _present(layer, [number])
    data = _pixels(layer)
    rows, columns = (slice(where.min(), where.max() + 1) for where in np.nonzero(data == number))
    second = cut_in_two(data[rows, columns] == number)
    fresh = int(data.max()) + 1
    y, x = np.nonzero(second)
    layer.data_setitem((y + rows.start, x + columns.start), fresh)
    return fresh


def cut_in_two(mask: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """The second of the two parts of an object, (y, x).

    The two deepest places of the object that are furthest apart in depth are the seeds of a watershed of its
    distance to the border; an object with one deep place alone is cut across its long axis.

    Raises
    ------
    DataError
        When the object has fewer than four pixels.
    """
    from scipy import ndimage
    from skimage.feature import peak_local_max
    from skimage.segmentation import watershed

    if mask.sum() < 4:
        raise DataError("The nucleus is too small to be split.")
    padded = np.pad(mask, 1)
    depth = ndimage.gaussian_filter(ndimage.distance_transform_edt(padded), 1.0)
    peaks = peak_local_max(depth, min_distance=2, labels=padded.astype(int), num_peaks=2)
    if len(peaks) == 2:
        seeds = np.zeros(padded.shape, np.int32)
        seeds[tuple(peaks.T)] = (1, 2)
        parts = watershed(-depth, seeds, mask=padded)
        second = (parts == 2)[1:-1, 1:-1]
        if second.any() and (mask & ~second).any():
            return second
    places = np.argwhere(mask).astype(float)
    centred = places - places.mean(0)
    axis = np.linalg.svd(centred, full_matrices=False)[2][0]
    second = np.zeros_like(mask)
    beyond = centred @ axis > np.median(centred @ axis)
    second[tuple(places[beyond].astype(int).T)] = True
    return second


def in_memory(labels: Any) -> NDArray[np.int32]:
    """Labels as an array that can be changed.

    Raises
    ------
    DataError
        When there are more than ``LARGEST`` pixels.
    """
    if np.prod(labels.shape) > LARGEST:
        raise DataError(
            f"The field has {np.prod(labels.shape) / 1e6:.0f} million pixels; up to "
            f"{LARGEST / 1e6:.0f} million are corrected by hand."
        )
    return np.array(labels, dtype=np.int32)


def _pixels(layer: Labels) -> NDArray[np.integer]:
    if not isinstance(layer.data, np.ndarray):
        raise DataError(f"{layer.name} lies on disk; open it for correction first.")
    return layer.data


def _present(layer: Labels, ids: Sequence[int]) -> list[int]:
    data = _pixels(layer)
    chosen = sorted({int(number) for number in ids} - {0})
    missing = [number for number in chosen if not (data == number).any()]
    if missing:
        raise DataError(f"There is no nucleus {', '.join(map(str, missing))} any more.")
    return chosen


def _set(layer: Labels, mask: NDArray[np.bool_], value: int) -> None:
    layer.data_setitem(np.nonzero(mask), value)
