"""What belongs to the person and not to a study: on napari's own page of preferences."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

DEVICES = ("auto", "cpu", "cuda", "mps")


@dataclass(frozen=True)
class Preferences:
    """Preferences of the person.

    Attributes
    ----------
    device
        Where models are trained and used: ``auto``, ``cpu``, ``cuda`` or ``mps``.
    workers
        Fields and tiles worked on at the same time; None takes one for every core.
    folder
        Where results go when no study says it.
    """

    device: str = "auto"
    workers: int | None = None
    folder: Path | None = None


def preferences() -> Preferences:
    """The preferences as they stand; the defaults where napari does not know the plugin."""
    from napari.settings import get_plugin_settings

    try:
        compute = get_plugin_settings("napari-apollo").compute
    except KeyError:
        return Preferences()
    return Preferences(
        device=str(getattr(compute.device, "value", compute.device)),
        workers=int(compute.workers) or None,
        folder=Path(compute.folder) if compute.folder else None,
    )
