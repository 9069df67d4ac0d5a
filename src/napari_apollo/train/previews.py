"""Pictures of held-out cells: measured, reconstructed, predicted."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from imagecodecs import png_encode

from napari_apollo.model.modality import CHROMATIN, PROTEIN
from napari_apollo.model.network import Network
from napari_apollo.storage import whole_file
from napari_apollo.train.data import Batch, CellData

_CELLS = 12


def write_preview(path: Path, network: Network, cells: CellData) -> None:
    """Write a contact sheet.

    One column a cell; rows from the top: chromatin measured, chromatin rebuilt, protein measured,
    protein rebuilt from its own image, protein predicted from the chromatin alone.

    Parameters
    ----------
    path
        A ``.png`` file.
    network
        Put into evaluation mode.
    cells
        The first of them are shown, spread evenly.
    """
    chosen = np.unique(np.linspace(0, cells.n_cells - 1, _CELLS).astype(np.int64))
    (batch,) = cells.batches([chosen])
    rows = preview_rows(network, batch)
    sheet = np.concatenate([np.concatenate(list(row), axis=1) for row in rows])
    with whole_file(path) as partial:
        partial.write_bytes(png_encode(np.round(255 * sheet).astype(np.uint8)))


@torch.no_grad()
def preview_rows(network: Network, batch: Batch) -> list[np.ndarray]:
    """The five rows of ``write_preview``, each (cell, y, x) float32 in [0, 1]."""
    network.eval()
    chromatin, protein = batch.views[CHROMATIN], batch.views[PROTEIN]
    first = torch.from_numpy(np.unique(protein.cell.cpu().numpy(), return_index=True)[1])
    stain = protein.stain[first.to(protein.stain.device)]
    values = protein.values[first.to(protein.values.device)]
    by_chromatin = network.encode(CHROMATIN, chromatin.values, chromatin.stain)
    by_protein = network.encode(PROTEIN, values, stain)
    images = [
        chromatin.values,
        network.activate(
            CHROMATIN,
            network.decode(CHROMATIN, by_chromatin.shared, by_chromatin.specific, chromatin.stain),
        ),
        values,
        network.activate(PROTEIN, network.decode(PROTEIN, by_protein.shared, by_protein.specific, stain)),
        network.activate(PROTEIN, network.decode(PROTEIN, by_chromatin.shared, None, stain)),
    ]
    return [image[:, 0].float().cpu().numpy() for image in images]
