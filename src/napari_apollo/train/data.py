"""What the training loop sees of the cells: batches of values on the device.

Crops stay integers, as acquired, and become values in [0, 1] on the device when they are used. They
lie on the device where they fit there; else they are read ahead from the store by a thread.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np
import torch
from torch import Tensor

from napari_apollo.train.ahead import read_ahead


@dataclass
class View:
    """The values of one modality in a batch.

    Attributes
    ----------
    values
        (p, 1, y, x) or (p, feature) float32.
    stain
        (p,) int64, index of the stain in the vocabulary.
    cell
        (p,) int64, position in the batch of the cell each value belongs to.
    row
        (p,) int64, row of the value in its modality, which is also its row of the specific latents.
    """

    values: Tensor
    stain: Tensor
    cell: Tensor
    row: Tensor


@dataclass
class Batch:
    """Cells that are used together.

    Attributes
    ----------
    cells
        (b,) int64, rows of the shared latents.
    views
        By modality; a modality that none of the cells has is absent.
    positions
        By modality, what ``View.cell`` holds, on the processor.
    nuisance
        (b, k) float32, 1 for the kind of nuisance of each cell, else 0; None where none is declared.
    """

    cells: Tensor
    views: dict[str, View]
    positions: dict[str, np.ndarray] = field(default_factory=dict)
    nuisance: Tensor | None = None

    def pairs(self, first: str, second: str) -> tuple[Tensor, Tensor]:
        """Values of two modalities that belong to one cell: all combinations, as positions in the views.

        Each (q,) int64, on the device, made without waiting for it; in the order of the cells.
        """
        own, other = self.positions[first], self.positions[second]
        # Both are in ascending order: rows of a cell lie side by side.
        start, end = np.searchsorted(other, own, "left"), np.searchsorted(other, own, "right")
        counts = end - start
        left = np.repeat(np.arange(len(own)), counts)
        within = np.arange(len(left)) - np.repeat(np.cumsum(counts) - counts, counts)
        right = np.repeat(start, counts) + within
        device = self.cells.device

        def on_device(side: np.ndarray) -> Tensor:
            return torch.from_numpy(side).to(device, non_blocking=True)

        return on_device(left), on_device(right)


class Crops:
    """Single-stain crops of one modality, as integers, with the limits that make them values.

    Parameters
    ----------
    read
        Gives crops (n, y, x), integer or float, of rows (n,) int64.
    low, high
        (m,) float32: intensities that become 0 and 1; equal limits give 0 everywhere.
    dtype
        Of the crops.
    """

    def __init__(
        self,
        read: Callable[[np.ndarray], np.ndarray],
        low: np.ndarray,
        high: np.ndarray,
        dtype: np.dtype,
    ) -> None:
        self._read = read
        span = np.asarray(high, np.float64) - np.asarray(low, np.float64)
        self.low = np.asarray(low, np.float32)
        # Where the limits are equal, dividing by infinity gives 0.
        self.span = np.where(span > 0, span, np.inf).astype(np.float32)
        self.dtype = np.dtype(dtype)
        self._resident: tuple[Tensor, Tensor, Tensor] | None = None

    def __len__(self) -> int:
        return len(self.low)

    def to_device(self, device: torch.device, chunk: int = 4096) -> None:
        """Bring all crops onto the device; ``take`` then reads nothing from the store."""
        parts = [
            _as_tensor(self._read(np.arange(start, min(start + chunk, len(self)))))
            for start in range(0, len(self), chunk)
        ]
        self._resident = (
            torch.cat(parts).to(device),
            torch.from_numpy(self.low).to(device),
            torch.from_numpy(self.span).to(device),
        )

    @property
    def nbytes(self) -> int:
        """Bytes of all crops."""
        one = self._read(np.zeros(1, np.int64)) if len(self) else np.zeros((1, 0))
        return len(self) * self.dtype.itemsize * int(np.prod(one.shape[1:]))

    @property
    def resident(self) -> bool:
        """Whether all crops lie on the device."""
        return self._resident is not None

    def fetch(self, rows: np.ndarray) -> tuple[Tensor, Tensor, Tensor]:
        """Crops of rows from the store, with low and span, on the processor."""
        return (
            _as_tensor(self._read(rows)),
            torch.from_numpy(self.low[rows]),
            torch.from_numpy(self.span[rows]),
        )

    def take(self, rows: Tensor) -> Tensor:
        """Values (n, 1, y, x) of resident rows (n,) int64."""
        assert self._resident is not None
        return self.finish(*(part.index_select(0, rows) for part in self._resident))

    @staticmethod
    def finish(*parts: Tensor) -> Tensor:
        """Values (n, 1, y, x) of what ``fetch`` gave, once it is on the device."""
        return to_values(*parts)


class Vectors:
    """Feature vectors of one modality, in memory; the table's counterpart of ``Crops``.

    Parameters
    ----------
    values
        (m, feature) float, used as they are.
    """

    dtype = np.dtype(np.float32)

    def __init__(self, values: np.ndarray) -> None:
        self._values = torch.from_numpy(np.array(values, np.float32))
        self._resident: Tensor | None = None

    def __len__(self) -> int:
        return len(self._values)

    def to_device(self, device: torch.device) -> None:
        """Bring all vectors onto the device."""
        self._resident = self._values.to(device)

    @property
    def nbytes(self) -> int:
        """Bytes of all vectors."""
        return self._values.numel() * self._values.element_size()

    @property
    def resident(self) -> bool:
        """Whether all vectors lie on the device."""
        return self._resident is not None

    def fetch(self, rows: np.ndarray) -> tuple[Tensor, ...]:
        """Vectors of rows, on the processor."""
        return (self._values[torch.from_numpy(rows)],)

    def take(self, rows: Tensor) -> Tensor:
        """Vectors (n, feature) of resident rows (n,) int64."""
        assert self._resident is not None
        return self._resident.index_select(0, rows)

    @staticmethod
    def finish(*parts: Tensor) -> Tensor:
        """Vectors of what ``fetch`` gave, once it is on the device."""
        return parts[0]


class Values(Protocol):
    """The values of one modality, whatever they are."""

    dtype: np.dtype

    def __len__(self) -> int: ...
    def to_device(self, device: torch.device) -> None: ...
    @property
    def nbytes(self) -> int: ...
    @property
    def resident(self) -> bool: ...
    def fetch(self, rows: np.ndarray) -> tuple[Tensor, ...]: ...
    def take(self, rows: Tensor) -> Tensor: ...
    def finish(self, *parts: Tensor) -> Tensor: ...


def to_values(crops: Tensor, low: Tensor, span: Tensor) -> Tensor:
    """Values (n, 1, y, x) float32 in [0, 1] of crops (n, y, x) as acquired."""
    if crops.dtype == torch.int16:  # uint16 seen through torch, which cannot select from uint16
        crops = crops.to(torch.int32).bitwise_and(0xFFFF)
    values = crops.to(torch.float32)
    values = (values - low[:, None, None]) / span[:, None, None]
    return values.clamp_(0.0, 1.0).unsqueeze(1)


def _as_tensor(crops: np.ndarray) -> Tensor:
    crops = np.ascontiguousarray(crops)
    if crops.dtype == np.uint16:
        crops = crops.view(np.int16)
    elif crops.dtype not in (np.uint8, np.float32):
        crops = crops.astype(np.float32)
    return torch.from_numpy(crops)


@dataclass
class Observed:
    """One modality of all cells.

    Attributes
    ----------
    crops
        Its values, (m) rows.
    rows
        (cell, k) int64: rows of each cell, -1 where there are fewer than k.
    stain
        (m,) int64, index in the vocabulary (0 where the modality is unconditional).
    """

    crops: Values
    rows: np.ndarray
    stain: np.ndarray


class CellData:
    """Cells with all their modalities.

    Parameters
    ----------
    observed
        By name of the modality.
    device
        Where batches are wanted.
    nuisance
        (cell,) int64, a kind from 0, of what the shared latent is not to tell; None where nothing is
        declared.
    """

    def __init__(
        self, observed: Mapping[str, Observed], device: torch.device, nuisance: np.ndarray | None = None
    ) -> None:
        self.observed = dict(observed)
        self.device = device
        self._nuisance = None
        if nuisance is not None:
            self._nuisance = np.eye(int(nuisance.max(initial=0)) + 1, dtype=np.float32)[nuisance]

    @property
    def n_cells(self) -> int:
        """Number of cells."""
        return len(next(iter(self.observed.values())).rows)

    def n_rows(self, modality: str) -> int:
        """Number of values that a modality has over all cells."""
        return len(self.observed[modality].crops)

    @property
    def nbytes(self) -> int:
        """Bytes of all crops, were they on the device."""
        return sum(own.crops.nbytes for own in self.observed.values())

    def cells_of(self, modality: str) -> np.ndarray:
        """(m,) int64: the cell that each value of a modality belongs to."""
        rows = self.observed[modality].rows
        cell, column = np.nonzero(rows >= 0)
        found = np.empty(self.n_rows(modality), np.int64)
        found[rows[cell, column]] = cell
        return found

    def crop_shape(self, modality: str) -> tuple[int, ...]:
        """Shape of one crop, or of one vector."""
        return self.observed[modality].crops.fetch(np.zeros(1, np.int64))[0].shape[1:]

    def to_device(self) -> None:
        """Bring all crops onto the device."""
        for own in self.observed.values():
            own.crops.to_device(self.device)

    def batches(self, plan: Sequence[np.ndarray]) -> Iterator[Batch]:
        """Batches of the cells that a plan names, in its order."""
        if all(own.crops.resident for own in self.observed.values()):
            return (self._resident_batch(cells) for cells in plan)
        return self._streamed(plan)

    def _selection(self, cells: np.ndarray) -> dict[str, tuple[np.ndarray, np.ndarray]]:
        """For each modality: rows, and position in the batch of the cells they belong to."""
        selection = {}
        for name, own in self.observed.items():
            rows = own.rows[cells]
            position, column = np.nonzero(rows >= 0)
            if len(position):
                selection[name] = (rows[position, column], position)
        return selection

    def _resident_batch(self, cells: np.ndarray) -> Batch:
        views, selection = {}, self._selection(cells)
        for name, (rows, position) in selection.items():
            row = self._tensor(rows)
            stain = self._tensor(self.observed[name].stain[rows])
            views[name] = View(self.observed[name].crops.take(row), stain, self._tensor(position), row)
        return Batch(self._tensor(cells), views, _positions(selection), self._kinds(cells))

    def _streamed(self, plan: Sequence[np.ndarray]) -> Iterator[Batch]:
        def read(cells: np.ndarray) -> tuple[np.ndarray, dict]:
            return cells, {
                name: (rows, position, self._pinned(self.observed[name].crops.fetch(rows)))
                for name, (rows, position) in self._selection(cells).items()
            }

        for cells, parts in read_ahead(read, plan):
            views = {}
            for name, (rows, position, fetched) in parts.items():
                own = self.observed[name].crops
                values = own.finish(*(part.to(self.device, non_blocking=True) for part in fetched))
                stain = self._tensor(self.observed[name].stain[rows])
                views[name] = View(values, stain, self._tensor(position), self._tensor(rows))
            yield Batch(self._tensor(cells), views, _positions(parts), self._kinds(cells))

    def _kinds(self, cells: np.ndarray) -> Tensor | None:
        if self._nuisance is None:
            return None
        return torch.from_numpy(self._nuisance[cells]).to(self.device, non_blocking=True)

    def _pinned(self, parts: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        """In memory that a GPU fetches from by itself, while the loop goes on."""
        return tuple(part.pin_memory() for part in parts) if self.device.type == "cuda" else parts

    def _tensor(self, values: np.ndarray) -> Tensor:
        return torch.from_numpy(np.ascontiguousarray(values, np.int64)).to(self.device, non_blocking=True)


def _positions(selection: Mapping[str, tuple]) -> dict[str, np.ndarray]:
    return {name: parts[1] for name, parts in selection.items()}
