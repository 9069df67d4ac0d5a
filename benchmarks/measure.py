"""Nuclei measured per second and core, beside other libraries, in one run on one thread.

Rates are by CPU time of the one thread, so that a busy machine does not count. scikit-image is always there;
SimpleITK and cp_measure are measured where they are installed.

    python benchmarks/measure.py --nuclei 512 --stains 4
"""

from __future__ import annotations

# ruff: noqa: E402 - threads are limited before the libraries that start them are imported.
import argparse
import json
import os
import platform
import time
from collections.abc import Callable
from importlib.metadata import version
from importlib.util import find_spec

for _name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "NUMBA_NUM_THREADS"):
    os.environ.setdefault(_name, "1")

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from napari_apollo.measure.config import MeasureConfig
from napari_apollo.measure.engine import FAMILIES, columns_of, measure_cells
from napari_apollo.measure.gather import gather_crops
from napari_apollo.measure.registry import Context
from napari_apollo.tasks import available_cores, map_tasks

SIZE = 64
STAINS = ("DAPI", "CD3", "CD4", "gammaH2AX")


def make_cells(count: int, stains: int, seed: int = 0) -> tuple[NDArray[np.uint16], NDArray[np.uint8]]:
    """Crops (cell, stain, y, x) and masks (cell, y, x) of wavy nuclei of about 1,250 pixels."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:SIZE, :SIZE] - SIZE / 2
    angle, distance = np.arctan2(y, x), np.hypot(y, x)
    masks = np.zeros((count, SIZE, SIZE), np.uint8)
    for k in range(count):
        phases = rng.uniform(0, 2 * np.pi, 2)
        edge = 20 * (1 + 0.08 * np.cos(2 * angle + phases[0]) + 0.05 * np.cos(3 * angle + phases[1]))
        masks[k] = np.where(distance < edge, 2, np.where(distance < edge + 5, 1, 0))
    smooth = ndimage.gaussian_filter(rng.normal(size=(count, stains, SIZE, SIZE)), (0, 0, 1.5, 1.5))
    images = np.clip(2000 + 3000 * smooth, 0, 65535).astype(np.uint16)
    return images, masks


def rate(run: Callable[[], object], count: int, repeats: int) -> float:
    """Nuclei per second of CPU, the best of several runs after one that does not count."""
    run()
    best = np.inf
    for _ in range(repeats):
        start = time.thread_time()
        run()
        best = min(best, time.thread_time() - start)
    return count / best


def ours(images: NDArray[np.uint16], masks: NDArray[np.uint8], stains: int, repeats: int) -> dict[str, float]:
    """Rates of every family, of the whole default set from crops to values, and of the published set."""
    count = len(masks)
    names = STAINS[:stains] if stains < 4 else STAINS
    context = Context(names, "DAPI", MeasureConfig())
    cells = gather_crops(images, masks)
    found = {}
    for name, family in FAMILIES.items():
        if name != "compat" and family.columns(context):
            found[name] = rate(lambda family=family: family.measure(cells, context), count, repeats)
    for space in ("default", "compat"):
        whole = Context(names, "DAPI", MeasureConfig(name_space=space), 65535.0)

        def run(whole: Context = whole) -> object:
            return measure_cells(gather_crops(images, masks, whole.margin), whole, 0.2)

        found[f"whole {space} set, {len(columns_of(whole))} columns"] = rate(run, count, repeats)
    return found


def skimage_rates(images: NDArray[np.uint16], masks: NDArray[np.uint8], repeats: int) -> dict[str, float]:
    """scikit-image: 12 shape properties, all moments, texture."""
    from skimage.feature import graycomatrix, graycoprops
    from skimage.measure import regionprops_table

    part = min(128, len(masks))
    labels = (masks[:part] == 2).astype(np.uint8)
    grey = (images[:part, 0] >> 8).astype(np.uint8) * labels
    shape = ("area", "perimeter", "perimeter_crofton", "area_convex", "solidity", "axis_major_length",
             "axis_minor_length", "eccentricity", "orientation", "extent", "feret_diameter_max",
             "euler_number")  # fmt: skip
    moments = tuple(
        f"moments{weight}{kind}"
        for weight in ("", "_weighted")
        for kind in ("", "_central", "_normalized", "_hu")
    )

    def table(properties: tuple[str, ...]) -> None:
        for mask, image in zip(labels, images[:part, 0], strict=True):
            regionprops_table(mask, image, properties=properties)

    def texture() -> None:
        for image in grey[:16]:
            pairs = graycomatrix(image, [1, 5, 20], [0, np.pi / 4, np.pi / 2, 3 * np.pi / 4])
            for name in ("contrast", "dissimilarity", "homogeneity", "ASM", "energy", "correlation"):
                graycoprops(pairs, name)

    return {
        "scikit-image: 12 shape properties": rate(lambda: table(shape), part, repeats),
        "scikit-image: 8 moment families": rate(lambda: table(moments), part, repeats),
        "scikit-image: co-occurrence, 256 levels, 3 distances": rate(texture, 16, repeats),
    }


def montage(
    images: NDArray[np.uint16], masks: NDArray[np.uint8]
) -> tuple[NDArray[np.int32], NDArray[np.uint16]]:
    """One labelled field of the crops' nuclei, side by side, for libraries that take fields."""
    across = int(np.sqrt(len(masks)))
    used = across * across
    numbers = np.arange(1, used + 1, dtype=np.int32)[:, None, None]
    labels = np.where(masks[:used] == 2, numbers, 0)

    def tiled(stack: NDArray[np.generic]) -> NDArray[np.generic]:
        grid = stack.reshape(across, across, SIZE, SIZE)
        return np.ascontiguousarray(grid.transpose(0, 2, 1, 3).reshape(across * SIZE, across * SIZE))

    return tiled(labels).astype(np.int32), tiled(images[:used, 0]).astype(np.uint16)


