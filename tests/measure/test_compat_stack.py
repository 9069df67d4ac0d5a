"""Published features of stacks and published foci counts against plain computations of their definitions."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import ndimage, stats
from scipy.spatial import Delaunay
from skimage.feature import peak_local_max
from skimage.segmentation import watershed

from napari_apollo.measure import MeasureConfig, measure_field, measure_stack

COMPAT = MeasureConfig(name_space="compat", workers=1)
STAINS = ("DAPI", "CD3", "gammaH2AX")
NAMES = ("rel", "min", "max", "mean", "std", "q25", "q75", "median", "kurtosis", "skewness")


def statistics(v):
    v = v.astype(float)
    return {
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


def large_pieces(labels):
    """Label image without pieces of fewer than 4 pixels."""
    sizes = np.bincount(labels.ravel())
    return np.where(sizes[labels] >= 4, labels, 0)


def published_foci(mask, light):
    """Number of foci by the published steps, with SciPy and scikit-image."""
    v = light[mask].astype(float)
    grey = np.zeros(mask.shape, np.uint8)
    grey[mask] = ((v - v.min()) / (v.max() - v.min()) * 255).astype(np.uint8)
    threshold = grey[mask].mean() + 2.5 * grey[mask].std()
    lit = large_pieces(ndimage.label(mask & (grey > threshold))[0]) > 0
    peaks = np.zeros(mask.shape, bool)
    peaks[tuple(peak_local_max(grey, min_distance=1, exclude_border=False).T)] = True
    pieces = watershed(-grey.astype(int), ndimage.label(peaks)[0], mask=lit)
    return len(np.unique(large_pieces(pieces))) - 1


def spotted(rng, side=70, spots=9, radius=30):
    y, x = np.mgrid[:side, :side]
    mask = np.hypot(y - side / 2, x - side / 2) < radius
    light = 300 + 10 * rng.normal(size=mask.shape)
    for place in rng.uniform(side / 2 - 0.6 * radius, side / 2 + 0.6 * radius, (spots, 2)):
        light += rng.uniform(100, 900) * np.exp(-((y - place[0]) ** 2 + (x - place[1]) ** 2) / 2 / 1.8**2)
    return mask, np.rint(light).astype(np.uint16)


@pytest.mark.parametrize("seed", range(8))
def test_foci_are_counted_as_published(seed):
    rng = np.random.default_rng(seed)
    mask, light = spotted(rng, spots=int(rng.integers(1, 14)))
    table = measure_field(
        np.stack([light, light]), mask.astype(np.int32), None, ["DAPI", "gammaH2AX"], config=COMPAT
    )
    assert table["gh2ax_foci_count"].item() == published_foci(mask, light)


def test_planted_foci_are_counted_as_published():
    """Blocks of 3 x 3 pixels; one of 2 x 1 is too small to count."""
    light = np.full((2, 60, 60), 10, np.uint8)
    for y, x in ((12, 12), (12, 40), (40, 12), (40, 40)):
        light[1, y : y + 3, x : x + 3] = 200
        light[1, y + 1, x + 1] = 250
    light[1, 28, 28:30] = 200
    labels = np.zeros((60, 60), int)
    labels[5:55, 5:55] = 1
    table = measure_field(light, labels, None, ["DAPI", "gammaH2AX"], config=COMPAT)
    assert table["gh2ax_foci_count"].item() == 4
    flat = measure_field(np.full_like(light, 7), labels, None, ["DAPI", "gammaH2AX"], config=COMPAT)
    assert np.isnan(flat["gh2ax_foci_count"].item())


@pytest.fixture(scope="module")
def stack():
    rng = np.random.default_rng(5)
    labels = np.zeros((14, 70, 110), np.int32)
    z, y, x = np.indices(labels.shape)
    labels[((z - 6) / 5) ** 2 + ((y - 34) / 26) ** 2 + ((x - 30) / 22) ** 2 <= 1] = 3
    blob = ((z - 7) / 4) ** 2 + ((y - 36) / 18) ** 2 + ((x - 82) / 19) ** 2 <= 1
    labels[blob & ~((y > 40) & (x > 84))] = 8
    image = ndimage.gaussian_filter(rng.normal(size=(3, *labels.shape)), (0, 1, 1.5, 1.5))
    image = np.clip(2000 + 3000 * image, 1, 65535).astype(np.uint16)
    return image, labels


def eroded(mask):
    """Mask less its voxels that have background (or the end of the stack) 1 above or below or 5 across."""
    wide = np.pad(mask, ((1, 1), (5, 5), (5, 5)))
    out = mask.copy()
    depth, height, width = mask.shape
    for dz in (-1, 1):
        out &= wide[1 + dz : 1 + dz + depth, 5 : 5 + height, 5 : 5 + width]
    for d in range(-5, 6):
        out &= wide[1 : 1 + depth, 5 + d : 5 + d + height, 5 : 5 + width]
        out &= wide[1 : 1 + depth, 5 : 5 + height, 5 + d : 5 + d + width]
    return out


def hull_voxels(mask):
    """Voxels whose centre lies in the hull of the midpoints of all voxels' faces."""
    places = np.argwhere(mask)
    shifts = 0.5 * np.vstack([np.eye(3), -np.eye(3)])
    faces = (places[:, None] + shifts).reshape(-1, 3)
    hull = Delaunay(np.unique(faces, axis=0))
    box = np.indices(mask.shape).reshape(3, -1).T
    return np.count_nonzero(hull.find_simplex(box, tol=1e-8) >= 0)


