"""OME-Zarr images, versions 0.1 to 0.5 (Zarr v2 and v3), full resolution.

Specification: https://ngff.openmicroscopy.org/0.5/. A chunk that is not there means the fill value
by that specification, so it is no damage; an image without any chunk is.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from napari_apollo.errors import ImageError
from napari_apollo.study.channels import are_generic, numbered
from napari_apollo.study.source import Layout, Region, Source, check_layout, damage_named, usable
from napari_apollo.study.units import in_micrometres, pixel_size

_METADATA = ("zarr.json", ".zattrs", ".zgroup", ".zarray")
_AXES = {"t": "T", "c": "C", "z": "Z", "y": "Y", "x": "X"}
_LARGEST_CHUNK = 1 << 31


class ZarrSource:
    """An array of a Zarr store that was opened. Holds no open file; may be shared between threads."""

    def __init__(
        self,
        path: Path,
        array: Any,
        layout: Layout,
        kept: tuple[int, ...],
        levels: Sequence[Callable[[], Source]] = (),
    ) -> None:
        self.path = path
        self.layout = layout
        self._array = array
        self._kept = kept
        self._levels = levels

    def read(self, region: Region) -> np.ndarray:
        """Pixels of a region, every axis of the layout kept.

        Raises
        ------
        ImageError
            When a chunk does not decode.
        """
        full = [slice(0, 1)] * len(self._array.shape)
        for axis, part in zip(self._kept, region, strict=True):
            full[axis] = part
        with damage_named(self.path):
            pixels = np.asarray(self._array[tuple(full)], dtype=self.layout.dtype)
            return pixels.reshape([part.stop - part.start for part in region])

    def coarser(self) -> list[Source]:
        """The lower resolutions of the image that lie where it does."""
        return usable(self.layout, self._levels)


def is_zarr(path: Path) -> bool:
    """Whether a folder is a Zarr store, or a group or array inside one."""
    return path.suffix.casefold() == ".zarr" or any((path / name).is_file() for name in _METADATA)


def open_zarr(path: Path) -> ZarrSource:
    """Open an OME-Zarr image at full resolution: metadata are read, pixels are not.

    Raises
    ------
    ImageError
        When it is no image, holds several, or does not say what its axes are.
    """
    import zarr

    if not any((path / name).is_file() for name in _METADATA):
        raise ImageError(
            path, "is no Zarr: it has neither zarr.json nor .zattrs.", "Name the folder that has one."
        )
    with damage_named(path):
        node = zarr.open(str(path), mode="r")
        if isinstance(node, zarr.Array):
            return _source(path, node, _named_axes(path, node), None, None)
        metadata = _ome(node)
        if "multiscales" not in metadata:
            return open_zarr(_only_image(path, node, metadata))
        scales = metadata["multiscales"]
        if len(scales) != 1:
            raise ImageError(path, f"holds {len(scales)} images.", "Save each as its own OME-Zarr.")
        levels = scales[0]["datasets"]
        array = node[levels[0]["path"]]
        axes = _axes(path, scales[0], len(array.shape))
        size = _pixel_size(scales[0], levels[0])
        coarser = [partial(_open_level, path, node, axes, levels[0], level) for level in levels[1:]]
        return _source(path, array, axes, _channel_names(metadata), size, coarser)


def _open_level(
    path: Path, node: Any, axes: str, first: Mapping[str, Any], level: Mapping[str, Any]
) -> ZarrSource:
    """A lower resolution, where it lies over the first one."""
    with damage_named(path):
        source = _source(path, node[level["path"]], axes, None, None)
        _require_in_place(path, axes, node[first["path"]].shape, first, source._array.shape, level)
        return source


def _require_in_place(
    path: Path,
    axes: str,
    full: Sequence[int],
    first: Mapping[str, Any],
    shape: Sequence[int],
    level: Mapping[str, Any],
) -> None:
    """Refuse a level that does not cover the image edge to edge, by its scale and translation.

    Half a pixel of the level may be missing: many writers average blocks of pixels without saying that the
    centre of the first then lies (step - 1) / 2 pixels further in.
    """
    if not all(each.get("coordinateTransformations") for each in (first, level)):
        return  # before version 0.4 nothing was said
    (scale, begin), (own_scale, own_begin) = (_scale_and_begin(each, len(axes)) for each in (first, level))
    for axis in map(axes.index, "YX"):
        step = full[axis] / shape[axis]
        before = (own_begin[axis] - begin[axis]) / scale[axis] - (step - 1) / 2
        after = before + (own_scale[axis] / scale[axis] - step) * (shape[axis] - 1)
        if abs(before) > 0.501 * step or abs(after) > 1.501 * step:  # a last pixel may have been cut off
            raise ImageError(
                path,
                f"has a level {level['path']} that does not lie over level {first['path']}.",
                "Write it anew as OME-Zarr.",
            )


def _scale_and_begin(level: Mapping[str, Any], dimensions: int) -> tuple[list[float], list[float]]:
    """Size of a pixel and centre of the first one, along every axis, in the axes' own units."""
    scale, begin = [1.0] * dimensions, [0.0] * dimensions
    for transformation in level["coordinateTransformations"]:
        if transformation.get("type") == "scale":
            scale = [float(value) for value in transformation["scale"]]
        elif transformation.get("type") == "translation":
            begin = [float(value) for value in transformation["translation"]]
    return scale, begin


