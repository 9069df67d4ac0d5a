"""Scenes to train the network on: annotated images, turned and scaled, and tissue made of their nuclei."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from napari_apollo.cells.segmentation.annotated import AnnotatedImage, typical_diameter
from napari_apollo.cells.segmentation.grid import Box, Grid
from napari_apollo.cells.segmentation.network import DIAMETER
from napari_apollo.cells.segmentation.nuclei_disturbances import disturbed
from napari_apollo.cells.segmentation.scale import SAMPLED, FieldScale, intensity_levels

Image = npt.NDArray[np.float32]
Labels = npt.NDArray[np.int32]

_LEVELS = (2.0, 1.4, 1.0, 0.7)  # sizes kept of every image, in canonical diameters
_PATCH = 2.0  # size of the nuclei that tissue is made of, in canonical diameters
_CROWDED = 0.3  # part of the scenes that is made tissue
_FAR_OFF = 0.2  # part of the scenes whose size is far from the canonical one
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

    def disturbed(self, random: np.random.Generator) -> Scene:
        """The same nuclei as another stain, microscope or camera might show them."""
        return Scene(disturbed(self.image, self.labels, random), self.labels, self.centres, self.diameters)


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
        far = self._random.random() < _FAR_OFF
        octaves = self._random.uniform(-1.5, 1.5) if far else self._random.normal(0, 0.33)
        size = 2.0 ** float(np.clip(octaves, -1.5, 1.5))
        if self._random.random() < _CROWDED:
            return self._tissue(size).disturbed(self._random)
        scene = self._part(size)
        return scene if self._random.random() < _AS_IT_IS else scene.disturbed(self._random)

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
        overlap, variety = random.random() < 0.5, random.uniform(0.1, 0.4)
        for index in random.permutation(len(positions)):
            if random.random() < sparse:
                continue
            patch = self._patches[random.choice(kinds)]
            wanted = DIAMETER * size * 2 ** random.normal(0, variety)
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
