"""Why a value could not be measured: every NaN has one of these reasons, and they are counted."""

from __future__ import annotations

from enum import IntEnum

import numpy as np
from numpy.typing import NDArray


class Reason(IntEnum):
    """Reasons for a missing value; the number is what the compiled code writes."""

    MEASURED = 0
    NO_REGION = 1
    TOO_SMALL = 2
    DEGENERATE = 3
    CONSTANT = 4
    NO_PAIRS = 5
    NO_SIGNAL = 6
    NONE_FOUND = 7
    NO_NEIGHBOUR = 8
    NO_STAIN = 9
    NOT_FINITE = 10
    ROUND = 11
    UNDEFINED = 12
    NO_LABELS = 13
    CROWDED = 14

    @property
    def text(self) -> str:
        """The reason in words."""
        return _TEXTS[self]


_TEXTS = {
    Reason.MEASURED: "measured",
    Reason.NO_REGION: "the cell has no pixel in this region",
    Reason.TOO_SMALL: "the region has too few pixels",
    Reason.DEGENERATE: "the pixels of the region lie on one line",
    Reason.CONSTANT: "the intensity is the same in every pixel of the region",
    Reason.NO_PAIRS: "no two pixels of the region lie at this distance",
    Reason.NO_SIGNAL: "the intensities that would be divided by are zero or negative",
    Reason.NONE_FOUND: "nothing was found that could be averaged",
    Reason.NO_NEIGHBOUR: "too few other cells in the field",
    Reason.NO_STAIN: "the cell's panel does not have this stain",
    Reason.NOT_FINITE: "the image holds NaN or infinity in this cell",
    Reason.ROUND: "the region has no direction: its axes are equal",
    Reason.NO_LABELS: "needs the label image of the field; this was measured from crops",
    Reason.CROWDED: "foci lie so close together that their true number cannot be told",
    Reason.UNDEFINED: "the formula gives no finite number for this cell",
}


def count_reasons(why: NDArray[np.uint8]) -> dict[str, int]:
    """How many values are missing, by reason.

    Parameters
    ----------
    why
        Reason codes, uint8, any shape.

    Returns
    -------
    dict
        Reason in words to number of values; measured values are left out.
    """
    # Not bincount, which would make eight bytes of every code.
    counts = {reason: np.count_nonzero(why == reason) for reason in Reason if reason}
    return {reason.text: int(count) for reason, count in counts.items() if count}
