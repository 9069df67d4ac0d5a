"""How well measures of focus tell blurred nuclei from sharp ones, on real fields.

Usage: python benchmarks/focus.py [--data DIRECTORY] [--blur 2]

Each field's DNA stain is blurred, and noise of the strength that it had, by brightness, is put back: a
microscope out of focus blurs cells, not the noise of its camera. A measure's limit lies three robust standard
deviations below its median over the sharp nuclei, the deviation being that of the sharper half, as in the
focus check.
"""

from __future__ import annotations

import argparse
import json
import os
import tempfile
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from napari_apollo.cells import SegmentConfig, segment
from napari_apollo.cells.shape import detail_filter
from napari_apollo.panels import Panel
from napari_apollo.study import Study, StudyField, open_field, open_labels

SETS = {
    "lymph node": ("lymph_node_codex/lymph_node.tiff", ("DAPI", "CD4", "CD8", "FOXP3", "BCL6"), 1),
    "U2OS": ("u2os_fkhr_bbbc013/well_*.ome.tif", ("DNA", "FKHR"), 4),
    "breast": ("breast_mif/*.ome.tif", ("DAPI", "PDL1", "GZMB", "PD1", "CK-EPCAM", "CD8", "FOXP3"), 1),
    "lymphoid": ("lymphoid_mibi/*.ome.tif", ("dsDNA", *("-",) * 14), 1),
}


def main() -> None:
    """Print a table and one line of JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    default = os.environ.get("NAPARI_APOLLO_DATA", Path(__file__).resolve().parents[2] / "shared" / "data")
    parser.add_argument("--data", type=Path, default=default, help="folder of development data")
    parser.add_argument("--blur", type=float, default=2.0, help="standard deviation of the blur, pixels")
    arguments = parser.parse_args()
    measures = {"plain Laplacian": plain_laplacian, "gradient": gradient, "Laplacian of a Gaussian": detail}
    print(f"flagged, as they are / blurred by {arguments.blur:g} px   " + "   ".join(measures))
    result: dict[str, dict[str, list[float]]] = {}
    for name in SETS:
        result[name] = {}
        pairs = list(images_and_labels(arguments.data, name))
        for measure, work in measures.items():
            sharp = np.log(np.concatenate([work(image, labels) for image, labels in pairs]))
            soft = np.log(
                np.concatenate([work(blurred(image, arguments.blur), each) for image, each in pairs])
            )
            middle = np.median(sharp)
            low = middle - 3 * 1.4826 * np.median(sharp[sharp >= middle] - middle)
            result[name][measure] = [round(float((values < low).mean()), 4) for values in (sharp, soft)]
        print(f"{name:>12}", *(f"{a:6.1%} / {b:6.1%}" for a, b in result[name].values()))
    print(json.dumps(result))


def images_and_labels(data: Path, name: str) -> list[tuple[NDArray[np.float64], NDArray[np.int32]]]:
    """DNA stain and nuclei of each field of a set."""
    pattern, channels, step = SETS[name]
    stains = tuple(stain for stain in channels if stain != "-")
    fields = [
        StudyField(
            image=path, panel=Panel(name="A", stains=stains), donor="d", condition="c", channels=channels
        )
        for path in sorted(data.glob(pattern))[::step]
    ]
    with tempfile.TemporaryDirectory() as folder:
        study = segment(Study(fields), SegmentConfig(output=Path(folder)))
        return [
            (open_field(field).read([stains[0]])[0].astype(float), open_labels(field.labels).read())
            for field in study
            if field.labels is not None
        ]


def blurred(image: NDArray[np.float64], blur: float) -> NDArray[np.float64]:
    """The image out of focus, with the noise it had at each brightness.

    Noise is estimated by the difference of two Laplacians, to which smooth structure means nothing
    (Immerkaer, Computer Vision and Image Understanding 1996), here by its median and for twenty levels of
    brightness.
    """
    difference = np.array([[1, -2, 1], [-2, 4, -2], [1, -2, 1]])
    residue = ndimage.convolve(image, difference / 6)
    smooth = ndimage.gaussian_filter(image, 3)
    level = np.searchsorted(np.quantile(smooth, np.linspace(0, 1, 21)[1:-1]), smooth)
    spread = np.array([1.4826 * np.median(np.abs(residue[level == k])) for k in range(20)])
    noise = np.random.default_rng(0).standard_normal(image.shape) * spread[level]
    return np.rint(np.maximum(0, ndimage.gaussian_filter(image, blur) + noise))


def over_mean(
    response: NDArray[np.float64], image: NDArray[np.float64], labels: NDArray[np.int32]
) -> NDArray:
    """Root mean square of a response over the mean DNA of each nucleus; nuclei without DNA are left out."""
    area = np.bincount(labels.reshape(-1))
    there = area > 0
    there[0] = False
    energy = np.bincount(labels.reshape(-1), (response**2).reshape(-1))[there] / area[there]
    mean = np.bincount(labels.reshape(-1), image.reshape(-1))[there] / area[there]
    mean -= np.median(image[labels == 0])
    return np.sqrt(energy[mean > 0]).clip(1e-9) / mean[mean > 0]


def plain_laplacian(image: NDArray[np.float64], labels: NDArray[np.int32]) -> NDArray:
    return over_mean(ndimage.laplace(image), image, labels)


def gradient(image: NDArray[np.float64], labels: NDArray[np.int32]) -> NDArray:
    return over_mean(np.hypot(ndimage.sobel(image, 0), ndimage.sobel(image, 1)), image, labels)


def detail(image: NDArray[np.float64], labels: NDArray[np.int32]) -> NDArray:
    return over_mean(ndimage.correlate(image, detail_filter(1.0), mode="nearest"), image, labels)


if __name__ == "__main__":
    main()
