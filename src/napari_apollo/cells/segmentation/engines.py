"""What an engine is, and which there are."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Protocol

import numpy as np
import numpy.typing as npt

from napari_apollo.cells.segmentation.decode import Decoding, Maps
from napari_apollo.cells.segmentation.grid import Box
from napari_apollo.errors import ConfigError

if TYPE_CHECKING:
    from napari_apollo.cells.segmentation.work import WorkField


class NucleusEngine(Protocol):
    """Sees nuclei: says of every pixel of the work grid whether it is nucleus, and where its centre lies.

    Attributes
    ----------
    name
        What it is asked for by.
    diameter
        Size in work pixels that a typical nucleus is brought to.
    decoding
        How its maps become nuclei.
    """

    @property
    def name(self) -> str:
        """What it is asked for by."""
        ...

    @property
    def diameter(self) -> float:
        """Size in work pixels that a typical nucleus is brought to."""
        ...

    @property
    def decoding(self) -> Decoding:
        """How its maps become nuclei."""
        ...

    def sized(self, samples: Sequence[npt.NDArray[np.float32]], diameter: float) -> float:
        """Look at parts of a field and say how large its nuclei are.

        Parameters
        ----------
        samples
            Parts of the field, float32 (y, x): background 0, a typical nucleus 1.
        diameter
            A first estimate, in pixels of the samples.

        Returns
        -------
        float
            A better one, or the same.
        """
        ...

    def maps(self, work: WorkField, box: Box) -> Maps:
        """See a region.

        Parameters
        ----------
        work
            The field on its work grid.
        box
            The region of the work grid.

        Returns
        -------
        Maps
            Exactly what the whole work grid would give in this region, to the bit.
        """
        ...


def get_engine(name: str, threads: int = 1) -> NucleusEngine:
    """Engine by name.

    Parameters
    ----------
    name
        One of ``engine_names()``.
    threads
        Threads that it may use; they never change what it sees.

    Raises
    ------
    ConfigError
        When there is none of that name.
    """
    if name not in _ENGINES:
        raise ConfigError(f"There is no segmentation engine {name!r}; there are {', '.join(engine_names())}.")
    return _ENGINES[name](threads)


def engine_names() -> tuple[str, ...]:
    """Names of the engines that find nuclei in an image."""
    return tuple(_ENGINES)


def _threshold(threads: int) -> NucleusEngine:
    from napari_apollo.cells.segmentation.threshold import ThresholdEngine

    return ThresholdEngine()


def _nuclei(threads: int) -> NucleusEngine:
    from napari_apollo.cells.segmentation.nuclei import NucleiEngine

    return NucleiEngine(threads)


_ENGINES: dict[str, Callable[[int], NucleusEngine]] = {"nuclei": _nuclei, "threshold": _threshold}
