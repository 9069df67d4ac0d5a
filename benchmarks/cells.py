"""Speed and memory of cutting cells, and of storing and reading them.

Usage: python benchmarks/cells.py [--field 8192] [--cells 4096] [--study 6000] [--memory-limit-mb 1500]
[--repeats 5]

Three tables: cutting 4 x 128 x 128 crops from a field in memory, beside a plain loop in the same run; writing
them, and reading random batches of 256 from a warm disk, beside two general zarr libraries on the same files;
and a whole study, from files to store, in a process whose memory is limited to less than the crops take. Wall
time is what a user waits; time of the processor is printed beside it, as other work on the machine does not
change it as much.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numba
import numpy as np
import pandas as pd
import tifffile
from numpy.typing import NDArray

from napari_apollo.cells import CellStore, CellStoreWriter, CropConfig, crop
from napari_apollo.cells.cutting import cut
from napari_apollo.panels import Panel
from napari_apollo.study import Study, StudyField
from napari_apollo.tasks import available_cores

SIZE = 128
BATCH = 256
BLOCK = 160
PANEL = Panel(name="A", stains=("DAPI", "CD4", "CD8", "CD16"))


def main() -> None:
    """Print the tables and one line of JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--field", type=int, default=8192, help="side of the field in memory, pixels")
    parser.add_argument("--cells", type=int, default=4096, help="cells in the stores that are read")
    parser.add_argument(
        "--study", type=int, default=6000, help="side of the field on disk, pixels; 0: leave out"
    )
    parser.add_argument("--memory-limit-mb", type=int, default=1500, help="memory the study may take")
    parser.add_argument("--repeats", type=int, default=5, help="runs of which the best counts")
    parser.add_argument("--child", type=Path, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.child is not None:
        crop_within_limit(arguments.child, arguments.memory_limit_mb)
        return
    result: dict[str, Any] = {
        "machine": platform.processor() or platform.machine(),
        "cores": available_cores(),
        "load": round(os.getloadavg()[0], 1) if hasattr(os, "getloadavg") else None,
        "versions": {
            "python": platform.python_version(),
            "numpy": np.__version__,
            "numba": numba.__version__,
        },
    }
    result["cutting"] = time_cutting(arguments.field, arguments.repeats)
    result["store"] = time_store(arguments.cells, arguments.repeats)
    if arguments.study:
        result["study"] = time_study(arguments.study, arguments.memory_limit_mb)
    print(json.dumps(result))


def best(work: Callable[[], object], repeats: int) -> tuple[float, float]:
    """Least wall and processor seconds of several runs."""
    walls, cpus = [], []
    for _ in range(repeats):
        wall, cpu = time.perf_counter(), time.process_time()
        work()
        walls.append(time.perf_counter() - wall)
        cpus.append(time.process_time() - cpu)
    return min(walls), min(cpus)


def rate(cells: int, wall: float, cpu: float) -> dict[str, int]:
    """Cells per second of a user's and of a processor's time."""
    return {"per_s": round(cells / wall), "per_cpu_s": round(cells / cpu)}


def grid_field(
    side: int, spacing: int = 80
) -> tuple[NDArray[np.int32], NDArray[np.int64], NDArray[np.int64]]:
    """Labels, centres and ids of round nuclei on a grid, about 50 pixels wide."""
    places = np.arange(SIZE // 2, side - spacing // 2, spacing)
    centres = np.array([(y, x) for y in places for x in places])
    ids = np.arange(1, len(centres) + 1)
    labels = np.zeros((side, side), np.int32)
    disc = np.hypot(*np.mgrid[-25:26, -25:26]) <= 25
    for number, (y, x) in zip(ids, centres, strict=True):
        part = labels[y - 25 : y + 26, x - 25 : x + 26]
        part[disc[: part.shape[0], : part.shape[1]]] = number
    return labels, centres, ids


def plain_loop(
    image: NDArray[Any], labels: NDArray[np.int32], centres: NDArray[np.int64], ids: NDArray[np.int64]
) -> tuple[NDArray[Any], NDArray[np.uint8]]:
    """What a plain NumPy loop does: the same crops and masks, padded at the border."""
    half = SIZE // 2
    images = np.zeros((len(ids), len(image), SIZE, SIZE), image.dtype)
    masks = np.zeros((len(ids), SIZE, SIZE), np.uint8)
    for k, (own, (y, x)) in enumerate(zip(ids, centres, strict=True)):
        top, left = max(0, y - half), max(0, x - half)
        part = slice(top, min(labels.shape[0], y + half)), slice(left, min(labels.shape[1], x + half))
        to = (
            slice(top - y + half, part[0].stop - y + half),
            slice(left - x + half, part[1].stop - x + half),
        )
        images[k, :, *to] = image[:, *part]
        masks[k, *to] = np.where(labels[part] == own, 2, 0)
    return images, masks


def time_cutting(side: int, repeats: int) -> dict[str, Any]:
    labels, centres, ids = grid_field(side)
    image = np.random.default_rng(0).integers(0, 4000, (4, side, side), dtype=np.uint16)
    found: dict[str, Any] = {"cells": len(ids)}
    start = time.perf_counter()
    cut(image[:, :256, :256].copy(), labels[:256, :256].copy(), None, centres[:1], ids[:1], SIZE)
    found["first_call_s"] = round(time.perf_counter() - start, 2)
    expected = plain_loop(image, labels, centres[:200], ids[:200])
    for ours, theirs in zip(cut(image, labels, None, centres[:200], ids[:200], SIZE), expected, strict=True):
        np.testing.assert_array_equal(ours, theirs)
    print(f"Cutting 4 x {SIZE} x {SIZE} crops, uint16, field {side} x {side}, {len(ids)} cells")
    print(f"{'':>24} {'cells/s':>9} {'cells/cpu s':>12}")
    works: dict[str, Callable[[], object]] = {"plain loop": lambda: plain_loop(image, labels, centres, ids)}
    for mode in ("keep", "blank", "isolate"):
        for threads in sorted({1, available_cores()}):
            works[f"{mode}, {threads} threads"] = lambda mode=mode, threads=threads: cut(
                image, labels, None, centres, ids, SIZE, mode, threads=threads
            )

    def in_blocks() -> None:
        # As a study is cut: a few megabytes at a time, in memory that is used again.
        for first in range(0, len(ids), BLOCK):
            part = slice(first, first + BLOCK)
            cut(image, labels, None, centres[part], ids[part], SIZE)

    works[f"keep, blocks of {BLOCK}"] = in_blocks
    for name, work in works.items():
        wall, cpu = best(work, 2 if name == "plain loop" else repeats)
        found[name] = rate(len(ids), wall, cpu)
        print(f"{name:>24} {len(ids) / wall:>9.0f} {len(ids) / cpu:>12.0f}")
    return found


def time_store(cells: int, repeats: int) -> dict[str, Any]:
    found: dict[str, Any] = {}
    print(f"\nStore of {cells} cells, 4 x {SIZE} x {SIZE}; random batches of {BATCH}, page cache warm")
    print(
        f"{'crops':>16} {'raw MB':>7} {'disk MB':>8} {'write/s':>8} {'read/s':>8} {'per cpu s':>10} "
        f"{'into out':>9} {'tensorstore':>12} {'zarr':>6}"
    )
    with tempfile.TemporaryDirectory() as folder:
        for dtype in (np.uint8, np.uint16):
            for mode in ("isolate", "keep"):
                name = f"{np.dtype(dtype).name} {mode}"
                found[name] = time_one_store(Path(folder) / f"{name}.cells.zarr", cells, dtype, mode, repeats)
                each = found[name]
                print(
                    f"{name:>16} {each['raw_mb']:>7} {each['disk_mb']:>8} {each['write_per_s']:>8} "
                    f"{each['read']['per_s']:>8} {each['read']['per_cpu_s']:>10} "
                    f"{each['read_out']['per_s']:>9} {each['tensorstore_per_s']:>12} {each['zarr_per_s']:>6}"
                )
                shutil.rmtree(Path(folder) / f"{name}.cells.zarr")
    return found


def time_one_store(path: Path, cells: int, dtype: type, mode: str, repeats: int) -> dict[str, Any]:
    import tensorstore
    import zarr

    labels, centres, ids = grid_field(4096)
    rng = np.random.default_rng(0)
    top = 120 if dtype is np.uint8 else 2000
    # Poisson noise on a smooth scene: compresses as badly as camera images do.
    image = (rng.poisson(top / 4, (4, 4096, 4096)) + top * (labels > 0) // 2).astype(dtype)
    start = time.perf_counter()
    with CellStoreWriter(path, [PANEL], crop_size=SIZE, dtype=dtype) as writer:
        for first in range(0, cells, 512):
            chosen = (np.arange(first, min(cells, first + 512))) % len(ids)
            images, masks = cut(image, labels, None, centres[chosen], ids[chosen], SIZE, mode)
            obs = pd.DataFrame({"field": "f", "label": np.arange(first, first + len(chosen)) + 1})
            writer.append(PANEL.name, images, masks, obs)
    written = time.perf_counter() - start
    store = CellStore.open(path)
    batches = rng.integers(0, cells, (20, BATCH))
    out = np.empty((BATCH, 4, SIZE, SIZE), dtype)
    array = path / "panels" / PANEL.name / "images"
    other = tensorstore.open(
        {"driver": "zarr3", "kvstore": {"driver": "file", "path": str(array)}, "recheck_cached_data": False}
    ).result()
    plain = zarr.open_array(array, mode="r")
    count = batches.size
    read = best(lambda: [store.read_images(PANEL.name, rows) for rows in batches], repeats)
    read_out = best(lambda: [store.read_images(PANEL.name, rows, out) for rows in batches], repeats)
    theirs = best(lambda: [other[rows].read().result() for rows in batches], repeats)
    slow = best(lambda: plain.oindex[batches[0]], 1)
    np.testing.assert_array_equal(
        store.read_images(PANEL.name, batches[0]), other[batches[0]].read().result()
    )
    return {
        "raw_mb": round(cells * 4 * SIZE**2 * np.dtype(dtype).itemsize / 1e6),
        "disk_mb": round(sum(each.stat().st_size for each in path.rglob("*") if each.is_file()) / 1e6),
        "write_per_s": round(cells / written),
        "read": rate(count, *read),
        "read_out": rate(count, *read_out),
        "tensorstore_per_s": round(count / theirs[0]),
        "zarr_per_s": round(BATCH / slow[0]),
    }


def time_study(side: int, limit_mb: int) -> dict[str, Any]:
    """Cut a field on disk in a process of its own, and watch its memory."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        labels, _, ids = grid_field(side, 60)
        rng = np.random.default_rng(0)
        image = tifffile.memmap(
            folder / "field.tif",
            shape=(4, side, side),
            dtype=np.uint16,
            photometric="minisblack",
            bigtiff=True,
        )
        for channel in range(4):
            for top in range(0, side, 1024):
                rows = slice(top, top + 1024)
                image[channel, rows] = rng.poisson(500, labels[rows].shape) + 1000 * (labels[rows] > 0)
        image.flush()
        del image
        tifffile.imwrite(folder / "labels.tif", labels, tile=(512, 512), compression="zlib")
        field = StudyField(
            image=folder / "field.tif",
            labels=folder / "labels.tif",
            panel=PANEL,
            donor="d",
            condition="c",
            channels=PANEL.stains,
        )
        Study([field]).to_csv(folder / "study.csv")
        command = [sys.executable, __file__, "--child", str(folder), "--memory-limit-mb", str(limit_mb)]
        child = subprocess.run(command, capture_output=True, text=True, check=False)
        if child.returncode:
            raise SystemExit(child.stderr)
        found: dict[str, Any] = json.loads(child.stdout.splitlines()[-1])
    found["raw_mb"] = round(len(ids) * 4 * SIZE**2 * 2 / 1e6)
    print(
        f"\nStudy of one {side} x {side} field, 4 stains: {found['cells']} cells in {found['seconds']} s "
        f"({found['per_s']} cells/s); crops take {found['raw_mb']} MB, "
        f"the process at most {found['peak_mb']} MB (limit {limit_mb} MB, {found['base_mb']} MB before)"
    )
    return found


def crop_within_limit(folder: Path, limit_mb: int) -> None:
    """Cut in this process, whose data may not take more than the limit."""
    import resource

    import napari_apollo.cells.operation  # the libraries are loaded before memory is counted

    assert napari_apollo.cells.operation
    base = resident_mb("VmHWM")
    if sys.platform == "linux":
        resource.setrlimit(resource.RLIMIT_DATA, (limit_mb << 20, limit_mb << 20))
    start = time.perf_counter()
    store = crop(folder / "study.csv", CropConfig(output=folder / "s.cells.zarr", size=SIZE))
    seconds = time.perf_counter() - start
    assert store.read_images(PANEL.name, [store.n_cells - 1]).any()
    print(
        json.dumps(
            {
                "cells": store.n_cells,
                "seconds": round(seconds, 1),
                "per_s": round(store.n_cells / seconds),
                "base_mb": base,
                "peak_mb": resident_mb("VmHWM"),
            }
        )
    )


def resident_mb(key: str) -> int:
    """Memory of this process as the system counts it."""
    import resource

    status = Path("/proc/self/status")
    if status.exists():
        line = next(line for line in status.read_text().splitlines() if line.startswith(key))
        return int(line.split()[1]) // 1024
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return int(peak // (1 << 20 if sys.platform == "darwin" else 1 << 10))


if __name__ == "__main__":
    main()
