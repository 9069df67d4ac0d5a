"""Rows of a sparse table: compressed on the device, and expanded for the cells of a batch alone."""

from __future__ import annotations

import numpy as np
import torch
from scipy import sparse
from torch import Tensor

from napari_apollo.tables.preparing import Prepared
from napari_apollo.train.data import Values, Vectors

_SMALL = (torch.uint8, torch.int16)


class SparseRows:
    """Values of one modality as compressed rows; the sparse counterpart of ``Vectors``.

    Whole numbers are kept in 1 or 2 bytes where they fit, columns in 4.

    Parameters
    ----------
    prepared
        Sparse values, (m, feature).
    """

    dtype = np.dtype(np.float32)

    def __init__(self, prepared: Prepared) -> None:
        matrix = sparse.csr_matrix(prepared.values)
        self._features = int(matrix.shape[1])
        self._starts = torch.from_numpy(matrix.indptr.astype(np.int64))
        self._columns = torch.from_numpy(matrix.indices.astype(np.int32, copy=False))
        self._data = _compact(matrix.data)
        centre = prepared.centre
        self._centre = None if centre is None else torch.from_numpy(np.asarray(centre, np.float32))
        scale = prepared.scale
        self._scale = scale if isinstance(scale, float) else torch.from_numpy(np.asarray(scale, np.float32))
        self._resident: tuple[Tensor, Tensor, Tensor] | None = None

    def __len__(self) -> int:
        return len(self._starts) - 1

    def to_device(self, device: torch.device) -> None:
        """Bring the compressed rows onto the device."""
        self._resident = (self._starts.to(device), self._columns.to(device), self._data.to(device))
        self._centre = None if self._centre is None else self._centre.to(device)
        self._scale = self._scale if isinstance(self._scale, float) else self._scale.to(device)

    @property
    def nbytes(self) -> int:
        """Bytes of the compressed rows."""
        parts = (self._starts, self._columns, self._data)
        return sum(part.numel() * part.element_size() for part in parts)

    @property
    def resident(self) -> bool:
        """Whether the rows lie on the device."""
        return self._resident is not None

    def fetch(self, rows: np.ndarray) -> tuple[Tensor, ...]:
        """Row lengths, columns and values of rows (n,), on the processor."""
        return _selected(torch.from_numpy(rows), self._starts, self._columns, self._data)

    def take(self, rows: Tensor) -> Tensor:
        """Values (n, feature) float32 of resident rows (n,) int64."""
        assert self._resident is not None
        return self.finish(*_selected(rows, *self._resident))

    def finish(self, *parts: Tensor) -> Tensor:
        """Values (n, feature) float32 of what ``fetch`` gave, once it is on the device."""
        lengths, columns, data = parts
        n = len(lengths)
        dense = data.new_zeros(n * self._features, dtype=torch.float32)
        first = torch.arange(n, device=data.device) * self._features
        dense[torch.repeat_interleave(first, lengths, output_size=len(data)) + columns] = data.float()
        values = dense.view(n, self._features)
        if self._centre is not None:
            values = values.sub_(self._centre.to(values.device))
        if isinstance(self._scale, float):
            return values.div_(self._scale) if self._scale != 1 else values
        return values.div_(self._scale.to(values.device))


def rows_of(prepared: Prepared, rows: np.ndarray) -> Values:
    """Rows (n,) of prepared values, compressed where they are sparse."""
    if sparse.issparse(prepared.values):
        return SparseRows(Prepared(prepared.values[rows], prepared.centre, prepared.scale))
    return Vectors(prepared.dense(rows))


def _selected(rows: Tensor, starts: Tensor, columns: Tensor, data: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    start = starts.index_select(0, rows)
    lengths = starts.index_select(0, rows + 1) - start
    before = lengths.cumsum(0) - lengths
    at = torch.repeat_interleave(start - before, lengths)
    at += torch.arange(len(at), device=at.device)
    return lengths, columns.index_select(0, at), data.index_select(0, at)


def _compact(data: np.ndarray) -> Tensor:
    values = torch.from_numpy(np.asarray(data, np.float32))
    if not len(data) or (data != np.rint(data)).any():
        return values
    for kind in _SMALL:
        limits = torch.iinfo(kind)
        if data.min() >= limits.min and data.max() <= limits.max:
            return values.to(kind)
    return values
