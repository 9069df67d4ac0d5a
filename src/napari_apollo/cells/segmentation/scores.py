"""How well found nuclei agree with annotated ones: matches, F1 and panoptic quality.

An annotated and a found nucleus match when their intersection over union exceeds a threshold; at thresholds
of 0.5 and above a nucleus can match only one other, so matching needs no assignment. F1 as in Caicedo et al.,
Nature Methods 16, 1247 (2019); panoptic quality as in Kirillov et al., CVPR 2019: the mean overlap of the
matches times the F1 at 0.5.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from napari_apollo.errors import DataError

THRESHOLDS = (0.5, 0.6, 0.7, 0.8, 0.9)
"""Overlaps at which F1 is usually told."""


@dataclass(frozen=True)
class Matches:
    """Counts of one image, or of many pooled with ``+``.

    Attributes
    ----------
    annotated, found
        Nuclei in the truth and in the result.
    overlaps
        Intersection over union of every pair that overlaps by more than one half, sorted.
    """

    annotated: int
    found: int
    overlaps: tuple[float, ...]

    def __add__(self, other: Matches) -> Matches:
        return Matches(
            self.annotated + other.annotated,
            self.found + other.found,
            tuple(sorted(self.overlaps + other.overlaps)),
        )

    def f1(self, threshold: float = 0.5) -> float:
        """Twice the matches over all nuclei annotated and found; 1 where there are none at all.

        Parameters
        ----------
        threshold
            Intersection over union that a match must exceed, 0.5 or more.

        Raises
        ------
        DataError
            When the threshold is below 0.5, where a nucleus could match two.
        """
        if not 0.5 <= threshold < 1:
            raise DataError(f"Matches are counted at overlaps from 0.5 to below 1, not at {threshold}.")
        total = self.annotated + self.found
        hits = sum(overlap > threshold for overlap in self.overlaps)
        return 2 * hits / total if total else 1.0

    @property
    def panoptic_quality(self) -> float:
        """Sum of the overlaps of the matches over the mean count of nuclei annotated and found."""
        total = self.annotated + self.found
        return 2 * sum(self.overlaps) / total if total else 1.0


def match(truth: npt.ArrayLike, result: npt.ArrayLike) -> Matches:
    """Compare two label images.

    Parameters
    ----------
    truth, result
        Labels, integer (Y, X), 0 is background; numbers need not be consecutive.

    Returns
    -------
    Matches
        Counts and the overlaps above one half.

    Raises
    ------
    DataError
        When the shapes differ or values are not integers.
    """
    first, second = np.asarray(truth), np.asarray(result)
    if first.shape != second.shape:
        raise DataError(f"Label images of one shape can be compared, not {first.shape} and {second.shape}.")
    if first.dtype.kind not in "iub" or second.dtype.kind not in "iub":
        raise DataError(f"Labels are integers, not {first.dtype} and {second.dtype}.")
    _, first = np.unique(np.append(first.ravel(), 0), return_inverse=True)
    _, second = np.unique(np.append(second.ravel(), 0), return_inverse=True)
    first, second = first.ravel()[:-1], second.ravel()[:-1]
    rows, columns = int(first.max(initial=0)) + 1, int(second.max(initial=0)) + 1
    pairs, counts = np.unique(first.astype(np.int64) * columns + second, return_counts=True)
    here, there = pairs // columns, pairs % columns
    area_truth = np.bincount(first, minlength=rows)
    area_result = np.bincount(second, minlength=columns)
    both = (here > 0) & (there > 0)
    shared = counts[both]
    union = area_truth[here[both]] + area_result[there[both]] - shared
    overlap = shared / union
    return Matches(rows - 1, columns - 1, tuple(sorted(float(value) for value in overlap[overlap > 0.5])))


def pool(matches: Iterable[Matches]) -> Matches:
    """Counts of many images as if they were one."""
    items = list(matches)
    return Matches(
        sum(item.annotated for item in items),
        sum(item.found for item in items),
        tuple(sorted(overlap for item in items for overlap in item.overlaps)),
    )
