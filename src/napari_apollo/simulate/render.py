"""Light that cells give off in every stain, before the microscope: the compiled part of the simulator.

Lengths are in micrometres, places in pixels with centres at integers, amplitudes relative to a cell of
strength 1.

All of it stands in one file: the cache of compiled code notices a change of the file that a function stands
in, not of files that it calls into.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numba
import numpy as np
from numpy.typing import NDArray

from napari_apollo.simulate.shapes import ANGLES
from napari_apollo.simulate.textures import TILE, TILE_SIGMA

MAX_NUCLEOLI = 4
FOCUS_SPACING_UM = 0.8
"""Least distance of two foci of a nucleus: they stay countable in a sharp image."""

# Widths (Gaussian sigma, µm) of the nuclear rim and of the membrane.
_RIM_WIDTH = 0.16
_MEMBRANE_WIDTH = 0.22
# Softness of the border between condensed and open chromatin, in standard deviations of the texture, and
# pull of condensed chromatin to the nuclear border.
_SOFTNESS = 0.55
_RIM_PULL = 1.2
_OPEN_LEVEL = 0.7  # DNA density of open chromatin; condensed is 1 more

# Rings of equal area, and every how many-th angle, that a nucleus is looked at in to set its chromatin.
_RINGS = 12
_STEP = 2

_MASK = TILE - 1


@dataclass(frozen=True)
class CellBodies:
    """What the renderer needs to know of cells; first axis the cell.

    Attributes
    ----------
    pole
        (cell, 2) pixel (y, x) that outlines and patterns are measured from.
    nucleus, membrane
        (cell, angle) outlines, µm.
    threshold
        (cell,) texture value above which chromatin is condensed, from ``settle_chromatin``.
    grain
        (cell,) correlation length of chromatin, µm.
    pattern
        (cell, 4): place (y, x) in the tile, cosine and sine of its turn.
    nucleoli
        (cell, MAX_NUCLEOLI, 3): y, x from the pole and radius, µm; radius 0 is none.
    dna, lamin, diffuse
        (cell,) amplitudes of DAPI (per DNA density), lamin and nucleoplasmic gammaH2AX.
    membranes
        (cell, 4, 3): amplitude, cap strength and cap angle of the membrane stains.
    """

    pole: NDArray[np.float64]
    nucleus: NDArray[np.float64]
    membrane: NDArray[np.float64]
    threshold: NDArray[np.float64]
    grain: NDArray[np.float64]
    pattern: NDArray[np.float64]
    nucleoli: NDArray[np.float64]
    dna: NDArray[np.float64]
    lamin: NDArray[np.float64]
    diffuse: NDArray[np.float64]
    membranes: NDArray[np.float64]


@numba.njit(cache=True, nogil=True)
def _tile_at(tile, y, x):  # type: ignore[no-untyped-def]
    y0, x0 = math.floor(y), math.floor(x)
    fy, fx = y - y0, x - x0
    i0, j0 = int(y0) & _MASK, int(x0) & _MASK
    i1, j1 = (i0 + 1) & _MASK, (j0 + 1) & _MASK
    top = tile[i0, j0] * (1 - fx) + tile[i0, j1] * fx
    return top * (1 - fy) + (tile[i1, j0] * (1 - fx) + tile[i1, j1] * fx) * fy


@numba.njit(cache=True, nogil=True)
def _radius_at(radii, theta):  # type: ignore[no-untyped-def]
    # Radius and its slope by the angle.
    position = theta * (ANGLES / (2 * math.pi))
    low = math.floor(position)
    part = position - low
    first = radii[int(low) % ANGLES]
    second = radii[(int(low) + 1) % ANGLES]
    return first + (second - first) * part, (second - first) * (ANGLES / (2 * math.pi))


@numba.njit(cache=True, nogil=True)
def _chromatin(tile, y, x, u, pattern, grain):  # type: ignore[no-untyped-def]
    # Texture at (y, x) µm from the pole, the share u of the way to the border: high where it is condensed.
    ty = pattern[2] * y - pattern[3] * x
    tx = pattern[3] * y + pattern[2] * x
    scale = TILE_SIGMA / grain
    coarse = _tile_at(tile, pattern[0] + ty * scale, pattern[1] + tx * scale)
    fine = _tile_at(tile, pattern[1] + tx * 2.3 * scale, pattern[0] - ty * 2.3 * scale)
    return 0.85 * coarse + 0.527 * fine + _RIM_PULL * u**6


@numba.njit(cache=True, nogil=True)
def _condensation(value, threshold):  # type: ignore[no-untyped-def]
    # 0 in open, 1 in condensed chromatin.
    return 1 / (1 + math.exp((threshold - value) / _SOFTNESS))


@numba.njit(cache=True, nogil=True)
def _dna_density(y, x, u, condensed, nucleoli):  # type: ignore[no-untyped-def]
    density = math.sqrt(math.sqrt(1 - u * u)) * (_OPEN_LEVEL + condensed)
    for k in range(MAX_NUCLEOLI):
        size = nucleoli[k, 2]
        if size > 0:
            d2 = ((y - nucleoli[k, 0]) ** 2 + (x - nucleoli[k, 1]) ** 2) / (size * size)
            density *= 1 - 0.7 * math.exp(-d2 * d2)
    return density


@numba.njit(cache=True, nogil=True)
def _settle(tile, nucleus, condensed, grain, pattern, nucleoli):  # type: ignore[no-untyped-def]
    # The threshold that the condensed share lies above in each nucleus, and its mean DNA density then, over
    # places that stand for equal areas.
    threshold, density = np.empty(len(nucleus)), np.empty(len(nucleus))
    spokes = ANGLES // _STEP
    values = np.empty(_RINGS * spokes)
    for c in range(len(nucleus)):
        radii = nucleus[c, ::_STEP]
        weight = radii**2 / (radii**2).sum() / _RINGS
        for ring in range(_RINGS):
            u = math.sqrt((ring + 0.5) / _RINGS)
            for a in range(spokes):
                theta, rho = 2 * math.pi * a / spokes, u * radii[a]
                values[ring * spokes + a] = _chromatin(
                    tile, rho * math.sin(theta), rho * math.cos(theta), u, pattern[c], grain[c]
                )
        seen = 0.0
        for k in np.argsort(values):
            seen += weight[k % spokes]
            threshold[c] = values[k]
            if seen >= 1 - condensed[c]:
                break
        density[c] = 0.0
        for k in range(len(values)):
            u = math.sqrt((k // spokes + 0.5) / _RINGS)
            theta, rho = 2 * math.pi * (k % spokes) / spokes, u * radii[k % spokes]
            share = _condensation(values[k], threshold[c])
            here = _dna_density(rho * math.sin(theta), rho * math.cos(theta), u, share, nucleoli[c])
            density[c] += here * weight[k % spokes]
    return threshold, density


@numba.njit(cache=True, nogil=True)
def _render(  # type: ignore[no-untyped-def]
    canvas, nuclei, cells, nearest, pixel, tile, pole, nucleus, membrane, threshold, grain, pattern,
    nucleoli, dna, lamin, diffuse, membranes,
):  # fmt: skip
    height, width = nuclei.shape
    for c in range(len(pole)):
        reach = (membrane[c].max() + 4 * _MEMBRANE_WIDTH) / pixel
        for i in range(
            max(0, math.floor(pole[c, 0] - reach)), min(height, math.ceil(pole[c, 0] + reach) + 1)
        ):
            y = (i - pole[c, 0]) * pixel
            for j in range(
                max(0, math.floor(pole[c, 1] - reach)), min(width, math.ceil(pole[c, 1] + reach) + 1)
            ):
                x = (j - pole[c, 1]) * pixel
                rho = math.sqrt(y * y + x * x)
                if rho > reach * pixel:
                    continue
                theta = math.atan2(y, x)
                r_n, slope_n = _radius_at(nucleus[c], theta)
                r_c, slope_c = _radius_at(membrane[c], theta)
                u = rho / r_n
                if u < 1:
                    nuclei[i, j] = c + 1
                    value = _chromatin(tile, y, x, u, pattern[c], grain[c])
                    condensed = _condensation(value, threshold[c])
                    dna_here = _dna_density(y, x, u, condensed, nucleoli[c])
                    canvas[0, i, j] += dna[c] * dna_here
                    canvas[1, i, j] += diffuse[c] * math.sqrt(math.sqrt(1 - u * u)) * (1 - 0.5 * condensed)
                if rho < r_c:
                    closeness = rho / r_c
                    if closeness < nearest[i, j]:
                        nearest[i, j] = closeness
                        cells[i, j] = c + 1
                # Distance along the normal of the outline.
                d = (rho - r_n) / math.sqrt(1 + (slope_n / r_n) ** 2)
                if abs(d) < 3.5 * _RIM_WIDTH or u < 1:
                    uneven = 1 + 0.25 * _tile_at(tile, pattern[c, 0] + y * 9 + 300, pattern[c, 1] + x * 9)
                    rim = math.exp(-d * d / (2 * _RIM_WIDTH**2)) * max(0.2, uneven)
                    canvas[2, i, j] += lamin[c] * (rim + (0.16 if u < 1 else 0.0))
                d = (rho - r_c) / math.sqrt(1 + (slope_c / r_c) ** 2)
                near = abs(d) < 3.5 * _MEMBRANE_WIDTH
                if near or rho < r_c:
                    ring = math.exp(-d * d / (2 * _MEMBRANE_WIDTH**2)) if near else 0.0
                    sheet = 0.10 if rho < r_c else 0.0
                    for s in range(membranes.shape[1]):
                        amplitude = sheet
                        if near:
                            patchy = 1 + 0.6 * _tile_at(
                                tile, pattern[c, 1] + y * 7 + 211 * s, pattern[c, 0] + x * 7 + 97 * s
                            )
                            amplitude += ring * max(0.15, patchy)
                        gathered = 1 + membranes[c, s, 1] * math.cos(theta - membranes[c, s, 2])
                        canvas[3 + s, i, j] += membranes[c, s, 0] * amplitude * gathered


@numba.njit(cache=True, nogil=True)
def _plant(count, tile, nucleus, threshold, grain, pattern, rng):  # type: ignore[no-untyped-def]
    # Places of foci in one nucleus, µm from the pole: inside, apart, rarely in condensed chromatin.
    places = np.empty((count, 2))
    planted = 0
    largest = nucleus.max()
    for _ in range(200 * count):
        if planted == count:
            break
        y, x = rng.uniform(-largest, largest), rng.uniform(-largest, largest)
        rho = math.sqrt(y * y + x * x)
        r_n, _slope = _radius_at(nucleus, math.atan2(y, x))
        keep = rng.random()
        if rho > r_n - 0.45:
            continue
        value = _chromatin(tile, y, x, rho / r_n, pattern, grain)
        if keep < 0.8 * _condensation(value, threshold):
            continue
        free = True
        for k in range(planted):
            if (places[k, 0] - y) ** 2 + (places[k, 1] - x) ** 2 < FOCUS_SPACING_UM**2:
                free = False
                break
        if free:
            places[planted, 0], places[planted, 1] = y, x
            planted += 1
    return places[:planted]


@numba.njit(cache=True, nogil=True)
def _add_spots(plane, spots, pixel):  # type: ignore[no-untyped-def]
    height, width = plane.shape
    for k in range(len(spots)):
        y, x, sigma, peak = spots[k, 0], spots[k, 1], spots[k, 2] / pixel, spots[k, 3]
        reach = 4 * sigma
        for i in range(max(0, math.floor(y - reach)), min(height, math.ceil(y + reach) + 1)):
            for j in range(max(0, math.floor(x - reach)), min(width, math.ceil(x + reach) + 1)):
                plane[i, j] += peak * math.exp(-((i - y) ** 2 + (j - x) ** 2) / (2 * sigma * sigma))


def render_cells(
    bodies: CellBodies, shape: tuple[int, int], pixel_um: float, tile: NDArray[np.float32]
) -> tuple[NDArray[np.float32], NDArray[np.int32], NDArray[np.int32]]:
    """Draw cells.

    Parameters
    ----------
    bodies
        The cells; number ``i`` gets label ``i + 1``.
    shape
        (Y, X) of the canvas; cells may cross its border.
    pixel_um
        Side of its pixels, µm.
    tile
        The texture, float32, (TILE, TILE).

    Returns
    -------
    light
        float32, (7, Y, X), in the order of ``STAINS``, relative amplitudes, without foci.
    nuclei, cells
        int32, (Y, X), labels; a pixel in two cells belongs to the one it lies deeper in, and a nucleus
        always to its own cell.
    """
    canvas = np.zeros((7, *shape), dtype=np.float32)
    nuclei = np.zeros(shape, dtype=np.int32)
    cells = np.zeros(shape, dtype=np.int32)
    nearest = np.full(shape, np.inf, dtype=np.float32)
    _render(
        canvas, nuclei, cells, nearest, pixel_um, tile, bodies.pole, bodies.nucleus, bodies.membrane,
        bodies.threshold, bodies.grain, bodies.pattern, bodies.nucleoli, bodies.dna, bodies.lamin,
        bodies.diffuse, bodies.membranes,
    )  # fmt: skip
    np.copyto(cells, nuclei, where=nuclei > 0)
    return canvas, nuclei, cells


def settle_chromatin(
    nucleus: NDArray[np.float64],
    condensed: NDArray[np.float64],
    grain: NDArray[np.float64],
    pattern: NDArray[np.float64],
    nucleoli: NDArray[np.float64],
    tile: NDArray[np.float32],
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Texture threshold and mean DNA density of nuclei with given condensed shares.

    Set for each nucleus by its own texture, so that condensed share and DNA content are those planted and not
    only near them.

    Parameters
    ----------
    condensed
        (cell,) share of each nucleus that is condensed chromatin; the others as in ``CellBodies``.

    Returns
    -------
    threshold, density
        (cell,) each.
    """
    settled: tuple[NDArray[np.float64], NDArray[np.float64]] = _settle(
        tile, nucleus, condensed, grain, pattern, nucleoli
    )
    return settled


def plant_foci(
    bodies: CellBodies,
    counts: NDArray[np.int64],
    tile: NDArray[np.float32],
    rng: np.random.Generator,
) -> list[NDArray[np.float64]]:
    """Places of the foci of every nucleus, (focus, 2), (y, x) in µm from its pole.

    There are fewer than asked for where there is no room for them.
    """
    return [
        _plant(count, tile, bodies.nucleus[i], bodies.threshold[i], bodies.grain[i], bodies.pattern[i], rng)
        for i, count in enumerate(counts)
    ]


def add_spots(plane: NDArray[np.float32], spots: NDArray[np.float64], pixel_um: float) -> None:
    """Add Gaussian spots to a plane, in place.

    Parameters
    ----------
    plane
        float32, (Y, X).
    spots
        (spot, 4): y, x in pixels, sigma in µm, peak.
    """
    _add_spots(plane, spots, pixel_um)
