"""What a prediction will take, said before it starts."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from napari_apollo.cells.store import CellStore
    from napari_apollo.predict.inference import Inference

_WORKING_BYTES = 8  # of a pixel, while values become intensities
_STORED_BYTES = 4


def needs_in_words(
    store: CellStore, inference: Inference, panels: Sequence[str], *, batch_size: int, also_measured: bool
) -> str:
    """Memory for a batch and for the latents of all cells, and the most that is written.

    The networks' own memory is left out: it depends on the device.
    """
    pixels = store.crop_size**2
    architecture = inference.model.card.architecture
    latents = written = widest = 0
    for name in panels:
        panel = store.panels[name]
        known = 1 + len(inference.known(panel))
        predicted = len(inference.vocabulary if also_measured else inference.lacking(panel))
        images = 2 * known + predicted
        widest = max(widest, len(panel.stains) + images)
        written += store.count(name) * images * pixels * _STORED_BYTES
        chromatin, protein = (architecture.modality(kind).specific for kind in ("chromatin", "protein"))
        values = known * architecture.shared + chromatin + (known - 1) * protein
        latents += store.n_cells * values * _STORED_BYTES
    batch = batch_size * widest * pixels * _WORKING_BYTES
    return (
        f"{_in_units(batch)} of memory for a batch of {batch_size} cells, {_in_units(latents)} for latents, "
        f"at most {_in_units(written)} on disk"
    )


def _in_units(count: float) -> str:
    for unit in ("kB", "MB"):
        count /= 1000
        if count < 1000:
            return f"{count:.0f} {unit}"
    return f"{count / 1000:.1f} GB"
