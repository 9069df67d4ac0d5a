"""Lengths in micrometres."""

from __future__ import annotations

import math

_MICROMETRES = {
    "pm": 1e-6,
    "å": 1e-4,
    "angstrom": 1e-4,
    "nm": 1e-3,
    "nanometer": 1e-3,
    "nanometre": 1e-3,
    "um": 1.0,
    "\u03bcm": 1.0,
    "micron": 1.0,
    "microns": 1.0,
    "micrometer": 1.0,
    "micrometre": 1.0,
    "mm": 1e3,
    "millimeter": 1e3,
    "millimetre": 1e3,
    "cm": 1e4,
    "centimeter": 1e4,
    "centimetre": 1e4,
    "m": 1e6,
    "meter": 1e6,
    "metre": 1e6,
    "inch": 25_400.0,
    "in": 25_400.0,
}

# A pixel of a light microscope's image of cells is no larger. What is larger comes from programs
# that write the resolution of a printer (72 to 1200 dots per inch) into every file.
_LARGEST_UM = 20.0
_SMALLEST_UM = 1e-4


def in_micrometres(length: float, unit: str) -> float | None:
    """A length in micrometres; None for a unit that is no length (``pixel``).

    Parameters
    ----------
    length
        In ``unit``.
    unit
        As files spell it: ``µm``, ``micron``, ``nm``, ``mm``, ``inch``...
    """
    text = unit.strip().replace("\u00b5", "\u03bc").replace("\\u00B5", "\u03bc").replace("\u212b", "å")
    factor = _MICROMETRES.get(text.casefold())
    return None if factor is None else length * factor


def pixel_size(y: float | None, x: float | None) -> tuple[float, float] | None:
    """``(y, x)`` in micrometres where both can be the size of a pixel, else None."""
    if y is None or x is None or not (math.isfinite(y) and math.isfinite(x)):
        return None
    if not all(_SMALLEST_UM <= size <= _LARGEST_UM for size in (y, x)):
        return None
    return (y, x)
