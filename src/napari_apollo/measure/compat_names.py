"""Published names and definitions of the name space ``compat``."""

from __future__ import annotations

import re

from napari_apollo.measure.registry import INTENSITY, Feature

_MORPHOLOGY = {
    "min_calliper": "smallest of the longest columns of the mask turned by 1, 11, ... 351°, px",
    "max_calliper": "largest of these, px",
    "smallest_largest_calliper": "min_calliper / max_calliper",
    "min_radius": "smallest distance from the centroid to an edge pixel, px",
    "max_radius": "largest such distance, px",
    "med_radius": "median of these distances, px",
    "avg_radius": "mean of these distances, px",
    "mode_radius": "most frequent of these distances, px",
    "d25_radius": "25th percentile of these distances, px",
    "d75_radius": "75th percentile of these distances, px",
    "std_radius": "standard deviation of these distances, px",
    "feret_max": "largest distance of two edge pixels, px",
    "centroid-0": "centroid in the nucleus's box, y, px",
    "centroid-1": "centroid in the nucleus's box, x, px",
    "area": "pixels of the nucleus",
    "perimeter": "perimeter of edge pixels after Benkrid & Crookes, px",
    "bbox_area": "pixels of the upright box",
    "convex_area": "pixels whose centre lies in the convex hull",
    "equivalent_diameter": "2 sqrt(area / π), px",
    "major_axis_length": "major axis of the ellipse with the same second moments, px",
    "minor_axis_length": "minor axis of that ellipse, px",
    "eccentricity": "sqrt(1 - (minor / major)²)",
    "orientation": "angle from the y axis to the major axis, rad",
    "concavity": "(convex_area - area) / convex_area",
    "solidity": "area / convex_area",
    "a_r": "minor / major axis",
    "shape_factor": "perimeter² / (4π area)",
    "area_bbarea": "area / bbox_area",
}
_SIDES = {
    "max_{}_curv": "largest {} curvature",
    "avg_{}_curv": "mean {} curvature",
    "med_{}_curv": "median {} curvature",
    "std_{}_curv": "standard deviation of {} curvatures",
    "sum_{}_curv": "sum of {} curvatures",
    "len_{}_curv": "edge pixels with {} curvature",
}
_PEAKS = {
    "num_prominant_{}_curv": "number of {} peaks with prominence 0.1, width 5 and distance 10",
    "prominance_prominant_{}_curv": "mean prominence of these {} peaks",
    "width_prominant_{}_curv": "mean width of these {} peaks",
    "prominant_{}_curv": "mean curvature at these {} peaks",
}
_BOUNDARY = {
    "avg_curvature": "mean curvature over edge pixels ordered by angle: 1 / (radius of the circle through "
    "the pixel and those two before and after + 1), negative where its centre is outside",
    "std_curvature": "standard deviation of these curvatures",
    "npolarity_changes": "changes of sign along the edge, zeros included",
    **{key.format("posi"): text.format("positive") for key, text in _SIDES.items()},
    **{key.format("neg"): text.format("negative (absolute)") for key, text in _SIDES.items()},
    **{key.format("pos"): text.format("positive") for key, text in _PEAKS.items()},
    **{key.format("neg"): text.format("negative") for key, text in _PEAKS.items()},
    "frac_peri_w_posi_curvature": "len_posi_curv / perimeter",
    "frac_peri_w_neg_curvature": "len_neg_curv / perimeter",
    "frac_peri_w_polarity_changes": "npolarity_changes / perimeter",
}
_INTENSITIES = {
    "int_min": "smallest grey level",
    "int_d25": "25th percentile",
    "int_median": "median",
    "int_d75": "75th percentile",
    "int_max": "largest grey level",
    "int_mean": "mean",
    "int_mode": "most frequent grey level",
    "int_sd": "standard deviation",
    "kurtosis": "fourth central moment / sd⁴ - 3",
    "skewness": "third central moment / sd³",
    "entropy": "Shannon entropy, bits, of the masked box with its zeros",
}
_CONDENSATION = {
    "i80_i20": "80th / 20th percentile",
    "nhigh_nlow": "pixels at or above the 80th / pixels at or below the 20th percentile",
    "hc_area_ec_area": "pixels at or above mean + sd / pixels below",
    "hc_area_nuc_area": "pixels at or above mean + sd / pixels above zero",
    "hc_content_ec_content": "intensity at or above mean + sd / intensity below",
    "hc_content_dna_content": "intensity at or above mean + sd / all intensity",
}
PROPERTIES = {
    "contrast": "Σ P (i - j)²",
    "dissimilarity": "Σ P |i - j|",
    "homogeneity": "Σ P / (1 + (i - j)²)",
    "asm": "Σ P²",
    "energy": "sqrt(Σ P²)",
    "correlation": "correlation of i and j",
}
PROTEIN = {
    "rel": "sum / pixels of the region",
    "min": "smallest pixel",
    "max": "largest pixel",
    "mean": "mean",
    "std": "standard deviation",
    "q25": "25th percentile",
    "q75": "75th percentile",
    "median": "median",
    "kurtosis": "fourth central moment / sd⁴ - 3",
    "skewness": "third central moment / sd³",
}


