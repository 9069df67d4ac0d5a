"""A baseline without learning: a stain as it looks in the training cell of the most similar chromatin."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree

if TYPE_CHECKING:
    from napari_apollo.cells.store import CellStore
    from napari_apollo.predict.inference import Inference

_SIDE = 16  # pixels of a side at which chromatin images are compared


class NearestChromatin:
    """Images of stains from the training cell nearest by its chromatin image.

    Chromatin images are seen at 16 pixels a side and compared by the distance of their pixels. Images stay in
    the store and are read where they are wanted.

    Parameters
    ----------
    inference
        Gives normalised images.
    store
        The cells.
    rows
        Panel to the rows of its training cells.
    batch_size
        Cells read at once.
    """

    def __init__(
        self, inference: Inference, store: CellStore, rows: dict[str, NDArray[np.int64]], batch_size: int
    ) -> None:
        self._inference, self._store, self._batch = inference, store, batch_size
        self._rows = rows
        self._trees: dict[str, tuple[cKDTree, list[tuple[str, int]]]] = {}
        self._seen = {name: self._small(name) for name, own in rows.items() if len(own)}

    def has(self, stain: str) -> bool:
        """Whether some training cell was given the stain."""
        return any(stain in self._store.panels[name] for name in self._seen)

    def images(self, chromatin: NDArray[np.floating], stain: str) -> NDArray[np.float32]:
        """Images (n, y, x) in [0, 1] of a stain for cells by their chromatin (n, y, x) in [0, 1]."""
        if stain not in self._trees:
            names = [name for name in self._seen if stain in self._store.panels[name]]
            places = [(name, int(row)) for name in names for row in self._rows[name]]
            self._trees[stain] = cKDTree(np.concatenate([self._seen[name] for name in names])), places
        tree, places = self._trees[stain]
        _, nearest = tree.query(_reduced(chromatin))
        out = np.zeros(chromatin.shape, np.float32)
        chosen = [places[int(k)] for k in nearest]
        for name in {name for name, _ in chosen}:
            mine = np.array([k for k, (of, _) in enumerate(chosen) if of == name])
            own = np.array([chosen[k][1] for k in mine])
            unique, back = np.unique(own, return_inverse=True)
            out[mine] = self._read(name, unique, stain)[back]
        return out

    def _small(self, name: str) -> NDArray[np.float32]:
        anchor, rows = self._store.panels[name].anchor, self._rows[name]
        parts = [
            _reduced(self._read(name, rows[start : start + self._batch], anchor))
            for start in range(0, len(rows), self._batch)
        ]
        return np.concatenate(parts)

    def _read(self, name: str, rows: NDArray[np.int64], stain: str) -> NDArray[np.float32]:
        images = self._inference.normalised(self._store, name, rows)
        return np.asarray(images[:, self._store.panels[name].index(stain)], np.float32)


def _reduced(images: NDArray[np.floating]) -> NDArray[np.float32]:
    """Images (n, y, x) as (n, pixels) at 16 pixels a side, by means of blocks."""
    count, height, width = images.shape
    edges = [np.linspace(0, side, min(_SIDE, side) + 1).astype(int)[:-1] for side in (height, width)]
    rows = np.add.reduceat(images, edges[0], axis=1)
    sums = np.add.reduceat(rows, edges[1], axis=2)
    sizes = [np.diff(np.append(edge, side)) for edge, side in zip(edges, (height, width), strict=True)]
    return (sums / np.multiply.outer(*sizes)).reshape(count, -1).astype(np.float32)