def simpleitk_rates(labels: NDArray[np.int32], image: NDArray[np.uint16], repeats: int) -> dict[str, float]:
    """SimpleITK: shape with Feret diameter, intensity."""
    import SimpleITK as sitk

    sitk.ProcessObject.SetGlobalDefaultNumberOfThreads(1)
    regions, light = sitk.GetImageFromArray(labels), sitk.GetImageFromArray(image)

    def shape() -> None:
        statistics = sitk.LabelShapeStatisticsImageFilter()
        statistics.ComputeFeretDiameterOn()
        statistics.Execute(regions)

    def intensity() -> None:
        sitk.LabelIntensityStatisticsImageFilter().Execute(regions, light)

    count = int(labels.max())
    return {
        "SimpleITK: shape and Feret": rate(shape, count, repeats),
        "SimpleITK: intensity": rate(intensity, count, repeats),
    }


def cp_measure_rates(labels: NDArray[np.int32], image: NDArray[np.uint16], repeats: int) -> dict[str, float]:
    """cp_measure: its core measurements, each on its own."""
    from cp_measure.bulk import get_core_measurements

    light = image / 65535.0
    count = int(labels.max())
    found = {}
    for name, measurement in get_core_measurements().items():
        found[f"cp_measure: {name}"] = rate(lambda run=measurement: run(labels, light), count, repeats)
    found["cp_measure: all of these"] = 1 / sum(1 / value for value in found.values())
    return found


def by_workers(images: NDArray[np.uint16], masks: NDArray[np.uint8], repeats: int) -> dict[str, float]:
    """Rates with 1, 2, 4... threads, a batch a task, as ``measure`` does: eight batches a thread.

    By wall time, which a busy machine lengthens, and by CPU time of all threads, which shows what threads
    cost each other. What a batch does in Python, one thread at a time, is told as a share: with a share s,
    n threads are n / (1 + s (n - 1)) times as fast as one.
    """
    context = Context(STAINS[: images.shape[1]], "DAPI", MeasureConfig())
    batch = min(len(masks), MeasureConfig().batch)

    def run(count: int) -> int:
        measure_cells(gather_crops(images[:count], masks[:count], context.margin), context, 0.2)
        return count

    label = f"napari-apollo: whole default set, {batch} a batch"
    found, workers = {}, 1
    while workers <= available_cores():
        tasks = [batch] * (8 * workers)
        wall = cpu = np.inf
        for _ in range(repeats):
            start, spent = time.perf_counter(), time.process_time()
            nuclei = sum(map_tasks(run, tasks, workers=workers, window=len(tasks)))
            wall, cpu = min(wall, time.perf_counter() - start), min(cpu, time.process_time() - spent)
        found[f"{label}, {workers} threads, wall"] = nuclei / wall
        found[f"{label}, {workers} threads, CPU"] = nuclei / cpu
        workers *= 2
    one, two = rate(lambda: run(1), 1, 20 * repeats), rate(lambda: run(2), 1, 20 * repeats)
    held = max(0.0, 2 / one - 1 / two)
    found["share of a batch in Python, %"] = 100 * held / (batch / rate(lambda: run(batch), batch, repeats))
    return found


def main() -> None:
    """Measure and print a table and one line of JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--nuclei", type=int, default=512)
    parser.add_argument("--stains", type=int, default=4, choices=(1, 2, 3, 4))
    parser.add_argument("--repeats", type=int, default=3)
    options = parser.parse_args()
    images, masks = make_cells(options.nuclei, options.stains)
    rates = ours(images, masks, options.stains, options.repeats)
    rates = {f"napari-apollo: {name}": value for name, value in rates.items()}
    load = os.getloadavg()[0]
    rates |= by_workers(images, masks, options.repeats)
    rates |= skimage_rates(images, masks, 1)
    labels, image = montage(images[:256], masks[:256])
    for module, others in (("SimpleITK", simpleitk_rates), ("cp_measure", cp_measure_rates)):
        if find_spec(module):
            rates |= others(labels, image, 1)
        else:
            print(f"{module} is not installed and left out")
    pixels = (masks == 2).sum(axis=(1, 2)).mean()
    print(f"Load of the machine before the threads were timed: {load:.1f}; wall times want a quiet one.")
    print(f"{options.nuclei} nuclei of {pixels:.0f} pixels, {options.stains} stains; CPU time if not said")
    for name, value in rates.items():
        print(f"{name:68s} " + (f"{value:10.2f}" if name.endswith("%") else f"{value:10,.0f} nuclei/s"))
    packages = {name: version(name) for name in ("numpy", "numba", "scipy", "scikit-image")}
    about = {"python": platform.python_version(), "machine": platform.machine(), **packages}
    print(
        json.dumps(
            {"nuclei": options.nuclei, "load": load, "stains": options.stains, "rates": rates, "about": about}
        )
    )


if __name__ == "__main__":
    main()
