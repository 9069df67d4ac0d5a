"""Stacks: volume, hull, axes, condensation and intensity of nuclei in three dimensions."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy import ndimage
from scipy.spatial import ConvexHull, QhullError

from napari_apollo.errors import DataError
from napari_apollo.measure.compat_stack import MARGIN, columns_of_compat_stack, measure_compat_nucleus
from napari_apollo.measure.config import MeasureConfig
from napari_apollo.measure.field import make_context
from napari_apollo.measure.ordering import ascending
from napari_apollo.measure.protein import ten_statistics
from napari_apollo.measure.reasons import Reason, count_reasons
from napari_apollo.measure.registry import INTENSITY, Column, Context, Feature
from napari_apollo.measure.table import describe
from napari_apollo.progress import Progress, ShouldStop, Step, never, silent
from napari_apollo.tasks import map_tasks

_FORM = "fewer than 4 voxels, or all of them in one plane"
_FLAT = "no voxel, or constant intensity"
_APOLLO = "APOLLO study"
_STEP = (1, 5)
POINTS = 10

SHAPE = (
    Feature("volume", "number of voxels x voxel volume", 3, source="scikit-image regionprops"),
    Feature(
        "equivalent_diameter_3d", "diameter of the ball of that volume", 1, source="scikit-image regionprops"
    ),
    Feature(
        "extent_3d", "volume / volume of the upright box", source="scikit-image regionprops", missing=_FORM
    ),
    Feature(
        "convex_volume",
        "volume of the convex hull of the midpoints of all voxel faces",
        3,
        source="scipy.spatial.ConvexHull",
        missing=_FORM,
    ),
    Feature("solidity_3d", "volume / convex volume", source="scikit-image regionprops", missing=_FORM),
    Feature("concavity_3d", "(convex volume - volume) / convex volume", 0, "", _APOLLO, _FORM),
    Feature(
        "axis1_3d",
        "longest axis of the ellipsoid with the same second moments",
        1,
        source="ellipsoid of equal second moments",
        missing=_FORM,
    ),
    Feature(
        "axis2_3d",
        "middle axis of that ellipsoid",
        1,
        source="ellipsoid of equal second moments",
        missing=_FORM,
    ),
    Feature(
        "axis3_3d",
        "shortest axis of that ellipsoid",
        1,
        source="ellipsoid of equal second moments",
        missing=_FORM,
    ),
)
CONDENSATION = (
    Feature("rel_hc_volume", "share of voxels at or above mean + 1.5 sd of the DNA", 0, "", _APOLLO, _FLAT),
    Feature("rel_ec_volume", "share of voxels below", 0, "", _APOLLO, _FLAT),
    Feature("hc_ec_ratio_3d", "voxels at or above / voxels below", 0, "", _APOLLO, _FLAT),
    *(
        Feature(
            f"rdp_{k}",
            f"point {k + 1} of 10, from the innermost outwards, of the share of the DNA's light that masks "
            "hold which are eroded again and again by a cross of 1 voxel in z, 5 in y and x; linear between",
            source=_APOLLO,
            missing="intensities that sum to zero or less",
        )
        for k in range(POINTS)
    ),
)
_TEN = ("rel", "min", "max", "mean", "sd", "q25", "median", "q75", "skewness", "kurtosis")
INTENSITIES = tuple(
    Feature(
        f"{name}_3d",
        f"{'sum / voxels' if name == 'rel' else name} of the stain over the voxels",
        unit="" if name in ("skewness", "kurtosis") else INTENSITY,
        source=_APOLLO,
        missing=_FLAT if name in ("skewness", "kurtosis") else "",
    )
    for name in _TEN
)
ALPHA = 1.5


def measure_stack(
    image: NDArray[np.generic],
    labels: NDArray[np.integer],
    stains: Sequence[str],
    voxel_size_um: tuple[float, float, float] | None = None,
    config: MeasureConfig | None = None,
    *,
    anchor: str | None = None,
    progress: Progress = silent,
    should_stop: ShouldStop = never,
) -> pd.DataFrame:
    """Measure every labelled nucleus of a stack.

    Parameters
    ----------
    image
        (stain, z, y, x), any real number type, intensities as acquired.
    labels
        (z, y, x) whole numbers; nuclei, 0 is background.
    stains
        Stain of every channel.
    voxel_size_um
        Sides (z, y, x) of a voxel in micrometres; where not given, voxels count as cubes of 1 px.
    config
        Settings, of which workers are used; the defaults where not given.
    anchor
        The DNA stain; the first stain that can be one where not given.
    progress, should_stop
        Told the nuclei done; asked between nuclei.

    Returns
    -------
    pandas.DataFrame
        As ``measure_field``: one row a nucleus, indexed by ``label``, ``attrs["var"]`` and
        ``attrs["missing"]``.

    Raises
    ------
    DataError
        When shapes, types, stains or voxel sizes do not fit.
    Cancelled
        When ``should_stop`` says so.
    """
    config = config or MeasureConfig()
    context = make_context(stains, anchor, config)
    size = _check(image, labels, voxel_size_um, len(context.stains))
    columns = columns_of_stack(context)
    ids, boxes = _boxes(labels)
    run = partial(_nucleus, image, labels, size, context)
    values = np.full((len(ids), len(columns)), np.nan)
    why = np.zeros(values.shape, np.uint8)
    results = map_tasks(run, zip(ids, boxes, strict=True), workers=config.workers, should_stop=should_stop)
    for k, (row, reasons) in enumerate(results):
        values[k], why[k] = row, reasons
        progress(Step("Measuring stacks", k + 1, len(ids)))
    table = pd.DataFrame(values, index=pd.Index(ids, name="label"), columns=[c.name for c in columns])
    table.attrs["var"] = describe(columns, None if voxel_size_um is None else 1.0).to_dict("index")
    table.attrs["missing"] = count_reasons(why)
    return table


def columns_of_stack(context: Context) -> list[Column]:
    """Columns of ``measure_stack``, in order."""
    space = context.config.name_space
    columns = default_columns_of_stack(context) if space != "compat" else []
    return [*columns, *(columns_of_compat_stack(context) if space != "default" else [])]


def default_columns_of_stack(context: Context) -> list[Column]:
    """Columns of the default name space."""
    columns = [Column("volume", feature, "nucleus") for feature in SHAPE]
    if context.anchor:
        columns += [Column("volume", feature, "nucleus", (context.anchor,)) for feature in CONDENSATION]
    columns += [
        Column("volume", feature, "nucleus", (stain,))
        for stain in context.sorted_stains
        for feature in INTENSITIES
    ]
    return columns


Box3 = tuple[slice, slice, slice]


def _boxes(labels: NDArray[np.integer]) -> tuple[list[int], list[Box3]]:
    """Labels in ascending order and the box of each, whatever their numbers."""
    ids, ranks = np.unique(labels, return_inverse=True)
    shift = int(np.count_nonzero(ids <= 0))
    ranks = np.maximum(ranks.reshape(labels.shape) - shift + 1, 0)
    return ids[shift:].tolist(), ndimage.find_objects(ranks.astype(np.int32))


def _check(
    image: NDArray[np.generic],
    labels: NDArray[np.integer],
    voxel: tuple[float, float, float] | None,
    stains: int,
) -> NDArray[np.float64]:
    if labels.ndim != 3 or labels.dtype.kind not in "iu":
        raise DataError(
            f"Labels of a stack are whole numbers with axes (z, y, x), not {labels.dtype} {labels.shape}."
        )
    if image.shape != (stains, *labels.shape) or image.dtype.kind not in "iuf":
        raise DataError(
            f"The stack is {image.dtype} with axes of {image.shape}; {stains} stains and labels of "
            f"{labels.shape} need real numbers with {(stains, *labels.shape)}."
        )
    size = np.ones(3) if voxel is None else np.asarray(voxel, float)
    if size.shape != (3,) or not (np.isfinite(size).all() and (size > 0).all()):
        raise DataError(f"A voxel of {voxel} µm cannot be; give three positive numbers (z, y, x).")
    return size


def _nucleus(
    image: NDArray[np.generic],
    labels: NDArray[np.integer],
    size: NDArray[np.float64],
    context: Context,
    item: tuple[int, Box3],
) -> tuple[NDArray[np.float64], NDArray[np.uint8]]:
    label, box = item
    values, why = [np.empty(0)], [np.empty(0, np.uint8)]
    if context.config.name_space != "compat":
        for part in _default_parts(image, labels[box] == label, size, context, box):
            values.append(part[0])
            why.append(part[1])
    if context.config.name_space != "default":
        wide = _widened(box, labels.shape)
        channels = {stain: image[k][wide].astype(np.float64) for k, stain in enumerate(context.stains)}
        part = measure_compat_nucleus(labels[wide] == label, channels, context)
        values.append(part[0])
        why.append(part[1])
    row, reasons = np.concatenate(values), np.concatenate(why)
    reasons[~np.isfinite(row) & (reasons == 0)] = Reason.UNDEFINED
    row[~np.isfinite(row)] = np.nan
    return row, reasons


def _default_parts(
    image: NDArray[np.generic],
    inside: NDArray[np.bool_],
    size: NDArray[np.float64],
    context: Context,
    box: Box3,
) -> list[tuple[NDArray[np.float64], NDArray[np.uint8]]]:
    channels = {stain: image[k][box].astype(np.float64) for k, stain in enumerate(context.stains)}
    parts = [_form(np.pad(inside, 1), size)]
    if context.anchor:
        parts.append(_chromatin(inside, channels[context.anchor]))
    return parts + [_light(channels[stain][inside]) for stain in context.sorted_stains]


def _widened(box: Box3, shape: tuple[int, ...]) -> Box3:
    y, x = (
        slice(max(0, part.start - MARGIN), min(length, part.stop + MARGIN))
        for part, length in zip(box[1:], shape[1:], strict=True)
    )
    return slice(0, shape[0]), y, x


def _missing(count: int, reason: Reason) -> tuple[NDArray[np.float64], NDArray[np.uint8]]:
    return np.full(count, np.nan), np.full(count, int(reason), np.uint8)


def _form(
    mask: NDArray[np.bool_], size: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.uint8]]:
    values, why = _missing(len(SHAPE), Reason.DEGENERATE)
    places = np.argwhere(mask)
    volume = len(places) * size.prod()
    values[:2], why[:2] = [volume, np.cbrt(6 * volume / np.pi)], 0
    if len(places) < 4:
        why[2:] = Reason.TOO_SMALL
        return values, why
    spread = np.linalg.eigvalsh(np.cov((places * size).T, bias=True))[::-1]
    hull = _hull_volume(mask, size)
    if spread[-1] <= 1e-9 * spread[0] or hull is None:
        return values, why
    box = np.prod((np.ptp(places, axis=0) + 1) * size)
    # An ellipsoid's variance along an axis is the square of its semi-axis over 5.
    values[2:] = [volume / box, hull, volume / hull, 1 - volume / hull, *(2 * np.sqrt(5 * spread))]
    why[2:] = 0
    return values, why


def _hull_volume(mask: NDArray[np.bool_], size: NDArray[np.float64]) -> float | None:
    """Volume of the hull of the midpoints of the faces that the nucleus shows; None where it is flat."""
    faces = []
    for axis in range(3):
        for way in (-1, 1):
            shown = np.argwhere(mask & ~np.roll(mask, -way, axis)).astype(float)
            shown[:, axis] += 0.5 * way
            faces.append(shown)
    try:
        return float(ConvexHull(np.concatenate(faces) * size).volume)
    except QhullError:
        return None


def _chromatin(
    inside: NDArray[np.bool_], light: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.uint8]]:
    values, why = _missing(len(CONDENSATION), Reason.CONSTANT)
    voxels = light[inside]
    if not np.isfinite(voxels).all():
        why[:] = Reason.NOT_FINITE
        return values, why
    if np.ptp(voxels) > 0:
        dense = float((voxels >= voxels.mean() + ALPHA * voxels.std()).mean())
        values[:3], why[:3] = [dense, 1 - dense, dense / (1 - dense)], 0
    if voxels.sum() > 0:
        values[3:], why[3:] = _profile(inside, light), 0
    else:
        why[3:] = Reason.NO_SIGNAL
    return values, why


def _profile(inside: NDArray[np.bool_], light: NDArray[np.float64]) -> NDArray[np.float64]:
    cross = np.zeros((2 * _STEP[0] + 1, 2 * _STEP[1] + 1, 2 * _STEP[1] + 1), bool)
    z, y, x = (side // 2 for side in cross.shape)
    cross[:, y, x] = cross[z, :, x] = cross[z, y, :] = True
    shares = []
    left = inside
    while left.any():
        shares.append(light[left].sum())
        left = ndimage.binary_erosion(left, cross)
    inwards = np.array(shares[::-1]) / shares[0]
    return np.interp(np.linspace(0, 1, POINTS), np.linspace(0, 1, len(inwards)), inwards)


def _light(voxels: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.uint8]]:
    if not np.isfinite(voxels).all():
        return _missing(len(INTENSITIES), Reason.NOT_FINITE)
    values, why = np.full(len(INTENSITIES), np.nan), np.zeros(len(INTENSITIES), np.uint8)
    ten_statistics(ascending(np.ascontiguousarray(voxels)), len(voxels), values, why)
    return values, why
