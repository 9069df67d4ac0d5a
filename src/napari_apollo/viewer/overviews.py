"""Overviews of large images, whose coarse levels take the whole file: made beside the window, part by part.

A layer of a large image is shown at once. Its coarse levels are arrays in memory, dark at first, that are
filled while people already look at it; finer levels are read when somebody zooms in. Nothing here needs a
window.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Any

import dask.array as da
import numpy as np

from napari_apollo.predict.pyramid import halve_block
from napari_apollo.progress import Progress, ShouldStop, Step, never, silent, stop_if_asked
from napari_apollo.viewer.layers import KEY, LayerSpec
from napari_apollo.viewer.state import session_of

if TYPE_CHECKING:
    from napari.layers import Layer

AT_ONCE = 16 * 1024**2
"""Pixels of a layer whose coarse levels are computed while one waits."""

OVERVIEW = 1024**2
"""Pixels of the coarse levels that are then kept; finer ones are soon made again."""

KEPT = 16 * 1024**2
"""Pixels of the coarse levels that are kept of a larger layer: zooming in so far reads nothing."""

PART = 4096
"""Side in pixels of what is read at once, at full resolution: 32 MB of 16 bits."""

_OF_FILES = ("measured", "nuclei")


@dataclass(frozen=True)
class Overview:
    """Coarse levels of a layer that are still to be filled.

    Attributes
    ----------
    name
        Name of the layer.
    image
        The image it shows.
    kind
        ``image``, whose pixels are averaged, or ``labels``, of which every second is taken.
    full
        (Y, X), the finest resolution, or the coarsest that the file holds.
    first
        How many times ``levels[0]`` is halved from there.
    levels
        Each half as large as the one before.
    """

    name: str
    image: str
    kind: str
    full: da.Array
    first: int
    levels: Sequence[np.ndarray]

    @property
    def parts(self) -> list[tuple[slice, slice]]:
        """Rows and columns that are read together, from the middle outwards."""
        height, width = self.full.shape
        side = max(PART, 2 ** (self.first + len(self.levels) - 1))  # whole pixels of every level
        corners = [(y, x) for y in range(0, height, side) for x in range(0, width, side)]
        corners.sort(key=lambda at: np.hypot(at[0] + side / 2 - height / 2, at[1] + side / 2 - width / 2))
        return [(slice(y, min(y + side, height)), slice(x, min(x + side, width))) for y, x in corners]

    def fill(self, part: tuple[slice, slice]) -> None:
        """Read a part and put it into every level."""
        pixels = np.asarray(self.full[part])
        for _ in range(self.first):
            pixels = self._halved(pixels)
        for number, level in enumerate(self.levels, start=self.first):
            if number > self.first:
                pixels = self._halved(pixels)
            y, x = (side.start >> number for side in part)
            level[y : y + pixels.shape[0], x : x + pixels.shape[1]] = pixels

    def _halved(self, pixels: np.ndarray) -> np.ndarray:
        return pixels[::2, ::2] if self.kind == "labels" else halve_block(pixels)

    def is_of(self, layer: Any) -> bool:
        """Whether a layer shows these levels."""
        return bool(layer.multiscale) and any(level is self.levels[-1] for level in layer.data)


def with_overview(spec: LayerSpec) -> tuple[LayerSpec, Overview | None]:
    """A layer that can be shown at once, and what is to be filled where it is a large one of an image file.

    Layers of other kinds stay as they are: what models say has coarse levels that cost little.
    """
    about = spec.kwargs["metadata"][KEY]
    every = spec.data if isinstance(spec.data, list) else [spec.data]
    levels = every[spec.stored - 1 :]  # what the file holds in front of these is read where people look
    full = levels[0]
    if about["role"] not in _OF_FILES:
        return spec, None
    if len(levels) == 1 or full.size <= AT_ONCE or isinstance(full, np.ndarray):
        return spec.realised(OVERVIEW, OVERVIEW), None
    first, left = len(levels) - 1, KEPT
    while first > 1 and left >= int(np.prod(levels[first].shape)) + int(np.prod(levels[first - 1].shape)):
        left -= int(np.prod(levels[first].shape))
        first -= 1
    kept = [np.zeros(level.shape, level.dtype) for level in levels[first:]]
    overview = Overview(str(spec.kwargs["name"]), str(about["image"]), spec.kind, full, first, kept)
    return replace(spec, data=[*every[: -len(kept)], *kept]), overview


def fill(
    overviews: Sequence[Overview], *, progress: Progress = silent, should_stop: ShouldStop = never
) -> None:
    """Fill overviews, one layer after the other."""
    work = [(overview, part) for overview in overviews for part in overview.parts]
    for done, (overview, part) in enumerate(work):
        stop_if_asked(should_stop)
        progress(Step("Making the overview", done, len(work), overview.name))
        overview.fill(part)
    progress(Step("Making the overview", len(work), len(work)))


def add_layers(viewer: Any, specs: Iterable[LayerSpec]) -> list[Layer]:
    """Add layers to a viewer, large ones with overviews that are filled beside."""
    prepared = [with_overview(spec) for spec in specs]
    added = [spec.add(viewer) for spec, _ in prepared]
    fill_beside(viewer, [overview for _, overview in prepared if overview is not None])
    return added


def fill_beside(viewer: Any, overviews: Sequence[Overview]) -> None:
    """Fill overviews of layers of a viewer as a job of its session; shown as they grow.

    The job ends when none of their layers is there any more. Without a window all are filled now.
    """
    if not overviews:
        return
    call = partial(_call, overviews)
    image = overviews[0].image
    job = session_of(viewer).jobs.run("Making the overview", call, key=f"overview {image}")

    def show(*_: object) -> None:
        for layer in _layers_of(viewer, overviews):
            layer.refresh()

    def removed(*_: object) -> None:
        if not any(True for _ in _layers_of(viewer, overviews)):
            job.cancel()

    def ended(*_: object) -> None:
        viewer.layers.events.removed.disconnect(removed)
        show()

    if job.running:
        viewer.layers.events.removed.connect(removed)
        job.stepped.connect(show)
        job.ended.connect(ended)


def _call(overviews: Sequence[Overview], progress: Progress, should_stop: ShouldStop) -> None:
    fill(overviews, progress=progress, should_stop=should_stop)


def _layers_of(viewer: Any, overviews: Iterable[Overview]) -> Iterator[Any]:
    for layer in viewer.layers:
        if any(overview.is_of(layer) for overview in overviews):
            yield layer
