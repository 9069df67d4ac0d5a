"""Moments of the nucleus and of the DNA stain in it, free of scale and gain."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from napari_apollo.measure.compiled import kernel
from napari_apollo.measure.gather import Cells
from napari_apollo.measure.reasons import Reason
from napari_apollo.measure.regions import NUCLEUS, in_region
from napari_apollo.measure.registry import Column, Context, Family, Feature, Values, Why, blank

_ORDERS = ((2, 0), (1, 1), (0, 2), (3, 0), (2, 1), (1, 2), (0, 3))
_SOURCE = "Hu 1962; scikit-image moments_hu"


def _features(weighted: bool) -> tuple[Feature, ...]:
    prefix = "weighted_" if weighted else ""
    weight = "weighted by intensity over its mean" if weighted else "every pixel counts 1"
    missing = "no nucleus" + (", or intensities that sum to zero or less" if weighted else "")
    return (
        *(
            Feature(
                f"{prefix}moment_{p}{q}",
                f"η{p}{q} = Σ w (y - cy)^{p} (x - cx)^{q} / area^(1 + {p + q}/2), {weight}; free of scale"
                + (" and gain" if weighted else ""),
                source="normalised central moment",
                missing=missing,
                turns=True,
            )
            for p, q in _ORDERS
        ),
        *(
            Feature(
                f"{prefix}hu{k}",
                f"Hu's invariant {k} of these moments; the same for any position, size and direction"
                + (", but for the sign when mirrored" if k == 7 else ""),
                source=_SOURCE,
                missing=missing,
            )
            for k in range(1, 8)
        ),
    )


_PLAIN, _WEIGHTED = _features(False), _features(True)


def _columns(context: Context) -> Sequence[Column]:
    columns = [Column("moments", feature, "nucleus") for feature in _PLAIN]
    if context.anchor:
        columns += [Column("moments", feature, "nucleus", (context.anchor,)) for feature in _WEIGHTED]
    return columns


def _measure(cells: Cells, context: Context) -> tuple[Values, Why]:
    size = len(_PLAIN)
    values, why = blank(len(cells.height), len(_columns(context)))
    _moments(cells, -1, values[:, :size], why[:, :size])
    if context.anchor:
        _moments(cells, context.channel(context.anchor), values[:, size:], why[:, size:])
    return values, why


FAMILY = Family(
    "moments",
    "Normalised central moments and Hu's invariants of the nucleus and of the DNA in it.",
    _columns,
    _measure,
)

_NO_REGION = int(Reason.NO_REGION)
_NO_SIGNAL = int(Reason.NO_SIGNAL)


@kernel
def _moments(cells, channel, out, why):  # type: ignore[no-untyped-def]
    for i in range(len(cells.height)):
        start, stop = cells.start[i], cells.start[i + 1]
        width = cells.width[i]
        mask = cells.mask[start:stop]
        count = 0
        total = sy = sx = 0.0
        for at in range(len(mask)):
            if in_region(mask[at], NUCLEUS):
                weight = cells.pixels[channel, start + at] if channel >= 0 else 1.0
                count += 1
                total += weight
                sy += weight * (at // width)
                sx += weight * (at % width)
        if count == 0:
            why[i] = _NO_REGION
            continue
        if total <= 0.0:
            why[i] = _NO_SIGNAL
            continue
        cy, cx = sy / total, sx / total
        m20 = m11 = m02 = m30 = m21 = m12 = m03 = 0.0
        for at in range(len(mask)):
            if in_region(mask[at], NUCLEUS):
                weight = cells.pixels[channel, start + at] if channel >= 0 else 1.0
                y, x = at // width - cy, at % width - cx
                m20 += weight * y * y
                m11 += weight * y * x
                m02 += weight * x * x
                m30 += weight * y * y * y
                m21 += weight * y * y * x
                m12 += weight * y * x * x
                m03 += weight * x * x * x
        second = 1.0 / (total * count)
        third = second / np.sqrt(count)
        eta = (
            m20 * second,
            m11 * second,
            m02 * second,
            m30 * third,
            m21 * third,
            m12 * third,
            m03 * third,
        )
        for k in range(7):
            out[i, k] = eta[k]
        hu_invariants(eta, out[i, 7:])


@kernel
def hu_invariants(eta, out):  # type: ignore[no-untyped-def]
    """Hu's seven invariants of (η20, η11, η02, η30, η21, η12, η03)."""
    n20, n11, n02, n30, n21, n12, n03 = eta
    a, b = n30 + n12, n21 + n03
    c, d = n30 - 3.0 * n12, 3.0 * n21 - n03
    out[0] = n20 + n02
    out[1] = (n20 - n02) ** 2 + 4.0 * n11**2
    out[2] = c * c + d * d
    out[3] = a * a + b * b
    out[4] = c * a * (a * a - 3.0 * b * b) + d * b * (3.0 * a * a - b * b)
    out[5] = (n20 - n02) * (a * a - b * b) + 4.0 * n11 * a * b
    out[6] = d * a * (a * a - 3.0 * b * b) - c * b * (3.0 * a * a - b * b)