def _source(
    path: Path,
    array: Any,
    axes: str,
    names: tuple[str, ...] | None,
    size: tuple[float, float] | None,
    coarser: Sequence[Callable[[], Source]] = (),
) -> ZarrSource:
    shape = tuple(int(length) for length in array.shape)
    check_layout(path, axes, shape, array.dtype)
    if math.prod(array.chunks) * array.dtype.itemsize > _LARGEST_CHUNK:
        raise ImageError(
            path,
            f"declares chunks of {' x '.join(map(str, array.chunks))} pixels, which cannot be.",
            "The store is damaged, or has to be written anew in smaller chunks.",
        )
    if not _has_chunks(path, array):
        raise ImageError(path, "holds no pixels: not one chunk was written.", "Copy it again.")
    kept = tuple(i for i, axis in enumerate(axes) if axis in "YX" or shape[i] > 1)
    blocks = dict(zip(axes, array.chunks, strict=True))
    layout = Layout(
        axes="".join(axes[i] for i in kept),
        shape=tuple(shape[i] for i in kept),
        dtype=np.dtype(array.dtype).newbyteorder("="),
        channel_names=None,
        pixel_size_um=size,
        block=(int(blocks["Y"]), int(blocks["X"])),
    )
    if names and len(names) == layout.length("C") and not are_generic(names):
        layout = Layout(**{**vars(layout), "channel_names": names})
    return ZarrSource(path, array, layout, kept, coarser)


def _ome(node: Any) -> Mapping[str, Any]:
    attributes = dict(node.attrs)
    return attributes.get("ome", attributes)


def _only_image(path: Path, node: Any, metadata: Mapping[str, Any]) -> Path:
    """The image in a group that only holds it (the layout of bioformats2raw)."""
    if "plate" in metadata or "well" in metadata:
        raise ImageError(
            path, "is a plate, not one image.", f"Name one of its fields, for example {path.name}/A/1/0."
        )
    inside = sorted(name for name, group in node.groups() if "multiscales" in _ome(group))
    if len(inside) != 1:
        found = f"{len(inside)} images ({', '.join(inside[:6])})" if inside else "no image"
        raise ImageError(
            path,
            f"is a Zarr group that holds {found}.",
            f"Name the one that is meant, for example {path.name}/{inside[0]}."
            if inside
            else "Save it as OME-Zarr.",
        )
    return path / inside[0]


def _axes(path: Path, scale: Mapping[str, Any], dimensions: int) -> str:
    given = scale.get("axes")
    if given is None:  # before version 0.3 the five axes were fixed
        return "TCZYX"
    letters = [axis if isinstance(axis, str) else axis["name"] for axis in given]
    if len(letters) != dimensions:
        raise ImageError(
            path, f"names {len(letters)} axes for an array of {dimensions}.", "Write it anew as OME-Zarr."
        )
    return _letters(path, letters)


def _named_axes(path: Path, array: Any) -> str:
    """Axes of an array outside of an OME-Zarr image, from the names of its dimensions."""
    names = getattr(array.metadata, "dimension_names", None) or array.attrs.get("_ARRAY_DIMENSIONS")
    if names and all(names):
        return _letters(path, names)
    if len(array.shape) == 2:
        return "YX"
    sizes = " x ".join(map(str, array.shape))
    raise ImageError(
        path,
        f"is a Zarr array ({sizes}) that does not say what its axes are.",
        "Save it as OME-Zarr, or name its dimensions c, y, x.",
    )


def _letters(path: Path, names: Sequence[str]) -> str:
    for name in names:
        if str(name).casefold() not in _AXES:
            raise ImageError(path, f"has an axis {name!r}.", "Axes are t, c, z, y and x.")
    return "".join(_AXES[str(name).casefold()] for name in names)


def _channel_names(metadata: Mapping[str, Any]) -> tuple[str, ...] | None:
    channels = (metadata.get("omero") or {}).get("channels") or []
    return numbered([str(channel.get("label") or "") for channel in channels])


def _pixel_size(scale: Mapping[str, Any], level: Mapping[str, Any]) -> tuple[float, float] | None:
    """Scale of the first level times that of all levels, in the unit of each axis."""
    axes = scale.get("axes") or []
    if not all(isinstance(axis, dict) for axis in axes) or not axes:
        return None
    factors = [1.0] * len(axes)
    for transformation in [
        *level.get("coordinateTransformations", ()),
        *scale.get("coordinateTransformations", ()),
    ]:
        if transformation.get("type") == "scale":
            factors = [a * float(b) for a, b in zip(factors, transformation["scale"], strict=True)]
    sizes = {
        axis["name"].casefold(): in_micrometres(factor, str(axis.get("unit", "")))
        for axis, factor in zip(axes, factors, strict=True)
    }
    return pixel_size(sizes.get("y"), sizes.get("x"))


def _has_chunks(path: Path, array: Any) -> bool:
    folder = path / array.path.removeprefix("/") if array.path else path
    return not folder.is_dir() or any(entry.name not in _METADATA for entry in folder.iterdir())
