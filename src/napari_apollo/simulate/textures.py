"""Periodic random textures that the renderer cuts chromatin and membrane patterns from.

One tile is drawn once; a cell's pattern is the tile seen at an own place, angle and scale, so any
correlation length costs the same and no two cells look alike.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

TILE = 1024
"""Side of the tile, a power of two (places wrap around by a bit mask)."""

TILE_SIGMA = 4.0
"""Correlation length of the tile: it is white noise smoothed by a Gaussian of this width, in its pixels."""

_SEED = 20250101


@lru_cache(maxsize=1)
def gaussian_tile() -> NDArray[np.float32]:
    """Gaussian random field, zero mean, unit variance, periodic, float32, (TILE, TILE).

    Always the same: what differs between cells and seeds is where they look.
    """
    noise = np.random.default_rng(_SEED).standard_normal((TILE, TILE))
    frequency = np.fft.fftfreq(TILE)
    low = np.exp(-2 * (np.pi * TILE_SIGMA * frequency) ** 2)
    field = np.fft.irfft2(np.fft.rfft2(noise) * low[:, None] * low[None, : TILE // 2 + 1], s=(TILE, TILE))
    field -= field.mean()
    field /= field.std()
    tile = field.astype(np.float32)
    tile.setflags(write=False)
    return tile
