"""Training scenes for the network: annotated images turned, scaled and disturbed, and tissue made of nuclei.

A scene is an image in normalised intensities with what each pixel should say of its nucleus. Half-octaves of
scale, brightness of each nucleus, haze, uneven light, blur and counting noise are varied well beyond the
annotated images, for the network is to see tissue and cameras that those do not show.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from napari_apollo.cells.segmentation.annotated import AnnotatedImage, typical_diameter
from napari_apollo.cells.segmentation.grid import Box, Grid
from napari_apollo.cells.segmentation.network import DIAMETER
from napari_apollo.cells.segmentation.scale import SAMPLED, FieldScale, intensity_levels

Image = npt.NDArray[np.float32]
Labels = npt.NDArray[np.int32]

_LEVELS = (2.0, 1.4, 1.0, 0.7)  # sizes kept of every image, in canonical diameters
_PATCH = 2.0  # size of the nuclei that tissue is made of, in canonical diameters
_CROWDED = 0.25  # part of the scenes that is made tissue
_AS_IT_IS = 0.3  # part of the annotated scenes whose intensities are left alone


@dataclass(frozen=True)
class Scene:
    """An image and its nuclei.

    Attributes
    ----------
    image
        float32 (y, x), background 0, a typical nucleus 1.
    labels
        int32 (y, x), 0 is background, -1 where nothing was annotated.
    centres
        float32 (label, 2): row and column of the centre of each nucleus; may lie outside of the scene.
    diameters
        float32 (label,), in pixels, of the whole nucleus.
    """

    image: Image
    labels: Labels
    centres: npt.NDArray[np.float32]
    diameters: npt.NDArray[np.float32]


class Scenes:
    """Endless scenes from annotated images.

    Parameters
    ----------
    images
        Annotated images.
    side
        Rows and columns of a scene.
    seed
        Of everything that is random.
    """

    def __init__(self, images: list[AnnotatedImage], side: int, seed: int) -> None:
        self._random = np.random.default_rng(seed)
        self._side = side
        self._levels: list[dict[float, Scene]] = []
        self._patches: list[Scene] = []
        counts = []
        for item in images:
            levels = _levels(item)
            self._levels.append(levels)
            self._patches += _patches(levels[_PATCH])
            counts.append(len(levels[1.0].centres))
        # Images with many nuclei are shown more often, but not in proportion: every kind should be seen.
        weights = np.sqrt(np.array(counts, dtype=float))
        self._weights = weights / weights.sum()

    def next(self) -> Scene:
        """Draw a scene."""
        size = 2.0 ** np.clip(self._random.normal(0, 0.33), -1, 1)
        if self._random.random() < _CROWDED:
            return _disturbed(self._tissue(size), self._random)
        scene = self._part(size)
        return scene if self._random.random() < _AS_IT_IS else _disturbed(scene, self._random)

    def _part(self, size: float) -> Scene:
        """Part of an annotated image, with nuclei of about ``size`` canonical diameters."""
        levels = self._levels[self._random.choice(len(self._levels), p=self._weights)]
        level = min((kept for kept in levels if kept >= size), default=max(levels))
        scene = levels[level]
        height, width = scene.labels.shape
        if self._random.random() < 0.8:
            middle = scene.centres[self._random.integers(len(scene.centres))]
            middle = middle + self._random.normal(0, 0.25 * self._side * level / size, 2)
        else:
            middle = self._random.random(2) * (height, width)
        matrix = _turn(self._random, level / size)
        return _seen(scene, np.asarray(middle), matrix, self._side)

    def _tissue(self, size: float) -> Scene:
        """Nuclei set side by side, as dense as in lymphoid tissue, some over others."""
        random, side = self._random, self._side
        spacing = DIAMETER * size * random.uniform(0.75, 1.4)
        count = math.ceil(side / spacing) + 2
        positions = [
            ((row + 0.5 * (column % 2)) * spacing, column * spacing * 0.87)
            for row in range(-1, count)
            for column in range(-1, math.ceil(count / 0.87))
        ]
        image = np.zeros((side, side), np.float32)
        labels = np.zeros((side, side), np.int32)
        centres, diameters = [(0.0, 0.0)], [1.0]
        kinds = random.integers(len(self._patches), size=random.integers(4, 30))
        spread, sparse = random.uniform(0.1, 0.5), random.uniform(0, 0.3)
        overlap = random.random() < 0.5
        for index in random.permutation(len(positions)):
            if random.random() < sparse:
                continue
            patch = self._patches[random.choice(kinds)]
            wanted = DIAMETER * size * 2 ** random.normal(0, 0.15)
            matrix = _turn(random, float(patch.diameters[1]) / wanted)
            own = math.ceil(wanted * 1.6) // 2 * 2 + 1
            turned = _seen(patch, patch.centres[1], matrix, own)
            glow = np.where(turned.labels < 0, 0, turned.image)
            middle = np.rint(np.array(positions[index]) + random.normal(0, 0.12 * spacing, 2)).astype(int)
            box = Box(0, side, 0, side)
            top, left = middle - own // 2
            here = Box(max(0, top), min(side, top + own), max(0, left), min(side, left + own))
            if here.y0 >= here.y1 or here.x0 >= here.x1:
                continue
            inside = here.within(Box(top, top + own, left, left + own))
            mask = turned.labels[inside] == 1
            area_whole = max(1, int((turned.labels == 1).sum()))
            target = labels[here.within(box)]
            mine = mask & (target == 0) if overlap else mask
            if mine.sum() < 0.5 * mask.sum() or not mine.any():
                continue
            bright = np.float32(2 ** random.normal(0, spread))
            glow = glow[inside] * bright
            view = image[here.within(box)]
            view[...] = np.where(
                mine, np.maximum(glow, 0.3 * view), np.maximum(view, np.where(mask, 0.8, 0.6) * glow)
            )
            target[mine] = len(centres)
            centres.append((float(middle[0]), float(middle[1])))
            diameters.append(math.sqrt(4 * area_whole / math.pi))
        return _recentred(
            Scene(image, labels, np.array(centres, np.float32), np.array(diameters, np.float32))
        )


def _levels(item: AnnotatedImage) -> dict[float, Scene]:
    image, labels = item.image, item.labels
    shape = (int(image.shape[0]), int(image.shape[1]))
    diameter = typical_diameter(labels)
    sampled = np.asarray(image[::SAMPLED, ::SAMPLED], dtype=np.float32)
    scale = FieldScale(*intensity_levels(sampled.ravel()), diameter)
    _, compact = np.unique(labels, return_inverse=True)
    compact = compact.reshape(shape).astype(np.int32)
    kept: dict[float, Scene] = {}
    for level in _LEVELS:
        zoom = min(2.0, level * DIAMETER / diameter)
        grid = Grid(shape, zoom)
        whole = Box(0, grid.work_shape[0], 0, grid.work_shape[1])
        values = scale.normalised(grid.resampled(lambda y, x: image[y, x], whole))
        rows = np.minimum(((np.arange(whole.y1) + 0.5) / zoom).astype(int), shape[0] - 1)
        columns = np.minimum(((np.arange(whole.x1) + 0.5) / zoom).astype(int), shape[1] - 1)
        kept[level] = _measured(values, compact[np.ix_(rows, columns)])
    return kept


def _measured(image: Image, labels: Labels) -> Scene:
    count = int(labels.max()) + 1
    rows, columns = np.indices(labels.shape)
    flat = labels.ravel()
    area = np.maximum(1, np.bincount(flat, minlength=count))
    centres = np.stack(
        [np.bincount(flat, rows.ravel(), count) / area, np.bincount(flat, columns.ravel(), count) / area],
        axis=1,
    )
    return Scene(image, labels, centres.astype(np.float32), np.sqrt(4 * area / np.pi).astype(np.float32))


def _recentred(scene: Scene) -> Scene:
    """Scene whose centres are those of what shows of each nucleus, where all of it could show."""
    seen = _measured(scene.image, scene.labels)
    inner = np.ones(len(scene.centres), bool)
    for edge in (scene.labels[0], scene.labels[-1], scene.labels[:, 0], scene.labels[:, -1]):
        inner[edge] = False
    inner = inner[: len(seen.centres)]
    centres, diameters = scene.centres.copy(), scene.diameters.copy()
    centres[: len(inner)][inner] = seen.centres[inner]
    diameters[: len(inner)][inner] = seen.diameters[inner]
    return Scene(scene.image, scene.labels, centres, diameters)


def _patches(scene: Scene) -> list[Scene]:
    """Nuclei on their own, those of ordinary size that the image's edge does not cut."""
    patches = []
    ordinary = DIAMETER * _PATCH
    for label, box in enumerate(ndimage.find_objects(scene.labels), start=1):
        if box is None or not 0.5 < scene.diameters[label] / ordinary < 2:
            continue
        y, x = box
        height, width = scene.labels.shape
        if y.start < 4 or x.start < 4 or y.stop > height - 4 or x.stop > width - 4:
            continue
        around = (slice(y.start - 4, y.stop + 4), slice(x.start - 4, x.stop + 4))
        mask = scene.labels[around] == label
        halo = ndimage.binary_dilation(mask, iterations=3) & ((scene.labels[around] == 0) | mask)
        image = np.where(halo, np.clip(scene.image[around], 0, None), 0).astype(np.float32)
        level = float(np.median(image[mask]))
        if level > 0.1:
            patches.append(_measured(image / np.float32(level), mask.astype(np.int32)))
    return patches


