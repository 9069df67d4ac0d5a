"""What TIFF files say about their channels and pixels, in each dialect.

OME-TIFF: OME-XML schema 2016-06. ImageJ: its description and private tags. ``shaped``: the JSON of
tifffile. Pages of their own: PageName (tag 285), the descriptions of Akoya (QPTIFF, inForm) and
of IONpath (MIBI).
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import tifffile

from napari_apollo.errors import ImageError
from napari_apollo.panels import is_listed
from napari_apollo.study.channels import are_generic, numbered
from napari_apollo.study.units import in_micrometres, pixel_size

_MOST_PAGES = 512
_OME_TYPES = {"float": "float32", "double": "float64", "bit": "bool"}


def sibling_files(file: tifffile.TiffFile) -> Iterator[Path]:
    """Other files that an OME-TIFF is spread over, as far as they are there."""
    if not file.is_ome or not file.ome_metadata:
        return
    own = Path(file.filehandle.path)
    for name in sorted(set(re.findall(r'FileName="([^"]+)"', file.ome_metadata))):
        sibling = own.with_name(Path(name).name)
        if sibling.name.casefold() != own.name.casefold() and sibling.is_file():
            yield sibling


def channel_names(file: tifffile.TiffFile, series: Any, sizes: Mapping[str, int]) -> tuple[str, ...] | None:
    """Names of the channels in the order of the channel axis; None where the file has none.

    Parameters
    ----------
    sizes
        Length of each axis of the image.
    """
    number = sizes.get("C") or sizes.get("S") or sizes.get("Q") or 1
    if series.kind == "ome":
        names = _ome_names(_pixels(file, series))
    elif series.kind == "imagej":
        names = _imagej_names(file, sizes)
    elif series.kind == "shaped":
        names = _shaped_names(_shaped(file))
    else:
        names = None
    if names is None and series.kind != "ome" and number == len(series._pages) <= _MOST_PAGES:
        names = _page_names(series)
    return names if names and len(names) == number and not are_generic(names) else None


def pixel_size_um(file: tifffile.TiffFile, series: Any) -> tuple[float, float] | None:
    """``(y, x)`` in micrometres; None where the file does not say."""
    if series.kind == "ome":
        attributes = _pixels(file, series).attrib
    elif series.kind == "shaped":
        attributes = _shaped(file)
    else:
        attributes = {}
    if "PhysicalSizeX" in attributes:
        return pixel_size(_length(attributes, "Y"), _length(attributes, "X"))
    return _resolution(file, series)


def _pixels(file: tifffile.TiffFile, series: Any) -> ElementTree.Element:
    """The Pixels element of the image, checked against its pages."""
    path = Path(file.filehandle.path)
    root = ElementTree.fromstring(file.ome_metadata or "")
    found = [
        pixels
        for image in root
        if image.tag.endswith("}Image") or image.tag == "Image"
        for pixels in image
        if pixels.tag.endswith("Pixels")
    ]
    fitting = [
        pixels
        for pixels in found
        if pixels.get("SizeX") == str(series.keyframe.imagewidth)
        and pixels.get("SizeY") == str(series.keyframe.imagelength)
    ]
    if not fitting:
        raise ImageError(path, "its OME header describes an image of another size.", "Save it anew.")
    kind = fitting[0].get("Type", "")
    if _OME_TYPES.get(kind, kind) != str(series.dtype):
        raise ImageError(
            path, f"its OME header speaks of {kind} pixels, the file holds {series.dtype}.", "Save it anew."
        )
    return fitting[0]


def _ome_names(pixels: ElementTree.Element) -> tuple[str, ...] | None:
    channels = [element for element in pixels if element.tag.endswith("Channel")]
    names = [channel.get("Name") or channel.get("Fluor") or "" for channel in channels]
    return numbered(names)


def _imagej_names(file: tifffile.TiffFile, sizes: Mapping[str, int]) -> tuple[str, ...] | None:
    """Slice labels, where they name stains: ImageJ has no other place for the names of channels."""
    metadata = file.imagej_metadata or {}
    labels = metadata.get("Labels")
    if not isinstance(labels, (list, tuple)):
        return None
    # The order of slices in a hyperstack is channel, plane, time.
    names = tuple(str(label).strip() for label in labels[: sizes.get("C") or sizes.get("Q") or 1])
    return names if any(map(is_listed, names)) else None


def _shaped(file: tifffile.TiffFile) -> dict[str, Any]:
    metadata = file.shaped_metadata
    return dict(metadata[0]) if metadata else {}


def _shaped_names(metadata: Mapping[str, Any]) -> tuple[str, ...] | None:
    channel = metadata.get("Channel")
    names = channel.get("Name") if isinstance(channel, dict) else metadata.get("channel_names")
    if isinstance(names, list) and all(isinstance(name, str) and name.strip() for name in names):
        return tuple(names)
    return None


def _page_names(series: Any) -> tuple[str, ...] | None:
    names = []
    for frame in series._pages:
        page = frame.aspage()
        name = page.tags.valueof(285) or _described_name(page.description)
        if not isinstance(name, str) or not name.strip("\0 "):
            return None
        names.append(name.strip("\0 "))
    return tuple(names)


def _described_name(description: str) -> str | None:
    text = description.strip()
    if text.startswith("{"):
        try:
            found = json.loads(text)
        except ValueError:
            return None
        name = found.get("channel.target") if isinstance(found, dict) else None
        return name if isinstance(name, str) else None
    for element in ("Biomarker", "Name"):
        match = re.search(rf"<{element}>([^<]+)</{element}>", text)
        if match:
            return match.group(1)
    return None


def _length(attributes: Mapping[str, Any], axis: str) -> float | None:
    value = attributes.get(f"PhysicalSize{axis}", attributes.get("PhysicalSizeX"))
    unit = attributes.get(f"PhysicalSize{axis}Unit", "µm")
    try:
        return in_micrometres(float(value), str(unit))
    except (TypeError, ValueError):
        return None


def _resolution(file: tifffile.TiffFile, series: Any) -> tuple[float, float] | None:
    """From the tags XResolution and YResolution (pixels per unit)."""
    tags = series.keyframe.tags
    across = [_ratio(tags.valueof(code)) for code in (283, 282)]
    unit = {2: "inch", 3: "cm"}.get(int(tags.valueof(296) or 0), "")
    if file.is_imagej:
        unit = str((file.imagej_metadata or {}).get("unit", "")) or unit
    if None in across or not unit:
        return None
    return pixel_size(*[in_micrometres(1 / pixels, unit) for pixels in across if pixels])


def _ratio(value: Any) -> float | None:
    if not isinstance(value, tuple) or len(value) != 2 or not all(value):
        return None
    return float(value[0]) / float(value[1])
