"""Outlines of nuclei and cells, and where the cells lie.

An outline is a star-shaped curve: its distance from a pole at ``ANGLES`` equally spaced angles, linear in
the angle between them, so that its area and centroid are known exactly.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

ANGLES = 96
"""Number of angles of an outline; angle ``i`` is ``2 pi i / ANGLES`` from x towards y."""

Floats = NDArray[np.float64]

_THETA = 2 * np.pi * np.arange(ANGLES) / ANGLES


def outline_area(radii: Floats) -> Floats:
    """Area inside outlines.

    Parameters
    ----------
    radii
        float, (cell, angle), a length.

    Returns
    -------
    ndarray, (cell,)
        ``1/2`` of the integral of r² over the angle, exact for radii linear between the angles.
    """
    following = np.roll(radii, -1, axis=-1)
    return np.pi / ANGLES * (radii**2 + radii * following + following**2).sum(axis=-1) / 3


def outline_centroid(radii: Floats) -> Floats:
    """Centroids of the areas inside outlines, (cell, 2), as (y, x) from the pole."""
    fine = 16
    angle = 2 * np.pi * (np.arange(ANGLES * fine) + 0.5) / (ANGLES * fine)
    part = (np.arange(fine) + 0.5) / fine
    between = radii[..., None] * (1 - part) + np.roll(radii, -1, axis=-1)[..., None] * part
    cubed = between.reshape(*radii.shape[:-1], -1) ** 3
    moments = np.stack([cubed @ np.sin(angle), cubed @ np.cos(angle)], axis=-1)
    return moments * (2 * np.pi / (ANGLES * fine) / 3) / outline_area(radii)[..., None]


def nucleus_outlines(
    area: Floats, elongation: Floats, indentation: Floats, orientation: Floats, rng: np.random.Generator
) -> Floats:
    """Outlines of nuclei: dented, slightly uneven ellipses of exactly the areas given.

    Parameters
    ----------
    area
        µm², (cell,).
    elongation, indentation, orientation
        As in the truth table, (cell,); the dent lies on a long side.

    Returns
    -------
    ndarray, (cell, angle)
        Radii in µm.
    """
    theta = _THETA[None] - orientation[:, None]
    long = elongation[:, None]
    radii = 1 / np.sqrt((np.cos(theta) / long) ** 2 + np.sin(theta) ** 2)
    from_dent = np.angle(np.exp(1j * (theta - np.pi / 2)))
    radii = radii * (1 - indentation[:, None] * np.exp(-((from_dent / 0.55) ** 2) / 2))
    for order in range(2, 7):
        amplitude = 0.035 / order * rng.standard_normal((len(area), 1))
        phase = rng.uniform(0, 2 * np.pi, (len(area), 1))
        radii = radii * (1 + amplitude * np.cos(order * _THETA[None] + phase))
    return radii * np.sqrt(area / outline_area(radii))[:, None]


def cell_outlines(nuclei: Floats, cytoplasm: Floats, rng: np.random.Generator) -> Floats:
    """Outlines of cells around their nuclei.

    Parameters
    ----------
    nuclei
        Outlines of nuclei, µm, (cell, angle).
    cytoplasm
        Mean width of the cytoplasm, µm, (cell,); wider on one side, and it fills the dent.
    """
    spectrum = np.fft.rfft(nuclei, axis=1)
    smooth = np.fft.irfft(spectrum * np.exp(-((np.arange(spectrum.shape[1]) / 2.5) ** 2)), n=ANGLES, axis=1)
    side = rng.uniform(0, 2 * np.pi, (len(nuclei), 1))
    width = cytoplasm[:, None] * (1 + 0.45 * np.cos(_THETA[None] - side))
    for order in range(2, 13):
        width = width + 0.11 / np.sqrt(order) * rng.standard_normal((len(nuclei), 1)) * np.cos(
            order * _THETA[None] + rng.uniform(0, 2 * np.pi, (len(nuclei), 1))
        )
    return np.maximum(np.maximum(smooth, nuclei) + width, nuclei + 0.2)


def scatter_cells(
    nucleus_radius: Floats,
    cell_radius: Floats,
    extent: float,
    rng: np.random.Generator,
    *,
    clustered: float = 0.4,
    gap: float = 0.3,
) -> tuple[Floats, NDArray[np.bool_]]:
    """Lay cells on a square so that no two nuclei touch.

    Parameters
    ----------
    nucleus_radius, cell_radius
        Largest radii of each cell, µm, (cell,).
    extent
        Side of the square, µm. Centres lie inside it; cells may cross its border.
    clustered
        Share of cells that are laid against one that already lies there.
    gap
        Least distance between two nuclei, µm.

    Returns
    -------
    positions
        (y, x) of the centres, µm, (cell, 2).
    placed
        Whether there was room for each cell.
    """
    count = len(nucleus_radius)
    positions = np.full((count, 2), np.inf)
    placed = np.zeros(count, dtype=bool)
    for i in range(count):
        lying = np.flatnonzero(placed)
        # Cells press against each other a little; nuclei do not.
        needed = np.maximum(
            nucleus_radius[i] + nucleus_radius[lying] + gap, 0.88 * (cell_radius[i] + cell_radius[lying])
        )
        for _ in range(30):
            if len(lying) and rng.random() < clustered:
                host = rng.integers(len(lying))
                angle = rng.uniform(0, 2 * np.pi)
                reach = needed[host] * (1 + 0.1 * rng.random())
                trial = positions[lying[host]] + reach * np.array([np.sin(angle), np.cos(angle)])
            else:
                trial = rng.uniform(0, extent, 2)
            if trial.min() < 0 or trial.max() >= extent:
                continue
            distance = np.hypot(*(positions[lying] - trial).T)
            if (distance >= needed).all():
                positions[i], placed[i] = trial, True
                break
    return positions, placed
