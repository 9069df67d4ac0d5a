"""Pictures of held-out cells of tables: measured, rebuilt, predicted from the other tables."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from imagecodecs import png_encode
from torch import Tensor

from napari_apollo.model.network import Code, Network
from napari_apollo.storage import whole_file
from napari_apollo.train.data import Batch, CellData

_CELLS, _FEATURES = 48, 48
_MAGNIFIED = 4  # pixels of the picture for each value
_GAP = 2


def write_table_preview(path: Path, network: Network, cells: CellData) -> None:
    """Write a sheet: a row a table; from the left as measured, as rebuilt from its own latents, as predicted
    from the other tables of the cell.

    In each of the three a line is a cell and a column a feature, those that vary most; grey goes from the
    least to the greatest value measured of the feature. Cells stand in the order of the first principal
    direction of what all tables say is shared. Nothing is written where no cell has all tables.

    Parameters
    ----------
    path
        A ``.png`` file.
    network
        Put into evaluation mode.
    cells
        Some of those that have all modalities are shown, spread evenly.
    """
    complete = np.flatnonzero(np.all([own.rows[:, 0] >= 0 for own in cells.observed.values()], axis=0))
    if not len(complete):
        return
    chosen = complete[np.unique(np.linspace(0, len(complete) - 1, _CELLS).astype(np.int64))]
    (batch,) = cells.batches([chosen])
    sheets = [
        np.concatenate([_framed(part) for part in row], axis=1) for row in preview_tables(network, batch)
    ]
    width = max(sheet.shape[1] for sheet in sheets)
    sheet = np.concatenate([np.pad(each, ((0, 0), (0, width - each.shape[1]))) for each in sheets])
    with whole_file(path) as partial:
        partial.write_bytes(png_encode(np.round(255 * sheet).astype(np.uint8)))


@torch.no_grad()
def preview_tables(network: Network, batch: Batch) -> list[tuple[np.ndarray, np.ndarray, np.ndarray]]:
    """For each table of cells that have all modalities: measured, rebuilt, predicted, (cell, feature) in
    [0, 1].
    """
    network.eval()
    codes = {name: network.encode(name, view.values, view.stain) for name, view in batch.views.items()}
    order = _order(codes)
    rows = []
    for modality in network.architecture.modalities:
        if modality.kind != "table":
            continue
        name, view = modality.name, batch.views[modality.name]
        others = [code.shared for other, code in codes.items() if other != name]
        made = [
            network.comparable(name, view.values).float(),
            _decoded(network, name, codes[name].shared, codes[name].specific, view.stain),
            torch.stack([_decoded(network, name, shared, None, view.stain) for shared in others]).mean(0),
        ]
        varied = made[0].var(0).argsort(descending=True)[:_FEATURES].sort().values
        parts = [part[order][:, varied] for part in made]
        low, high = parts[0].amin(0), parts[0].amax(0)
        scaled = [((part - low) / (high - low).clamp(min=1e-6)).clamp(0, 1).cpu().numpy() for part in parts]
        rows.append((scaled[0], scaled[1], scaled[2]))
    return rows


def _decoded(network: Network, name: str, shared: Tensor, own: Tensor | None, stain: Tensor) -> Tensor:
    return network.activate(name, network.decode(name, shared, own, stain)).float()


def _order(codes: dict[str, Code]) -> Tensor:
    """Cells (n,) along the first principal direction of their mean shared code."""
    shared = torch.stack([code.shared for code in codes.values()]).mean(0).double()
    _, _, directions = torch.linalg.svd(shared - shared.mean(0), full_matrices=False)
    return (shared @ directions[0]).argsort()


def _framed(part: np.ndarray) -> np.ndarray:
    grown: np.ndarray = part.repeat(_MAGNIFIED, axis=0).repeat(_MAGNIFIED, axis=1)
    return np.pad(grown, _GAP)
