"""Crops of cells as small colour pictures, kept while they are likely to be wanted again.

Nothing here needs a window.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import ArrayLike, NDArray

from napari_apollo.panels import same_stain
from napari_apollo.predict.roles import ChannelRole
from napari_apollo.viewer.preferences import stain_colours

if TYPE_CHECKING:
    from napari_apollo.cells import CellStore
    from napari_apollo.predict import PredictionStore

Pictures = NDArray[np.uint8]

_KEPT = 6000


class CropPainter:
    """Paints crops of a store in the colours of their stains.

    Parameters
    ----------
    store
        The cells.
    stains
        Stains that are shown; all of a cell's panel where none is named.
    """

    def __init__(self, store: CellStore, stains: Sequence[str] = ()) -> None:
        self.store = store
        self.stains = tuple(stains)
        every = dict.fromkeys(stain for panel in store.panels.values() for stain in panel.stains)
        self.colours: Mapping[str, str] = stain_colours(tuple(every))
        self._panel = store.obs["panel"].to_numpy(str)
        self._row = store.obs["row"].to_numpy(np.int64)

    def paint(self, cells: ArrayLike) -> Pictures:
        """Pictures of cells.

        Parameters
        ----------
        cells
            (cell,) positions in the store's table.

        Returns
        -------
        ndarray of uint8 (cell, y, x, 3)
            RGB, stains added up; black where a cell has none of the stains.
        """
        cells = np.asarray(cells, np.int64)
        size = self.store.crop_size
        out = np.zeros((len(cells), size, size, 3), np.uint8)
        for name, panel in self.store.panels.items():
            own = np.flatnonzero(self._panel[cells] == name)
            channels = [
                channel
                for channel, stain in enumerate(panel.stains)
                if not self.stains or any(same_stain(stain, wanted) for wanted in self.stains)
            ]
            if len(own) and channels:
                images = self.store.normalised(name, self._row[cells[own]])[:, channels]
                out[own] = blend(images, [self.colours[panel.stains[channel]] for channel in channels])
        return out


class PictureCache:
    """The pictures that were wanted last, by position of the cell."""

    def __init__(self, kept: int = _KEPT) -> None:
        self._kept = kept
        self._pictures: OrderedDict[int, Pictures] = OrderedDict()

    def __len__(self) -> int:
        return len(self._pictures)

    def get(self, cell: int) -> Pictures | None:
        """A picture, or None where it is not there."""
        found = self._pictures.get(cell)
        if found is not None:
            self._pictures.move_to_end(cell)
        return found

    def missing(self, cells: ArrayLike) -> NDArray[np.int64]:
        """Those of some cells that are not there, in their order."""
        return np.array([cell for cell in np.asarray(cells).tolist() if cell not in self._pictures], np.int64)

    def put(self, cells: ArrayLike, pictures: Pictures) -> None:
        """Keep pictures; those that were not wanted for longest go."""
        for cell, picture in zip(np.asarray(cells).tolist(), pictures, strict=True):
            self._pictures[cell] = picture
            self._pictures.move_to_end(cell)
        while len(self._pictures) > self._kept:
            self._pictures.popitem(last=False)

    def clear(self) -> None:
        """Keep nothing."""
        self._pictures.clear()


def blend(images: NDArray[np.float32], colours: Sequence[str]) -> Pictures:
    """Stains in their colours, added up.

    Parameters
    ----------
    images
        (cell, stain, y, x) in [0, 1].
    colours
        ``#rrggbb`` of each stain.

    Returns
    -------
    ndarray of uint8 (cell, y, x, 3)
    """
    mixing = np.array(
        [[int(colour[at : at + 2], 16) for at in (1, 3, 5)] for colour in colours], np.float32
    ).reshape(-1, 3)
    mixed = np.einsum("nsyx,sc->nyxc", images.astype(np.float32, copy=False), mixing, optimize=True)
    return np.clip(mixed, 0, 255).astype(np.uint8)


def portrait(
    store: CellStore, cell: int, predictions: PredictionStore | None = None
) -> dict[str, dict[str, NDArray[np.float32]]]:
    """All pictures of one cell.

    Parameters
    ----------
    store
        The cells.
    cell
        Position in the table.
    predictions
        What was predicted for them.

    Returns
    -------
    dict
        By stain, the anchor first, then by role (``measured``, ``reconstructed``, ``predicted``): (y, x)
        float32 in [0, 1].
    """
    obs = store.obs
    panel = str(obs["panel"].iloc[cell])
    row = int(obs["row"].iloc[cell])
    images = store.normalised(panel, [row])[0]
    found: dict[str, dict[str, NDArray[np.float32]]] = {
        stain: {"measured": image} for stain, image in zip(store.panels[panel].stains, images, strict=True)
    }
    if predictions is None:
        return found
    groups = store.groups(panel, [row])
    for role in (ChannelRole.RECONSTRUCTED, ChannelRole.PREDICTED):
        for stain in predictions.stains(panel, role):
            values = predictions.read(panel, role, stain, [row])[0].astype(np.float32)
            low, high = (
                store.normalisation.limits(stain, groups)[0]
                if stain in store.normalisation.stains
                else predictions.card.limits.get(stain, (0.0, 1.0))
            )
            scaled = np.clip((values - low) / max(high - low, 1e-9), 0, 1).astype(np.float32)
            found.setdefault(stain, {})[str(role)] = scaled
    return found
