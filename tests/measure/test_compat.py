"""The published name space against plain computations of its definitions, with NumPy and scikit-image."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import ndimage, signal, stats
from skimage import measure as sk
from skimage.feature import graycomatrix, graycoprops
from skimage.transform import rotate

from napari_apollo.measure import MeasureConfig, measure_field

COMPAT = MeasureConfig(name_space="compat", workers=1)
CROSS = ndimage.generate_binary_structure(2, 1)


@pytest.fixture(scope="module")
def small(forms):
    """Four nuclei in 8 bits, one of them a horseshoe."""
    field = forms.make_field(seed=11, side=64, dtype=np.uint8)
    labels = field.labels.copy()
    y, x = np.mgrid[:64, :64]
    turn = np.hypot(y - 16, x - 16)
    labels[labels == 1] = 0
    labels[(turn <= 11) & (turn >= 5) & ~((y > 16) & (np.abs(x - 16) < 4)) & (labels == 0)] = 1
    return forms.Field(field.image, labels, np.maximum(field.cells * 0, labels))


def morphology(mask):
    """Callipers, radii and simple form of a boolean mask cropped to its box."""
    longest = [rotate(mask, angle, resize=True).sum(axis=0).max() for angle in range(1, 360, 10)]
    edge = mask & ~ndimage.grey_erosion(mask.astype(np.uint8), footprint=CROSS, mode="reflect").astype(bool)
    props = sk.regionprops(mask.astype(np.uint8))[0]
    places = np.argwhere(edge)
    radius = np.sqrt(
        np.square(places[:, 0] - props.centroid[0]) + np.square(places[:, 1] - props.centroid[1])
    )
    apart = np.hypot(*(places[:, None] - places[None]).transpose(2, 0, 1))
    mode = stats.mode(radius, axis=None).mode
    return {
        "min_calliper": min(longest),
        "max_calliper": max(longest),
        "smallest_largest_calliper": min(longest) / max(longest),
        "min_radius": radius.min(),
        "max_radius": radius.max(),
        "med_radius": np.median(radius),
        "avg_radius": radius.mean(),
        "mode_radius": mode,
        "d25_radius": np.percentile(radius, 25),
        "d75_radius": np.percentile(radius, 75),
        "std_radius": radius.std(),
        "feret_max": apart.max(),
        "centroid-0": props.centroid[0],
        "centroid-1": props.centroid[1],
        "area": mask.sum(),
        "perimeter": props.perimeter,
        "bbox_area": mask.size,
        "convex_area": props.area_convex,
        "equivalent_diameter": props.equivalent_diameter_area,
        "major_axis_length": props.axis_major_length,
        "minor_axis_length": props.axis_minor_length,
        "eccentricity": props.eccentricity,
        "orientation": props.orientation,
        "concavity": 1 - props.solidity,
        "solidity": props.solidity,
        "a_r": props.axis_minor_length / props.axis_major_length,
        "shape_factor": props.perimeter**2 / (4 * np.pi * mask.sum()),
        "area_bbarea": props.extent,
    }


def circle(p, q, r):
    """Centre and radius of the circle through three points, by its linear equations."""
    a = 2 * np.array([q - p, r - p], float)
    if abs(np.linalg.det(a)) < 1e-9:
        return None
    centre = np.linalg.solve(a, [q @ q - p @ p, r @ r - p @ p])
    return centre, np.hypot(*(centre - q))


SUMMARIES = {"max": np.max, "avg": np.mean, "med": np.median, "std": np.std, "sum": np.sum, "len": len}


def boundary(mask):
    """Curvature at edge pixels ordered by polar angle, and what is made of it."""
    wide = np.pad(mask, 5)
    places = np.argwhere(wide & ~ndimage.binary_erosion(wide, CROSS))
    off = places - places.mean(axis=0)
    places = places[np.argsort(np.arctan2(off[:, 0], off[:, 1]), kind="stable")[::-1]]
    bends = []
    for k in range(len(places)):
        found = circle(places[k - 2], places[k], places[(k + 2) % len(places)])
        if found is None:
            bends.append(0.0)
            continue
        at = np.floor(found[0] + 1e-9).astype(int)
        inside = np.all(at >= 0) and np.all(at < wide.shape) and wide[tuple(at)]
        bends.append((1 if inside else -1) / (found[1] + 1))
    bends = np.array(bends)
    out = {
        "avg_curvature": bends.mean(),
        "std_curvature": bends.std(),
        "npolarity_changes": np.count_nonzero(np.diff(np.sign(bends))),
    }
    perimeter = sk.perimeter(mask)
    for end, part in (("posi", bends[bends > 0]), ("neg", -bends[bends < 0])):
        has = len(part) > 0
        for name, function in SUMMARIES.items():
            out[f"{name}_{end}_curv"] = function(part) if has else np.nan
        out[f"frac_peri_w_{end}_curvature"] = len(part) / perimeter if has else np.nan
    out["frac_peri_w_polarity_changes"] = out["npolarity_changes"] / perimeter
    for end, sign in (("pos", 1), ("neg", -1)):
        peaks, about = signal.find_peaks(sign * bends, prominence=0.1, distance=10, width=5)
        out[f"num_prominant_{end}_curv"] = len(peaks)
        out[f"prominance_prominant_{end}_curv"] = np.mean(about["prominences"]) if len(peaks) else np.nan
        out[f"width_prominant_{end}_curv"] = np.mean(about["widths"]) if len(peaks) else np.nan
        out[f"prominant_{end}_curv"] = bends[peaks].mean() if len(peaks) else np.nan
    return out


def light(mask, image):
    """Intensity, condensation and texture of the box of a nucleus."""
    v = image[mask].astype(float)
    high, low = np.percentile(v, (80, 20))
    dense = v >= v.mean() + v.std()
    _, counts = np.unique(image * mask, return_counts=True)
    out = {
        "int_min": v.min(),
        "int_d25": np.percentile(v, 25),
        "int_median": np.median(v),
        "int_d75": np.percentile(v, 75),
        "int_max": v.max(),
        "int_mean": v.mean(),
        "int_mode": stats.mode(v).mode,
        "int_sd": v.std(),
        "kurtosis": stats.kurtosis(v),
        "skewness": stats.skew(v),
        "entropy": stats.entropy(counts, base=2),
        "i80_i20": high / low,
        "nhigh_nlow": (v >= high).sum() / (v <= low).sum(),
        "hc_area_ec_area": dense.sum() / (~dense).sum(),
        "hc_area_nuc_area": dense.sum() / (v > 0).sum(),
        "hc_content_ec_content": v[dense].sum() / v[~dense].sum(),
        "hc_content_dna_content": v[dense].sum() / v.sum(),
    }
    lags = [1, 5, 20, 25]
    pairs = graycomatrix(image * mask, lags, [0, np.pi / 4, np.pi / 2, 3 * np.pi / 4])
    for name in ("contrast", "dissimilarity", "homogeneity", "ASM", "energy", "correlation"):
        for k, value in enumerate(graycoprops(pairs, name).mean(axis=1)):
            out[f"{name.lower()}_{lags[k]}"] = value if pairs[:, :, k].any() else np.nan
    return out


def moments(mask, image):
    """The published moments, by regionprops of the cropped mask."""
    tables = ["moments", "moments_normalized", "moments_central", "moments_hu"]
    names = ["weighted_centroid", *(f"weighted_{name}" for name in tables), *tables]
    current = {f"weighted_{name}": name.replace("moments", "moments_weighted") for name in tables}
    current["weighted_centroid"] = "centroid_weighted"
    props = sk.regionprops(mask.astype(np.uint8), image.astype(float))[0]
    out = {}
    for name in names:
        value = np.asarray(getattr(props, current.get(name, name)))
        for index in np.ndindex(value.shape):
            out["-".join([name, *map(str, index)])] = value[index]
    return out


def test_every_published_feature_equals_its_definition(small):
    table = measure_field(small.image, small.labels, None, small.stains, config=COMPAT)
    for props in sk.regionprops(small.labels):
        image = small.image[0][props.slice]
        wanted = {
            **morphology(props.image),
            **boundary(props.image),
            **light(props.image, image),
            **moments(props.image, image * props.image),
        }
        assert len(wanted) == 28 + 26 + 11 + 6 + 24 + 112
        row = table.loc[props.label]
        of_proteins = ("_2d_int", "_foci_count")
        assert set(wanted) == {name for name in row.index if not name.endswith(of_proteins)}
        for name, value in wanted.items():
            if name == "orientation":
                assert np.sin(row[name] - value) == pytest.approx(0, abs=1e-9)
                continue
            assert row[name] == pytest.approx(value, rel=1e-6, abs=1e-6, nan_ok=True), (props.label, name)


def test_proteins_have_the_ten_published_statistics(small):
    table = measure_field(small.image, small.labels, None, small.stains, config=COMPAT)
    for label in table.index:
        nucleus = small.labels == label
        for channel, short, mask in (
            (2, "gh2ax", nucleus),
            (1, "cd3", ndimage.binary_dilation(nucleus, CROSS, iterations=2)),
        ):
            v = small.image[channel][mask].astype(float)
            wanted = {
                "rel": v.mean(),
                "min": v.min(),
                "max": v.max(),
                "mean": v.mean(),
                "std": v.std(),
                "q25": np.percentile(v, 25),
                "q75": np.percentile(v, 75),
                "median": np.median(v),
                "kurtosis": stats.kurtosis(v),
                "skewness": stats.skew(v),
            }
            for name, value in wanted.items():
                assert table.at[label, f"{name}_{short}_2d_int"] == pytest.approx(value), name


def test_wider_pixels_are_measured_as_grey_levels(small):
    bytes_ = measure_field(small.image, small.labels, None, small.stains, config=COMPAT)
    wide = small.image.astype(np.uint16) * 16
    config = MeasureConfig(name_space="compat", workers=1, compat_white=255 * 16)
    same = measure_field(wide, small.labels, None, small.stains, config=config)
    chromatin = [name for name in bytes_ if not name.endswith("_2d_int")]
    np.testing.assert_allclose(same[chromatin], bytes_[chromatin], rtol=1e-9)


def test_name_spaces_can_be_had_together_and_do_not_clash(small):
    both = measure_field(
        small.image, small.labels, None, small.stains,
        config=MeasureConfig(name_space="both", families=("shape",), workers=1),
    )  # fmt: skip
    assert both.columns.is_unique
    assert {"nucleus_area", "area", "median_gh2ax_2d_int"} <= set(both.columns)
    np.testing.assert_array_equal(both["nucleus_area"], both["area"])
