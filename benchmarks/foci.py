"""Foci found in simulated nuclei against the known ones: F1, bias of the count, and a picture.

Foci are Gaussians of 1.3 px (10 % spread), one to one and a half times as high as said over the noise of the
nucleus, on a gradient with photon noise; a focus is right within 2.5 px. Foci at random places are scored
twice: as they were put there, and with those closer than 2 sigma, which are one spot in the image, as one.

    python benchmarks/foci.py --nuclei 40
    python benchmarks/foci.py --picture foci.png
"""

from __future__ import annotations

import argparse
import json
from itertools import product
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage
from scipy.cluster.hierarchy import fcluster, linkage
from scipy.optimize import linear_sum_assignment

from napari_apollo.measure import MeasureConfig, find_foci, measure_field

NOISE, SIGMA, LEVEL = 20.0, 1.3, 400.0
CONFIG = MeasureConfig(families=("foci",), foci_sigma_px=SIGMA, workers=1)
LINES = (
    [("", "{false_per_nucleus:.2f} false")],
    [("at least 3 sigma", "{f1:.3f}, {bias:+.1%}")],
    [
        ("at random, closer than 2 sigma is one", "{f1_merged:.3f}, {bias_merged:+.1%}"),
        ("at random, each counts (corrected)", "{f1:.3f}, {bias:+.1%} ({bias_corrected:+.1%})"),
    ],
)
"""What is printed of nuclei without foci, with foci apart, and with foci at random places."""
Nucleus = tuple[NDArray[np.uint16], NDArray[np.bool_], NDArray[np.float64]]


def nucleus(
    rng: np.random.Generator, count: int, snr: float, radius: float, texture: float, apart: float
) -> Nucleus:
    """Image, nucleus and places of the foci, which lie at least ``apart`` widths from each other."""
    side = int(2.6 * radius) + 12
    y, x = np.mgrid[:side, :side] - side / 2
    edge = radius * (1 + 0.08 * np.cos(2 * np.arctan2(y, x) + rng.uniform(0, 6)))
    mask = np.hypot(y, x) < edge
    image = LEVEL * (0.25 + mask * (0.75 + 0.2 * x / radius))
    rough = ndimage.gaussian_filter(rng.normal(size=mask.shape), 4)
    image += mask * texture * NOISE * rough / rough.std()
    inner = np.argwhere(ndimage.binary_erosion(mask, iterations=2))
    places: list[NDArray[np.float64]] = []
    for _ in range(20_000):
        if len(places) == count:
            break
        place = inner[rng.integers(len(inner))] + rng.uniform(-0.5, 0.5, 2)
        if all(np.hypot(*(place - other)) >= apart * SIGMA for other in places):
            places.append(place)
    rows, columns = np.mgrid[:side, :side]
    for place in places:
        width, height = SIGMA * np.exp(0.1 * rng.normal()), snr * NOISE * rng.uniform(1, 1.5)
        image += height * np.exp(-((rows - place[0]) ** 2 + (columns - place[1]) ** 2) / 2 / width**2)
    image += rng.normal(size=mask.shape) * NOISE * np.sqrt(np.maximum(image, 1) / LEVEL)
    return np.rint(np.clip(image, 0, 65535)).astype(np.uint16), mask, np.array(places).reshape(-1, 2)