def _turn(random: np.random.Generator, pixels: float) -> npt.NDArray[np.float64]:
    """Matrix from scene to source: any angle, mirrored or not, ``pixels`` source pixels per scene pixel."""
    angle = random.uniform(0, 2 * math.pi)
    stretch = 2 ** random.normal(0, 0.08)
    turn = np.array([[math.cos(angle), -math.sin(angle)], [math.sin(angle), math.cos(angle)]])
    mirror = np.diag([stretch, random.choice([-1.0, 1.0]) / stretch])
    return pixels * turn @ mirror


def _seen(
    scene: Scene, middle: npt.NDArray[np.floating], matrix: npt.NDArray[np.float64], side: int
) -> Scene:
    """Square part of a scene around ``middle``, turned and scaled; mirrored beyond the edges."""
    corner = np.asarray(middle, dtype=np.float64) - matrix @ np.full(2, (side - 1) / 2)
    shape = (side, side)
    image = ndimage.affine_transform(scene.image, matrix, corner, output_shape=shape, order=1, mode="mirror")
    labels = ndimage.affine_transform(
        scene.labels, matrix, corner, output_shape=shape, order=0, mode="constant", cval=-1
    )
    back = np.linalg.inv(matrix)
    centres = (scene.centres - corner) @ back.T
    shrink = math.sqrt(abs(float(np.linalg.det(back))))
    return Scene(image, labels, centres.astype(np.float32), (scene.diameters * shrink).astype(np.float32))


