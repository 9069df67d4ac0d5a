"""What a model says about a batch of cells; predicting and scoring share it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from napari_apollo.cells.normalisation import Normalisation
from napari_apollo.errors import ModelError
from napari_apollo.panels import Panel, same_stain

if TYPE_CHECKING:
    from napari_apollo.cells.store import CellStore
    from napari_apollo.model import Apollo, Latents
    from napari_apollo.train import Run


@dataclass(frozen=True)
class Codes:
    """Latents of a batch of cells.

    Attributes
    ----------
    chromatin
        By the chromatin image.
    proteins
        By each measured protein image.
    """

    chromatin: Latents
    proteins: Mapping[str, Latents] = field(default_factory=dict)


class Inference:
    """A model at work on the cells of a store.

    Parameters
    ----------
    model
        The model.
    normalisation
        Constants between intensities and [0, 1]: those of the store, or of the model.
    batch_size
        Cells computed at once.
    """

    def __init__(self, model: Apollo, normalisation: Normalisation, batch_size: int) -> None:
        self.model = model
        self.normalisation = normalisation
        self.batch_size = batch_size
        self.vocabulary: tuple[str, ...] = model.card.vocabulary
        self.trained_with = Normalisation.model_validate(model.card.normalisation or {})

    def known(self, panel: Panel) -> tuple[str, ...]:
        """Protein stains of a panel that the model knows, in the order of the panel."""
        return tuple(stain for stain in panel.proteins if self._in_vocabulary(stain))

    def lacking(self, panel: Panel) -> tuple[str, ...]:
        """Stains of the vocabulary that a panel lacks."""
        return tuple(stain for stain in self.vocabulary if stain not in panel)

    def limits(self, stain: str, groups: np.ndarray) -> np.ndarray:
        """(n, 2) intensities that 0 and 1 stand for; the model's own where the store never saw the stain."""
        source = self.normalisation if stain in self.normalisation.stains else self.trained_with
        return source.limits(stain, groups)

    def intensities(self, values: np.ndarray, stain: str, groups: np.ndarray) -> np.ndarray:
        """Values in [0, 1], (n, y, x), in the stain's own units."""
        source = self.normalisation if stain in self.normalisation.stains else self.trained_with
        return source.invert(values, stain, groups)

    def normalised(self, store: CellStore, panel: str, rows: np.ndarray) -> np.ndarray:
        """Crops (n, stain, y, x) float32 in [0, 1] of rows of a panel."""
        raw = store.read_images(panel, rows)
        return self.normalisation.apply(raw, store.panels[panel].stains, store.groups(panel, rows))

    def encode(self, images: np.ndarray, panel: Panel) -> Codes:
        """Latents of normalised crops (n, stain, y, x) of a panel."""
        chromatin = self._encode(images[:, panel.index(panel.anchor)], "chromatin", None)
        proteins = {
            stain: self._encode(images[:, panel.index(stain)], "protein", stain)
            for stain in self.known(panel)
        }
        return Codes(chromatin, proteins)

    def rebuild(self, codes: Codes, stain: str | None, *, shared_only: bool = False) -> np.ndarray:
        """A measured image from its own latents.

        Parameters
        ----------
        codes
            Latents of the cells.
        stain
            A protein stain, or None for the chromatin.
        shared_only
            From the shared latent alone: what of the image is shared.

        Returns
        -------
        numpy.ndarray
            (n, y, x) float32 in [0, 1].
        """
        latents = codes.chromatin if stain is None else codes.proteins[stain]
        specific = None if shared_only else latents.specific
        return self._decode(latents.shared, specific, "chromatin" if stain is None else "protein", stain)

    def predict(self, chromatin: np.ndarray, codes: Codes, stain: str) -> np.ndarray:
        """A protein image from the chromatin: its shared latent through the shared-only decoder.

        A model whose chromatin encoder is told which protein is meant (the paper's) encodes the
        chromatin anew for every stain.

        Parameters
        ----------
        chromatin
            (n, y, x) normalised chromatin crops.
        codes
            Latents of the cells.
        stain
            The stain to predict.
        """
        shared = codes.chromatin.shared
        if self._told_the_stain:
            shared = self._encode(chromatin, "chromatin", stain).shared
        return self.decode_shared(shared, stain)

    def decode_shared(self, shared: np.ndarray, stain: str) -> np.ndarray:
        """Images (n, y, x) in [0, 1] of a protein from shared latents (n, s) alone."""
        return self._decode(shared, None, "protein", stain)

    def decode_with(self, shared: np.ndarray, specific: np.ndarray, stain: str) -> np.ndarray:
        """Images (n, y, x) in [0, 1] of a protein from shared latents (n, s) and specific ones (n, d)."""
        return self._decode(shared, specific, "protein", stain)

    @cached_property
    def _told_the_stain(self) -> bool:
        return bool(self.model.card.architecture.modality("chromatin").conditional)

    def _encode(self, images: np.ndarray, modality: str, stain: str | None) -> Latents:
        return self.model.encode(images[:, None], modality, stain, batch_size=self.batch_size)

    def _decode(self, shared: np.ndarray, specific: Any, modality: str, stain: str | None) -> np.ndarray:
        return self.model.decode(shared, specific, modality, stain, batch_size=self.batch_size)

    def _in_vocabulary(self, stain: str) -> bool:
        return any(same_stain(stain, own) for own in self.vocabulary)


def load_model(source: Apollo | Run | Path | str, device: str = "auto") -> tuple[Apollo, str]:
    """The model behind a run, a folder or an object, and what to call its place.

    Parameters
    ----------
    source
        A model, a run, a run folder or a model folder.
    device
        Where to compute: ``auto``, ``cpu``, ``cuda`` or ``mps``. A model object stays where it is.

    Raises
    ------
    ModelError
        When the folder holds no model.
    """
    from napari_apollo.model import Apollo

    if isinstance(source, Apollo):
        return source, ""
    folder = Path(source) if isinstance(source, (str, Path)) else Path(source.folder)
    place = folder / "model" if (folder / "model").is_dir() else folder
    if not place.is_dir():
        raise ModelError(folder, "no such folder.", "Name a run folder or a model folder.")
    if place == folder and (folder / "status.json").is_file():
        from napari_apollo.train import Run

        state = Run(folder).status().state
        raise ModelError(folder, f"is a run that has no model (it is {state}).", "Name one that is done.")
    return Apollo.load(place, device=device), str(place)


def inference_for(
    model: Apollo, store: CellStore, normalisation: Literal["store", "model"], batch_size: int
) -> Inference:
    """The model at work on a store, with the constants asked for."""
    own = Normalisation.model_validate(model.card.normalisation or {})
    chosen = store.normalisation if normalisation == "store" else own
    return Inference(model, chosen, batch_size)
