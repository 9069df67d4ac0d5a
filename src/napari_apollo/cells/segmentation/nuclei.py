"""The engine ``nuclei``: a small network trained on annotated nuclei of many kinds of microscopy."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from napari_apollo.cells.segmentation.decode import Decoding, Maps
from napari_apollo.cells.segmentation.engines import ReadWork
from napari_apollo.cells.segmentation.grid import Box, Grid
from napari_apollo.errors import ModelDamaged

if TYPE_CHECKING:
    from napari_apollo.cells.segmentation.network import NucleiNet

WEIGHTS = Path(__file__).with_name("nuclei.safetensors")
_CORE, _HALO, _MULTIPLE = 448, 32, 8
_GLANCES, _MOST_SAMPLES = 3, 4


@dataclass(frozen=True)
class NucleiEngine:
    """Nuclei as a network sees them.

    The network works on blocks of a lattice that begins at the corner of the work grid, each with a fixed
    margin, one at a time; a block's values therefore do not depend on which tile asks for it.
    """

    weights: Path = WEIGHTS
    name: str = "nuclei"
    diameter: float = 20.0
    decoding: Decoding = field(
        default=Decoding(reach=40, separation=7.0, capture=8.0, least_area=16.0, least_votes=15.0, looks=3)
    )

    @property
    def margin(self) -> int:
        """Work pixels beyond a region that it may read."""
        return _CORE + 2 * _HALO

    def maps(self, read: ReadWork, shape: tuple[int, int], box: Box) -> Maps:
        """See a region of the work grid."""
        foreground = np.zeros(box.shape, np.uint8)
        landing = np.zeros((2, *box.shape), np.int16)
        for rows in _spans(shape[0], box.y0, box.y1):
            for columns in _spans(shape[1], box.x0, box.x1):
                seen = self._see(_mirrored(read, shape, rows, columns))
                here = Box(
                    max(box.y0, rows.core[0]),
                    min(box.y1, rows.core[1]),
                    max(box.x0, columns.core[0]),
                    min(box.x1, columns.core[1]),
                )
                source = here.within(Box(*rows.outer, *columns.outer))
                target = here.within(box)
                foreground[target] = np.rint(255 / (1 + np.exp(-seen[0][source])))
                landing[:, *target] = np.rint(np.clip(seen[1:3, *source] * self.diameter, -1e3, 1e3))
        return Maps(foreground, landing)

    def sized(self, samples: Sequence[npt.NDArray[np.float32]], diameter: float) -> float:
        """Diameter that the network reads off the middles of samples, looked at again at the better scale."""
        for _ in range(_GLANCES):
            zoom = self.diameter / diameter
            sizes = [self._glance(sample, zoom) for sample in samples[:_MOST_SAMPLES]]
            found = np.concatenate(sizes)
            if found.size < self.diameter**2:
                break
            better = float(diameter * 2 ** np.median(found))
            settled = abs(math.log2(better / diameter)) < 0.1
            diameter = better
            if settled:
                break
        return diameter

    def _glance(self, sample: npt.NDArray[np.float32], zoom: float) -> npt.NDArray[np.float32]:
        """Binary logarithm of the size, over the canonical one, at every nucleus pixel of a block."""
        shape = (int(sample.shape[0]), int(sample.shape[1]))
        grid = Grid(shape, zoom)
        sides = [min(_CORE, length // _MULTIPLE * _MULTIPLE) for length in grid.work_shape]
        if min(sides) == 0:
            return np.zeros(0, np.float32)
        y, x = ((length - side) // 2 for length, side in zip(grid.work_shape, sides, strict=True))
        values = grid.resampled(
            lambda rows, columns: sample[rows, columns], Box(y, y + sides[0], x, x + sides[1])
        )
        seen = self._see(values)
        return np.asarray(seen[3][seen[0] > 0])

    def _see(self, values: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
        """What the network gives, float32 (4, y, x), for one block."""
        import torch

        from napari_apollo.cells.segmentation.network import compressed

        with torch.inference_mode():
            inputs = compressed(torch.from_numpy(values))[None, None]
            seen = _network(self.weights)(inputs.contiguous(memory_format=torch.channels_last))
            return np.ascontiguousarray(seen[0].numpy())


@dataclass(frozen=True)
class _Span:
    """Part of an axis: pixels that a block answers for, and those that it looks at."""

    core: tuple[int, int]
    outer: tuple[int, int]


def _spans(length: int, start: int, stop: int) -> Iterator[_Span]:
    """Spans of the lattice that answer for ``start`` to ``stop``; a short axis is one span."""
    if length <= _CORE + 2 * _HALO:
        yield _Span((0, length), (0, math.ceil(length / _MULTIPLE) * _MULTIPLE))
        return
    for begin in range(start // _CORE * _CORE, stop, _CORE):
        yield _Span((begin, min(length, begin + _CORE)), (begin - _HALO, begin + _CORE + _HALO))


def _mirrored(read: ReadWork, shape: tuple[int, int], rows: _Span, columns: _Span) -> npt.NDArray[np.float32]:
    """Values of a block, mirrored at the edges of the image."""
    y, x = _mirror(shape[0], *rows.outer), _mirror(shape[1], *columns.outer)
    box = Box(int(y.min()), int(y.max()) + 1, int(x.min()), int(x.max()) + 1)
    return np.ascontiguousarray(read(box)[np.ix_(y - box.y0, x - box.x0)])


def _mirror(length: int, start: int, stop: int) -> npt.NDArray[np.int64]:
    period = max(1, 2 * length - 2)
    within = np.arange(start, stop) % period
    return np.minimum(within, period - within) if length > 1 else np.zeros(stop - start, np.int64)


@lru_cache(maxsize=2)
def _network(weights: Path) -> NucleiNet:
    """Network with the weights of a file, ready to be used.

    Raises
    ------
    ModelDamaged
        When the file is missing or does not hold this network.
    """
    import torch
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    from napari_apollo.cells.segmentation.network import NucleiNet

    network = NucleiNet()
    try:
        network.load_state_dict(load_file(weights))
    except (OSError, SafetensorError, RuntimeError) as error:
        raise ModelDamaged(
            weights, f"holds no weights of the engine 'nuclei' ({error}).", "Install the package again."
        ) from error
    network.eval()
    network.fuse()
    return network.to(memory_format=torch.channels_last)
