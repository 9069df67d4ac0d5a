"""The trained model as other rooms use it: NumPy in, NumPy out."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from napari_apollo.errors import ConfigError, DataError, UnknownStain
from napari_apollo.model.card import ModelCard
from napari_apollo.model.device import pick_device
from napari_apollo.model.files import read_model, write_model
from napari_apollo.model.network import Network
from napari_apollo.panels import Role, role_of, same_stain

BATCH = 256


@dataclass(frozen=True)
class Latents:
    """Where cells lie.

    Attributes
    ----------
    shared
        (cell, s) float32.
    specific
        (cell, d) float32; d is 0 where the modality has no latent of its own.
    shared_std, specific_std
        Standard deviations of the same shapes where the encoders give distributions, else None.
    """

    shared: np.ndarray
    specific: np.ndarray
    shared_std: np.ndarray | None = None
    specific_std: np.ndarray | None = None


class Apollo:
    """Encoders and decoders of a trained model.

    Parameters
    ----------
    network
        The networks; they are put into evaluation mode.
    card
        What is known about them.
    device
        Where to compute.

    Examples
    --------
    >>> model = Apollo.load("lymph.run/model")  # doctest: +SKIP
    >>> latents = model.encode(chromatin, "chromatin")  # doctest: +SKIP
    >>> cd3 = model.decode(latents.shared, None, "protein", "CD3")  # doctest: +SKIP
    """

    def __init__(self, network: Network, card: ModelCard, device: torch.device | str = "cpu") -> None:
        self.device = torch.device(device)
        network = network.to(self.device).to(memory_format=torch.channels_last)
        self.network = network.eval().requires_grad_(False)
        self.card = card

    @classmethod
    def load(cls, folder: Path | str, device: str = "cpu") -> Apollo:
        """Model from its folder.

        Parameters
        ----------
        folder
            What ``save`` or a training wrote.
        device
            ``auto``, ``cpu``, ``cuda`` or ``mps``.

        Raises
        ------
        ModelError
            When the folder is no model folder; ``ModelDamaged`` when it was cut off, changed or
            does not fit together, ``ModelTooNew`` when a newer version wrote it.
        ConfigError
            When the machine has no such device.
        """
        chosen = pick_device(device)
        network, card = read_model(folder)
        return cls(network, card, chosen)

    def save(self, folder: Path | str, *, overwrite: bool = False) -> Path:
        """Write the model folder, whole or not at all.

        Raises
        ------
        FileError
            When the folder exists and ``overwrite`` is not set.
        """
        self.card = write_model(Path(folder), self.network, self.card, overwrite=overwrite)
        return Path(folder)

    def encode(
        self,
        images: np.ndarray,
        modality: str,
        stain: str | Sequence[str | None] | None = None,
        *,
        batch_size: int = BATCH,
    ) -> Latents:
        """Place cells by one of their images.

        Parameters
        ----------
        images
            (cell, 1, y, x) float32 in [0, 1], normalised as ``card.normalisation`` says; for a table
            modality (cell, feature).
        modality
            ``"chromatin"`` or ``"protein"``.
        stain
            The stain of all images, or of each. A conditional modality needs it. For the chromatin
            of a model whose chromatin is conditional (the paper's), it is the protein whose image
            belongs to the cell; where none is named, the mean of all.
        batch_size
            Cells computed at once.

        Raises
        ------
        ConfigError
            When the model has no such modality, or the stain is missing.
        DataError
            When images have another shape, or values that are not finite.
        UnknownStain
            When the model does not know a stain.
        """
        values = self._values(images, modality)
        codes = self._stains(stain, modality, len(values))
        architecture = self.card.architecture
        own = architecture.modality(modality).specific
        if not len(values):
            return Latents(np.zeros((0, architecture.shared), np.float32), np.zeros((0, own), np.float32))

        def one_batch(rows: slice) -> tuple[Tensor | None, ...]:
            batch = torch.from_numpy(values[rows]).to(self.device)
            return tuple(self.network.encode(modality, batch, self._on_device(codes, rows)))

        shared, specific, shared_log_variance, specific_log_variance = self._batched(
            one_batch, len(values), batch_size
        )
        return Latents(
            shared=shared,
            specific=np.zeros((len(values), 0), np.float32) if specific is None else specific,
            shared_std=None if shared_log_variance is None else np.exp(0.5 * shared_log_variance),
            specific_std=None if specific_log_variance is None else np.exp(0.5 * specific_log_variance),
        )

    def decode(
        self,
        shared: np.ndarray,
        specific: np.ndarray | None,
        modality: str,
        stain: str | Sequence[str | None] | None = None,
        *,
        batch_size: int = BATCH,
    ) -> np.ndarray:
        """Make images from latents.

        Parameters
        ----------
        shared
            (cell, s) float32.
        specific
            (cell, d) float32, or None for what the shared latent alone says: the road from one
            stain to another.
        modality, stain, batch_size
            As in ``encode``.

        Returns
        -------
        numpy.ndarray
            (cell, y, x) float32 in [0, 1]; for a table modality (cell, feature).

        Raises
        ------
        ConfigError, DataError, UnknownStain
            As in ``encode``.
        """
        wanted = self.card.architecture.modality(modality)
        shared = _latent(shared, self.card.architecture.shared, "shared")
        if specific is not None:
            specific = _latent(specific, wanted.specific, f"{modality} specific")
            if len(specific) != len(shared):
                raise DataError(f"{len(shared)} shared latents do not go with {len(specific)} specific ones.")
        codes = self._stains(stain, modality, len(shared))
        if not len(shared):
            size = self.card.crop_size
            return np.zeros((0, size, size) if wanted.kind == "image" else (0, wanted.features), np.float32)
        own = specific if specific is not None and wanted.specific else None

        def one_batch(rows: slice) -> tuple[Tensor]:
            logits = self.network.decode(
                modality,
                torch.from_numpy(shared[rows]).to(self.device),
                None if own is None else torch.from_numpy(own[rows]).to(self.device),
                self._on_device(codes, rows),
            )
            return (self.network.activate(modality, logits),)

        (values,) = self._batched(one_batch, len(shared), batch_size)
        decoded: np.ndarray = values[:, 0] if wanted.kind == "image" else values
        return decoded

    def _batched(
        self, one_batch: Callable[[slice], tuple[Tensor | None, ...]], n: int, batch_size: int
    ) -> tuple[Any, ...]:
        parts = []
        with torch.inference_mode():
            for start in range(0, n, batch_size):
                batch = one_batch(slice(start, min(start + batch_size, n)))
                parts.append([None if part is None else part.float().cpu().numpy() for part in batch])
        return tuple(
            None if column[0] is None else np.concatenate(column) for column in zip(*parts, strict=True)
        )

    def _values(self, images: np.ndarray, modality: str) -> np.ndarray:
        wanted = self.card.architecture.modality(modality)
        size = self.card.crop_size
        shape = (1, size, size) if wanted.kind == "image" else (wanted.features,)
        images = np.asarray(images)
        if images.shape[1:] != shape:
            raise DataError(
                f"The model takes {modality} of shape (cells, {', '.join(map(str, shape))}), "
                f"found {images.shape}."
            )
        values = np.ascontiguousarray(images, dtype=np.float32)
        finite = np.isfinite(values).all(axis=tuple(range(1, values.ndim)))
        if not finite.all():
            raise DataError(
                f"{int((~finite).sum())} images of {modality} hold values that are not finite, the first "
                f"at position {int(np.argmin(finite))}."
            )
        return values

    def _stains(self, stain: str | Sequence[str | None] | None, modality: str, n: int) -> np.ndarray | None:
        """Index into the embedding for each cell, or None where the modality needs none."""
        if not self.card.architecture.modality(modality).conditional:
            return None
        names = [stain] * n if stain is None or isinstance(stain, str) else list(stain)
        if len(names) != n:
            raise ConfigError(f"{len(names)} stains are named for {n} cells; name one, or one for each.")
        known = {name: self._stain(name, modality) for name in set(names)}
        return np.array([known[name] for name in names], dtype=np.int64)

    def _stain(self, name: str | None, modality: str) -> int:
        vocabulary = self.card.vocabulary
        for index, own in enumerate(vocabulary):
            if name is not None and same_stain(own, name):
                return index
        if modality == "chromatin" and (name is None or role_of(name) is Role.ANCHOR):
            return len(vocabulary)  # the mean of all stains
        if name is None:
            raise ConfigError(f"Modality {modality!r} needs the stain: one of {', '.join(vocabulary)}.")
        raise UnknownStain(name, vocabulary, "the model")

    def _on_device(self, codes: np.ndarray | None, rows: slice) -> Tensor | None:
        return None if codes is None else torch.from_numpy(codes[rows]).to(self.device)


def _latent(values: np.ndarray, length: int, name: str) -> np.ndarray:
    values = np.ascontiguousarray(values, dtype=np.float32)
    if values.ndim != 2 or values.shape[1] != length:
        raise DataError(f"{name} latents of shape (cells, {length}) are wanted, found {values.shape}.")
    if not np.isfinite(values).all():
        raise DataError(f"{name} latents hold values that are not finite.")
    return values
