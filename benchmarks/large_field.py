"""A field larger than memory, through every command that reads fields.

Usage: python benchmarks/large_field.py [--side 20000] [--engine nuclei] [--memory-gb 2] [--folder DIR]

Writes a field of --side pixels along each side with four stains (the bundled lymph node, three times
enlarged, over and over) as tiled, compressed OME-TIFF, then runs `segment`, `crop` and `measure` (families
shape and intensity) on it, each as a user would, in a process of its own. Prints wall time, cells and the
largest resident memory of each, which must stay under --memory-gb, and the size of the store's crops, which
does not.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import subprocess
import sys
import tempfile
import time
from importlib.resources import as_file, files
from pathlib import Path
from typing import Any

import numpy as np
import tifffile
from numpy.typing import NDArray
from scipy import ndimage

from napari_apollo.cells import CellStore
from napari_apollo.panels import Panel
from napari_apollo.study import Study, StudyField

PANEL = Panel.parse("DAPI/CD4/FOXP3/CD8")
TILE = 512
ENLARGED = 3


def main() -> None:
    """Print the table and one line of JSON; exit with 1 where memory was exceeded."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--side", type=int, default=20_000, help="side of the field, pixels")
    parser.add_argument("--engine", default="nuclei", help="what finds the nuclei")
    parser.add_argument("--memory-gb", type=float, default=2.0, help="memory that no command may exceed")
    parser.add_argument("--folder", type=Path, default=None, help="where to write (and to leave) everything")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        folder = arguments.folder or Path(temporary)
        folder.mkdir(parents=True, exist_ok=True)
        result = run(folder, arguments.side, arguments.engine)
    print(json.dumps(result))
    sys.exit(any(row["peak_gb"] > arguments.memory_gb for row in result["commands"]))


def run(folder: Path, side: int, engine: str) -> dict[str, Any]:
    """Write the field, run the commands on it, print a line for each."""
    raw_gb = side * side * len(PANEL.stains) * 2 / 1e9
    started = time.perf_counter()
    manifest = write_field(folder, side)
    print(
        f"field of {side} x {side} x {len(PANEL.stains)} uint16, {raw_gb:.1f} GB of pixels, "
        f"written in {time.perf_counter() - started:.0f} s"
    )
    segmented, store = folder / "segmentation", folder / "large.cells.zarr"
    steps = {
        "segment": [manifest, "--output", segmented, "--engine", engine, "--overwrite"],
        "crop": [segmented / "study.csv", "--output", store, "--overwrite"],
        "measure": [store, "--families", "shape", "--families", "intensity"],
    }
    rows = []
    for name, words in steps.items():
        seconds, peak_gb = timed([sys.executable, "-m", "napari_apollo", name, *map(str, words)])
        rows.append({"command": name, "seconds": round(seconds), "peak_gb": round(peak_gb, 2)})
        print(f"{name:10}{seconds:8.0f} s{peak_gb:8.2f} GB resident at most", flush=True)
    cells = CellStore.open(store)
    crops_gb = cells.n_cells * len(PANEL.stains) * cells.crop_size**2 * 2 / 1e9
    print(f"{cells.n_cells} cells of {cells.crop_size} pixels: {crops_gb:.1f} GB of crops")
    return {
        "side": side,
        "engine": engine,
        "cores": os.cpu_count(),
        "machine": platform.machine(),
        "pixels_gb": round(raw_gb, 1),
        "cells": cells.n_cells,
        "crop_size": cells.crop_size,
        "crops_gb": round(crops_gb, 1),
        "commands": rows,
    }


def timed(command: list[str]) -> tuple[float, float]:
    """Run a command; seconds it took, and GB of its largest resident memory."""
    started = time.perf_counter()
    with subprocess.Popen(command, stdout=subprocess.DEVNULL) as process:
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise SystemExit(f"{' '.join(command)} ended with {process.returncode}")
    unit = 1 if sys.platform == "darwin" else 1024
    return time.perf_counter() - started, usage.ru_maxrss * unit / 1e9


def write_field(folder: Path, side: int) -> Path:
    """The field as tiled OME-TIFF, and its manifest."""
    scene = enlarged_sample()
    rows, columns = np.arange(side) % scene.shape[1], np.arange(TILE)

    def tiles() -> Any:
        for plane in scene:
            for y in range(0, side, TILE):
                for x in range(0, side, TILE):
                    tile = np.zeros((TILE, TILE), np.uint16)
                    part = plane[np.ix_(rows[y : y + TILE], (columns + x)[: side - x] % scene.shape[2])]
                    tile[: part.shape[0], : part.shape[1]] = part
                    yield tile

    path = folder / "large.ome.tif"
    tifffile.imwrite(
        path,
        tiles(),
        shape=(len(scene), side, side),
        dtype=np.uint16,
        tile=(TILE, TILE),
        compression="zlib",
        compressionargs={"level": 1},
        metadata={"axes": "CYX", "Channel": {"Name": list(PANEL.stains)}},
        ome=True,
        bigtiff=True,
    )
    field = StudyField(image=path, panel=PANEL, donor="d1", condition="tissue", field="large")
    Study([field]).to_csv(folder / "study.csv")
    return folder / "study.csv"


def enlarged_sample() -> NDArray[np.uint16]:
    """Four stains of the lymph node, enlarged, with its mirror images beside it so that it goes on."""
    with as_file(files("napari_apollo") / "samples" / "lymph_node.tiff") as path:
        image = np.asarray(tifffile.imread(path))[: len(PANEL.stains)]
    image = np.stack([ndimage.zoom(plane, ENLARGED, order=1) for plane in image])
    image = np.concatenate([image, image[:, ::-1]], axis=1)
    return np.concatenate([image, image[:, :, ::-1]], axis=2)


if __name__ == "__main__":
    main()