def _moments(prefix: str) -> dict[str, str]:
    what = "intensity" if prefix else "1"
    tables = {
        "moments": f"Σ y^p x^q · {what} in the nucleus's box",
        "moments_normalized": "central moment / (sum of weights)^(1 + (p + q)/2); missing below order 2",
        "moments_central": f"Σ (y - cy)^p (x - cx)^q · {what}",
    }
    grids = {
        f"{prefix}{name}-{p}-{q}": text for name, text in tables.items() for p in range(4) for q in range(4)
    }
    hus = {f"{prefix}moments_hu-{k}": f"Hu's invariant {k + 1} of these normalised moments" for k in range(7)}
    return {**grids, **hus}


_MOMENTS = {
    "weighted_centroid-0": "centre weighted by intensity in the nucleus's box, y, px",
    "weighted_centroid-1": "centre weighted by intensity in the nucleus's box, x, px",
    **_moments("weighted_"),
    **_moments(""),
}
MORPHOLOGY, BOUNDARY = tuple(_MORPHOLOGY), tuple(_BOUNDARY)
INTENSITIES, CONDENSATION = tuple(_INTENSITIES), tuple(_CONDENSATION)
MOMENTS = tuple(_MOMENTS)
_FORMULAS = {**_MORPHOLOGY, **_BOUNDARY, **_INTENSITIES, **_CONDENSATION, **_MOMENTS}
_TURNING = re.compile(
    r"calliper|centroid|orientation|moments(_normalized|_central)?-\d-\d|peri|curv|polarity"
)


def feature(name: str) -> Feature:
    """Definition of a published name."""
    head, _, lag = name.rpartition("_")
    if head in PROPERTIES:
        formula = (
            f"{PROPERTIES[head]}, P the one-sided co-occurrence at {lag} px of 256 grey levels of the masked "
            "box, background included, averaged over 4 angles"
        )
        return Feature(name, formula, source="chrometrics", missing="no pixels at this distance")
    return Feature(
        name,
        _FORMULAS[name],
        unit="grey level" if name.startswith("int_") else "",
        source="chrometrics",
        missing="not defined for this nucleus",
        turns=bool(_TURNING.search(name)),
    )


def protein_feature(name: str) -> Feature:
    """Definition of a statistic of a protein."""
    return Feature(
        name,
        f"{PROTEIN[name]} over the nucleus, grown by two pixels for all but gammaH2AX and lamin",
        unit="" if name in ("kurtosis", "skewness") else INTENSITY,
        source="APOLLO study",
        missing="no nucleus, or constant intensity",
    )


def protein_name(name: str, stain: str) -> str:
    """Published column name of a protein's statistic, for example ``median_gh2ax_2d_int``."""
    return f"{name}_{short_name(stain)}_2d_int"


def foci_name(stain: str) -> str:
    """Published name of the number of foci, for example ``gh2ax_foci_count``."""
    return f"{short_name(stain)}_foci_count"


def foci_feature(name: str) -> Feature:
    """Definition of the published number of foci."""
    return Feature(
        name,
        "pieces of at least 4 px of what lies above mean + 2.5 sd of the nucleus's grey levels, split by a "
        "watershed from local maxima",
        source="APOLLO study",
        missing="no nucleus, or constant intensity",
    )


def short_name(stain: str) -> str:
    """A stain as published names spell it."""
    return {"gammaH2AX": "gh2ax", "53BP1": "53bp1"}.get(stain, stain.lower())
