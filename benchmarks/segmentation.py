"""How well nuclei are found, and how fast.

Usage: python benchmarks/segmentation.py [--data DIR] [--engines nuclei,threshold,baseline] [--repeats 3]
[--field 8000] [--workers 2]

First table: agreement with annotated nuclei, per set and engine, every image segmented with the default
settings: F1 at overlaps (intersection over union) from 0.5 to 0.9 and the panoptic quality, pooled over the
images of a set. `held out` are the images that the network never saw in training, `trained on` the others,
`all` both. `baseline` is Otsu's threshold and a distance watershed in ten lines. Needs the folder of
annotated sets (`dsb2018` and `kromp`, each with `images/` and `labels/`), given by --data or, as the folder
above it, by the environment variable NAPARI_APOLLO_DATA; the table is left out where there is none.

Second table: time for one 500 x 500 field of lymphocytes in memory. Third: a whole field on disk of --field
pixels along each side, made of that sample, from study to label image in a process of its own, with its
largest resident memory; 0 leaves it out.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import resource
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
from skimage.feature import peak_local_max
from skimage.filters import gaussian, threshold_otsu
from skimage.morphology import remove_small_objects
from skimage.segmentation import watershed

from napari_apollo.cells.segmentation import SegmentConfig, engine_names, segment, segment_image
from napari_apollo.cells.segmentation.annotated import annotated_images
from napari_apollo.cells.segmentation.scores import THRESHOLDS, Matches, match, pool
from napari_apollo.panels import Panel
from napari_apollo.study import Study, StudyField

SETS = ("dsb2018", "kromp")
BASELINE = "baseline"


def main() -> None:
    """Print the tables and one line of JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--data", type=Path, default=None, help="folder that holds dsb2018/ and kromp/")
    parser.add_argument("--engines", default=",".join((*engine_names(), BASELINE)), help="what to compare")
    parser.add_argument("--repeats", type=int, default=3, help="runs of which the best counts")
    parser.add_argument("--field", type=int, default=8000, help="side of the field on disk, pixels")
    parser.add_argument("--workers", type=int, default=2, help="threads for the field on disk")
    parser.add_argument("--child", nargs=2, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.child:
        segment_on_disk(arguments.child[0], Path(arguments.child[1]), arguments.workers)
        return
    engines = arguments.engines.split(",")
    result: dict[str, Any] = {"cores": os.cpu_count(), "machine": platform.machine()}
    result["agreement"] = agreement(arguments.data or default_data(), engines)
    result["time"] = times([engine for engine in engines if engine != BASELINE], arguments.repeats)
    if arguments.field:
        found = [engine for engine in engines if engine != BASELINE]
        result["field"] = on_disk(found, arguments.field, arguments.workers)
    print(json.dumps(result))


def default_data() -> Path:
    """Folder of annotated sets beside the development data."""
    beside = Path(__file__).resolve().parents[2] / "shared" / "data"
    return Path(os.environ.get("NAPARI_APOLLO_DATA", beside)) / "nuclei_gt"


def baseline(image: NDArray[np.generic]) -> NDArray[np.int32]:
    """Ten lines that everybody writes first."""
    smooth = gaussian(image.astype(float), 1)
    mask = remove_small_objects(smooth > threshold_otsu(smooth), max_size=30)
    distance = gaussian(ndimage.distance_transform_edt(mask), 2)
    peaks = peak_local_max(distance, min_distance=5, labels=mask)
    markers = np.zeros(image.shape, np.int32)
    markers[tuple(peaks.T)] = np.arange(1, len(peaks) + 1)
    return np.asarray(watershed(-distance, markers, mask=mask), dtype=np.int32)


def agreement(folder: Path, engines: list[str]) -> list[dict[str, Any]]:
    """Print and return scores, one row for each set, engine and part."""
    rows: list[dict[str, Any]] = []
    print(f"Agreement with annotated nuclei ({folder.name}):")
    heading = "".join(f"  F1@{threshold:.1f}" for threshold in THRESHOLDS)
    print(f"{'set':9}{'engine':11}{'images':12}{'nuclei':>8}{'found':>8}{heading}     PQ{'s/image':>9}")
    for name in SETS:
        if not (folder / name).is_dir():
            print(f"{name:9}not measured: no such folder under {folder}; give --data")
            continue
        images = list(annotated_images(folder / name))
        for engine in engines:
            config = None if engine == BASELINE else SegmentConfig(engine=engine)  # type: ignore[arg-type]
            scores: dict[bool, list[Matches]] = {True: [], False: []}
            started = time.perf_counter()
            for item in images:
                found = baseline(item.image) if config is None else segment_image(item.image, config=config)
                scores[item.held_out].append(match(item.labels, found))
            seconds = (time.perf_counter() - started) / len(images)
            parts = {
                "held out": scores[True],
                "trained on": scores[False],
                "all": scores[True] + scores[False],
            }
            for part, counted in parts.items():
                pooled = pool(counted)
                f1 = {f"{threshold:.1f}": round(pooled.f1(threshold), 4) for threshold in THRESHOLDS}
                rows.append(
                    {
                        "set": name,
                        "engine": engine,
                        "part": part,
                        "images": len(counted),
                        "nuclei": pooled.annotated,
                        "found": pooled.found,
                        "f1": f1,
                        "panoptic_quality": round(pooled.panoptic_quality, 4),
                        "seconds_per_image": round(seconds, 3),
                    }
                )
                shown = "".join(f"{value:8.3f}" for value in f1.values())
                print(
                    f"{name:9}{engine:11}{part + f' ({len(counted)})':17}{pooled.annotated:>6}"
                    f"{pooled.found:>8}{shown}{pooled.panoptic_quality:7.3f}{seconds:9.2f}"
                )
    return rows


def sample() -> NDArray[np.uint16]:
    """DNA stain of the lymph node that comes with the package."""
    with as_file(files("napari_apollo") / "samples" / "lymph_node.tiff") as path:
        return np.asarray(tifffile.imread(path, key=0))


def times(engines: list[str], repeats: int) -> list[dict[str, Any]]:
    """Print and return how long one field in memory takes."""
    image = sample()
    rows = []
    print(f"\nOne field of {image.shape[0]} x {image.shape[1]} pixels in memory:")
    for engine in engines:
        config = SegmentConfig(engine=engine)  # type: ignore[arg-type]
        nuclei = int(segment_image(image, config=config).max())  # compiles, too
        seconds = []
        for _ in range(repeats):
            started = time.perf_counter()
            segment_image(image, config=config)
            seconds.append(time.perf_counter() - started)
        rows.append({"engine": engine, "nuclei": nuclei, "seconds": round(min(seconds), 3)})
        print(f"{engine:11}{nuclei:>8} nuclei{min(seconds):9.2f} s")
    return rows


def on_disk(engines: list[str], side: int, workers: int) -> list[dict[str, Any]]:
    """Print and return time and memory of a large field, from study to label image."""
    rows = []
    print(f"\nOne field of {side} x {side} pixels on disk, {workers} threads:")
    with tempfile.TemporaryDirectory() as folder:
        write_field(Path(folder), side)
        for engine in engines:
            command = [sys.executable, __file__, "--child", engine, folder, "--workers", str(workers)]
            answer = subprocess.run(command, check=True, capture_output=True, text=True).stdout
            row = json.loads(answer.strip().splitlines()[-1])
            rows.append(row)
            print(
                f"{engine:11}{row['nuclei']:>10} nuclei{row['seconds']:9.0f} s"
                f"{row['nuclei'] / row['seconds']:9.0f} nuclei/s{row['peak_mb']:9.0f} MB resident at most"
            )
    return rows


def write_field(folder: Path, side: int) -> None:
    """A tiled OME-TIFF and its study: the sample over and over, mirrored so that it goes on."""
    image = sample()
    image = np.block([[image, image[:, ::-1]], [image[::-1], image[::-1, ::-1]]])
    rows, columns = np.arange(side) % image.shape[0], np.arange(512)

    def blocks() -> Any:
        for y in range(0, side, 512):
            for x in range(0, side, 512):
                block = np.zeros((512, 512), np.uint16)
                part = image[np.ix_(rows[y : y + 512], (columns + x)[: side - x] % image.shape[1])]
                block[: part.shape[0], : part.shape[1]] = part
                yield block

    path = folder / "field.ome.tif"
    metadata = {"axes": "YX", "Channel": {"Name": ["DAPI"]}}
    tifffile.imwrite(
        path, blocks(), shape=(side, side), dtype=np.uint16, tile=(512, 512), metadata=metadata, ome=True
    )
    field = StudyField(image=path, panel=Panel.parse("DAPI"), donor="d", condition="c", channels=("DAPI",))
    Study([field]).to_csv(folder / "study.csv")


def segment_on_disk(engine: str, folder: Path, workers: int) -> None:
    """Segment a study in this process and print what it took."""
    counts: list[str] = []
    config = SegmentConfig(engine=engine, output=folder / engine, workers=workers)  # type: ignore[arg-type]
    started = time.perf_counter()
    segment(folder / "study.csv", config, progress=lambda step: counts.append(step.detail))
    seconds = time.perf_counter() - started
    nuclei = int(counts[-1].split(":")[1].split()[0])
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(
        json.dumps({"engine": engine, "nuclei": nuclei, "seconds": round(seconds, 1), "peak_mb": round(peak)})
    )


if __name__ == "__main__":
    main()
