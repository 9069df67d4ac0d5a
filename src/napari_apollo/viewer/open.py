"""Open the fields of a study as layers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path, PureWindowsPath
from typing import TYPE_CHECKING, Any

import dask.array as da
import numpy as np

from napari_apollo.errors import StudyError
from napari_apollo.panels import same_stain
from napari_apollo.predict.pyramid import halve, level_shapes
from napari_apollo.predict.roles import ChannelRole
from napari_apollo.study import FieldImage, LabelImage, Study, StudyField, open_field, open_labels
from napari_apollo.viewer.layers import About, Frame, LayerSpec, image_layer, labels_layer
from napari_apollo.viewer.overviews import add_layers
from napari_apollo.viewer.preferences import stain_colours

if TYPE_CHECKING:
    from napari.layers import Layer

TILE = 1024
_ONE_LEVEL = 2048  # images up to this side are shown at one resolution
_SEEN = 6  # stains that are seen at first, the anchor among them: the sum of forty would be white
_TERRITORY = 32  # pixels around its nuclei that a field with a panel of its own is shown for
_TELLING = 3  # parts of a path that tell an image from those of other donors and panels
_WINDOW = 1024  # side of the middle part that contrast limits are taken from


def open_study(
    viewer: Any,
    study: Study | Path | str,
    *,
    image: Path | str | None = None,
    stains: Sequence[str] | None = None,
    labels: bool = True,
) -> list[Layer]:
    """Add the measured stains of one image of a study, and its nuclei, to a viewer.

    Parameters
    ----------
    viewer
        A napari viewer, or a ``napari.components.ViewerModel`` where there is no display.
    study
        The study or its manifest.
    image
        An image of the study, or the name of a field; the first where not given. All fields that
        name the image are shown together.
    stains
        Stains to show; all where not given. A stain that only some of the image's cells were given
        is shown around those cells alone.
    labels
        Whether to add the nuclei, where the study has labels.

    Returns
    -------
    list of napari.layers.Layer
        The layers added, bottom first; of many stains the first are seen, the others hidden. Images of
        known pixel size are in micrometres. Where there is a window, coarse levels of large images are filled
        by a job of the viewer's session.

    Raises
    ------
    StudyError
        When the study has no such image, or the image none of the stains.
    ImageError, LabelsError
        When a file cannot be used.
    """
    return add_layers(viewer, study_layers(study, image=image, stains=stains, labels=labels))


def study_layers(
    study: Study | Path | str,
    *,
    image: Path | str | None = None,
    stains: Sequence[str] | None = None,
    labels: bool = True,
) -> list[LayerSpec]:
    """The layers that ``open_study`` adds; lazy, so that nothing is read but what contrast limits need."""
    study = study if isinstance(study, Study) else Study.from_csv(study)
    opened = OpenImage(fields_of_image(study, image))
    colours = stain_colours(opened.stains)
    manifest = "" if study.path is None else str(study.path)
    levels = {stain: opened.levels(stain) for stain in opened.select(stains)}
    layers = [
        image_layer(
            [*levels[stain][:-1], *pyramid(levels[stain][-1], TILE if levels[stain][1:] else _ONE_LEVEL)],
            About(ChannelRole.MEASURED, str(opened.path), stain, opened.panels_with(stain), opened=manifest),
            opened.frame,
            contrast_limits=opened.contrast_limits(stain),
            colour=colours[stain],
            visible=number < _SEEN,
            stored=len(levels[stain]),
        )
        for number, stain in enumerate(levels)
    ]
    if labels and opened.labels:
        about = About("nuclei", str(opened.path), panel=", ".join(study.panels), opened=manifest)
        layers.append(labels_layer(label_pyramid(opened.nuclei()), about, opened.frame, contour=1))
    return layers


def fields_of_image(study: Study, image: Path | str | None = None) -> tuple[StudyField, ...]:
    """Every field of a study that names one image.

    Raises
    ------
    StudyError
        When the study has no such image and no field of that name.
    """
    wanted = study.fields[0].image if image is None and len(study) else image
    for field in study:
        if wanted is not None and (field.field == str(wanted) or same_image(field.image, wanted)):
            return tuple(other for other in study if other.image == field.image)
    known = ", ".join(dict.fromkeys(str(field.image) for field in study)) or "none"
    raise StudyError(f"The study has no image or field {str(wanted)!r}; its images are {known}.")


def same_image(first: Path | str, second: Path | str) -> bool:
    """Whether two names mean one image.

    They do where the paths are equal, or one is a relative path that ends the other; and where the file and
    two folders above it are called alike and one of the two is not here: a study was cut on one machine and
    is looked at on another.
    """
    one, two = Path(first), Path(second)
    if one == two:
        return True
    short, long = sorted((_parts(one), _parts(two)), key=len)
    if not short:
        return False
    if not _is_root(short[0]):
        return long[-len(short) :] == short
    moved = len(short) > _TELLING and long[-_TELLING:] == short[-_TELLING:]
    return moved and not (one.exists() and two.exists())


def _parts(path: Path) -> tuple[str, ...]:
    """Folders and name, also of a path that was written on Windows."""
    return PureWindowsPath(path).parts if "\\" in str(path) else path.parts


def _is_root(part: str) -> bool:
    return part[-1:] in ("/", "\\")


@dataclass(frozen=True)
class OpenImage:
    """An image with all the fields that name it.

    Attributes
    ----------
    fields
        The fields; each has its own cells and its own panel.
    """

    fields: tuple[StudyField, ...]

    @property
    def path(self) -> Path:
        """The image."""
        return self.fields[0].image

    @cached_property
    def images(self) -> tuple[FieldImage, ...]:
        """The image as each field sees it."""
        return tuple(open_field(field) for field in self.fields)

    @cached_property
    def labels(self) -> tuple[LabelImage, ...]:
        """Labels of every field, or none where a field has none."""
        shape = self.images[0].shape
        paths = [field.labels for field in self.fields]
        return () if None in paths else tuple(open_labels(path, shape) for path in paths if path is not None)

    @cached_property
    def stains(self) -> tuple[str, ...]:
        """Every stain, anchors first."""
        anchors = dict.fromkeys(field.panel.anchor for field in self.fields)
        proteins = dict.fromkeys(stain for field in self.fields for stain in field.panel.proteins)
        return (*anchors, *(stain for stain in proteins if stain not in anchors))

    @property
    def frame(self) -> Frame:
        """Where the pixels lie in the world."""
        return Frame.from_pixel_size(self.images[0].pixel_size_um)

    def select(self, stains: Sequence[str] | None) -> tuple[str, ...]:
        """Canonical names of the stains asked for."""
        if stains is None:
            return self.stains
        found = tuple(own for own in self.stains if any(same_stain(own, stain) for stain in stains))
        if missing := [stain for stain in stains if not any(same_stain(stain, own) for own in found)]:
            raise StudyError(
                f"{self.path} has no stain {', '.join(missing)}; it has {', '.join(self.stains)}."
            )
        return found

    def panels_with(self, stain: str) -> str:
        """Names of the panels that have a stain."""
        return ", ".join(dict.fromkeys(field.panel.name for field in self.fields if stain in field.panel))

    def channel(self, stain: str) -> da.Array:
        """A stain as a lazy array (Y, X), 0 around cells that were not given it."""
        having = [stain in field.panel for field in self.fields]
        source = self.images[having.index(True)]
        plane = source.lazy()[source.field.panel.index(stain)].rechunk(TILE, method="tasks")
        if all(having) or not self.labels:
            return plane

        def limited(block: np.ndarray, block_info: Any = None) -> np.ndarray:
            (y0, y1), (x0, x1) = block_info[0]["array-location"]
            nearest = _nearest_field(self.labels, y0, y1, x0, x1)
            return np.where(np.array([False, *having])[nearest], block, 0)

        return plane.map_blocks(limited, dtype=plane.dtype, meta=np.empty((0, 0), plane.dtype))

    def levels(self, stain: str) -> list[da.Array]:
        """A stain (Y, X) at full resolution, then at the lower ones that the file of a large image holds.

        Not where only some of the cells were given it: what is hidden of it is told by labels of full size.
        """
        full = self.channel(stain)
        having = [number for number, image in enumerate(self.images) if stain in image.field.panel]
        if max(full.shape) <= _ONE_LEVEL or (self.labels and len(having) < len(self.images)):
            return [full]
        first = having[0]
        if first not in self._coarser:
            self._coarser[first] = self.images[first].coarser()
        planes = [level.lazy()[level.field.panel.index(stain)] for level in self._coarser[first]]
        return [full, *(plane.rechunk(TILE, method="tasks") for plane in planes)]

    @cached_property
    def _coarser(self) -> dict[int, tuple[FieldImage, ...]]:
        """Lower resolutions by number of the field: all stains of an image share them."""
        return {}

    def nuclei(self) -> da.Array:
        """Labels of all fields in one lazy array (Y, X) int32."""
        merged = self.labels[0].lazy()
        for labels in self.labels[1:]:
            merged = da.maximum(merged, labels.lazy())
        return merged.rechunk(TILE, method="tasks")

    def contrast_limits(self, stain: str) -> tuple[float, float]:
        """Percentiles 5 and 99.8 of the middle of the image; read at full resolution."""
        image = next(image for image in self.images if stain in image.field.panel)
        y, x = (slice(max(0, side // 2 - _WINDOW // 2), side // 2 + _WINDOW // 2) for side in image.shape)
        low, high = np.percentile(image.read([stain], y, x), (5, 99.8))
        return float(low), float(max(high, low + 1))


def _nearest_field(labels: Sequence[LabelImage], y0: int, y1: int, x0: int, x1: int) -> np.ndarray:
    """Which field's nuclei each pixel of a region is nearest to: 1 for the first, 0 where none is near."""
    from napari_apollo.cells.segmentation import expand_nuclei

    height, width = labels[0].shape
    top, left = max(0, y0 - _TERRITORY), max(0, x0 - _TERRITORY)
    rows = slice(top, min(height, y1 + _TERRITORY))
    columns = slice(left, min(width, x1 + _TERRITORY))
    fields = np.zeros((rows.stop - rows.start, columns.stop - columns.start), np.int32)
    for number, nuclei in enumerate(labels, start=1):
        fields[nuclei.read(rows, columns) > 0] = number
    return expand_nuclei(fields, _TERRITORY)[y0 - top : y1 - top, x0 - left : x1 - left]


def pyramid(image: da.Array, most: int = _ONE_LEVEL) -> list[da.Array]:
    """A lazy image (Y, X) with its reductions; one level where no side is above ``most`` pixels."""
    levels = [image]
    if max(image.shape) > most:
        for _ in level_shapes(image.shape, TILE)[1:]:
            levels.append(halve(levels[-1], TILE))
    return levels


def label_pyramid(labels: da.Array) -> list[da.Array]:
    """Lazy labels (Y, X) with every second pixel, every fourth, and so on."""
    if max(labels.shape) <= _ONE_LEVEL:
        return [labels]
    return [labels[:: 2**k, :: 2**k] for k in range(len(level_shapes(labels.shape, TILE)))]
