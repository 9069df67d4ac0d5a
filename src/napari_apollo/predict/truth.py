"""What predicted stains look like in truth, where somebody measured them after all.

An experiment with two panels never knows. Where every cell carries all stains and some were hidden
from the training, or where the same slide was stained again, predictions can be held against them.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Protocol

import numpy as np
import pandas as pd

from napari_apollo.cells.cutting import cut, reach
from napari_apollo.cells.store import CellStore
from napari_apollo.errors import DataError
from napari_apollo.panels import same_stain
from napari_apollo.storage import absolute
from napari_apollo.study import FieldImage, Study, open_field

_FURTHEST = 1.0
_SAME_SCALE = 0.01


class Truth(Protocol):
    """Measured images of cells, whatever panel they were given."""

    def stains(self) -> tuple[str, ...]:
        """Stains that some cell has."""

    def read(self, obs: pd.DataFrame, stain: str, size: int) -> tuple[np.ndarray, np.ndarray]:
        """Crops of a stain.

        Parameters
        ----------
        obs
            Rows of the table of the cell store that was predicted.
        stain
            The stain.
        size
            Side of a crop in crop pixels.

        Returns
        -------
        crops : numpy.ndarray
            (k, y, x) in the stain's own units.
        found : numpy.ndarray
            (n,) bool: which of the cells they belong to.
        """


def open_truth(path: Path | str) -> Truth:
    """Truth from a manifest (its images are cut as the cells were) or from a cell store.

    Raises
    ------
    StudyError, StoreError
        When it is neither.
    """
    path = Path(path)
    return StoreTruth(CellStore.open(path)) if path.is_dir() else StudyTruth(Study.from_csv(path))


class StudyTruth:
    """Truth in the images of a study, found by their paths.

    Parameters
    ----------
    study
        Names the same images as the study that was predicted, with more stains.
    """

    def __init__(self, study: Study) -> None:
        self._images: dict[str, list[FieldImage]] = {}
        for field in study:
            self._images.setdefault(str(absolute(field.image)), []).append(open_field(field))

    def stains(self) -> tuple[str, ...]:
        """Stains of all images."""
        return _unique(image.stains for images in self._images.values() for image in images)

    def read(self, obs: pd.DataFrame, stain: str, size: int) -> tuple[np.ndarray, np.ndarray]:
        """See ``Truth.read``."""
        crops: dict[int, np.ndarray] = {}
        groups = obs.assign(place=np.arange(len(obs))).groupby(["image", "scale"], sort=False, observed=True)
        for (name, _), cells in groups:
            image = self._image(str(name), stain)
            if image is None:
                continue
            centres = cells[["centre_y", "centre_x"]].to_numpy(np.int64)
            for place, crop in zip(
                cells["place"], _cut(image, stain, centres, size, float(cells["scale"].iloc[0])), strict=True
            ):
                crops[int(place)] = crop
        found = np.zeros(len(obs), bool)
        found[list(crops)] = True
        ordered = [crops[place] for place in sorted(crops)]
        return (np.stack(ordered) if ordered else np.zeros((0, size, size), np.float32)), found

    def _image(self, name: str, stain: str) -> FieldImage | None:
        for image in self._images.get(str(absolute(name)), ()):
            if any(same_stain(stain, own) for own in image.stains):
                return image
        return None


class StoreTruth:
    """Truth in another cell store: cells of the same image and label.

    Parameters
    ----------
    store
        Cut from the same images with the same size.
    """

    def __init__(self, store: CellStore) -> None:
        self._store = store
        obs = store.obs
        self._positions = pd.Series(
            np.arange(len(obs)), index=pd.MultiIndex.from_arrays([_places(obs), obs["label"]])
        )

    def stains(self) -> tuple[str, ...]:
        """Stains of all panels."""
        return _unique(panel.stains for panel in self._store.panels.values())

    def read(self, obs: pd.DataFrame, stain: str, size: int) -> tuple[np.ndarray, np.ndarray]:
        """See ``Truth.read``."""
        store = self._store
        if store.crop_size != size:
            raise DataError(f"{store.path} has crops of {store.crop_size} pixels; {size} are needed.")
        wanted = pd.MultiIndex.from_arrays([_places(obs), obs["label"]])
        positions = self._positions.reindex(wanted).to_numpy(np.float64)
        having = [name for name, panel in store.panels.items() if stain in panel]
        own = store.obs.iloc[np.nan_to_num(positions).astype(np.int64)]
        found = np.isfinite(positions) & own["panel"].isin(having).to_numpy()
        shift = np.abs(own[["y", "x"]].to_numpy(np.float64) - obs[["y", "x"]].to_numpy(np.float64)).max(1)
        if (found & (shift > _FURTHEST)).any():
            first = str(obs["cell_id"].iloc[int(np.argmax(found & (shift > _FURTHEST)))])
            raise DataError(
                f"{store.path} has other cells under the labels of {first} and others: their places differ."
            )
        scales = own["scale"].to_numpy(np.float64)[found], obs["scale"].to_numpy(np.float64)[found]
        if not np.allclose(*scales, rtol=_SAME_SCALE):
            raise DataError(
                f"{store.path} has crops of another magnification: {scales[0].max():.4g} field pixels a crop "
                f"pixel, and the predicted cells {scales[1].max():.4g}; cut both to one pixel size."
            )
        crops = np.zeros((int(found.sum()), size, size), np.float64)
        kept = own[found]
        for name in having:
            members = np.flatnonzero((kept["panel"] == name).to_numpy())
            rows = kept["row"].to_numpy(np.int64)[members]
            crops[members] = store.read_images(name, rows)[:, store.panels[name].index(stain)]
        return crops, found


def _places(obs: pd.DataFrame) -> pd.Series:
    """Path of each cell's image, absolute: stores and manifests may say it from different folders."""
    images = obs["image"].astype(str)
    return images.map({image: str(absolute(image)) for image in images.unique()})


def _cut(image: FieldImage, stain: str, centres: np.ndarray, size: int, scale: float) -> np.ndarray:
    """Crops of cells that lie near one another, reading the part of the image around them."""
    margin = reach(size, scale)
    low = np.maximum(centres.min(0) - margin, 0)
    high = np.minimum(centres.max(0) + margin + 1, image.shape)
    part = image.read([stain], slice(int(low[0]), int(high[0])), slice(int(low[1]), int(high[1])))
    nothing = np.zeros(part.shape[1:], np.int32)
    ids = np.ones(len(centres), np.int64)
    crops, _ = cut(part, nothing, None, centres - low, ids, size, scale=scale)
    kept: np.ndarray = crops[:, 0]
    return kept


def _unique(lists: Iterable[Iterable[str]]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(stain for stains in lists for stain in stains))
