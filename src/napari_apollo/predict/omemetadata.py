"""What an overlay says of itself: the metadata of OME-Zarr 0.5 (https://ngff.openmicroscopy.org/0.5/)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import dask.array as da
import numpy as np
import zarr

from napari_apollo import __version__
from napari_apollo.predict.roles import ChannelRole

VERSION = "0.5"


@dataclass(frozen=True)
class Channel:
    """One channel of an overlay.

    Attributes
    ----------
    stain, role
        What it shows.
    label
        What it is called.
    colour
        ``rrggbb``.
    window
        Intensities shown black and in full colour.
    data
        (Y, X) lazy.
    """

    stain: str
    role: ChannelRole
    label: str
    colour: str
    window: tuple[float, float]
    data: da.Array


def describe(
    root: zarr.Group,
    name: str,
    channels: Sequence[Channel],
    *,
    levels: int,
    pixel_size_um: tuple[float, float] | None,
    labels: bool,
    about: Mapping[str, Any],
) -> None:
    """Write the metadata of an image, and of its label image ``labels/cells`` where it has one.

    Parameters
    ----------
    root
        The group; arrays ``0``, ``1``, ... are ``(c, y, x)``.
    name
        What the image is called.
    channels
        In the order of the array.
    levels
        Number of resolutions, each half of the one before.
    pixel_size_um
        (y, x) of the full resolution; None where it is not known, and then no unit is claimed.
    labels
        Whether there is a label image.
    about
        Where the predictions come from; kept beside the standard's metadata.
    """
    root.attrs["ome"] = {
        "version": VERSION,
        "multiscales": [
            {
                "name": name,
                "type": "local mean",
                "axes": [{"name": "c", "type": "channel"}, *_space(pixel_size_um)],
                "datasets": _datasets(levels, pixel_size_um, leading=1, centred=True),
            }
        ],
        "omero": {
            "channels": [_omero(channel, root["0"].dtype) for channel in channels],
            "rdefs": {"model": "color"},
        },
    }
    shown = [{"stain": channel.stain, "role": str(channel.role)} for channel in channels]
    root.attrs["napari_apollo"] = {"version": __version__, **about, "channels": shown}
    if labels:
        root["labels"].attrs["ome"] = {"version": VERSION, "labels": ["cells"]}
        root["labels/cells"].attrs["ome"] = {
            "version": VERSION,
            "multiscales": [
                {
                    "name": "cells",
                    "type": "nearest",
                    "axes": _space(pixel_size_um),
                    "datasets": _datasets(levels, pixel_size_um, leading=0, centred=False),
                }
            ],
            "image-label": {"source": {"image": "../../"}},
        }


def _space(size: tuple[float, float] | None) -> list[dict[str, str]]:
    unit = {"unit": "micrometer"} if size is not None else {}
    return [{"name": name, "type": "space", **unit} for name in ("y", "x")]


def _datasets(
    count: int, size: tuple[float, float] | None, *, leading: int, centred: bool
) -> list[dict[str, Any]]:
    """Scale of every level, and where the centre of its first pixel lies."""
    y, x = size or (1.0, 1.0)
    datasets = []
    for k in range(count):
        step = 2**k
        shift = (step - 1) / 2 if centred else 0.0
        transforms: list[dict[str, Any]] = [
            {"type": "scale", "scale": [*[1.0] * leading, y * step, x * step]},
            {"type": "translation", "translation": [*[0.0] * leading, y * shift, x * shift]},
        ]
        datasets.append({"path": str(k), "coordinateTransformations": transforms})
    return datasets


def _omero(channel: Channel, dtype: np.dtype[Any]) -> dict[str, Any]:
    low, high = channel.window
    whole = np.issubdtype(dtype, np.integer)
    return {
        "label": channel.label,
        "color": channel.colour.upper(),
        "active": channel.role in (ChannelRole.MEASURED, ChannelRole.PREDICTED),
        "window": {
            "start": float(low),
            "end": float(high),
            "min": 0.0,
            "max": float(np.iinfo(dtype).max) if whole else float(high),
        },
    }