def test_stacks_have_the_published_values(stack):
    image, labels = stack
    table = measure_stack(image, labels, STAINS, (0.5, 0.1, 0.1), COMPAT)
    assert list(table.index) == [3, 8]
    for label in table.index:
        row, inside = table.loc[label], labels == label
        volume = inside.sum()
        places = np.argwhere(inside)
        box = np.prod(np.ptp(places, axis=0) + 1)
        hull = hull_voxels(inside)
        spread = np.linalg.eigvalsh(np.cov(places.T, bias=True))
        dna = image[0][inside].astype(float)
        dense = (dna > dna.mean() + 1.5 * dna.std()).mean()
        profile, mask = [dna.sum()], inside
        while profile[-1] > 0:
            mask = eroded(mask)
            profile.append(image[0][mask].sum(dtype=float))
        profile = np.array(profile[::-1]) / profile[0]
        wanted = {
            "nuclear_volume": volume,
            "extent": volume / box,
            "equivalent_diameter": np.cbrt(6 * volume / np.pi),
            "major_axis_length": 2 * np.sqrt(5 * spread[2]),
            "minor_axis_length": 2 * np.sqrt(5 * spread[0]),
            "convex_hull_vol": hull,
            "solidity": volume / hull,
            "concavity_3d": 1 - volume / hull,
            "rel_hc_volume": dense,
            "rel_ec_volume": 1 - dense,
            "hc_ec_ratio_3d": dense / (1 - dense),
            "nuclear_mean_int": dna.mean(),
            "nuclear_std_int": dna.std(),
            **{f"rdp_{k}": np.interp(k / 9, np.linspace(0, 1, len(profile)), profile) for k in range(10)},
            "gh2ax_foci_count": published_foci(inside.any(axis=0), image[2].max(axis=0)),
        }
        grown = inside
        for _ in range(2):
            wide = np.pad(grown, ((1, 1), (5, 5), (5, 5)))
            grown = ~eroded(~wide)[1:-1, 5:-5, 5:-5]
        for short, region, light in (
            ("dna", inside, image[0]),
            ("gh2ax", inside, image[2]),
            ("cd3", grown, image[1]),
        ):
            for name, value in statistics(light[region]).items():
                wanted[f"{name}_{short}_3d_int"] = value
            if short != "dna":
                for name, value in statistics(light.max(axis=0)[region.any(axis=0)]).items():
                    wanted[f"{name}_{short}_2d_int"] = value
        assert set(wanted) == set(row.index)
        for name, value in wanted.items():
            tolerance = 0.002 if name in ("convex_hull_vol", "solidity", "concavity_3d") else 1e-6
            assert row[name] == pytest.approx(value, rel=tolerance, abs=tolerance), (label, name)


def test_both_name_spaces_of_a_stack(stack):
    image, labels = stack
    both = measure_stack(image, labels, STAINS, None, MeasureConfig(name_space="both", workers=1))
    assert both.columns.is_unique
    np.testing.assert_array_equal(both["nucleus_volume"], both["nuclear_volume"])
    assert both.attrs["var"]["rdp_0"]["family"] == "compat"


@pytest.mark.parametrize("kind", ["voxel", "line", "plane"])
def test_flat_nuclei_are_missing_with_a_reason(kind):
    labels = np.zeros((5, 9, 9), np.int32)
    labels[{"voxel": (2, 4, 4), "line": (2, 4), "plane": 2}[kind]] = 1
    table = measure_stack(np.full((2, 5, 9, 9), 7.0), labels, ["DAPI", "gammaH2AX"], None, COMPAT)
    values = table.to_numpy()
    assert not np.isinf(values).any()
    assert np.isnan(values).sum() == sum(table.attrs["missing"].values())
    assert np.isnan(table["convex_hull_vol"].item())
    assert np.isnan(table["gh2ax_foci_count"].item())


def test_numbers_of_labels_change_nothing(stack):
    image, labels = stack
    few = measure_stack(image, labels, STAINS, None, MeasureConfig(name_space="both", workers=1))
    large = np.where(labels == 3, 2_000_000_000, np.where(labels == 8, 17, 0))
    many = measure_stack(image, large, STAINS, None, MeasureConfig(name_space="both", workers=1))
    assert list(many.index) == [17, 2_000_000_000]
    np.testing.assert_array_equal(many.loc[[2_000_000_000, 17]].to_numpy(), few.to_numpy())
