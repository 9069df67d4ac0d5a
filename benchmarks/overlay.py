"""How fast a large field of predicted cells is shown: opening, the coarse view, tiles.

    python benchmarks/overlay.py --cells 500000

Crops come from memory, so that the figures are those of putting them back; how fast they are read from disk
is in ``benchmarks/cells.py``. Prints a table and a line of JSON.
"""

from __future__ import annotations

import json
import platform
import time
from collections.abc import Callable
from typing import Annotated, Any

import numpy as np
import pandas as pd
import typer

from napari_apollo.panels import Panel
from napari_apollo.predict import Canvas
from napari_apollo.predict.roles import ChannelRole

SIZE = 48
SPACING = 28
VARIETY = 2000
PANEL = Panel(name="p", stains=("DAPI", "CD4"))


class RepeatedCells:
    """A store and its predictions in memory: a few cells, each of them many times."""

    def __init__(self, count: int) -> None:
        rng = np.random.default_rng(0)
        side = int(np.ceil(np.sqrt(count)))
        grid = np.stack(np.divmod(np.arange(count), side), axis=1) * SPACING + SPACING // 2
        place = grid + rng.uniform(-6, 6, (count, 2))
        self.shape = (side * SPACING, side * SPACING)
        centre = np.floor(place + 0.5).astype(int)
        self.obs = pd.DataFrame(
            {
                "panel": "p",
                "row": np.arange(count),
                "field": "f",
                "image": "i",
                "label": np.arange(count) + 1,
                "y": place[:, 0],
                "x": place[:, 1],
                "centre_y": centre[:, 0],
                "centre_x": centre[:, 1],
                "scale": 1.0,
            }
        )
        self.panels = {"p": PANEL}
        self.crop_size = SIZE
        self._images = rng.integers(0, 60_000, (VARIETY, 2, SIZE, SIZE), dtype=np.uint16)
        distance = np.hypot(*(np.indices((SIZE, SIZE)) - SIZE // 2))
        radius = rng.uniform(10, 15, VARIETY)[:, None, None]
        self._masks = ((distance < radius).astype(np.uint8)) + (distance < 0.7 * radius)
        self._areas = (self._masks > 0).sum((1, 2)).astype(float)

    def read_images(self, panel: str, rows: Any) -> np.ndarray:
        """Crops (n, stain, y, x)."""
        return self._images[np.asarray(rows) % VARIETY]

    def read_masks(self, panel: str, rows: Any) -> np.ndarray:
        """Masks (n, y, x)."""
        return self._masks[np.asarray(rows) % VARIETY]

    def stains(self, panel: str, role: Any) -> tuple[str, ...]:
        """Stains predicted."""
        return ("CD4",) if role is ChannelRole.PREDICTED else ()

    def read(self, panel: str, role: Any, stain: str, rows: Any) -> np.ndarray:
        """Predicted crops (n, y, x)."""
        return self._images[np.asarray(rows) % VARIETY, 1]

    def means(self, panel: str, role: Any, stain: str, rows: Any) -> np.ndarray:
        """Mean of each cell."""
        return np.full(len(rows), 30_000.0)

    def areas(self, panel: str, rows: Any) -> np.ndarray:
        """Area of each cell."""
        return self._areas[np.asarray(rows) % VARIETY]


def main(cells: Annotated[int, typer.Option(help="Cells of the field.")] = 500_000) -> None:
    """Measure and print."""
    store = RepeatedCells(cells)
    figures: dict[str, float] = {}
    processor: dict[str, float] = {}

    def timed(name: str, work: Callable[[], Any]) -> Any:
        start, busy = time.perf_counter(), time.process_time()
        result = work()
        figures[name] = round(time.perf_counter() - start, 4)
        processor[name] = round(time.process_time() - busy, 4)
        return result

    canvas = timed("open", lambda: Canvas(store, store, image="i", shape=store.shape))  # type: ignore[arg-type]
    levels = timed("layer", lambda: canvas.layer("CD4", "predicted"))
    timed("coarsest level", lambda: levels[-1].compute(scheduler="threads"))
    middle = store.shape[0] // 2
    half = [slice(middle, middle + 512)] * 2
    timed("tile 512, cells found", lambda: levels[0][tuple(half)].compute(scheduler="threads"))
    timed("tile 512, second stain", lambda: canvas.layer("CD4")[0][tuple(half)].compute(scheduler="threads"))
    screen = [slice(middle // 2, middle // 2 + 1000)] * 2
    timed("1000 x 1000 of level 1", lambda: levels[1][tuple(screen)].compute(scheduler="threads"))
    quarter = [slice(middle // 4, middle // 4 + 1000)] * 2
    timed("1000 x 1000 of level 2", lambda: levels[2][tuple(quarter)].compute(scheduler="threads"))
    print(f"{cells:,} cells, {store.shape[0]:,} x {store.shape[1]:,} pixels, {len(levels)} levels")
    for name, seconds in figures.items():
        print(f"  {name:<26} {seconds * 1000:10.1f} ms, processor {processor[name] * 1000:10.1f} ms")
    record = {"cells": cells, "machine": platform.machine(), "seconds": figures, "processor": processor}
    print(json.dumps(record))


if __name__ == "__main__":
    typer.run(main)
