"""Layers as files: OME-TIFF or OME-Zarr, with the names of stains, scale and units."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from napari_apollo.errors import DataError
from napari_apollo.storage import whole_file, whole_folder
from napari_apollo.viewer.layers import KEY

LayerData = tuple[Any, Mapping[str, Any], str]

_TILE = 256
_TO_UM = {"um": 1.0, "µm": 1.0, "micrometer": 1.0, "micron": 1.0, "nm": 1e-3, "nanometer": 1e-3, "mm": 1e3}


@dataclass(frozen=True)
class Picture:
    """Layers of one size as one image.

    Attributes
    ----------
    names
        Names of the channels.
    planes
        (Y, X) arrays, lazy or not, one a channel.
    labels
        (Y, X) label images by name.
    pixel_size_um
        (y, x), None where the layers have no unit of length.
    limits, colours
        Contrast limits and ``rrggbb`` of each channel.
    """

    names: tuple[str, ...]
    planes: tuple[Any, ...]
    labels: Mapping[str, Any]
    pixel_size_um: tuple[float, float] | None
    limits: tuple[tuple[float, float], ...]
    colours: tuple[str, ...]

    @property
    def shape(self) -> tuple[int, int]:
        """(Y, X)."""
        first = next(iter((*self.planes, *self.labels.values())))
        return int(first.shape[0]), int(first.shape[1])


def as_picture(layers: Sequence[LayerData]) -> Picture:
    """Layers as one image.

    Parameters
    ----------
    layers
        Data, attributes and type of image and labels layers, as napari gives them to writers.

    Raises
    ------
    DataError
        When they are not (Y, X), or not of one size.
    """
    names, planes, labels, sizes, limits, colours = [], [], {}, [], [], []
    for data, attributes, kind in layers:
        plane = data[0] if attributes.get("multiscale") or isinstance(data, (list, tuple)) else data
        name = str(attributes.get("name", kind))
        if plane.ndim != 2:
            raise DataError(f"Layer {name!r} has {plane.ndim} axes; images (Y, X) are written; leave it out.")
        sizes.append(_pixel_size(attributes))
        if kind == "labels":
            labels[name] = plane
            continue
        names.append(_channel_name(name, attributes))
        planes.append(plane)
        low, high = attributes.get("contrast_limits") or (0, 1)
        limits.append((float(low), float(high)))
        colours.append(_colour(attributes.get("colormap")))
    shapes = {tuple(plane.shape) for plane in (*planes, *labels.values())}
    if len(shapes) != 1:
        raise DataError(
            "The layers have different sizes, "
            + " and ".join(sorted(" x ".join(map(str, shape)) for shape in shapes))
            + " pixels; write each size by itself."
        )
    return Picture(tuple(names), tuple(planes), labels, sizes[0], tuple(limits), tuple(colours))


def write_ome_tiff(path: str, layers: list[LayerData]) -> list[str]:
    """Write images as the channels of one OME-TIFF, and each labels layer beside it.

    Parameters
    ----------
    path
        The file; labels go to ``<name>_<layer>.tif`` beside it.
    layers
        As napari gives them to writers.

    Returns
    -------
    list of str
        What was written.
    """
    picture = as_picture(layers)
    target = Path(path)
    written = []
    if picture.planes:
        pixels = np.stack([np.asarray(plane) for plane in picture.planes])
        save_ome_tiff(target, pixels, picture.names, picture.pixel_size_um)
        written.append(str(target))
    stem = target.name.removesuffix(".tiff").removesuffix(".tif").removesuffix(".ome")
    for name, plane in picture.labels.items():
        beside = target.with_name(f"{stem}_{name.replace(' ', '_')}.tif")
        save_labels(beside, np.asarray(plane), picture.pixel_size_um)
        written.append(str(beside))
    return written


def save_ome_tiff(
    path: Path, pixels: np.ndarray, names: Sequence[str], pixel_size_um: tuple[float, float] | None
) -> None:
    """Write (C, Y, X) pixels as OME-TIFF with named channels, whole or not at all."""
    import tifffile

    metadata: dict[str, Any] = {"axes": "CYX", "Channel": {"Name": list(names)}}
    if pixel_size_um is not None:
        for axis, size in zip("YX", pixel_size_um, strict=True):
            metadata |= {f"PhysicalSize{axis}": size, f"PhysicalSize{axis}Unit": "µm"}
    with whole_file(path) as partial:
        tifffile.imwrite(
            partial,
            pixels.astype(np.float32) if pixels.dtype == np.float16 else pixels,
            ome=True,
            bigtiff=pixels.nbytes > 2**31,
            photometric="minisblack",
            tile=(_TILE, _TILE),
            compression="zlib",
            metadata=metadata,
        )


def save_labels(
    path: Path,
    labels: np.ndarray,
    pixel_size_um: tuple[float, float] | None = None,
    *,
    remarks: Mapping[str, Any] | None = None,
) -> None:
    """Write (Y, X) labels as int32 TIFF with remarks in its description, whole or not at all."""
    import tifffile

    resolution: dict[str, Any] = {}
    if pixel_size_um is not None:
        y, x = pixel_size_um
        resolution = {"resolution": (1e4 / x, 1e4 / y), "resolutionunit": "CENTIMETER"}
    with whole_file(path) as partial:
        tifffile.imwrite(
            partial,
            np.asarray(labels, np.int32),
            photometric="minisblack",
            tile=(_TILE, _TILE),
            compression="zlib",
            metadata={"axes": "YX", **(remarks or {})},
            **resolution,
        )


def write_ome_zarr(path: str, layers: list[LayerData]) -> list[str]:
    """Write images as the channels of one OME-Zarr 0.5 image; the first labels layer as its label image.

    Parameters
    ----------
    path
        The folder ``NAME.ome.zarr``; one that exists is replaced when the new one is complete.
    layers
        As napari gives them to writers.
    """
    import dask.array as da
    import zarr

    from napari_apollo.predict.omemetadata import Channel, describe
    from napari_apollo.predict.roles import ChannelRole
    from napari_apollo.viewer.open import label_pyramid, pyramid

    picture = as_picture(layers)
    if not picture.planes:
        raise DataError("OME-Zarr is written of images; select at least one image layer.")
    channels = [
        Channel(name, ChannelRole.MEASURED, name, colour, window, da.asarray(plane))
        for name, colour, window, plane in zip(
            picture.names, picture.colours, picture.limits, picture.planes, strict=True
        )
    ]
    dtype = np.result_type(*(channel.data.dtype for channel in channels))
    with whole_folder(Path(path), overwrite=True) as folder:
        root = zarr.create_group(folder, zarr_format=3)
        stacks = [pyramid(channel.data) for channel in channels]
        for level in range(len(stacks[0])):
            planes = [stack[level] for stack in stacks]
            array = _array(root, str(level), (len(planes), *planes[0].shape), dtype)
            for number, plane in enumerate(planes):
                array[number] = np.asarray(plane).astype(dtype)
        for name, plane in list(picture.labels.items())[:1]:
            for level, reduced in enumerate(label_pyramid(da.asarray(plane))):
                array = _array(root, f"labels/cells/{level}", reduced.shape, np.dtype(np.int32))
                array[:] = np.asarray(reduced).astype(np.int32)
            root["labels/cells"].attrs["napari_apollo"] = {"name": name}
        describe(
            root,
            Path(path).name.split(".")[0],
            channels,
            levels=len(stacks[0]),
            pixel_size_um=picture.pixel_size_um,
            labels=bool(picture.labels),
            about={},
        )
    return [path]


def _array(root: Any, name: str, shape: Sequence[int], dtype: np.dtype[Any]) -> Any:
    chunks = (*(1 for _ in shape[:-2]), *(min(512, side) for side in shape[-2:]))
    return root.create_array(
        name, shape=tuple(shape), chunks=chunks, dtype=dtype, dimension_names=("c", "y", "x")[-len(shape) :]
    )


def _channel_name(name: str, attributes: Mapping[str, Any]) -> str:
    """The stain alone for what was measured; what was predicted keeps its full name."""
    known = (attributes.get("metadata") or {}).get(KEY) or {}
    return str(known["stain"]) if known.get("role") == "measured" and known.get("stain") else name


def _pixel_size(attributes: Mapping[str, Any]) -> tuple[float, float] | None:
    scale, units = attributes.get("scale"), attributes.get("units")
    if scale is None or units is None:
        return None
    sizes = [
        _TO_UM.get(str(unit), 0.0) * float(step) for unit, step in zip(units[-2:], scale[-2:], strict=True)
    ]
    return (sizes[0], sizes[1]) if all(size > 0 for size in sizes) else None


def _colour(colormap: Any) -> str:
    """``rrggbb`` of the bright end of a colormap, as napari hands it over."""
    colours = colormap.get("colors") if isinstance(colormap, Mapping) else getattr(colormap, "colors", None)
    if colours is None or not len(colours):
        return "ffffff"
    return "".join(f"{round(255 * float(part)):02x}" for part in np.asarray(colours)[-1][:3])
