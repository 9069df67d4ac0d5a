"""The engine ``nuclei``: a small network trained on annotated nuclei of many kinds of microscopy."""

from __future__ import annotations

import math
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import lru_cache, partial
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from napari_apollo.cells.segmentation.decode import Decoding, Maps
from napari_apollo.cells.segmentation.grid import Box, Grid
from napari_apollo.cells.segmentation.sizing import region_of
from napari_apollo.cells.segmentation.work import WorkField
from napari_apollo.errors import ModelDamaged

if TYPE_CHECKING:
    from napari_apollo.cells.segmentation.network import NucleiNet

WEIGHTS = Path(__file__).with_name("nuclei.safetensors")
_CORE, _HALO, _MULTIPLE = 448, 32, 8
_GLANCE, _MOST_SAMPLES = 320, 4
_STEPS, _NEAR = 3, 0.7


@dataclass(frozen=True)
class NucleiEngine:
    """Nuclei as a network sees them.

    The network works on blocks of a lattice that begins at the corner of the work grid, each with a fixed
    margin, by itself and on one thread (sums are rounded differently on several): a block's values do not
    depend on which tile asks for it, nor on the number of cores.

    Attributes
    ----------
    threads
        Blocks that are worked on at the same time.
    weights
        File of the network's weights.
    """

    threads: int = 1
    weights: Path = WEIGHTS
    name: str = "nuclei"
    diameter: float = 20.0
    decoding: Decoding = field(
        default=Decoding(reach=40, separation=7.0, capture=8.0, least_area=48.0, least_votes=15.0, looks=3)
    )

    def maps(self, work: WorkField, box: Box) -> Maps:
        """See a region of the work grid."""
        foreground = np.zeros(box.shape, np.uint8)
        landing = np.zeros((2, *box.shape), np.int16)
        cores = [
            Box(y, min(work.shape[0], y + _CORE), x, min(work.shape[1], x + _CORE))
            for y in range(box.y0 // _CORE * _CORE, box.y1, _CORE)
            for x in range(box.x0 // _CORE * _CORE, box.x1, _CORE)
        ]
        blocks = work.remembered(cores, partial(self._see_core, work), self.threads)
        for core, block in zip(cores, blocks, strict=True):
            here = core.common(box)
            foreground[here.within(box)] = block.foreground[here.within(core)]
            landing[:, *here.within(box)] = block.landing[:, *here.within(core)]
        return Maps(foreground, landing)

    def _see_core(self, work: WorkField, core: Box) -> Maps:
        """See the core of a block, from the whole of it."""
        ends = [math.ceil(length / _MULTIPLE) * _MULTIPLE for length in work.shape]
        block = core.grown(_HALO, (ends[0], ends[1]))
        seen = self._see(_padded(work, block))
        source = core.within(block)
        foreground = np.rint(255 / (1 + np.exp(-seen[0][source])))
        landing = np.rint(np.clip(seen[1:3, *source] * self.diameter, -1e3, 1e3))
        return Maps(foreground.astype(np.uint8), landing.astype(np.int16))

    def sized(self, samples: Sequence[npt.NDArray[np.float32]], diameter: float) -> float:
        """Diameter that the network reads off the middles of samples.

        What it reads leans towards what the scale suggests, and more so the less there is to see. So it looks
        at several scales, and the reading counts that changes least from one scale to the next.
        """
        tried = diameter * 2 ** np.arange(-_STEPS / 2, _STEPS / 2 + 0.1, 0.5)
        middles = [partial(self._glance, samples[:_MOST_SAMPLES], float(size)) for size in tried]
        with ThreadPoolExecutor(self.threads) as pool:
            glances = list(pool.map(lambda glance: glance(), middles))
        readings = np.array([glance.reading for glance in glances])
        shares = np.array([glance.share for glance in glances])
        best, least = diameter, np.inf
        for index in range(len(tried) - 1):
            pair = slice(index, index + 2)
            change = abs(math.log2(readings[index + 1] / readings[index]))
            near = np.abs(np.log2(readings[pair] / tried[pair])).max() < _NEAR
            if near and shares[pair].min() > 0.25 * shares.max() and change < least:
                best, least = float(np.sqrt(readings[pair].prod())), change
        return best

    def _glance(self, samples: Sequence[npt.NDArray[np.float32]], diameter: float) -> _Glance:
        """Look at the middles of samples as if nuclei had a diameter, in pixels of the samples."""
        zoom = self.diameter / diameter
        sizes, seen_pixels = [], 0
        for sample in samples:
            grid = Grid((int(sample.shape[0]), int(sample.shape[1])), zoom)
            sides = [min(_GLANCE, length // _MULTIPLE * _MULTIPLE) for length in grid.work_shape]
            if min(sides) == 0:
                continue
            y, x = ((length - side) // 2 for length, side in zip(grid.work_shape, sides, strict=True))
            box = Box(y, y + sides[0], x, x + sides[1])
            seen = self._see(grid.resampled(partial(region_of, sample), box))
            sizes.append(seen[3][seen[0] > 0])
            seen_pixels += sides[0] * sides[1]
        found = np.concatenate(sizes) if sizes else np.zeros(0, np.float32)
        if found.size < self.diameter**2 / 2:
            return _Glance(diameter, 0.0)
        return _Glance(diameter * 2 ** float(np.median(found)), found.size / seen_pixels)

    def _see(self, values: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
        """What the network gives, float32 (4, y, x), for one block."""
        import torch

        from napari_apollo.cells.segmentation.network import compressed, one_thread

        with one_thread(), torch.inference_mode():
            inputs = compressed(torch.from_numpy(values))[None, None]
            seen = _network(self.weights)(inputs.contiguous(memory_format=torch.channels_last))
            return np.ascontiguousarray(seen[0].numpy())


@dataclass(frozen=True)
class _Glance:
    """Typical diameter that a look at one scale tells, and the share of nucleus pixels in it."""

    reading: float
    share: float


def _padded(work: WorkField, block: Box) -> npt.NDArray[np.float32]:
    """Values of a block, mirrored where it goes on beyond the work grid to be of even size."""
    inside = work.read(block.common(Box(0, work.shape[0], 0, work.shape[1])))
    beyond = [(0, wanted - found) for wanted, found in zip(block.shape, inside.shape, strict=True)]
    return np.pad(inside, beyond, mode="symmetric")


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
