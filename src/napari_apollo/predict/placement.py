"""Where each cell of a store lies in its image, and which cells a tile needs."""

from __future__ import annotations

from typing import Any, Protocol

import numpy as np
import pandas as pd

from napari_apollo.errors import DataError
from napari_apollo.panels import Panel


class CropSource(Protocol):
    """What the canvas needs of a cell store."""

    @property
    def panels(self) -> dict[str, Panel]:
        """Panels by name."""

    @property
    def crop_size(self) -> int:
        """Side of a crop in crop pixels."""

    @property
    def obs(self) -> pd.DataFrame:
        """One row a cell; columns as in the cell store."""

    def read_images(self, panel: str, rows: Any) -> np.ndarray:
        """Crops as acquired, (cell, stain, y, x)."""

    def read_masks(self, panel: str, rows: Any) -> np.ndarray:
        """Masks, (cell, y, x) uint8: 0 other, 1 cytoplasm, 2 nucleus of this cell."""


class Placement:
    """The cells of one image, ordered so that those near a tile are found at once.

    Parameters
    ----------
    obs
        Table of a cell store; all its cells whose ``image`` or ``field`` is ``image`` are taken.
        Several fields may name one image: their cells are merged.
    image
        An ``image`` as it stands in the table, or the name of one of its fields.
    crop_size
        Side of a crop in crop pixels.

    Attributes
    ----------
    positions : numpy.ndarray
        (n,) positions in ``obs``.
    panels : tuple of str
        Names of the panels of these cells.
    panel, row : numpy.ndarray
        (n,) index into ``panels`` and index in that panel's arrays.
    centre, centroid : numpy.ndarray
        (n, 2) crop centre (int) and nucleus centroid (float), field pixels, (y, x).
    scale : numpy.ndarray
        (n,) field pixels per crop pixel.
    ids : numpy.ndarray
        (n,) int32 value of the cell in a label image of this canvas: its label in the field, or,
        where two fields of the image use one label for different cells, its position + 1.

    Raises
    ------
    DataError
        When the table has no cell of that image.
    """

    def __init__(self, obs: pd.DataFrame, image: str, crop_size: int) -> None:
        image_of, images = _names(obs["image"])
        field_of, fields = _names(obs["field"])
        name = images[image_of[np.argmax(field_of == fields.index(image))]] if image in fields else image
        self.image = name
        if name not in images:
            known = ", ".join(sorted(images)[:8]) or "none"
            raise DataError(f"No cell of the store lies in image {image!r}; its images are {known}.")
        positions = np.flatnonzero(image_of == images.index(name))

        def column(name: str, dtype: Any = None) -> np.ndarray:
            return np.asarray(obs[name].to_numpy(dtype)[self.positions])

        self.positions = positions[np.argsort(obs["centre_y"].to_numpy()[positions], kind="stable")]
        panel_of, panels = _names(obs["panel"].iloc[self.positions])
        self.panels = tuple(panels)
        self.panel = panel_of.astype(np.int16)
        self.row = column("row", np.int64)
        self.centre = np.column_stack([column("centre_y", np.int64), column("centre_x", np.int64)])
        self.centroid = np.column_stack([column("y", np.float64), column("x", np.float64)])
        self.scale = column("scale", np.float64)
        labels = column("label", np.int64)
        unique = pd.Index(labels).is_unique
        self.ids = (labels if unique else self.positions + 1).astype(np.int32)
        self.fields = tuple(fields[code] for code in pd.unique(field_of[self.positions]))
        # A crop pixel reaches half a crop pixel to each side of its centre.
        self._reach = int(np.ceil((crop_size // 2 + 0.5) * self.scale.max())) + 1

    def __len__(self) -> int:
        return len(self.positions)

    def near(self, y0: int, y1: int, x0: int, x1: int) -> np.ndarray:
        """Cells whose crops may touch rows ``y0:y1``, columns ``x0:x1``, in the order of the table.

        Returns
        -------
        numpy.ndarray
            (k,) indices into the arrays of this placement.
        """
        y = self.centre[:, 0]
        first = np.searchsorted(y, y0 - self._reach, side="left")
        last = np.searchsorted(y, y1 + self._reach, side="right")
        x = self.centre[first:last, 1]
        hit = first + np.flatnonzero((x >= x0 - self._reach) & (x < x1 + self._reach))
        return hit[np.argsort(self.positions[hit], kind="stable")]


def _names(texts: pd.Series[Any]) -> tuple[np.ndarray, list[str]]:
    """Texts as numbers (n,), and the texts in the order in which they first appear."""
    codes, names = pd.factorize(texts)
    return codes, [str(name) for name in names]
