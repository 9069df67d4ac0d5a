"""Images that a model makes of latents, for one cell at a time: what the slider along a direction shows.

``decode_cell`` runs in the working process; plain values go in and out.
"""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from napari_apollo.progress import Progress, ShouldStop, never, silent

if TYPE_CHECKING:
    from napari_apollo.predict import PredictionStore
    from napari_apollo.viewer.columns import CellColumns

SHARED = "shared"
_CHROMATIN = "chromatin_specific"
_PROTEIN = "protein_specific_"
_FROM = "shared_from_"


def model_of(predictions: PredictionStore | None) -> Path | None:
    """Folder of the model that made predictions, where it still is."""
    if predictions is None:
        return None
    noted = Path(str(predictions.card.model.get("path", "")))
    for place in (noted, predictions.path.parent / noted.parent.name / noted.name):
        if noted.name and (place / "model.json").is_file():
            return place
    return None


def request_for(
    columns: CellColumns,
    block: str,
    axis: int,
    to: float,
    cell: int | None,
    model: Path,
    stains: Sequence[str],
) -> dict[str, Any]:
    """What ``decode_cell`` is asked when the slider of a direction is moved.

    Parameters
    ----------
    columns
        The cells.
    block, axis, to
        Block of latents, number of its principal axis, and where to, in standard deviations.
    cell
        Position of the cell that is changed; the mean cell where None, or where it has no such latents.
    model
        Folder of the model.
    stains
        Protein stains that the model knows.

    Returns
    -------
    dict
        Arguments of ``decode_cell``. What one modality alone knows moves the images of that modality only.
    """
    axes = columns.axes(block)

    def own(name: str) -> NDArray[np.float64] | None:
        if name not in columns.blocks:
            return None
        latents = columns.latents(name)
        if cell is not None and np.isfinite(latents[cell]).all():
            start = latents[cell].astype(np.float64)
        elif name == block or cell is None:
            start = columns.mean(name)
        else:
            return None
        return axes.moved(start, axis, to) if name == block else start

    shared = own(SHARED)
    parts: dict[str, Any] = {}
    if block in (SHARED, _CHROMATIN):
        parts["chromatin"] = [_plain(shared), _plain(own(_CHROMATIN)), None]
    for stain in stains:
        wanted = block == SHARED or block.removeprefix(_FROM).removeprefix(_PROTEIN) == stain
        if wanted:
            said = own(_FROM + stain) if block != SHARED else shared
            parts[stain] = [
                _plain(said if said is not None else shared),
                _plain(own(_PROTEIN + stain)),
                stain,
            ]
    return {"model": str(model), "parts": parts}


def decode_cell(
    model: str,
    parts: Mapping[str, Sequence[Any]],
    *,
    progress: Progress = silent,
    should_stop: ShouldStop = never,
) -> dict[str, Any]:
    """Images of latents.

    Parameters
    ----------
    model
        Folder of the model; kept for the next call.
    parts
        By name of the picture: shared latent, specific latent or None, stain (None for the chromatin).

    Returns
    -------
    dict
        By name: ``size`` and ``pixels``, base64 of uint8 (y, x) with 255 for 1.
    """
    loaded = _model(model, (Path(model) / "model.json").stat().st_mtime_ns)
    out = {}
    for name, (shared, specific, stain) in parts.items():
        image = loaded.decode(
            np.asarray([shared], np.float32),
            None if specific is None else np.asarray([specific], np.float32),
            "chromatin" if stain is None else "protein",
            stain,
        )[0]
        pixels = np.clip(image * 255 + 0.5, 0, 255).astype(np.uint8)
        out[name] = {"size": pixels.shape[0], "pixels": base64.b64encode(pixels.tobytes()).decode("ascii")}
    return out


def images_of(told: Mapping[str, Mapping[str, Any]]) -> dict[str, NDArray[np.float32]]:
    """What ``decode_cell`` told, as (y, x) float32 in [0, 1]."""
    found = {}
    for name, image in told.items():
        pixels = np.frombuffer(base64.b64decode(image["pixels"]), np.uint8)
        found[name] = pixels.reshape(image["size"], -1).astype(np.float32) / np.float32(255)
    return found


@lru_cache(maxsize=2)
def _model(folder: str, stamp: int) -> Any:
    from napari_apollo.model import Apollo

    return Apollo.load(folder, device="cpu")


def _plain(values: ArrayLike | None) -> list[float] | None:
    return None if values is None else [float(value) for value in np.asarray(values)]
