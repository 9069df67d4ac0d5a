"""Features of stacks under the names and by the definitions of the APOLLO study, in voxels of whatever size.

Written from the published definitions. Where these differ from the default ones: dense chromatin lies
strictly above its threshold, hulls are counted in voxels, axes take no notice of the voxel's sides, and the
radial profile starts with the empty mask that the last erosion leaves, so that ``rdp_0`` is 0.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage
from skimage.measure import regionprops

from napari_apollo.measure.compat import UNGROWN
from napari_apollo.measure.compat_foci import count_foci
from napari_apollo.measure.compat_names import PROTEIN, foci_feature, foci_name, short_name
from napari_apollo.measure.foci import foci_stains
from napari_apollo.measure.ordering import ascending
from napari_apollo.measure.protein import ten_statistics
from napari_apollo.measure.reasons import Reason
from napari_apollo.measure.registry import INTENSITY, Column, Context, Feature

ALPHA = 1.5
POINTS = 10
GROWTH = 2
"""Dilations of the nucleus for proteins that are not of it."""
MARGIN = 10
"""Voxels in y and x around a nucleus that dilations reach."""

_SOURCE = "APOLLO study"
_FORM = {
    "equivalent_diameter": "diameter of the ball of that many voxels",
    "extent": "voxels / voxels of the upright box",
    "major_axis_length": "longest axis of the ellipsoid with the same second moments",
    "minor_axis_length": "shortest axis of that ellipsoid",
    "solidity": "voxels / convex_hull_vol",
    "nuclear_volume": "voxels of the nucleus",
    "convex_hull_vol": "voxels in the convex hull",
    "concavity_3d": "(convex_hull_vol - nuclear_volume) / convex_hull_vol",
}
_CHROMATIN = {
    "rel_hc_volume": "share of voxels above mean + 1.5 sd of the DNA",
    "rel_ec_volume": "share of the other voxels",
    "hc_ec_ratio_3d": "voxels above / the others",
    "nuclear_mean_int": "mean of the DNA",
    "nuclear_std_int": "standard deviation of the DNA",
    **{
        f"rdp_{k}": f"point {k + 1} of 10 of the DNA's share in masks eroded again and again by a cross of 1 "
        "voxel in z, 5 in y and x, from the empty mask outwards, linear between"
        for k in range(POINTS)
    },
}


def columns_of_compat_stack(context: Context) -> list[Column]:
    """Columns of ``measure_compat_nucleus``, in order."""
    columns = [_column(name, text) for name, text in _FORM.items()]
    if context.anchor:
        columns += [_column(name, text, context.anchor) for name, text in _CHROMATIN.items()]
    counted = foci_stains(context)
    for stain in context.sorted_stains:
        for planes in ("3d", "2d") if stain != context.anchor else ("3d",):
            what = "the stack" if planes == "3d" else "the maximum over z"
            columns += [
                _column(f"{name}_{_short(stain, context)}_{planes}_int", f"{text}, of {what}", stain, name)
                for name, text in PROTEIN.items()
            ]
        if stain in counted:
            name = foci_name(stain)
            columns.append(Column("compat", foci_feature(name), "nucleus", (stain,), name))
    return columns


def measure_compat_nucleus(
    inside: NDArray[np.bool_], channels: dict[str, NDArray[np.float64]], context: Context
) -> tuple[NDArray[np.float64], NDArray[np.uint8]]:
    """Values and reasons of one nucleus.

    Parameters
    ----------
    inside
        (z, y, x) the nucleus, all planes of the stack, with ``MARGIN`` voxels around it in y and x where the
        stack has them.
    channels
        (z, y, x) of every stain.
    context
        Stains and settings.
    """
    columns = columns_of_compat_stack(context)
    found = _form(inside)
    if context.anchor:
        found |= _chromatin(inside, channels[context.anchor])
    counted = foci_stains(context)
    for stain in context.sorted_stains:
        region = inside
        if stain != context.anchor and stain not in UNGROWN:
            region = ndimage.binary_dilation(inside, _cross(), iterations=GROWTH)
        short = _short(stain, context)
        found |= _ten(f"{short}_3d", channels[stain][region])
        if stain != context.anchor:
            flat = channels[stain].max(axis=0)
            found |= _ten(f"{short}_2d", flat[region.any(axis=0)])
        if stain in counted:
            flat, mask = channels[stain].max(axis=0), inside.any(axis=0)
            if np.ptp(flat[mask]) > 0:
                found[foci_name(stain)] = count_foci(np.pad(mask, 1).astype(np.uint8), np.pad(flat, 1))
    values = np.array([found.get(column.name, np.nan) for column in columns])
    why = np.zeros(len(values), np.uint8)
    for at, column in enumerate(columns):
        if np.isfinite(values[at]):
            continue
        values[at] = np.nan
        if column.stains and not np.isfinite(channels[column.stains[0]]).all():
            why[at] = Reason.NOT_FINITE
        elif column.name in _FORM:
            why[at] = Reason.DEGENERATE
        elif column.name.startswith("rdp"):
            why[at] = Reason.NO_SIGNAL
        else:
            why[at] = Reason.CONSTANT
    return values, why


def _column(name: str, text: str, stain: str = "", statistic: str = "") -> Column:
    is_light = name.startswith("nuclear_") and name.endswith("_int")
    is_light |= bool(statistic) and statistic not in ("kurtosis", "skewness")
    feature = Feature(name, text, 0, INTENSITY if is_light else "", _SOURCE, "not defined for this nucleus")
    return Column("compat", feature, "nucleus", (stain,) if stain else (), name)


def _short(stain: str, context: Context) -> str:
    return "dna" if stain == context.anchor else short_name(stain)


def _cross() -> NDArray[np.bool_]:
    """Cross of 1 voxel in z and 5 in y and x; z only in the middle."""
    cross = np.zeros((3, 11, 11), bool)
    cross[:, 5, 5] = cross[1, 5, :] = cross[1, :, 5] = True
    return cross


def _form(inside: NDArray[np.bool_]) -> dict[str, float]:
    props = regionprops(inside.astype(np.uint8))[0]
    volume = float(props.area)
    found = {
        "equivalent_diameter": props.equivalent_diameter_area,
        "extent": props.extent,
        "nuclear_volume": volume,
    }
    places = np.argwhere(inside)
    if len(places) < 4 or np.linalg.matrix_rank(places - places[0]) < 3:
        return found
    hull = float(props.area_convex)
    return {
        **found,
        "major_axis_length": props.axis_major_length,
        "minor_axis_length": props.axis_minor_length,
        "solidity": volume / hull,
        "convex_hull_vol": hull,
        "concavity_3d": (hull - volume) / hull,
    }


def _chromatin(inside: NDArray[np.bool_], light: NDArray[np.float64]) -> dict[str, float]:
    voxels = light[inside]
    if not np.isfinite(voxels).all():
        return {}
    dense = float((voxels > voxels.mean() + ALPHA * voxels.std()).mean())
    found = {
        "rel_hc_volume": dense,
        "rel_ec_volume": 1 - dense,
        "hc_ec_ratio_3d": dense / (1 - dense),
        "nuclear_mean_int": float(voxels.mean()),
        "nuclear_std_int": float(voxels.std()),
    }
    if voxels.sum() > 0:
        found |= {f"rdp_{k}": float(value) for k, value in enumerate(_profile(inside, light))}
    return found


def _profile(inside: NDArray[np.bool_], light: NDArray[np.float64]) -> NDArray[np.float64]:
    shares, left = [light[inside].sum()], inside
    while shares[-1] > 0:
        left = ndimage.binary_erosion(left, _cross())
        shares.append(light[left].sum())
    inwards = np.array(shares[::-1]) / shares[0]
    return np.interp(np.linspace(0, 1, POINTS), np.linspace(0, 1, len(inwards)), inwards)


def _ten(description: str, voxels: NDArray[np.float64]) -> dict[str, float]:
    if not np.isfinite(voxels).all():
        return {}
    values = np.full(10, np.nan)
    ten_statistics(ascending(np.ascontiguousarray(voxels)), len(voxels), values, np.zeros(10, np.uint8))
    order: Sequence[int] = (0, 1, 2, 3, 4, 5, 7, 6, 9, 8)
    return {f"{name}_{description}_int": float(values[at]) for name, at in zip(PROTEIN, order, strict=True)}
