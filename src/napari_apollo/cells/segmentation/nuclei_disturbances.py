"""What another stain, microscope or camera would do to an image of nuclei.

Training scenes are varied well beyond the annotated images, for the network is to see tissue and cameras
that those do not show: lymphocytes with dark middles, a second layer of nuclei out of focus, counts of single
ions, nuclei of a few pixels.
"""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from napari_apollo.cells.segmentation.grid import Box, Grid
from napari_apollo.cells.segmentation.network import DIAMETER

Image = npt.NDArray[np.float32]
Labels = npt.NDArray[np.int32]


def disturbed(image: Image, labels: Labels, random: np.random.Generator) -> Image:
    """Change an image as stain, tissue, optics and camera would, each at random.

    Parameters
    ----------
    image
        float32 (y, x): background 0, a typical nucleus 1.
    labels
        int32 (y, x), nuclei are positive.
    random
        Source of all that is random.
    """
    image = _stained(image, labels, random)
    image = _in_tissue(image, random)
    if random.random() < 0.5:
        image = ndimage.gaussian_filter(image, random.uniform(0.3, 0.12 * DIAMETER))
    image = _photographed(image, random)
    if random.random() < 0.1:
        image = np.minimum(image, np.float32(random.uniform(0.6, 1.5)))
    return image.astype(np.float32)


def _stained(image: Image, labels: Labels, random: np.random.Generator) -> Image:
    """Brightness, texture and dark middles of nuclei."""
    inside = np.maximum(labels, 0)
    count = int(inside.max()) + 1
    if random.random() < 0.6:
        factors = 2 ** random.normal(0, random.uniform(0.1, 0.6), count)
        factors[0] = 1
        image = image * ndimage.gaussian_filter(factors[inside].astype(np.float32), 1)
    if random.random() < 0.3:
        # Distance to the outline, also to that of a nucleus that touches.
        edges = (ndimage.maximum_filter(inside, 3) != ndimage.minimum_filter(inside, 3)) | (inside == 0)
        depth = np.asarray(ndimage.distance_transform_edt(~edges))
        hollow = np.clip(random.normal(random.uniform(0, 0.6), 0.2, count), 0, 0.9)
        middle = np.clip(depth / (0.3 * DIAMETER), 0, 1)
        image = image * (1 - hollow[inside] * middle * (inside > 0)).astype(np.float32)
    if random.random() < 0.4:
        uneven = random.uniform(0, 0.5) * _field(random, image.shape, random.uniform(0.5, 0.25 * DIAMETER))
        image = image * np.maximum(0, 1 + uneven)
    if random.random() < 0.3:
        image = np.sign(image) * np.abs(image) ** np.float32(2 ** random.normal(0, 0.4))
    return image.astype(np.float32)


def _in_tissue(image: Image, random: np.random.Generator) -> Image:
    """Uneven light, haze, nuclei out of focus, bright specks."""
    if random.random() < 0.6:
        image = image * np.float32(2 ** random.uniform(-1.3, 1)) * _slope(random, image.shape)
    if random.random() < 0.4:
        haze = random.uniform(0, 0.4) * np.abs(_field(random, image.shape, random.uniform(4, 40)))
        image = (image + haze + random.uniform(-0.1, 0.2)).astype(np.float32)
    if random.random() < 0.2:
        moved = np.roll(image, random.integers(20, 100, 2), (0, 1))
        blurred = ndimage.gaussian_filter(moved, random.uniform(0.15, 0.4) * DIAMETER)
        image = image + np.float32(random.uniform(0.1, 0.6)) * blurred
    if random.random() < 0.25:
        image = _with_specks(image, random)
    return image.astype(np.float32)


def _photographed(image: Image, random: np.random.Generator) -> Image:
    """Counting and reading noise, of pixels that may be coarser than those of the work grid."""
    if random.random() < 0.25:
        return image
    shape = image.shape
    pixel = 2 ** random.uniform(0, 2) if random.random() < 0.6 else 1.0
    image = _resampled(image, 1 / pixel, None)
    if random.random() < 0.7:
        photons = 10 ** random.uniform(0, 2.5)
        image = random.poisson(np.clip(image + random.uniform(0, 0.2), 0, 20) * photons) / photons
    if random.random() < 0.5:
        grain = random.normal(0, random.uniform(0.01, 0.2), image.shape)
        image = image + ndimage.gaussian_filter(grain, random.choice([0.0, 0.7]))
    return _resampled(image.astype(np.float32), pixel, shape)


def _resampled(image: Image, zoom: float, shape: tuple[int, ...] | None) -> Image:
    grid = Grid((int(image.shape[0]), int(image.shape[1])), zoom)
    rows, columns = grid.work_shape if shape is None else shape
    return grid.resampled(lambda y, x: image[y, x], Box(0, rows, 0, columns))


def _field(random: np.random.Generator, shape: tuple[int, ...], length: float) -> Image:
    """Smooth random field of unit variance."""
    coarse = max(1.0, length / 4)
    small = random.normal(size=[math.ceil(n / coarse) + 2 for n in shape])
    small = ndimage.gaussian_filter(small, length / coarse)
    field = ndimage.zoom(small, coarse, order=1)[: shape[0], : shape[1]]
    field = np.pad(field, [(0, max(0, n - m)) for n, m in zip(shape, field.shape, strict=True)], mode="edge")
    return (field / max(1e-6, float(field.std()))).astype(np.float32)


def _slope(random: np.random.Generator, shape: tuple[int, ...]) -> Image:
    y, x = np.linspace(-1, 1, shape[0]), np.linspace(-1, 1, shape[1])
    tilt = random.normal(0, 0.3, 2)
    return np.clip(1 + tilt[0] * y[:, None] + tilt[1] * x[None, :], 0.2, 3).astype(np.float32)


def _with_specks(image: npt.NDArray[np.floating], random: np.random.Generator) -> npt.NDArray[np.floating]:
    """Small bright specks that are no nuclei."""
    result = image.copy()
    for _ in range(random.integers(1, 12)):
        y, x = (int(random.integers(length)) for length in image.shape)
        radius = random.uniform(0.5, 1.5)
        reach = math.ceil(3 * radius)
        rows = np.arange(max(0, y - reach), min(image.shape[0], y + reach + 1))
        columns = np.arange(max(0, x - reach), min(image.shape[1], x + reach + 1))
        spot = np.exp(-((rows[:, None] - y) ** 2 + (columns[None, :] - x) ** 2) / (2 * radius**2))
        result[np.ix_(rows, columns)] += random.uniform(0.3, 3) * spot
    return result
