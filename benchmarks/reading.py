"""Speed and memory of reading a large field in parts.

Usage: python benchmarks/reading.py [--side 20000] [--stains 4] [--part 2048] [--workers 2] [--folder DIR]

Writes one field of `side` x `side` pixels, uint16, as tiled OME-TIFF (deflate), as uncompressed multi-page
TIFF and as OME-Zarr, then reads each in parts, by the same tasks that segmentation and cutting run in. Every
way is read by a process of its own, whose largest resident memory is printed. What is written is removed.
"""

from __future__ import annotations

import argparse
import json
import platform
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import tifffile

from napari_apollo.study import StudyField, open_field
from napari_apollo.tasks import map_tasks

NAMES = ["DAPI", "CD4", "CD8", "CD16", "CD3", "CD20", "FOXP3", "BCL6"]
TILE = 512


def main() -> None:
    """Print a table and one line of JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--side", type=int, default=20_000, help="pixels along each side")
    parser.add_argument("--stains", type=int, default=4, choices=range(1, len(NAMES) + 1))
    parser.add_argument(
        "--part", type=int, default=2048, help="pixels along each side of what is read at a time"
    )
    parser.add_argument("--workers", type=int, default=2, help="threads")
    parser.add_argument("--folder", type=Path, default=None, help="where to write the field")
    parser.add_argument("--read", type=Path, default=None, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.read is not None:
        print(json.dumps(read(arguments.read, arguments.stains, arguments.part, arguments.workers)))
        return

    size = arguments.stains * arguments.side**2 * 2 / 1e9
    print(
        f"{arguments.side} x {arguments.side} x {arguments.stains} uint16, {size:.2f} GB; "
        f"parts of {arguments.part}"
    )
    print(f"{'kind':24} {'file GB':>8} {'open s':>8} {'read s':>8} {'MB/s':>8} {'peak GB':>8}")
    results: dict[str, dict[str, float]] = {}
    with tempfile.TemporaryDirectory(dir=arguments.folder) as folder:
        for kind, write in {
            "ome-tiff deflate tiles": tiled,
            "multi-page tiff": pages,
            "ome-zarr": zarr,
        }.items():
            path = write(Path(folder), arguments.side, arguments.stains)
            options = [f"--{name}={getattr(arguments, name)}" for name in ("stains", "part", "workers")]
            command = [sys.executable, __file__, f"--read={path}", *options]
            result = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
            stored = sum(file.stat().st_size for file in ([path] if path.is_file() else path.rglob("*")))
            result["file_gb"] = stored / 1e9
            results[kind] = result
            speed = size * 1e3 / result["read_s"]
            print(
                f"{kind:24} {result['file_gb']:8.2f} {result['open_s']:8.3f} {result['read_s']:8.1f} "
                f"{speed:8.0f} {result['peak_gb']:8.3f}"
            )
    machine = {"machine": platform.processor() or platform.machine(), "python": platform.python_version()}
    print(json.dumps({**machine, **vars(arguments), "folder": None, "read": None, "results": results}))


def read(path: Path, stains: int, part: int, workers: int) -> dict[str, float]:
    """Read every part once."""
    import resource

    start = time.perf_counter()
    image = open_field(StudyField(image=path, panel="/".join(NAMES[:stains]), donor="P", condition="c"))
    opened = time.perf_counter()
    height, width = image.shape
    parts = [
        (slice(y, y + part), slice(x, x + part))
        for y in range(0, height, part)
        for x in range(0, width, part)
    ]
    checksum = sum(
        map_tasks(lambda at: int(image.read(None, *at).sum(dtype=np.int64)), parts, workers=workers)
    )
    done = time.perf_counter()
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)
    return {"open_s": opened - start, "read_s": done - opened, "peak_gb": peak / 1e9, "checksum": checksum}


def blocks(side: int, stains: int) -> Iterator[np.ndarray]:
    """Tiles of noise on a level of their own."""
    noise = np.random.default_rng(0).integers(0, 4000, (TILE, TILE), dtype=np.uint16)
    across = -(-side // TILE)
    for stain in range(stains):
        for number in range(across**2):
            yield noise + np.uint16((stain * 1000 + number) % 50_000)


def tiled(folder: Path, side: int, stains: int) -> Path:
    """Tiled OME-TIFF with deflate."""
    path = folder / "tiled.ome.tif"
    with tifffile.TiffWriter(path, bigtiff=True, ome=True) as file:
        file.write(
            blocks(side, stains),
            shape=(stains, side, side),
            dtype="uint16",
            tile=(TILE, TILE),
            compression="zlib",
            compressionargs={"level": 1},
            metadata={"axes": "CYX", "Channel": {"Name": NAMES[:stains]}},
        )
    return path


def pages(folder: Path, side: int, stains: int) -> Path:
    """A page for each stain, nothing packed."""
    path = folder / "pages.tif"
    rows = np.random.default_rng(0).integers(0, 4000, (64, side), dtype=np.uint16)
    with tifffile.TiffWriter(path, bigtiff=True) as file:
        for stain in range(stains):
            strips = (rows[: min(64, side - start)] + np.uint16(stain * 1000) for start in range(0, side, 64))
            file.write(strips, shape=(side, side), dtype="uint16", rowsperstrip=64, metadata=None)
    return path


def zarr(folder: Path, side: int, stains: int) -> Path:
    """OME-Zarr 0.5 in chunks of one stain."""
    import zarr as library

    path = folder / "field.ome.zarr"
    axes = [{"name": "c", "type": "channel"}, {"name": "y", "type": "space"}, {"name": "x", "type": "space"}]
    library.create_group(
        path,
        zarr_format=3,
        attributes={
            "ome": {
                "version": "0.5",
                "multiscales": [{"axes": axes, "datasets": [{"path": "0"}]}],
                "omero": {"channels": [{"label": name} for name in NAMES[:stains]]},
            }
        },
    )
    array = library.create_array(
        path / "0", shape=(stains, side, side), dtype="uint16", chunks=(1, TILE, TILE), zarr_format=3
    )
    across = -(-side // TILE)
    for number, block in enumerate(blocks(side, stains)):
        stain, y, x = number // across**2, number // across % across * TILE, number % across * TILE
        array[stain, y : y + TILE, x : x + TILE] = block[: side - y, : side - x]
    return path


if __name__ == "__main__":
    main()
