"""What a prediction is held against: the nearest training cell, a conditional U-Net, inpainting.

The mean image is always there; these are asked for. Networks are trained on the cells that the model learnt
from, and need minutes.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from napari_apollo.predict.neighbours import NearestChromatin
from napari_apollo.progress import Progress, ShouldStop, Step

if TYPE_CHECKING:
    from napari_apollo.cells.store import CellStore
    from napari_apollo.predict.inference import Inference

BaselineName = Literal["neighbour", "unet", "inpainting"]

IN_WORDS = {
    "mean": "mean image",
    "neighbour": "nearest chromatin",
    "unet": "conditional U-Net",
    "inpainting": "cell inpainting",
}
"""Names of baselines, as they stand before their scores, and for people."""


class Baseline(Protocol):
    """Images of stains from chromatin."""

    def has(self, stain: str) -> bool:
        """Whether it knows the stain."""

    def images(self, chromatin: NDArray[np.floating], stain: str) -> NDArray[np.float32]:
        """Images (n, y, x) in [0, 1] of a stain for cells by their chromatin (n, y, x) in [0, 1]."""


class LearntBaseline:
    """A network trained on pairs of chromatin and one protein image of a cell.

    Parameters
    ----------
    name
        Which network.
    inference
        Gives normalised images, and says where to compute.
    store
        The cells.
    rows
        Panel to the rows of its training cells.
    epochs
        Over all pairs.
    seed
        Of weights, order and turns.
    progress, should_stop
        Told of, and asked between, batches.
    """

    def __init__(
        self,
        name: Literal["unet", "inpainting"],
        inference: Inference,
        store: CellStore,
        rows: Mapping[str, NDArray[np.int64]],
        *,
        epochs: int,
        seed: int,
        progress: Progress,
        should_stop: ShouldStop,
    ) -> None:
        import torch

        from napari_apollo.predict.rivals import Inpainting, UNet, fit_rival, fraction_of_epochs

        chromatin, stain, image, self._stains = _pairs(inference, store, rows)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            self._network = (
                UNet(len(self._stains)) if name == "unet" else Inpainting(chromatin, stain, image)
            ).to(inference.model.device)
        fraction = fraction_of_epochs(len(image), epochs)

        def done(batches: int) -> float:
            part = fraction(batches)
            progress(Step("Training baselines", min(int(100 * part), 100), 100, IN_WORDS[name]))
            return part

        fit_rival(self._network, chromatin, stain, image, done=done, seed=seed, should_stop=should_stop)

    def has(self, stain: str) -> bool:
        """Whether some training cell was given the stain, and it is a protein's."""
        return stain in self._stains

    def images(self, chromatin: NDArray[np.floating], stain: str) -> NDArray[np.float32]:
        """See ``Baseline.images``."""
        return self._network.predict(np.asarray(chromatin, np.float32), self._stains.index(stain))


def _pairs(
    inference: Inference, store: CellStore, rows: Mapping[str, NDArray[np.int64]]
) -> tuple[NDArray[np.float32], NDArray[np.int64], NDArray[np.float32], tuple[str, ...]]:
    """Chromatin, number of the stain, its image, for every protein of every cell; names of the stains."""
    chromatin, stain, image = [], [], []
    stains: dict[str, int] = {}
    for name, own in rows.items():
        panel = store.panels[name]
        if not len(own):
            continue
        images = inference.normalised(store, name, own)
        for protein in inference.known(panel):
            chromatin.append(images[:, panel.index(panel.anchor)])
            image.append(images[:, panel.index(protein)])
            stain.append(np.full(len(own), stains.setdefault(protein, len(stains)), np.int64))
    return (
        np.concatenate(chromatin).astype(np.float32),
        np.concatenate(stain),
        np.concatenate(image).astype(np.float32),
        tuple(stains),
    )


def make_baselines(
    names: tuple[BaselineName, ...],
    inference: Inference,
    store: CellStore,
    rows: dict[str, NDArray[np.int64]],
    *,
    epochs: int,
    progress: Progress,
    should_stop: ShouldStop,
) -> dict[str, Baseline]:
    """The baselines that are asked for, by name; none where there are no training cells.

    Parameters
    ----------
    names
        Which.
    inference, store, rows
        The model at work, the cells, and panel to the rows of its training cells.
    epochs
        Of networks.
    progress, should_stop
        Told before each; asked between batches of training.
    """
    made: dict[str, Baseline] = {}
    if not any(len(own) for own in rows.values()):
        return made
    for number, name in enumerate(dict.fromkeys(names)):
        progress(Step("Preparing baselines", number, len(names), IN_WORDS[name]))
        made[name] = (
            NearestChromatin(inference, store, rows, inference.batch_size)
            if name == "neighbour"
            else LearntBaseline(
                name,
                inference,
                store,
                rows,
                epochs=epochs,
                seed=0,
                progress=progress,
                should_stop=should_stop,
            )
        )
    return made