def _disturbed(scene: Scene, random: np.random.Generator) -> Scene:
    """The scene as another microscope, stain or camera might show it."""
    image: npt.NDArray[np.floating] = scene.image
    if random.random() < 0.6:
        factors = 2 ** random.normal(0, random.uniform(0.1, 0.6), len(scene.centres))
        factors[0] = 1
        image = image * ndimage.gaussian_filter(factors[np.maximum(scene.labels, 0)].astype(np.float32), 1)
    if random.random() < 0.3:
        image = np.sign(image) * np.abs(image) ** np.float32(2 ** random.normal(0, 0.4))
    if random.random() < 0.3:
        image = image * (1 + random.uniform(0, 0.6) * _field(random, image.shape, random.uniform(0.5, 3)))
    if random.random() < 0.6:
        image = image * np.float32(2 ** random.uniform(-1.3, 1)) * _slope(random, image.shape)
    if random.random() < 0.4:
        haze = np.abs(_field(random, image.shape, random.uniform(4, 40)))
        image = image + np.float32(random.uniform(0, 0.4)) * haze + np.float32(random.uniform(-0.1, 0.2))
    if random.random() < 0.25:
        image = _with_debris(image, random)
    if random.random() < 0.5:
        image = ndimage.gaussian_filter(image, random.uniform(0.3, 0.12 * DIAMETER))
    if random.random() < 0.5:
        photons = 10 ** random.uniform(0.2, 2.5)
        image = random.poisson(np.clip(image + random.uniform(0, 0.2), 0, 20) * photons) / photons
    if random.random() < 0.4:
        grain = random.normal(0, random.uniform(0.01, 0.2), image.shape)
        image = image + ndimage.gaussian_filter(grain, random.choice([0.0, 0.7]))
    if random.random() < 0.1:
        image = np.minimum(image, random.uniform(0.6, 1.5))
    return Scene(image.astype(np.float32), scene.labels, scene.centres, scene.diameters)


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


def _with_debris(image: npt.NDArray[np.floating], random: np.random.Generator) -> npt.NDArray[np.floating]:
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