def found_in(image: NDArray[np.uint16], mask: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Places (y, x) of the foci that are found."""
    table = find_foci(image[None], mask.astype(np.int32), ["gammaH2AX"], "gammaH2AX", CONFIG)
    return table[["y", "x"]].to_numpy()


def right(found: NDArray[np.float64], true: NDArray[np.float64]) -> int:
    """Foci found within 2.5 px of a true one, each true one once."""
    if not len(found) or not len(true):
        return 0
    apart = np.hypot(*(found[:, None] - true[None]).transpose(2, 0, 1))
    rows, columns = linear_sum_assignment(np.where(apart <= 2.5, apart, 1e3))
    return int((apart[rows, columns] <= 2.5).sum())


def merged(places: NDArray[np.float64]) -> NDArray[np.float64]:
    """Places with groups closer than 2 sigma (average linkage) replaced by their middles."""
    if len(places) < 2:
        return places
    group = fcluster(linkage(places, "average"), 2 * SIGMA, "distance")
    return np.array([places[group == k].mean(axis=0) for k in np.unique(group)])


def corrected(image: NDArray[np.uint16], mask: NDArray[np.bool_]) -> float:
    """The count corrected for foci that hide each other."""
    table = measure_field(image[None], mask.astype(np.int32), None, ["gammaH2AX"], config=CONFIG)
    return float(table["nucleus_foci_count_corrected_gammaH2AX"].item())


def score(
    count: int, snr: float, radius: float, texture: float, apart: float, nuclei: int
) -> dict[str, float]:
    """F1 and bias over several nuclei, against all foci and the merged ones; false ones where none are."""
    rng = np.random.default_rng(11)
    hits = found = true = merged_hits = merged_true = 0
    known, counted = 0, 0.0
    for _ in range(nuclei):
        image, mask, places = nucleus(rng, count, snr, radius, texture, apart)
        foci, groups = found_in(image, mask), merged(places)
        hits, found, true = hits + right(foci, places), found + len(foci), true + len(places)
        merged_hits, merged_true = merged_hits + right(foci, groups), merged_true + len(groups)
        if count and not apart and np.isfinite(estimate := corrected(image, mask)):
            known, counted = known + len(places), counted + estimate
    if not true:
        return {"false_per_nucleus": found / nuclei}
    scores = {"f1": 2 * hits / (found + true), "bias": (found - true) / true}
    if not apart:
        scores["f1_merged"] = 2 * merged_hits / (found + merged_true)
        scores["bias_merged"] = (found - merged_true) / merged_true
        scores["bias_corrected"] = counted / known - 1 if known else float("nan")
    return scores


def draw(path: Path) -> None:
    """Picture of nuclei with true (circles) and found foci (crosses)."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot as plt

    cases = ((10, 3, 30, 0, 3), (30, 3, 30, 0, 3), (30, 3, 20, 0, 3), (12, 6, 30, 2, 3), (30, 6, 20, 0, 0))
    figure, axes = plt.subplots(2, len(cases), figsize=(3 * len(cases), 6.4), dpi=80)
    for (count, snr, radius, texture, apart), (bare, marked) in zip(cases, axes.T, strict=True):
        image, mask, places = nucleus(np.random.default_rng(5), count, snr, radius, texture, apart)
        foci = found_in(image, mask)
        for axis in (bare, marked):
            axis.imshow(image, cmap="gray", vmin=80, vmax=np.percentile(image, 99.8))
            axis.set_axis_off()
        marked.scatter(places[:, 1], places[:, 0], s=60, facecolors="none", edgecolors="deepskyblue")
        marked.scatter(foci[:, 1], foci[:, 0], s=30, marker="x", c="orange", linewidths=1)
        where = "at random" if apart == 0 else "apart"
        bare.set_title(f"SNR {snr}, radius {radius} px, {where}", fontsize=9)
        marked.set_title(f"{len(places)} true (o), {len(foci)} found (x)", fontsize=9)
    figure.tight_layout(pad=0.4)
    figure.savefig(path)


def main() -> None:
    """Print a table and one line of JSON, or draw."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--nuclei", type=int, default=40)
    parser.add_argument("--picture", type=Path)
    options = parser.parse_args()
    if options.picture:
        draw(options.picture)
        return
    rows = []
    print("| radius px | foci | spacing | SNR 3 | SNR 5 | SNR 10 | SNR 6, texture |\n" + "|---" * 7 + "|")
    for radius, count, apart in product((15, 20, 30), (0, 3, 12, 30), (3.0, 0.0)):
        if (radius == 15 and count == 30) or (count == 0 and apart):
            continue
        scores = [
            score(count, snr, radius, texture, apart, options.nuclei)
            for snr, texture in ((3, 0), (5, 0), (10, 0), (6, 1))
        ]
        about = {"radius": radius, "foci": count, "apart": apart}
        rows += [{**about, "snr": snr, **found} for snr, found in zip((3, 5, 10, "6t"), scores, strict=True)]
        for spacing, form in LINES[0 if not count else (1 if apart else 2)]:
            cells = " | ".join(form.format(**found) for found in scores)
            print(f"| {radius} | {count} | {spacing} | {cells} |", flush=True)
    print(json.dumps({"nuclei": options.nuclei, "rows": rows}))


if __name__ == "__main__":
    main()
