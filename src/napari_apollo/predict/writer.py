"""Writing a store of predictions; the arrays are written as those of a cell store."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import zarr
from zarr.codecs import BytesCodec, Crc32cCodec, ZstdCodec

from napari_apollo.cells.checksums import DESCRIPTION, Sums, files_below, seal_group, sum_of_file
from napari_apollo.cells.shards import cells_per_shard
from napari_apollo.cells.writer import ArrayWriter
from napari_apollo.predict.store import PredictionCard

FINE_ENOUGH = 1000.0
"""Intensity range from which whole numbers will do: they err by at most 0.05 % of it."""


def dtype_for(limits: np.ndarray) -> np.dtype[Any]:
    """Kind of numbers for the predictions of some stains.

    Whole numbers (uint16) where every stain spans 1,000 units or more within 0 ... 65,535, else
    float32: a stain of few counts would lose its greys.

    Parameters
    ----------
    limits
        (n, 2) pairs of intensities that 0 and 1 of the model stand for.
    """
    low, high = limits[:, 0], limits[:, 1]
    fits = bool(np.all(low >= 0) and np.all(high <= np.iinfo(np.uint16).max))
    fine = bool(np.all(high - low >= FINE_ENOUGH))
    return np.dtype(np.uint16 if len(limits) and fits and fine else np.float32)


def as_stored(values: np.ndarray, dtype: np.dtype[Any]) -> np.ndarray:
    """Values as an array of that kind holds them: rounded and clipped where it holds whole numbers."""
    if not np.issubdtype(dtype, np.integer):
        return values.astype(dtype, copy=False)
    limits = np.iinfo(dtype)
    return np.clip(np.rint(values), limits.min, limits.max).astype(dtype)


def image_writer(folder: Path, place: Path, stains: int, size: int, dtype: np.dtype[Any]) -> ArrayWriter:
    """Writer of an array (cell, stain, y, x) at ``place`` in a store."""
    shape = (stains, size, size)
    return ArrayWriter(folder, place, shape, dtype, cells_per_shard(int(np.prod(shape)) * dtype.itemsize))


def write_summary(folder: Path, arrays: Mapping[str, np.ndarray]) -> None:
    """Small arrays with one row a cell, as zarr with checksums."""
    for name, values in arrays.items():
        array = zarr.create_array(
            folder / name,
            shape=values.shape,
            chunks=tuple(max(1, length) for length in values.shape),
            dtype=values.dtype,
            serializer=BytesCodec(),
            compressors=(ZstdCodec(level=1), Crc32cCodec()),
            dimension_names=("cell", "stain")[: values.ndim],
        )
        array[...] = values


def seal_store(folder: Path, card: PredictionCard, sums: Sums) -> None:
    """Write the groups, the checksums of every file and, last, the description of the store.

    Parameters
    ----------
    folder
        The store.
    card
        Its description.
    sums
        Checksums of files that were summed while they were written, by path below ``panels/``.
    """
    parts = [part for part in (folder / "panels").iterdir() if part.is_dir()]
    for group in (folder / "panels", *parts, *(part / "summary" for part in parts)):
        if not (group / DESCRIPTION).exists():
            seal_group(group, {})
    known = {f"panels/{name}": found for name, found in sums.items()}
    every: Sums = {name: known.get(name) or sum_of_file(folder / name) for name in files_below(folder)}
    seal_group(folder, card.model_dump(mode="json"), every)
