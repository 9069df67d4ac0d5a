"""Which channel of a file is which stain: by name, never by position alone."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from napari_apollo.errors import ImageError, PanelMismatch
from napari_apollo.panels import UNUSED, is_listed, match_stains, same_stain
from napari_apollo.study.fields import StudyField
from napari_apollo.study.source import Layout


@dataclass(frozen=True)
class Channels:
    """Where the stains of a field are in its file.

    Attributes
    ----------
    axis
        Letter of the axis that holds the channels; empty where there is one channel only.
    positions
        Position on that axis of each stain of the panel, in the order of the panel.
    """

    axis: str
    positions: tuple[int, ...]


def find_channels(field: StudyField, layout: Layout) -> Channels:
    """Find every stain of a field's panel in its file.

    The manifest's ``channels`` come first. Without them the file's own names are used where it has
    them, and else, when there are as many channels as stains, the order that the panel declares.

    Raises
    ------
    ImageError
        When the number of channels does not fit, or the axes leave open which one they are on.
    PanelMismatch
        When the names at hand lack a stain of the panel.
    """
    axis = _channel_axis(field, layout)
    number = layout.length(axis) if axis else 1
    names = layout.channel_names
    if field.channels is not None:
        if len(field.channels) != number:
            raise ImageError(
                field.image,
                f"has {count(number, 'channel')}, the manifest's column 'channels' names "
                f"{len(field.channels)} ({';'.join(field.channels)}).",
                "Name every channel of the file, '-' for one that is not used.",
            )
        if names:
            _refuse_swapped(field.image, field.channels, names)
        return Channels(axis, match_stains(field.panel.stains, field.channels, str(field.image)))
    if names:
        return Channels(axis, match_stains(field.panel.stains, names, str(field.image)))
    if number != len(field.panel.stains):
        raise ImageError(
            field.image,
            f"has {count(number, 'channel')} without names{_sizes(layout)}, its panel {field.panel.name!r} "
            f"has {count(len(field.panel.stains), 'stain')} ({', '.join(field.panel.stains)}).",
            _remedy(field, layout),
        )
    return Channels(axis, tuple(range(number)))


def count(number: int, what: str) -> str:
    """``1 channel``, ``2 channels``."""
    return f"{number} {what}{'' if number == 1 else 's'}"


def are_generic(names: Sequence[str]) -> bool:
    """Whether names only count channels (``Channel:0:1``, ``C2``, ``ch00``) and tell no stain."""
    return all(
        re.fullmatch(r"(?:channel|chan|ch|c|image|page)?[\s:_#-]*[\d:./]*", name.strip(), re.I)
        for name in names
    )


def numbered(names: Sequence[str]) -> tuple[str, ...] | None:
    """Names of channels, those without one by their number; None where no channel has a name.

    A file that names some of its channels is never read by position alone.
    """
    if not any(name.strip() for name in names):
        return None
    return tuple(name if name.strip() else f"channel {number}" for number, name in enumerate(names, 1))


def _channel_axis(field: StudyField, layout: Layout) -> str:
    path = field.image
    if layout.length("T") > 1:
        raise ImageError(
            path,
            f"holds {layout.length('T')} time points.",
            "Save the time point to be analysed as its own file.",
        )
    candidates = [axis for axis in "CSQ" if axis in layout.axes]
    wanted = len(field.channels) if field.channels is not None else None
    if not candidates and "Z" in layout.axes and wanted == layout.length("Z"):
        return "Z"  # a stack whose planes are channels: the manifest names each of them
    if len(candidates) > 1:
        lengths = " and ".join(f"{axis} ({layout.length(axis)})" for axis in candidates)
        raise ImageError(
            path,
            f"has channels on two axes, {lengths}, and does not say which are the stains.",
            "Save it with one axis of channels, for example as OME-TIFF with the axes CYX.",
        )
    if not candidates and "Z" in layout.axes and len(field.panel.stains) == layout.length("Z") > 1:
        raise ImageError(
            path,
            f"is a z-stack of one channel by its header, of as many planes ({layout.length('Z')}) as its "
            "panel has stains.",
            "If the planes are channels, name them in the manifest's column 'channels'.",
        )
    return candidates[0] if candidates else ""


def _refuse_swapped(path: Path, given: Sequence[str], names: Sequence[str]) -> None:
    """Refuse channels that the file itself says are elsewhere."""
    for position, stain in enumerate(given):
        if stain == UNUSED or same_name(stain, names[position]) or not is_listed(stain):
            continue
        if any(same_name(stain, name) for name in names):
            raise PanelMismatch(
                given, names, f"{path}: the manifest's column 'channels' contradicts the file's names"
            )


def same_name(stain: str, name: str) -> bool:
    """Whether a name in a file means a stain; a name without letters means none."""
    return any(letter.isalnum() for letter in name) and same_stain(stain, name)


def _sizes(layout: Layout) -> str:
    return f" ({' x '.join(f'{axis}={size}' for axis, size in zip(layout.axes, layout.shape, strict=True))})"


def _remedy(field: StudyField, layout: Layout) -> str:
    if layout.axes.endswith("X") and layout.shape[-1] == len(field.panel.stains):
        return "Its last axis looks like the channels: save it with its axes named (YXC)."
    return "Name the file's channels in the manifest's column 'channels', '-' for one that is not used."
